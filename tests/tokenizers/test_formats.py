"""Tokenizers of every format: ids, special tokens and word bounds are those of transformers and `tokenizers`."""

import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from benchmarks.race_text import books
from benchmarks.shared_text import CORPORA, texts_of
from bertsmith.errors import UserError
from bertsmith.text.encoding import check_marks, encode_documents
from bertsmith.tokenizers.special_tokens import ROLES
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.tokenizers import formats
from tests.tokenizers.formats import FORMATS, ROBERTA_CONFIG
from tests.tokenizers.test_tokenizer import ODD_TEXTS, PIECES, first_documents

TEXTS = [
    *ODD_TEXTS, *formats.TEXTS[:4],
    "a <mask> b<mask>c <s>x</s> <pad> < mask > [MASK] [CLS] x[SEP] |||IP||| <unk> [unused0] New york <e> words word",
    "▁a▁b ▁ <0x41> Ġa âĢĻ </w> @@x ##y",
    "\n\n\n  leading and trailing  \n", "    x" + " " * 30 + "y", "``quoted'' ﬁ①Ａ\u00a0\u3000\u200b…",
]  # fmt: skip
ANY_TEXT = st.lists(
    st.sampled_from(["<mask>", "</s>", "▁", "  ", "\n", "'s", "1", "ﬁ", "New York", "word"])
    | PIECES
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module", params=FORMATS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FORMATS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def pair(folder: Path):
    """Ours and transformers'."""
    return Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)


def theirs(reference, texts: list[str]) -> list[list[int]]:
    return reference(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]


def test_ids_are_those_of_transformers(pair):
    ours, reference = pair
    assert ours.encode_each(TEXTS) == theirs(reference, TEXTS)
    assert ours.encode_each([text.encode() for text in TEXTS]) == theirs(reference, TEXTS)


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=4))
def test_ids_of_any_text(pair, texts: list[str]):
    ours, reference = pair
    assert ours.encode_each(texts) == theirs(reference, texts)


@pytest.mark.slow
def test_ids_of_web_text(pair, shared_data: Path):
    ours, reference = pair
    texts = first_documents(shared_data / "corpora" / "openwebtext.tar.xz", 10)
    assert ours.encode_each(texts) == theirs(reference, texts)


def test_special_tokens_are_those_of_transformers(pair):
    ours, reference = pair
    for key in ROLES:
        assert getattr(reference, key) in (None, ours.special_tokens[key]), key
        assert ours.token(getattr(ours, key.replace("_token", "_id"))) == ours.special_tokens[key]
    single, both = reference("a")["input_ids"], reference("a", "a")["input_ids"]
    if single[0] == ours.cls_id:  # else the template has no token before a text
        inner = ours.encode_each(["a"])[0]
        assert single == [ours.cls_id, *inner, ours.sep_id][: len(single)]
        assert both == [ours.cls_id, *inner, *[ours.sep_id] * ours.num_separators, *inner, ours.sep_id][: len(both)]


def test_what_is_saved_gives_the_same_here_and_in_transformers(pair, tmp_path: Path):
    ours, reference = pair
    ours.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == ours.fingerprint and again.special_tokens == ours.special_tokens
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(saved, TEXTS) == theirs(reference, TEXTS)
    assert saved.mask_token == ours.mask_token and saved.pad_token_id == ours.pad_id
    assert (tmp_path / "vocab.txt").exists() == (ours.kind == "WordPiece")
    assert pickle.loads(pickle.dumps(ours)).fingerprint == ours.fingerprint


def test_words_begin_where_the_pre_tokenizer_cuts(pair, request: pytest.FixtureRequest):
    """Against `word_ids` of `tokenizers`, which numbers what its pre-tokenizer cuts off."""
    ours, _ = pair
    if request.node.callspec.params["folder"] == "byte_fallback":
        pytest.skip("it has no pre-tokenizer: for `tokenizers` a text is one word")
    num_compared = 0
    for text in formats.TEXTS[:4]:
        encoded = ours.fast.encode(text, add_special_tokens=False)
        found = ours.word_bounds.starts(np.array(encoded.ids)).tolist()
        texts = [ours.text(id) for id in encoded.ids]
        for n, (one, other) in enumerate(itertools.pairwise(texts), start=1):
            # Bytes of a character have no class, and white space is no word.
            if "\ufffd" not in one + other and one.strip() and other.strip():
                num_compared += 1
                assert found[n] == (encoded.word_ids[n] != encoded.word_ids[n - 1]), (one, other)
    assert num_compared > 60


def test_words_of_a_tokenizer_without_a_pre_tokenizer_begin_with_spaces(tmp_path: Path):
    ours = Tokenizer.load(formats.byte_fallback(tmp_path))
    ids = np.array(ours.encode_each(["the cat\U00010348s the mat"])[0])
    begins, texts = ours.word_bounds.starts(ids).tolist(), [ours.text(id) for id in ids]
    assert texts.count("\ufffd") == 4, "an unknown character is four bytes"
    assert begins == [n == 0 or text.startswith(" ") for n, text in enumerate(texts)]


def test_an_unknown_character_is_part_of_its_word(tmp_path: Path):
    ours = Tokenizer.load(formats.xlm_roberta(tmp_path))
    ids = np.array(ours.encode_each(["the c\U00010348ats on"])[0])
    texts, begins = [ours.text(id) for id in ids], ours.word_bounds.starts(ids).tolist()
    unknown = texts.index("<unk>")
    assert (
        not begins[unknown]
        and not begins[unknown + 1]
        and begins == [n == 0 or t[0] == " " for n, t in enumerate(texts)]
    )


def test_an_added_token_is_a_word_where_a_words_last_piece_is_marked(tmp_path: Path):
    ours = Tokenizer.load(formats.ended_words(tmp_path))
    ids = ours.encode_each(["the <mask> cats <unk> the"])[0]
    assert ours.word_bounds.starts(np.array(ids)).all() and len(ids) == 5


def test_pieces_that_do_not_say_where_words_begin_are_said(tmp_path: Path):
    folder = formats.ended_words(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["end_of_word_suffix"] = None
    content["model"]["merges"] = []
    content["model"]["vocab"] = {token.removesuffix("</w>"): id for token, id in content["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert any("do not say where words begin" in note for note in Tokenizer.load(folder).notes())
    for make in FORMATS.values():
        assert not any("where words begin" in note for note in Tokenizer.load(make(tmp_path / make.__name__)).notes())


def test_pieces_put_together_are_the_text(pair):
    ours, _ = pair
    if ours.unk_id in ours.encode_each(["the cat sat, on mats"])[0]:
        pytest.skip("it does not know these characters")
    text = ""
    for id in ours.encode_each(["the cat sat, on mats"])[0]:
        text = ours.append(text, ours.shown(id))
    assert text.replace(" ", "") == "thecatsat,onmats"
    if ours.kind in ("Unigram",) or "Ġ" in "".join(ours.token(id) for id in range(ours.vocab_size)):
        assert text == "the cat sat, on mats"


def test_prepared_lines_hold_no_special_token(pair):
    ours, _ = pair
    check_marks(ours)
    specials = " ".join(ours.special_tokens.values())
    documents = [f"the cat {specials} sat\n\n \t\non the{ours.mask_token}mat".encode(), b"  the mat"]
    shard = encode_documents(documents, ours, 0.0).splits["train"]
    assert not np.isin(shard.tokens, ours.control_ids).any()
    first, second = (shard.tokens[begin:end].tolist() for begin, end in [
        (shard.line_ends[1], shard.line_ends[2]), (0, shard.line_ends[0])
    ])  # fmt: skip
    assert len(shard.document_ends) == 2 and len(shard.line_ends) == 3
    assert first == ours.encode_each(["the mat"])[0] and second[:1] == ours.encode_each(["the"])[0][:1]


def test_offsets_are_the_words_own_characters(pair):
    ours, _ = pair
    text = "The  café, naïve 漢字; it's 1234."
    ids, offsets = next(iter(ours.encode_with_offsets([text])))
    assert ids.tolist() == ours.encode_each([text])[0]
    assert all(text[start:end] == text[start:end].strip() for start, end in offsets)
    covered = {place for start, end in offsets.tolist() for place in range(start, end)}
    assert covered >= {place for place, character in enumerate(text) if not character.isspace()}
    assert (np.diff(offsets[:, 0]) >= 0).all() and (np.diff(offsets[:, 1]) >= 0).all()


# Files that say less


def test_a_file_alone_says_its_special_tokens_by_template_and_names(tmp_path: Path):
    folder = formats.modernbert(tmp_path)
    alone = Tokenizer.load(folder / "tokenizer.json")
    assert alone.special_tokens == Tokenizer.load(folder).special_tokens
    assert alone.special_tokens["unk_token"] == "[UNK]" and alone.num_separators == 1
    assert Tokenizer.load(formats.proteins(tmp_path / "p")).special_tokens["sep_token"] == "<eos>"


def test_rules_that_transformers_ignores_are_said(tmp_path: Path):
    ours = Tokenizer.load(formats.deberta_v3(tmp_path))
    assert any("its normalizer and pre_tokenizer not used, as by transformers 5" in note for note in ours.notes())
    assert not any("not used" in note for note in Tokenizer.load(formats.xlm_roberta(tmp_path / "x")).notes())


def test_a_prefix_space_is_the_configs(tmp_path: Path):
    folder = formats.roberta(tmp_path, add_prefix_space=True)
    ours = Tokenizer.load(folder)
    assert ours.encode_each(TEXTS) == theirs(AutoTokenizer.from_pretrained(folder), TEXTS)
    assert ours.encode_each(["the"]) == ours.encode_each([" the"])


# Bad input


def drop(folder: Path, key: str, token: str) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config = {name: value for name, value in config.items() if name != key}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    text = (folder / "tokenizer.json").read_text().replace(token, f"<no {key}>")
    (folder / "tokenizer.json").write_text(text)


@pytest.mark.parametrize(
    ("key", "token", "role"), [("mask_token", "<mask>", "mask token"), ("pad_token", "<pad>", "padding token")]
)
def test_a_missing_special_token_is_named_with_its_remedy(key: str, token: str, role: str, tmp_path: Path):
    folder = formats.roberta(tmp_path)
    drop(folder, key, token)
    with pytest.raises(UserError, match=f'no {role} .*; name one in tokenizer_config.json.*"{key}"') as refusal:
        Tokenizer.load(folder)
    assert str(refusal.value).startswith(str(folder)) and len(str(refusal.value).splitlines()) == 1
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {key: token}))
    ours, size = Tokenizer.load(folder), len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    assert ours.special_tokens[key] == token and ours.vocab_size == size + 2, "the other, and it"


def test_several_missing_special_tokens_are_all_named(tmp_path: Path):
    folder = formats.roberta(tmp_path)
    drop(folder, "mask_token", "<mask>")
    drop(folder, "pad_token", "<pad>")
    remedy = r'name one of each in tokenizer_config.json.* as "pad_token": "\[PAD\]" and "mask_token": "\[MASK\]": each'
    with pytest.raises(UserError, match=remedy):
        Tokenizer.load(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    named = {"pad_token": "[PAD]", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | named))
    ours = Tokenizer.load(folder)
    assert {key: ours.special_tokens[key] for key in named} == named


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "Neural", "vocab": {"a": 0}}}, "model.type = 'Neural' .* reads WordPiece, BPE, Unigram"),
        ({"model": {"type": "BPE", "vocab": [["a", 0]], "merges": []}}, "model.type = 'BPE' with such a vocabulary"),
        ({"model": {"type": "Unigram", "vocab": [["a", "b"]]}}, "not a tokenizer.json"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}, "not a tokenizer.json"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "no padding token"),
    ],
)
def test_what_is_no_tokenizer_is_refused(change: dict, message: str, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"added_tokens": [], "normalizer": None, "pre_tokenizer": None} | change))
    with pytest.raises(UserError, match=message) as refusal:
        Tokenizer.load(path)
    assert str(refusal.value).startswith(str(path)) and len(str(refusal.value).splitlines()) == 1


def test_a_class_and_a_model_that_do_not_fit_are_refused(tmp_path: Path):
    folder = formats.xlm_roberta(tmp_path)
    config = {"tokenizer_class": "RobertaTokenizer", **ROBERTA_CONFIG}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="a 'Unigram' model, where the folder's tokenizer_class, RobertaTokenizer, has"):
        Tokenizer.load(folder)


@pytest.mark.parametrize(
    ("merges", "message"), [("#version: 0.2\na b c\n", "'a b c'; a line of merges is two"), (None, "not read")]
)
def test_damaged_merges_are_refused(merges: str | None, message: str, tmp_path: Path):
    folder = formats.roberta_files(tmp_path)
    (folder / "merges.txt").unlink()
    if merges is not None:
        (folder / "merges.txt").write_text(merges)
    with pytest.raises(UserError, match=message):
        Tokenizer.load(folder)


# The cache of words

FRAGMENTS = [
    *TEXTS[-1:], "<mask>", "</s>", "▁", "  ", "\n", "\t", "\r\n", " ", " ", " the", "cat", "'s", "don't", "I'LL", "1",
    "123", "ﬁ", "①", "e\u0301", "\u0301", "漢", "\x00", "\x1c", "\x85", "\u00a0", "\u200b", "\u200d", "\u2028",
    "\u3000", "\u0600", "\u0d4e", "İ", "ß", "Σ", "😀", "...", "_", "-", "``", "a" * 70, "word", "New York", "York",
]  # fmt: skip


@pytest.mark.slow
def test_forty_thousand_strings_by_words(pair):
    """Twice: words from the cache are those that were found first."""
    ours, _ = pair
    rng = np.random.default_rng(0)
    ranges = ((32, 127), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x1F000))

    def fragment() -> str:
        if rng.random() < 0.7:
            return FRAGMENTS[rng.integers(len(FRAGMENTS))]
        return chr(rng.integers(*ranges[rng.integers(4)]))

    texts = ["".join(fragment() for _ in range(rng.integers(1, 14))) for _ in range(40_000)]
    expected = [ours.fast.encode(text, add_special_tokens=False).ids for text in texts]
    assert ours.encode_each(texts) == expected
    assert ours.encode_each(texts) == expected


@pytest.fixture(scope="module")
def shared_lines(shared_data: Path) -> list[list[str]]:
    """All of the shared web text and 150 books, as lists of lines that are encoded together."""
    texts = [*texts_of(shared_data / CORPORA["openwebtext"], "openwebtext"), *books(shared_data)]
    starts = range(0, len(texts), 200)
    return [[line for text in texts[start : start + 200] for line in text.split("\n")] for start in starts]


@pytest.mark.slow
def test_ids_of_all_the_shared_web_text_and_of_books(pair, shared_lines: list[list[str]]):
    ours, _ = pair
    for lines in shared_lines:
        expected = [encoding.ids for encoding in ours.fast.encode_batch_fast(lines, add_special_tokens=False)]
        ids, ends = ours.encode_batch(lines)
        assert ends.tolist() == [*itertools.accumulate(map(len, expected))]
        assert ids.tolist() == [*itertools.chain.from_iterable(expected)]
