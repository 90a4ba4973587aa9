"""What asks a tokenizer for words and characters gets the right ones of a byte-level BPE and of a Unigram."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from bertsmith.evals.likelihood import find_pairs
from bertsmith.evals.masks import filled
from bertsmith.objectives.masking import MaskingPolicy, MaskingSettings, MaskingVocabulary, mask
from bertsmith.predict.pipelines import _marked
from bertsmith.randomness import derived_rng
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.windows import cut_into_windows
from bertsmith.tasks.texts.examples import Examples, encode
from bertsmith.tasks.words.sentences import encode_words
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.tokenizers import formats

KINDS: dict[str, Callable[[Path], Path]] = {"bytes": formats.roberta, "unigram": formats.xlm_roberta}
TEXT = "The cats sat on the mats, and the café didn't word 1234 words worded wordings."


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


def test_whole_words_are_masked_as_the_pre_tokenizer_cuts_them(tokenizer: Tokenizer):
    """Words are the groups of `word_ids` of `tokenizers`."""
    encoded = tokenizer.fast.encode(TEXT, add_special_tokens=False)
    row = np.array([tokenizer.cls_id, *encoded.ids, tokenizer.sep_id])
    words = np.array([-1, *encoded.word_ids, -2])
    assert len(set(words)) < len(words), "some words are cut"
    vocabulary, policy = MaskingVocabulary.of(tokenizer), MaskingPolicy(MaskingSettings(whole_words=True), 12)
    hidden = set()
    for seed in range(60):
        result = mask(np.tile(row, 2), np.array([len(row)] * 2), vocabulary, policy, derived_rng(seed, "masks"))
        for positions, weights in zip(result.positions, result.weights, strict=True):
            chosen = set(words[positions[weights == 1]].tolist())
            assert sorted(positions[weights == 1]) == np.flatnonzero(np.isin(words, list(chosen))).tolist()
            hidden |= chosen
    assert hidden == set(words.tolist()) - {-1, -2}, "each word is masked at times"


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("The <mask> sat.", ["▁cats"], "The cats sat."),
        ("The word <mask> now", ["ing"], "The wording now"),
        ("the mats <mask> and <mask>", [",", "▁cats"], "the mats, and cats"),
        ("<mask> sat", ["▁cats"], "cats sat"),
        ("on\n<mask>", ["▁the"], "on the"),
        ("a <mask> and <mask>", ["▁b"], "a b and <mask>"),
    ],
)
def test_a_filled_text_reads_as_one(text: str, tokens: list[str], expected: str, tokenizer: Tokenizer):
    assert filled(text, [[(token, 0.5), ("other", 0.1)] for token in tokens], tokenizer) == expected


def test_suspect_words_are_marked_whole(tokenizer: Tokenizer):
    ids = tokenizer.encode_each(["the cats wordings"])[0]
    assert len(ids) > 3
    suspect = [(tokenizer.shown(id), 0.9 if n == len(ids) - 1 else 0.1) for n, id in enumerate(ids)]
    assert _marked(suspect, tokenizer) == "the cats *wordings*"


def test_tagged_words_are_cut_as_transformers_cuts_words(folder: Path, tokenizer: Tokenizer):
    words = ["The", "cats", "(", "worded", ")", "didn't", "café", ","]
    encoded = encode_words([words, words[:1]], tokenizer, 64)
    reference = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
    expected = reference(words, is_split_into_words=True)
    inner = [id for id, word in zip(expected["input_ids"], expected.word_ids(), strict=True) if word is not None]
    row = encoded.rows.ids[: encoded.rows.lengths[0]].tolist()
    assert row == [tokenizer.cls_id, *inner, tokenizer.sep_id]
    of_words = [word for word in expected.word_ids() if word is not None]
    firsts = [1 + of_words.index(number) for number in range(len(words))]
    assert encoded.place_of[: len(words)].tolist() == firsts and not len(encoded.unknown)


@pytest.mark.parametrize("make", formats.FORMATS.values(), ids=formats.FORMATS)
def test_a_word_is_cut_as_after_a_space(make: Callable[[Path], Path], tmp_path: Path):
    """Without the one space too many where the tokenizer itself puts one before each text."""
    ours = Tokenizer.load(make(tmp_path))
    for word in ("cats", "worded", "café", ","):
        whole, first = ours.encode_each([f"a {word}", "a"])
        found = ours.encode_words([word])[0].tolist()
        assert len(ours.fast.encode("a a", add_special_tokens=False)) < 2 or first + found == whole, word


def test_words_of_ended_pieces_are_marked_whole(tmp_path: Path):
    ours = Tokenizer.load(formats.ended_words(tmp_path))
    ids = ours.encode_each(["the tables cat"])[0]
    assert len(ids) > 3
    suspect = [(ours.shown(id), 0.9 if n == 1 else 0.1) for n, id in enumerate(ids)]
    assert _marked(suspect, ours) == "the *tables* cat"


def test_an_answer_is_found_and_comes_back_in_its_own_characters(tokenizer: Tokenizer):
    context = "The  cats sat in a café; on mats,\n and the other cats didn't sit."
    questions = Questions()
    questions.contexts, questions.ids, questions.texts = [context], ["0"], ["cats?"]
    questions.context_of, questions.answers = [0], [[]]
    windows = cut_into_windows(questions, tokenizer, 120)
    assert len(windows) == 1
    for answer in ("The  cats", "cats", "café", "mats", "the other cats", "sit"):
        start = context.index(answer)
        places = windows.answer_places(0, (start, answer))
        assert places is not None
        assert context[windows.characters(0, *places)] == answer


def test_swapped_words_are_words(tokenizer: Tokenizer, folder: Path, tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rng, words = np.random.default_rng(0), ["the", "cats", "worded", "wordings", "mats", "other", "things"]
    for number in range(100):
        (corpus / f"{number}.txt").write_text(" ".join(rng.permutation(words)) + " . x .\n")
    recipe = PrepareRecipe(corpus=str(corpus), layout="text", vocab=str(folder), workers=1, heldout_fraction=0.4)
    data = prepare(recipe, tmp_path / "data")
    assert data.tokenizer.fingerprint == tokenizer.fingerprint
    pairs = find_pairs(data, 10)
    if not pairs:
        pytest.skip("its stop or its spaces are pieces of their own here")

    def read(ids: list[int]) -> list[str]:
        text = ""
        for id in ids:
            text = tokenizer.append(text, tokenizer.shown(id))
        return text.replace(".", " .").split()

    for sentence, swapped in pairs:
        one, other = read(sentence), read(swapped)
        changed = [place for place in range(len(one)) if one[place] != other[place]]
        assert sorted(one) == sorted(other) == sorted([*words, "."])
        assert len(changed) == 2 and changed[1] == changed[0] + 1


def test_pairs_are_laid_out_as_transformers_does(folder: Path, tokenizer: Tokenizer):
    """RoBERTa's way has two tokens between the texts."""
    pairs = Examples(["the cats", "word"], ["sat on the mats", "a"], None)
    reference = AutoTokenizer.from_pretrained(folder)
    rows = encode(pairs, tokenizer, 64)
    expected = [reference(first, second)["input_ids"] for first, second in zip(pairs.first, pairs.second, strict=True)]
    found = [rows.ids[start : start + length].tolist() for start, length in zip(rows.starts, rows.lengths, strict=True)]
    assert found == expected and tokenizer.num_separators == 2
    shorter = encode(pairs, tokenizer, len(expected[0]) - 3)
    assert shorter.lengths.max() == len(expected[0]) - 3 and shorter.truncated == 1


def test_a_question_and_its_context_are_laid_out_as_transformers_does(folder: Path, tokenizer: Tokenizer):
    questions = Questions()
    questions.contexts, questions.ids, questions.texts = ["the cats sat"], ["0"], ["cats?"]
    questions.context_of, questions.answers = [0], [[]]
    windows = cut_into_windows(questions, tokenizer, 80)
    tokens = windows.take(np.array([0]))
    assert tokens.ids.tolist() == AutoTokenizer.from_pretrained(folder)("cats?", "the cats sat")["input_ids"]
    assert windows.lengths.tolist() == [len(tokens.ids)]
    first = tokens.ids[windows.context_places[0] :].tolist()
    assert first[: int(windows.sizes[0])] == tokenizer.encode_each(["the cats sat"])[0]
