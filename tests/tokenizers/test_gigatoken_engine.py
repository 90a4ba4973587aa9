"""Whichever library encodes, ids are those of `tokenizers`: rules that the fast ones read otherwise, added tokens."""

import importlib.util
import json
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, trainers

from bertsmith.errors import UserError
from bertsmith.tokenizers.added_search import _MAY_COMPOSE, AddedSearch
from bertsmith.tokenizers.engines import fastest_engine
from bertsmith.tokenizers.pieces import _BYTES
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.tokenizers import formats
from tests.tokenizers.test_tokenizer import ODD_TEXTS

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
PLACES = ["new york", "NEW YORK x", "in New York now", "a York b", "in york now", "york  b", "New\u00a0York"]
TEXTS = [
    *ODD_TEXTS,
    *formats.TEXTS[:4],
    "it's 12345",
    "  🇪 x",
    "I'LL 'T  a\n\nb",
    " the word",
    "a <0x41> b",
    "the word",
    "a\U0010fffeb \U0010fffe",
    *PLACES,
]


def byte_level(*parts: Any) -> pre_tokenizers.PreTokenizer:
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*parts, last]) if parts else last


def llama_3(behavior: str = "isolated") -> pre_tokenizers.Split:
    return pre_tokenizers.Split(Regex(LLAMA_3), behavior)


@pytest.fixture(scope="module")
def bytes_model() -> str:
    """A byte-level BPE with merges across words, digits and punctuation: only the pre-tokenizer keeps them apart."""
    fast = tokenizers.Tokenizer(models.BPE())
    fast.pre_tokenizer = byte_level()
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
        special_tokens=["<s>", "</s>", "<pad>", "<mask>"],
    )  # fmt: skip
    fast.train_from_iterator([*formats.TEXTS, *TEXTS, *TEXTS], trainer)
    return fast.to_str()


def check_ids(fast: tokenizers.Tokenizer) -> str:
    """Assert that each text has the ids of `tokenizers`, twice, as a cache may answer; return the engine's name."""
    engine = fastest_engine(fast, json.loads(fast.to_str()), "it")
    expected = [fast.encode(text, add_special_tokens=False).ids for text in TEXTS]
    for _ in range(2):
        assert [engine.encode_batch([text])[0].tolist() for text in TEXTS] == expected
    for chosen in (TEXTS, TEXTS[-6:]):  # the last ones have no added token, most often
        ids, ends = engine.encode_batch(chosen)
        assert [row.tolist() for row in np.split(ids, ends[:-1])] == expected[-len(chosen) :]
    return engine.name.split()[0]


BYTE_CUTS: dict[str, tuple[Callable[[], Any], bool]] = {
    "gpt-2": (lambda: pre_tokenizers.ByteLevel(add_prefix_space=False), True),
    "gpt-2 with a space before": (lambda: pre_tokenizers.ByteLevel(add_prefix_space=True), True),
    "no regex": (byte_level, False),
    "llama-3": (lambda: byte_level(llama_3()), True),
    "and digits": (lambda: byte_level(llama_3(), pre_tokenizers.Digits(individual_digits=True)), False),
    "and punctuation": (lambda: byte_level(llama_3(), pre_tokenizers.Punctuation()), False),
    "matches removed": (lambda: byte_level(llama_3("removed")), False),
    "matches together": (lambda: byte_level(llama_3("contiguous")), False),
    "no bytes": (llama_3, False),
    "a space before each": (
        lambda: pre_tokenizers.Sequence([llama_3(), pre_tokenizers.ByteLevel(use_regex=False)]), False
    ),
    "twice": (lambda: pre_tokenizers.Sequence([llama_3(), pre_tokenizers.ByteLevel(add_prefix_space=False)]), False),
}  # fmt: skip


@pytest.mark.parametrize("case", BYTE_CUTS)
def test_what_gigatoken_leaves_out_is_not_given_to_it(case: str, bytes_model: str):
    make, is_known = BYTE_CUTS[case]
    fast = tokenizers.Tokenizer.from_str(bytes_model)
    fast.pre_tokenizer = make()
    name = check_ids(fast)
    if importlib.util.find_spec("gigatoken"):
        assert (name == "gigatoken") == is_known


def test_what_stays_as_it_is_in_nfc():
    """No combining mark, no character that NFC replaces or that is composed with one before it."""
    second = {
        chr(int(part, 16))
        for code in range(0x110000)
        if (parts := unicodedata.decomposition(chr(code)).split()) and not parts[0].startswith("<")
        for part in parts[1:]
    }
    kept = [chr(code) for code in range(0x110000) if not _MAY_COMPOSE.match(chr(code))]
    assert len(kept) > 30_000 and not second & set(kept)
    for c in kept:
        assert unicodedata.combining(c) == 0 and unicodedata.is_normalized("NFC", c), hex(ord(c))


def test_few_patterns_find_all_added_tokens(bytes_model: str):
    fast = tokenizers.Tokenizer.from_str(bytes_model)
    fast.add_tokens([AddedToken(" " * length, normalized=True) for length in range(2, 24)])
    fast.add_tokens(["[unused1]", "[unused10]", "x", "b.b", "a" * 50, "c" * 41])
    search = AddedSearch(fast)
    for token in fast.get_added_tokens_decoder().values():
        assert search.finds(f"b{token.content}b"), token.content
    assert not search.finds("b b b.c [unused2] [unused" + "a" * 40)
    assert search.finds("[unused10]") and search._raw.pattern.count(r"\ ") == 2


NORMALIZERS: dict[str, Callable[[], Any]] = {
    "nfc": normalizers.NFC,
    "nfkc": normalizers.NFKC,
    "no accents": lambda: normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "lower": normalizers.Lowercase,
    "bert": normalizers.BertNormalizer,
    "strip": normalizers.Strip,
    "replace": lambda: normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Prepend("x ")]),
}


@pytest.mark.parametrize("case", NORMALIZERS)
@pytest.mark.parametrize("has_prefix", [False, True])
def test_text_is_normalized_before_gigatoken_has_it(case: str, has_prefix: bool, bytes_model: str):
    fast = tokenizers.Tokenizer.from_str(bytes_model)
    fast.normalizer, fast.pre_tokenizer = NORMALIZERS[case](), pre_tokenizers.ByteLevel(add_prefix_space=has_prefix)
    name = check_ids(fast)
    assert name == "gigatoken" or not importlib.util.find_spec("gigatoken")


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["gpt-2", "llama-3"])
def test_every_character_of_unicode(cut: str):
    """A vocabulary in which the bytes of a character merge with whatever stands beside it, if no cut is between."""
    high = [character for character, byte in _BYTES.items() if byte >= 0x80]
    merges = [pair for beside in "a1!ĠA'" for byte in high for pair in ((beside, byte), (byte, beside))]
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    fast = tokenizers.Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    fast.normalizer, fast.pre_tokenizer = normalizers.NFC(), BYTE_CUTS[cut][0]()
    engine = fastest_engine(fast, json.loads(fast.to_str()), "it")
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x33500), *range(0xE0000, 0xE0200)):
        c = chr(code)
        text = f"a{c} A{c}A 1{c} !{c} {c}a {c}1 {c}! '{c} a\u0301{c}\u0301 \u0327{c}"
        assert engine.encode_batch([text])[0].tolist() == fast.encode(text).ids, hex(code)


def without_a_byte(content: dict[str, Any]) -> None:
    content["model"]["vocab"]["<0xQQ>"] = content["model"]["vocab"].pop("<0xE6>")


def that_is_merged(content: dict[str, Any]) -> None:
    known, byte = content["model"]["vocab"], "<0x41>"
    for end in range(1, len(byte)):
        known.setdefault(byte[end], len(known))
        known.setdefault(byte[:end], len(known))
    content["model"]["merges"] += [[byte[:end], byte[end]] for end in range(1, len(byte))]


def that_has_whole_words(content: dict[str, Any]) -> None:
    content["model"]["vocab"] |= {"▁the▁word": len(content["model"]["vocab"])}
    content["model"]["ignore_merges"] = True


@pytest.mark.parametrize("change", [None, without_a_byte, that_is_merged, that_has_whole_words])
def test_bytes_in_place_of_unknown_characters(change: Callable[[dict[str, Any]], None] | None, tmp_path):
    content = json.loads((formats.byte_fallback(tmp_path) / "tokenizer.json").read_text())
    if change is not None:
        change(content)
    name = check_ids(tokenizers.Tokenizer.from_str(json.dumps(content)))
    if importlib.util.find_spec("gigatoken"):
        assert (name == "gigatoken") == (change is None)


LOWER = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
PLACE = [AddedToken("New York", normalized=True)]
RIGHT = [AddedToken("York", rstrip=True, normalized=True)]


@pytest.mark.parametrize("added", [PLACE, RIGHT], ids=["a space inside", "takes the space behind"])
def test_added_tokens_are_found_in_text_as_it_is_normalized(added: list[AddedToken]):
    fast = formats.train_unigram(["<unk>"], "<unk>", LOWER, pre_tokenizers.Metaspace(prepend_scheme="never"))
    fast.add_tokens(added)
    assert check_ids(fast) == "bertsmith's"
    place = fast.token_to_id(added[0].content)
    assert sum(place in fast.encode(text).ids for text in PLACES) >= 4


def test_added_tokens_of_a_bpe_are_found_in_text_as_it_is_normalized(bytes_model: str):
    fast = tokenizers.Tokenizer.from_str(bytes_model)
    fast.normalizer = normalizers.NFC()
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.add_tokens([AddedToken("e\u0301t", normalized=True, rstrip=True)])
    check_ids(fast)
    engine = fastest_engine(fast, json.loads(fast.to_str()), "it")
    for text in ("an \u00e9t x", "an e\u0301t x", "an et x"):
        assert engine.encode_batch([text])[0].tolist() == fast.encode(text).ids


def test_merges_left_out_at_random_in_training_are_all_made(tmp_path):
    folder = formats.modernbert(tmp_path)
    expected = Tokenizer.load(folder).encode_each(TEXTS)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["dropout"] = 0.9
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert Tokenizer.load(folder).encode_each(TEXTS) == expected
    assert Tokenizer.load(folder).fast.model.dropout is None


# Bad input


@pytest.mark.parametrize("make", formats.FORMATS.values(), ids=formats.FORMATS)
def test_half_a_character_is_refused(make: Callable[..., Any], tmp_path):
    ours = Tokenizer.load(make(tmp_path))
    for encode in (ours.encode_batch, lambda texts: list(ours.encode_with_offsets(texts))):
        with pytest.raises(UserError, match=r"^text 2: half a character \('\\ud83d'\)"):
            encode(["whole 👍", "cut \ud83d"])


def test_an_added_token_that_vanishes_is_refused(tmp_path):
    folder = formats.deberta_v3(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    spaces = {"content": "  ", "id": len(content["model"]["vocab"]) + 1, "normalized": True, "special": False}
    content["added_tokens"].append(spaces | dict.fromkeys(("lstrip", "rstrip", "single_word"), False))
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="the added token '  ' vanishes when it is normalized; take it away, or say"):
        Tokenizer.load(folder)
