"""Vocabularies and tokenizer files: the ids that transformers gives for the same files, or refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tokenizers
from attack import attack, few_and_many, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import mutated, mutated_json
from tokenizers import models

from bertsmith.errors import UserError
from bertsmith.text.encoding import check_marks, encode_documents
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer

TOKENS = [
    *SPECIAL_TOKENS,
    "[unused1]",
    *"abc.[]",
    "the",
    "word",
    "##s",
    "##b",
    "café",
    "漢",
    "字",
    "new",
    "\u2028",
]
TEXTS = [
    "The words",
    "Café cafe\u0301 漢字s",
    "[unused1] <e>a</e> [MASK]",
    "new york a\x00b [ the]",
    "\u2028a.b. \x85c",
    "",
]


def read(folder: Path) -> None:
    """The ids of both libraries are the same; what is saved is read back; texts keep their lines."""
    ours = Tokenizer.load(folder)
    ours.notes()
    ids = ours.encode_each(TEXTS)
    assert ids == [ours.fast.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert all(0 <= id < ours.vocab_size for row in ids for id in row)
    with TemporaryDirectory() as out:
        ours.save(Path(out))
        assert Tokenizer.load(out).fingerprint == ours.fingerprint
    check_marks(ours)
    shard = encode_documents([b"a\nthe words\n"], ours, 0.0).splits["train"]
    assert shard.tokens.tolist() == [id for line in ("a", "the words") for id in ours.encode_each([line])[0]]


def theirs(folder: Path) -> list[list[int]] | None:
    """Ids of transformers; None where it cannot read the folder."""
    from transformers import AutoTokenizer

    logging.disable(logging.ERROR)
    try:
        return AutoTokenizer.from_pretrained(folder)(TEXTS, add_special_tokens=False)["input_ids"]
    except BaseException:  # a panic is none of Exception
        return None


def read_vocabulary_alone(folder: Path) -> None:
    """The ids are those of `tokenizers`, which transformers has read the file."""
    ours = Tokenizer.load(folder / "vocab.txt")
    ids = ours.encode_each(TEXTS)
    library = tokenizers.Tokenizer(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = ours.fast.normalizer, ours.fast.pre_tokenizer
    library.add_special_tokens(list(SPECIAL_TOKENS))
    assert ids == [library.encode(text, add_special_tokens=False).ids for text in TEXTS]


def definition() -> dict[str, Any]:
    build = tokenizers.Tokenizer(
        models.WordPiece(
            {token: id for id, token in enumerate(TOKENS)}, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    build.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    build.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    build.add_special_tokens(list(SPECIAL_TOKENS))
    build.add_tokens([tokenizers.AddedToken("<e>", lstrip=True), tokenizers.AddedToken("new york", single_word=True)])
    return json.loads(build.to_str())


FILES: dict[str, Any] = {
    "config.json": {"model_type": "bert", "vocab_size": 30},
    "tokenizer_config.json": {
        "do_lower_case": True, "tokenizer_class": "BertTokenizer", "strip_accents": None,
        "tokenize_chinese_chars": False, "never_split": None, "do_basic_tokenize": True, "mask_token": "[MASK]",
        "additional_special_tokens": ["[unused1]"], "model_max_length": 512,
    },
    "special_tokens_map.json": {
        "additional_special_tokens": ["[unused1]"], "unk_token": "[UNK]",
        "mask_token": {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False},
    },
    "added_tokens.json": {"<e>": len(TOKENS), "[unused1]": 5},
    "tokenizer.json": definition(),
}  # fmt: skip
DECODER = {"5": {"content": "[unused1]", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}}


def write(folder: Path, name: str) -> None:
    """A folder in which the file `name` decides something."""
    folder.mkdir()
    contents = dict(FILES)
    if name == "tokenizer.json":  # as it is
        contents = {name: FILES[name], "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}
    else:
        del contents["tokenizer.json"]
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(content, ensure_ascii=False))


@pytest.mark.parametrize("name", list(FILES))
@few_and_many
def test_structure(examples: int, name: str, tmp_path: Path):
    write(tmp_path / "original", name)
    content = FILES[name]
    if name == "tokenizer_config.json":
        content = st.sampled_from([content, content | {"added_tokens_decoder": DECODER}])
        damaged = content.flatmap(mutated_json)
    else:
        damaged = mutated_json(content)
    attack(damaged, examples, tmp_path / "original", name, read, tmp_path)


@pytest.mark.parametrize("name", list(FILES))
@few_and_many
def test_bytes(examples: int, name: str, tmp_path: Path):
    write(tmp_path / "original", name)
    damaged = mutated((tmp_path / "original" / name).read_bytes())
    attack(damaged, examples, tmp_path / "original", name, read, tmp_path)


@pytest.mark.parametrize("name", [name for name in FILES if name != "tokenizer.json"])
@few_and_many
def test_damaged_keys_are_read_as_in_transformers_or_refused(examples: int, name: str, tmp_path: Path):
    """In this process: transformers takes four seconds to wake up."""
    write(tmp_path / "folder", name)
    assert Tokenizer.load(tmp_path / "folder").encode_each(TEXTS) == theirs(tmp_path / "folder")

    @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated_json(FILES[name]))
    def attempt(content: bytes) -> None:
        (tmp_path / "folder" / name).write_bytes(content)
        try:
            ids = Tokenizer.load(tmp_path / "folder").encode_each(TEXTS)
        except UserError:
            return
        assert theirs(tmp_path / "folder") in (None, ids)

    attempt()


@few_and_many
def test_vocabulary(examples: int, tmp_path: Path):
    (tmp_path / "original").mkdir()
    content = "".join(f"{token}\n" for token in TOKENS).encode()
    (tmp_path / "original" / "vocab.txt").write_bytes(content)
    attack(mutated(content), examples, tmp_path / "original", "vocab.txt", read_vocabulary_alone, tmp_path)


BOMBS: dict[str, tuple[Callable[[], bytes], ...]] = {
    "vocab.txt": (lambda: b"\n" * (3 << 20), lambda: b"x" * (130 << 20)),
    "tokenizer.json": (
        lambda: b'{"model": {"vocab": {"a": 4000000000}}}',
        lambda: b"[" * 100_000,
        lambda: b'{"a":' * 100_000,
    ),
    "tokenizer_config.json": (
        lambda: b"[" * 100_000,
        lambda: b'{"model_max_length": ' + b"9" * 100_000 + b"}",
        lambda: b" " * (257 << 20),
    ),
}
"""Made when they are asked for: the processes that read import this module."""


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs(name: str, tmp_path: Path):
    """Small files of much memory, and large ones, are refused in the same bounds."""
    for number, make in enumerate(BOMBS[name]):
        folder = tmp_path / str(number)
        write(folder, name)
        (folder / name).write_bytes(make())
        assert outcome(read, folder) is not None, number
        shutil.rmtree(folder)
