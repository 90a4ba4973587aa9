"""Folders with SentencePiece's model: the ids that transformers gives, saved as a tokenizer.json."""

import inspect
import json
import sys
import textwrap
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from bertsmith.errors import UserError
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.tokenizers import formats

TEXTS = [*formats.TEXTS[:4], "a <mask> b [MASK] c", ""]

FOLDERS = {
    "xlm-roberta": ("sentencepiece.bpe.model", "XLMRobertaTokenizer"), "albert": ("spiece.model", "AlbertTokenizer"),
    "deberta-v2": ("spm.model", "DebertaV2Tokenizer"),
}  # fmt: skip


def write_folder(folder: Path, model_type: str) -> Path:
    name, tokenizer_class = FOLDERS[model_type]
    lines = [line for text in formats.TEXTS for line in text.splitlines()] + inspect.getsource(textwrap).splitlines()
    own = {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"], "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
    with (folder / name).open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=file, vocab_size=300, hard_vocab_limit=False, minloglevel=2,
            num_threads=1, **(own if model_type == "albert" else {}),
        )  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class}))
    return folder


@pytest.mark.parametrize("model_type", FOLDERS)
def test_ids_are_those_of_transformers_and_saved_as_a_tokenizer_file(model_type: str, tmp_path: Path):
    folder = write_folder(tmp_path, model_type)
    ours, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    expected = theirs(TEXTS, add_special_tokens=False)["input_ids"]
    assert ours.encode_each(TEXTS) == expected
    assert ours.mask_token == theirs.mask_token and ours.pad_id == theirs.pad_token_id
    (tmp_path / "out").mkdir()
    ours.save(tmp_path / "out")
    again = Tokenizer.load(tmp_path / "out")
    assert again.encode_each(TEXTS) == expected and again.fingerprint == ours.fingerprint
    assert AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS, add_special_tokens=False)["input_ids"] == expected


def test_what_cannot_be_converted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_folder(tmp_path, "albert")
    with pytest.raises(UserError, match=r"lowercase, strip_accents: .* leave them away"):
        Tokenizer.load(folder, lowercase=True)
    (folder / "spiece.model").write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"spiece\.model: not a model of SentencePiece's, or a damaged one"):
        Tokenizer.load(folder)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"sentencepiece is missing; pip install 'bertsmith\[sentencepiece\]'"):
        Tokenizer.load(folder)
