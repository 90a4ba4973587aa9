"""The word-order test, and guesses shown while a model learns."""

import math

import numpy as np

from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.evals.likelihood import Pair, find_pairs, word_order
from bertsmith.evals.masks import show_guesses
from bertsmith.text.prepare import PrepareRecipe, prepare
from tests.evals.toy_models import cpu, toy_network, toy_tokenizer


def test_a_pair_has_the_same_tokens_in_another_order(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    words = ["ba", "be", "bi", "bo", "bu", "ca", "ce"]
    rng = np.random.default_rng(0)
    for number in range(200):
        (corpus / f"{number}.txt").write_text(" ".join(rng.permutation(words)) + " . x = 1 .\n")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "=", *words]))
    recipe = PrepareRecipe(corpus=str(corpus), layout="text", vocab=str(tmp_path / "vocab.txt"), workers=1,
                           heldout_fraction=0.2)  # fmt: skip
    data = prepare(recipe, tmp_path / "data")
    pairs = find_pairs(data, 20)
    assert len(pairs) == 20 and pairs == find_pairs(data, 20)
    for sentence, swapped in pairs:
        assert sorted(sentence) == sorted(swapped) and sentence[-1] == swapped[-1] == data.tokenizer.id(".")
        changed = [place for place, (one, other) in enumerate(zip(sentence, swapped, strict=True)) if one != other]
        assert len(changed) == 2 and changed[1] == changed[0] + 1


def test_word_order_of_a_coin(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    network = toy_network(MaskedTokenModel, tokenizer)
    assert word_order(network, [Pair([7, 9, 5], [7, 9, 5])] * 4, tokenizer, cpu()) == 0.5
    assert math.isnan(word_order(network, [], tokenizer, cpu()))


def test_guesses_are_a_line_a_sentence(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    network = toy_network(MaskedTokenModel, tokenizer).train()
    lines = []
    show_guesses(network, tokenizer, cpu(), lines.append, ["ba [MASK] .", "[MASK]"])
    assert len(lines) == 2 and all(line.count("%") == 3 for line in lines)
    assert network.training
