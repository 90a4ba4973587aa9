"""Filled masks held to transformers' fill-mask pipeline."""

import pytest
import transformers

from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.evals.masks import filled, guess_masks
from tests.evals.toy_models import cpu, toy_network, toy_tokenizer, write_network

NEVER = ("[CLS]", "[SEP]", "[PAD]", "[MASK]")
TEXTS = ["ba [MASK] be .", "[MASK]", "bu bo ba ca [MASK] . [MASK] ce"]


def test_the_five_likeliest_are_those_of_transformers_pipeline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tokenizer = toy_tokenizer(tmp_path)
    network = toy_network(MaskedTokenModel, tokenizer)
    folder = write_network(tmp_path / "model", network, tokenizer)
    theirs = transformers.pipeline("fill-mask", model=str(folder), top_k=9)
    found = guess_masks(network, tokenizer.encode_each(TEXTS), tokenizer, cpu())
    assert [len(masks) for masks in found] == [1, 1, 2]
    for text, masks in zip(TEXTS, found, strict=True):
        expected = theirs(text)
        for guesses, answers in zip(masks, expected if len(masks) > 1 else [expected], strict=True):
            answers = [answer for answer in answers if answer["token_str"] not in NEVER][:5]
            assert [token for token, _ in guesses] == [answer["token_str"] for answer in answers]
            assert [prob for _, prob in guesses] == pytest.approx([answer["score"] for answer in answers], abs=1e-5)


def test_what_masking_never_hides_is_no_guess_and_texts_without_a_mask_have_none(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    network = toy_network(MaskedTokenModel, tokenizer).train()
    found = guess_masks(network, tokenizer.encode_each(["ba [MASK]", "ba"]), tokenizer, cpu(), top_k=10_000)
    tokens = [tokenizer.token(id) for id in range(tokenizer.vocab_size)]
    assert {token for token, _ in found[0][0]} == set(tokens) - set(NEVER)
    assert 0.5 < sum(prob for _, prob in found[0][0]) < 1.0
    assert found[1] == [] and network.training


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("The [MASK] Sat.", ["cat"], "The cat Sat."),
        ("play [MASK] now", ["##ing"], "playing now"),
        ("[MASK] and [MASK]", ["[MASK]", r"\1"], r"[MASK] and \1"),
    ],
)
def test_the_best_takes_the_masks_place(text, tokens, expected, tmp_path):
    assert filled(text, [[(token, 0.5), ("other", 0.1)] for token in tokens], toy_tokenizer(tmp_path)) == expected
