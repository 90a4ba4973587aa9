"""Tokens and boundaries are those of the tokenizer, line by line; splits take each document whole, once."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from bertsmith.errors import UserError
from bertsmith.text import encoding
from bertsmith.text.encoding import Encoded, check_marks, encode_documents, select
from bertsmith.text.shards import Shard
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from tests.text.layouts import make_documents, write_vocabulary

SPECIAL_IDS = range(2, 5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return Tokenizer.load(write_vocabulary(tmp_path_factory.mktemp("vocabulary")))


def check_boundaries(shard: Shard) -> None:
    ends = shard.line_ends.tolist()
    assert ends == sorted(set(ends)) and 0 not in ends
    assert set(shard.document_ends.tolist()) <= set(ends)
    if len(shard.tokens):
        assert ends[-1] == shard.document_ends[-1] == len(shard.tokens)


def lines_of(shard: Shard) -> list[list[list[int]]]:
    """Documents as lists of lines as lists of ids."""
    found, start = [[]], 0
    for end in shard.line_ends.tolist():
        found[-1].append(shard.tokens[start:end].tolist())
        start = end
        if end in shard.document_ends:
            found.append([])
    return found[:-1]


def expected_lines(documents: list[bytes], tokenizer: Tokenizer) -> list[list[list[int]]]:
    found = []
    for document in documents:
        try:
            text = document.decode()
        except UnicodeDecodeError:
            continue
        for token in SPECIAL_TOKENS:
            text = text.replace(token, f"[ {token[1:-1]} ]")
        lines = [tokenizer.encode_batch([line])[0].tolist() for line in re.split(r"\r\n?|\n", text)]
        found.append([line for line in lines if line])
    return [lines for lines in found if lines]


MARKS = ["［SEP］ ba".encode(), b"[sep] [Cls] ba te", b"ba\nte [ba", b"ba]\n[te", b"e\nb [mask] te\n te", b"ba \n"]

TEXT = st.text(alphabet=st.sampled_from("ba te[]MASKé\n\r\t\0 ,.") | st.characters(codec="utf-8"), max_size=80)
DOCUMENT = TEXT.map(str.encode) | st.binary(max_size=40) | st.sampled_from([b"[SEP]", b"a [CLS]\n\n[MASK][PAD]", b"\n"])


@given(st.lists(DOCUMENT, max_size=12), st.integers(1, 60))
@settings(deadline=None, max_examples=150)
def test_lines_are_encoded_as_they_would_be_one_by_one(tokenizer, documents: list[bytes], batch: int):
    encoded = encode_documents(documents, tokenizer, 0.0)
    check_boundaries(encoded.splits["train"])
    assert lines_of(encoded.splits["train"]) == expected_lines(documents, tokenizer)
    assert encoded.counts["documents"] + encoded.skipped.total() == len(documents)
    assert not np.isin(encoded.splits["train"].tokens, SPECIAL_IDS).any()


def test_what_is_counted(tokenizer):
    encoded = encode_documents([b" babe\n\n te ", b"", b" \n", b"\xff\xfe", b"\0"], tokenizer, 0.0)
    assert encoded.counts == {"documents": 1, "lines": 2, "tokens": 3, "bytes": 9}
    assert encoded.skipped == {"empty": 3, "not UTF-8": 1}
    assert encode_documents([], tokenizer, 0.5).counts.total() == 0


@given(st.floats(0, 0.99), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_every_document_is_in_one_split_and_the_splits_keep_the_order(tokenizer, fraction: float, seed: int):
    documents = make_documents(40, seed)
    both = encode_documents(documents, tokenizer, fraction)
    for shard in both.splits.values():
        check_boundaries(shard)
    train, heldout = (lines_of(both.splits[split]) for split in ("train", "heldout"))
    everything = iter(expected_lines(documents, tokenizer))
    assert len(train) + len(heldout) == len(documents)
    for lines in everything:
        (train if train and train[0] == lines else heldout).pop(0)
    assert not train and not heldout


def test_the_held_out_share_is_what_was_asked_for_and_equal_documents_stay_together(tokenizer):
    documents = make_documents(3000)
    for fraction in (0.0, 0.005, 0.1, 0.5):
        encoded = encode_documents(documents, tokenizer, fraction)
        share = len(encoded.splits["heldout"].document_ends) / len(documents)
        assert abs(share - fraction) <= 4 * np.sqrt(fraction * (1 - fraction) / len(documents))
    twice = encode_documents(
        [document for one in documents[:300] for document in (one, b"\n" + one + b"\n ")], tokenizer, 0.3
    )
    assert len(twice.splits["heldout"].document_ends) % 2 == 0
    assert twice.splits["heldout"].document_ends.size > 0


def test_a_split_depends_on_the_document_and_not_on_the_vocabulary(tokenizer, tmp_path):
    vocabulary = write_vocabulary(tmp_path)
    vocabulary.write_text(vocabulary.read_text().replace("ba\n", "zz\n"))
    other = Tokenizer.load(vocabulary)
    documents = make_documents(400)
    ends = [
        len(encode_documents(documents, which, 0.1).splits["heldout"].document_ends) for which in (tokenizer, other)
    ]
    assert ends[0] == ends[1] > 0


@given(st.integers(16, 400))
@settings(deadline=None, max_examples=30)
def test_batches_and_pieces_of_long_documents_do_not_show(tokenizer, batch: int):
    documents = [
        *make_documents(8),
        b" ".join(make_documents(6, seed=3)).replace(b"\n", b" "),
        *make_documents(3, seed=4),
    ]
    whole = encode_documents(documents, tokenizer, 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "BATCH_BYTES", batch)
        parts = encode_documents(documents, tokenizer, 0.2)
    assert same(parts, whole)


def same(one: Encoded, other: Encoded) -> bool:
    arrays = [
        [array.tolist() for shard in each.splits.values() for array in vars(shard).values()] for each in (one, other)
    ]
    return arrays[0] == arrays[1] and one.counts == other.counts and one.skipped == other.skipped


def test_a_long_run_of_characters_is_cut_between_them(tokenizer, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH_BYTES", 7)
    encoded = encode_documents(["é".encode() * 50, b"\xe9" * 50], tokenizer, 0.0)
    assert encoded.skipped == {"not UTF-8": 1}
    assert len(encoded.splits["train"].document_ends) == 1


def test_choosing_all_or_none():
    shard = Shard(np.arange(6, dtype=np.uint16), np.array([2, 3, 6]), np.array([3, 6]))
    assert select(shard, np.array([True, True])) is shard
    nothing = select(shard, np.array([False, False]))
    assert [len(array) for array in vars(nothing).values()] == [0, 0, 0]
    last = select(shard, np.array([False, True]))
    assert [array.tolist() for array in vars(last).values()] == [[3, 4, 5], [3], [3]]


def other_tokenizers(tokenizer: Tokenizer) -> dict[str, Tokenizer]:
    """Those in whose output no mark can be told from text, or could be a part of something else."""
    found = {}
    for name in ("no special tokens", "tokens over marks", "special tokens of any case", "normalized to marks"):
        fast = FastTokenizer(tokenizer.fast.model)
        fast.normalizer, fast.pre_tokenizer = tokenizer.fast.normalizer, tokenizer.fast.pre_tokenizer
        if name == "tokens over marks":
            fast.add_special_tokens(list(SPECIAL_TOKENS))
            contents = ("ba te", "] [", "e [SEP] b", "ba [CLS]", "[SEP] te")
            fast.add_tokens([AddedToken(content, lstrip=True, rstrip=True) for content in contents])
        elif name == "special tokens of any case":
            fast.add_tokens([AddedToken(token, special=True, normalized=True) for token in SPECIAL_TOKENS])
        elif name == "normalized to marks":
            fast.add_special_tokens(list(SPECIAL_TOKENS))
            fast.normalizer, fast.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.WhitespaceSplit()
        found[name] = Tokenizer(fast)
    return found


@given(st.lists(DOCUMENT | st.sampled_from(MARKS), max_size=12))
@settings(deadline=None, max_examples=60)
def test_lines_are_found_whatever_the_tokenizer_makes_of_marks(tokenizer, documents: list[bytes]):
    for name, other in other_tokenizers(tokenizer).items():
        check_marks(other)
        shard = encode_documents(documents, other, 0.0).splits["train"]
        check_boundaries(shard)
        expected = [
            [[other.unk_id if id in SPECIAL_IDS or id == other.pad_id else id for id in line] for line in lines]
            for lines in expected_lines(documents, other)
        ]
        assert lines_of(shard) == expected, name


@pytest.mark.parametrize("batch", [1, 1000])
def test_lines_of_many_documents_are_encoded_at_once(tokenizer, batch: int, monkeypatch: pytest.MonkeyPatch):
    other = next(iter(other_tokenizers(tokenizer).values()))
    documents = [*make_documents(20), b"ba\n \n\nte", b"\xff", b""]
    whole = encode_documents(documents, other, 0.2)
    calls, encode = [], other.encode_batch
    monkeypatch.setattr(other, "encode_batch", lambda texts: calls.append(len(texts)) or encode(texts))
    monkeypatch.setattr(encoding, "BATCH_BYTES", batch)
    assert same(encode_documents(documents, other, 0.2), whole)
    assert whole.counts["documents"] == 21
    assert len(calls) >= 21 if batch == 1 else len(calls) < 12


def pre_tokenizer_of(name: str):
    return {"none": None, "digits": pre_tokenizers.Digits(), "punctuation": pre_tokenizers.Punctuation()}[name]


@pytest.mark.parametrize("name", ["none", "digits", "punctuation"])
def test_a_tokenizer_that_makes_tokens_of_white_space_is_refused(name: str, tokenizer):
    check_marks(tokenizer)
    fast = FastTokenizer(tokenizer.fast.model)
    fast.normalizer, fast.pre_tokenizer = tokenizer.fast.normalizer, pre_tokenizer_of(name)
    fast.add_special_tokens(list(SPECIAL_TOKENS))
    with pytest.raises(UserError, match=r"^vocab: its tokenizer makes tokens of white space, as '\[UNK\]', so that .*"):
        check_marks(Tokenizer(fast))


def test_real_documents_are_encoded_as_bert_would(shared_data):
    """Against the `tokenizers` library, document by document."""
    from bertsmith.text.corpora import CorpusRecipe, open_corpus

    tokenizer = Tokenizer.load(shared_data / "vocab.txt")
    path: Path = shared_data / "corpora" / "openwebtext.tar.xz"
    part = next(open_corpus(CorpusRecipe(corpus=str(path), layout="openwebtext")).parts())
    documents = list(part.documents(Counter()))
    shard = encode_documents(documents, tokenizer, 0.0).splits["train"]
    starts = [0, *shard.document_ends.tolist()]
    for number in range(0, len(documents), 25):
        expected = tokenizer.fast.encode(documents[number].decode(), add_special_tokens=False).ids
        assert shard.tokens[starts[number] : starts[number + 1]].tolist() == expected
