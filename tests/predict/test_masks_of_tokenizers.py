"""Masks are filled where the tokenizer finds them, whatever their flags; one that finds none is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer

import bertsmith
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.errors import UserError
from bertsmith.hub.huggingface import write_folder
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.tokenizers import formats


def model_of(folder: Path, out: Path) -> Path:
    """A tiny BERT over the tokenizer of a folder."""
    tokenizer = Tokenizer.load(folder)
    torch.manual_seed(0)
    settings = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32)
    network: nn.Module = MaskedTokenModel(settings, tokenizer.vocab_size)
    write_folder(
        out, Network(family="bert", settings=settings, vocab_size=tokenizer.vocab_size, head="masked_tokens",
                     weights=network.state_dict()), tokenizer, card="",
    )  # fmt: skip
    return out


def with_flags(folder: Path, **flags: Any) -> Path:
    """Give the mask of a tokenizer.json other flags."""
    content = json.loads((folder / "tokenizer.json").read_text())
    mask = next(token for token in content["added_tokens"] if token["content"] == "<mask>")
    mask |= flags
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["mask_token"] = {"__type": "AddedToken", **{key: mask[key] for key in mask if key not in ("id", "special")}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("flags", "text", "begin", "end"),
    [
        ({"single_word": True}, "x<mask>y the <mask> sat", "x<mask>y the", "sat"),
        ({"normalized": True}, "<MASK> x <mask>", "", ""),
        ({"lstrip": True, "rstrip": True}, "the  <mask>  sat", "the", "sat"),
    ],
)
def test_the_masks_that_the_tokenizer_finds_are_filled(flags, text: str, begin: str, end: str, tmp_path: Path):
    folder = with_flags(formats.wordpiece(tmp_path / "of"), **flags)
    model = bertsmith.load(model_of(folder, tmp_path / "model"))
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    filled = model.fill(text, top_k=2)
    assert len(filled.masks) == theirs(text)["input_ids"].count(theirs.mask_token_id) > 0
    assert filled.text.startswith(begin) and filled.text.endswith(end)
    assert filled.text.lower().count("<mask>") == text.lower().count("<mask>") - len(filled.masks)


def test_a_mask_that_is_ordinary_text_is_refused_and_the_remedy_works(tmp_path: Path):
    folder = formats.wordpiece(tmp_path / "of")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<mask>"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    path = model_of(folder / "tokenizer.json", tmp_path / "model")
    with pytest.raises(UserError, match=r'reads <mask> in a text as ordinary .*"mask_token": "<mask>" in tok'):
        bertsmith.load(path).fill("the <mask> sat")
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(config | {"mask_token": "<mask>"}))
    assert len(bertsmith.load(path).fill("the <mask> sat").masks) == 1


def test_a_token_that_the_vocabulary_never_uses_becomes_the_mask(tmp_path: Path):
    """The remedy of the refusal, for a trained model: no new row is needed."""
    folder = formats.wordpiece(tmp_path)
    content, config = (json.loads((folder / name).read_text()) for name in ("tokenizer.json", "tokenizer_config.json"))
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<mask>"]
    vocabulary = content["model"]["vocab"]
    vocabulary["[unused0]"] = vocabulary.pop("<mask>")
    del config["mask_token"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="a token that it never uses, or a new one"):
        Tokenizer.load(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"mask_token": "[unused0]"}))
    ours, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.mask_id == theirs.mask_token_id == vocabulary["[unused0]"] and ours.vocab_size == len(vocabulary)
    assert ours.encode_each(["a [unused0] b"]) == theirs(["a [unused0] b"], add_special_tokens=False)["input_ids"]
