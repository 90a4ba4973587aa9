"""Batches, steps and predictions of a trial."""

from itertools import islice

import numpy as np
import pytest
import torch

from bertsmith.encoders.bert import ElectraClassificationHead
from bertsmith.encoders.encoder import Encoder
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.rows import Rows
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.texts.text_task import Classification, TextDataset, predict_scores
from bertsmith.tasks.trial import num_steps
from bertsmith.training.machine import MachineSettings, choose_machine
from tests.tasks.texts.test_classification import NARROW
from tests.tasks.toy_task import toy_recipe

TOY = TaskSpec("toy", ("accuracy",), OneLabel(("a", "b", "c")))


def rows_of(lengths):
    lengths = np.array(lengths)
    ids = np.random.default_rng(0).integers(5, 50, lengths.sum())
    return Rows(ids, np.zeros(len(ids), dtype=np.uint8), lengths, np.cumsum(lengths) - lengths, 0)


@pytest.mark.parametrize("similar_lengths", [True, False])
def test_an_epoch_has_every_example_once(similar_lengths):
    split = TextDataset(TOY, rows_of([3, 4, 5, 6, 7]), np.arange(5))
    epochs = list(islice(split.batches(2, seed=1, similar_lengths=similar_lengths), 6))
    orders = [
        [int(answer) for batch, _ in part for answer in batch.targets["answers"]] for part in (epochs[:3], epochs[3:])
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == [0, 1, 2, 3, 4]
    assert orders[0] != orders[1]
    for batch, _ in epochs:
        assert batch.tokens.row_lengths.tolist() == [answer + 3 for answer in batch.targets["answers"].tolist()]
    assert [position for _, position in epochs] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]


def test_rows_of_similar_length_share_a_batch(monkeypatch):
    monkeypatch.setattr("bertsmith.tasks.dataset.POOLED_BATCHES", 4)
    lengths = np.random.default_rng(0).integers(1, 100, 96)
    split = TextDataset(TOY, rows_of(lengths), np.zeros(96))

    def padding(**options) -> float:
        tokens = [batch.tokens for batch, _ in islice(split.batches(8, seed=0, **options), 12)]
        return 1 - sum(part.num_tokens for part in tokens) / sum(part.num_rows * part.max_seqlen for part in tokens)

    assert padding(similar_lengths=True) < 0.5 * padding()
    longest = [batch.tokens.max_seqlen for batch, _ in islice(split.batches(8, seed=0, similar_lengths=True), 12)]
    assert longest != sorted(longest)


@pytest.mark.parametrize(("epochs", "compat", "steps"), [("3", "false", 9), ("0.5", "false", 2), ("0.5", "true", 1)])
def test_steps(tmp_path, epochs, compat, steps):
    recipe = toy_recipe(tmp_path, tmp_path, f"epochs={epochs}", f"compat={compat}", "batch_size=4").settings
    assert num_steps(recipe, 9) == steps


def test_predictions_do_not_depend_on_company(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("bertsmith.tasks.rows.PREDICTION_BATCH_TOKENS", 40)
    objective = Classification(Encoder(NARROW, 50), ElectraClassificationHead(NARROW, 3), TOY.answers)
    machine = choose_machine(MachineSettings(device="cpu"))
    rows = rows_of([30, 3, 12, 60, 7, 12, 3])
    together = predict_scores(objective, rows, machine)
    objective.eval()
    alone = [objective.scores(rows.take(np.array([number])))[0] for number in range(7)]
    np.testing.assert_allclose(together, torch.stack(alone).detach().numpy(), atol=1e-6)
