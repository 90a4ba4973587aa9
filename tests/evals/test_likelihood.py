"""Likelihoods held to transformers', one mask at a time; and what must not change them."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import transformers

from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.errors import UserError
from bertsmith.evals.likelihood import likelihoods, preferred, scoring_head, standard_error, token_likelihoods
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import open_model
from tests.evals.toy_models import cpu, toy_network, toy_tokenizer, write_network

SENTENCES = [[7, 9, 11, 5], [8], [12, 13, 14, 15, 16, 17, 18, 19], [7, 9, 11, 5], [20, 6, 7, 9]]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def tokenizer(tmp_path):
    return toy_tokenizer(tmp_path)


def test_a_masked_token_models_are_those_of_transformers_one_mask_at_a_time(tmp_path, tokenizer):
    folder = write_network(tmp_path / "model", toy_network(MaskedTokenModel, tokenizer), tokenizer)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    expected = []
    for sentence in SENTENCES:
        row = torch.tensor([tokenizer.cls_id, *sentence, tokenizer.sep_id])
        for place, id in enumerate(sentence, start=1):
            masked = row.clone()
            masked[place] = tokenizer.mask_id
            with torch.no_grad():
                expected.append(theirs(masked[None]).logits[0, place].log_softmax(0)[id].item())
    model = open_model(folder)
    assert scoring_head(model) == "masked_tokens"
    found = token_likelihoods(model.network.build(), SENTENCES, tokenizer, cpu())
    assert [len(part) for part in found] == [len(sentence) for sentence in SENTENCES]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("energies", [False, True])
def test_one_pass_gives_log_sigmoids_of_a_discriminator_and_energies_where_the_folder_says_so(
    tmp_path, tokenizer, energies
):
    network = toy_network(ReplacedTokenModel, tokenizer, is_energy_head=energies)
    folder = write_network(tmp_path / "model", network, tokenizer)
    theirs = transformers.AutoModelForPreTraining.from_pretrained(folder).eval()
    model = open_model(folder)
    found = likelihoods(model.network.build(), SENTENCES, tokenizer, cpu())
    for sentence, score in zip(SENTENCES, found, strict=True):
        row = torch.tensor([[tokenizer.cls_id, *sentence, tokenizer.sep_id]])
        with torch.no_grad():
            logits = theirs(row).logits[0, 1:-1].double()
        expected = -logits.sum() if energies else torch.log(1 - logits.sigmoid()).sum()
        assert score == pytest.approx(expected.item(), abs=1e-4)


def test_what_a_folder_says_of_its_energies_must_make_sense(tmp_path, tokenizer):
    folder = write_network(tmp_path / "model", toy_network(MaskedTokenModel, tokenizer), tokenizer)
    config = json.loads((folder / "config.json").read_text())
    for value in (True, "yes"):
        (folder / "config.json").write_text(json.dumps(config | {"energies": value}))
        with pytest.raises(UserError, match="energies"):
            open_model(folder)


@pytest.mark.parametrize("kind", [MaskedTokenModel, ReplacedTokenModel])
def test_neither_order_nor_company_matters(tokenizer, kind, monkeypatch):
    network = toy_network(kind, tokenizer)
    together = likelihoods(network, SENTENCES, tokenizer, cpu())
    backwards = likelihoods(network, SENTENCES[::-1], tokenizer, cpu())[::-1]
    alone = [likelihoods(network, [sentence], tokenizer, cpu())[0] for sentence in SENTENCES]
    monkeypatch.setattr("bertsmith.evals.rows.CPU_MICRO_BATCH_TOKENS", 12)
    cut = likelihoods(network, SENTENCES, tokenizer, cpu())
    for other in (backwards, alone, cut):
        np.testing.assert_allclose(other, together, rtol=0, atol=1e-4)
    assert together[0] == together[3], "equal sentences, equal bits"
    assert len(set(together.round(3))) == 4, "and others differ"


@pytest.mark.parametrize("kind", [MaskedTokenModel, ReplacedTokenModel])
def test_padded_rows_give_the_same(tokenizer, kind, monkeypatch):
    """As off the CPU."""
    network, machine = toy_network(kind, tokenizer), cpu()
    packed = likelihoods(network, SENTENCES, tokenizer, machine)
    from bertsmith.evals import likelihood, rows

    lay_out = rows.to_device
    for module in (likelihood, rows):
        monkeypatch.setattr(module, "to_device", lambda *given: lay_out(*given).padded(16, tokenizer.pad_id))
    padded = likelihoods(network, SENTENCES, tokenizer, machine)
    np.testing.assert_allclose(padded, packed, rtol=0, atol=1e-4)


def test_a_network_in_training_is_asked_without_dropout_and_left_in_training(tokenizer):
    network = toy_network(MaskedTokenModel, tokenizer)
    expected = likelihoods(network, SENTENCES, tokenizer, cpu())
    network.train()
    np.testing.assert_array_equal(likelihoods(network, SENTENCES, tokenizer, cpu()), expected)
    assert network.training and all(part.training for part in network.modules())


@pytest.mark.parametrize("kind", [MaskedTokenModel, ReplacedTokenModel])
def test_a_machine_of_less_precision_gives_the_same_bits(tokenizer, kind):
    """As a GPU, which is set to bfloat16 and TF32: sentences are told apart by less than these round off."""
    network, coarse = toy_network(kind, tokenizer), choose_machine(MachineSettings(device="cpu", dtype="bfloat16"))
    expected, precision = likelihoods(network, SENTENCES, tokenizer, cpu()), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    seen = []
    network.encoder.layers[0].register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    try:
        found = likelihoods(network, SENTENCES, tokenizer, coarse)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    np.testing.assert_array_equal(found, expected)
    assert set(seen) == {"highest"}


def test_no_sentences_and_empty_ones_are_no_trouble(tokenizer):
    for kind in (MaskedTokenModel, ReplacedTokenModel):
        network = toy_network(kind, tokenizer)
        assert likelihoods(network, [], tokenizer, cpu()).shape == (0,)
        assert likelihoods(network, [[], [7, 8]], tokenizer, cpu())[0] == 0.0


def test_preference_is_one_zero_or_in_the_middle(tokenizer):
    network = toy_network(MaskedTokenModel, tokenizer)
    better, worse = sorted(SENTENCES[:2], key=lambda one: -likelihoods(network, [one], tokenizer, cpu())[0])
    pairs = [(better, worse), (worse, better), (better, list(better))]
    assert preferred(network, pairs, tokenizer, cpu()).tolist() == [1.0, 0.0, 0.5]


def test_a_standard_error_is_the_binomial_one_and_never_zero():
    assert standard_error(0.5, 100) == pytest.approx(0.05)
    assert standard_error(0.8, 1000) == pytest.approx((0.8 * 0.2 / 1000) ** 0.5, rel=0.002)
    for share in (0.0, 1.0):
        assert standard_error(share, 3) == pytest.approx((0.8 * 0.2 / 3) ** 0.5)
    assert math.isnan(standard_error(0.0, 0))


def test_a_model_without_such_a_head_is_refused(tmp_path, tokenizer):
    folder = write_network(tmp_path / "model", toy_network(MaskedTokenModel, tokenizer), tokenizer)
    model = open_model(folder)
    bare = dataclasses.replace(model.network, head=None)
    with pytest.raises(UserError, match="no masked-token and no discriminator head"):
        scoring_head(dataclasses.replace(model, networks=[bare]))
