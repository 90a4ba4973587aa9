"""A vocabulary's lines are tokens with their places for ids, whatever they hold, as in transformers; what is written is
read back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from bertsmith.errors import UserError
from bertsmith.tokenizers import vocabulary_file
from bertsmith.tokenizers.definition import from_definition
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.vocabulary_file import read_vocabulary

SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\u00a0", "\u3000", "\r"]
"""What some readers end a line at, or take off its ends."""

TEXT = "a b the thes ab\u2028a x\x85y the\u00a0a \u3000b \x1ca\x1d 漢 [no token 5] no token"


def write(folder: Path, lines: list[str], end: str = "\n") -> Path:
    path = folder / "vocab.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def there(path: Path) -> BertTokenizerFast:
    return BertTokenizerFast(vocab=str(path), do_lower_case=True)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_only_a_line_feed_ends_a_line(end: str, tmp_path: Path):
    lines = [*SPECIAL_TOKENS, *(f"x{mark}y" for mark in SEPARATORS), "a", *SEPARATORS[:-1], " ", "\t \t", "the", "##s"]
    path = write(tmp_path, lines, end)
    tokens = read_vocabulary(path).tokens
    assert tokens == lines
    ours = Tokenizer.load(path)
    assert ours.vocab_size == len(lines) and ours.notes() == []
    assert ours.encode_each([TEXT])[0] == there(path)(TEXT, add_special_tokens=False)["input_ids"]
    assert ours.id("the") == len(lines) - 2


def test_a_token_that_stands_twice_has_its_last_place_and_moves_no_other(tmp_path: Path):
    lines = [*SPECIAL_TOKENS, "the", "a", "b", "the", "", "x", "", "the\u00a0", "##s", "[no token 5]", ""]
    path = write(tmp_path, lines)
    ours = Tokenizer.load(path)
    assert ours.encode_each([TEXT])[0] == there(path)(TEXT, add_special_tokens=False)["input_ids"]
    assert [ours.id(token) for token in ("a", "b", "the", "x", "##s")] == [6, 7, 12, 10, 13]
    assert ours.vocab_size == len(lines)
    twice, empty = ours.notes()[:2]
    assert twice == (
        f"{path}: 'the' stands in lines 6, 9, 13: the last counts, as in transformers, and the ids of the others "
        f"belong to no token"
    )
    assert empty == f"{path}: empty lines (10, 12, 16), whose ids belong to no token"
    (tmp_path / "out").mkdir()
    ours.save(tmp_path / "out")
    again = Tokenizer.load(tmp_path / "out"), Tokenizer.load(tmp_path / "out" / "vocab.txt")
    assert [each.fingerprint for each in again] == [ours.fingerprint] * 2


def test_a_tokenizer_file_with_ids_that_no_token_has(tmp_path: Path):
    lines = [*SPECIAL_TOKENS, "the", "a", "the", "b"]
    theirs = there(write(tmp_path, lines))
    theirs.save_pretrained(tmp_path / "saved")
    ours = Tokenizer.load(tmp_path / "saved")
    assert ours.encode_each([TEXT])[0] == theirs(TEXT, add_special_tokens=False)["input_ids"]
    assert (ours.vocab_size, ours.id("the"), ours.id("b")) == (9, 7, 8)
    assert ours.fingerprint == Tokenizer.load(tmp_path / "vocab.txt").fingerprint


def test_what_is_no_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, [*SPECIAL_TOKENS, "x" * 10_001])
    with pytest.raises(UserError, match=r"vocab\.txt, line 6: 10,001 characters; a vocabulary has one token a line"):
        Tokenizer.load(path)
    monkeypatch.setattr(vocabulary_file, "MAX_IDS", 7)
    with pytest.raises(UserError, match=r"more than 7 lines"):
        Tokenizer.load(write(tmp_path, [*SPECIAL_TOKENS, "a", "b", "c"]))
    monkeypatch.setattr(vocabulary_file, "MAX_VOCABULARY_BYTES", 20)
    with pytest.raises(UserError, match="larger than 20 bytes"):
        Tokenizer.load(path)


TOKENS = st.lists(
    st.text(max_size=4) | st.text(alphabet=st.sampled_from(["a", "\n", " ", *SEPARATORS]), max_size=3), max_size=8
).map(lambda tokens: list(dict.fromkeys([*SPECIAL_TOKENS, *tokens, "a", "##b"])))


@settings(max_examples=100, deadline=None)
@given(tokens=TOKENS.map(lambda tokens: [token for token in tokens if token.isprintable() or token.isspace()]))
@example(tokens=[*SPECIAL_TOKENS, " ", "\r", "\n", "a\r", "a", "", "\ufeff", "##b"])
def test_what_is_written_is_read_back(tokens: list[str], tmp_path_factory: pytest.TempPathFactory):
    definition = {
        "added_tokens": [], "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
        "strip_accents": None, "lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "vocab": {token: id for id, token in enumerate(tokens)}, "unk_token": "[UNK]",
                  "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
    }  # fmt: skip
    ours = Tokenizer(from_definition(definition, "x"))
    out = tmp_path_factory.mktemp("out")
    ours.save(out)
    again = Tokenizer.load(out)
    assert again.fingerprint == ours.fingerprint
    assert [again.token(id) for id in range(again.vocab_size)] == tokens
    lines = Tokenizer.load(out / "vocab.txt", lowercase=True)
    assert lines.vocab_size == len(tokens) and np.array_equal(
        lines.encode_each(["a ab b \x0b"]), ours.encode_each(["a ab b \x0b"])
    )
