"""The pinned loss: the same rows and masks whatever a run's settings; against the loss one mask set at a time."""

import json

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.encoders.tokens import Tokens
from bertsmith.evals import pinned
from bertsmith.evals.pinned import masked_columns, pinned_loss, pinned_rows
from bertsmith.text.shards import Data
from bertsmith.training.machine import MachineSettings, choose_machine
from tests.toys import DEVICES, make_data

TINY = BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1, max_position_embeddings=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def test_rows_are_spread_over_the_held_out_text(data, monkeypatch):
    rows = pinned_rows(data, 32)
    whole = np.concatenate([row[1:-1] for row in rows])
    assert np.array_equal(whole, data.read("heldout", 0).tokens), "all of it, where there is little"
    assert max(map(len, rows)) == 32 and max(map(len, pinned_rows(data, 512))) <= 128
    monkeypatch.setattr(pinned, "ROWS", 5)
    few = pinned_rows(data, 32)
    assert [row.tolist() for row in few] == [rows[number * len(rows) // 5].tolist() for number in range(5)]


def test_masks_follow_from_the_row_alone(data):
    rows = pinned_rows(data, 32)
    for row in rows:
        columns = masked_columns(row, data.tokenizer)
        assert len(columns) == max(1, round(0.15 * len(row))) == len(set(columns.tolist()))
        assert columns.min() > 0 and columns.max() < len(row) - 1, "never [CLS] and [SEP]"
        assert np.array_equal(columns, masked_columns(row.astype(np.uint16), data.tokenizer))
    assert len({tuple(masked_columns(row, data.tokenizer)) for row in rows if len(row) == 32}) > 1
    known = np.array([2, *range(6, 26), 3])
    assert masked_columns(known, data.tokenizer).tolist() == KNOWN, "other masks would be another measure"


KNOWN = [3, 7, 16]


@pytest.mark.parametrize("device", DEVICES)
def test_it_is_the_mean_loss_of_masked_tokens(data, device):
    torch.manual_seed(0)
    network = MaskedTokenModel(TINY, data.tokenizer.vocab_size).to(device)
    found = pinned_loss(network, data, choose_machine(MachineSettings(device=device), data.tokenizer.pad_id))
    network, within, losses = network.cpu(), {"cpu": 1e-5, "cuda": 1e-3}[device], []
    for row in pinned_rows(data, 32):
        columns = masked_columns(row, data.tokenizer)
        ids = row.copy()
        ids[columns] = data.tokenizer.mask_id
        tokens = Tokens.pack(ids, np.zeros_like(ids), np.array([len(ids)]))
        with torch.no_grad():
            scores = network.eval().scores(tokens, torch.from_numpy(columns))
        losses += (-scores.log_softmax(1)[range(len(columns)), row[columns]]).tolist()
    assert found["pinned_loss"] == pytest.approx(np.mean(losses), rel=within)
    counts = data.manifest["counts"]
    bits = np.mean(losses) / np.log(2) * counts["tokens"] / counts["bytes"]
    assert found["pinned_bits_per_byte"] == pytest.approx(bits, rel=within)


def test_data_that_keeps_no_counts_has_a_loss_and_no_bits(data):
    network = MaskedTokenModel(TINY, data.tokenizer.vocab_size)
    older = Data(data.path, {key: value for key, value in data.manifest.items() if key != "counts"})
    machine = choose_machine(MachineSettings(device="cpu"), data.tokenizer.pad_id)
    assert pinned_loss(network, older, machine).keys() == {"pinned_loss"}


def test_a_run_its_evaluation_and_its_export_have_the_same_whatever_the_recipe_masks(data, tmp_path):
    sizes = {"model.hidden_size": 16, "model.num_attention_heads": 2, "rows.length": 32, "batch_size": 4,
             "evaluate_rows": 8, "plan.steps": 2, "log": [], "data": data.path}  # fmt: skip
    run = bertsmith.pretrain("bert-tiny", tmp_path / "run", sizes)["measures"]
    bertsmith.export(tmp_path / "run", tmp_path / "out")
    for path in ("run", "out"):
        found = bertsmith.evaluate(tmp_path / path, {"data": data.path}).to_json()["heldout"]
        assert found["pinned_loss"] == pytest.approx(run["pinned_loss"], rel=1e-6)
    start = {}
    for share in (0.15, 0.4):
        settings = sizes | {"objective.masking.prob": share, "plan.evaluate_steps": 1, "schedule.learning_rate": 1e-12}
        out = tmp_path / f"share-{share}"
        bertsmith.pretrain("bert-tiny", out, settings)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        start[share] = next(line["pinned_loss"] for line in lines if "pinned_loss" in line)
    assert start[0.15] == start[0.4], "the same weights, whatever share the recipe masks"
