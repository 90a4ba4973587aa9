"""Damaged files of sentence-transformers beside a model: what is carried over is what they say, or none of it."""

import json
from pathlib import Path

import pytest
from attack import attack, few_and_many
from mutation import mutated, mutated_json

from bertsmith.encoders.bert import BertConfig
from bertsmith.hub.replaceable import EXPORTED_FILES
from bertsmith.hub.sentence import read_modules

SETTINGS = BertConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=20
)
NAMES = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json")


def read(folder: Path) -> None:
    found, reason = read_modules(folder, folder, SETTINGS)
    assert (found is None) == bool(reason), "modules are carried over, or it is said why not"
    if found is None:
        return
    assert found.contents.keys() <= EXPORTED_FILES and 1 <= found.max_length <= 20 and "pooling" in found.steps
    for name in ("1_Pooling/config.json", "config_sentence_transformers.json"):
        assert found.contents[name] == json.loads((folder / name).read_text(encoding="utf-8-sig"))
    paths = [entry["path"] for entry in found.contents["modules.json"]]
    assert all(path in ("", "1_Pooling") or path[1:] in ("_Normalize", "_Dense") for path in paths)


@pytest.fixture
def original(tmp_path):
    from tests.hub.pooled import pooled  # transformers, which no attempt needs

    return pooled(tmp_path / "original")


@few_and_many
@pytest.mark.parametrize("name", NAMES)
def test_bytes(name, examples, original, tmp_path):
    attack(mutated((original / name).read_bytes()), examples, original, name, read, tmp_path)


@few_and_many
@pytest.mark.parametrize("name", NAMES)
def test_values(name, examples, original, tmp_path):
    attack(mutated_json(json.loads((original / name).read_text())), examples, original, name, read, tmp_path)
