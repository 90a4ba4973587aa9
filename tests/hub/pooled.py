"""Folders as sentence-transformers writes them, small ones with random weights."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tests.hub.foreign import save

OLD, NEW = "sentence_transformers.models", "sentence_transformers.sentence_transformer.modules.pooling"
MEAN = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def entries(*kinds: str, **changed: str) -> list[dict[str, Any]]:
    """modules.json of these classes, by the names of version 2."""
    return [
        {"idx": n, "name": str(n), "path": changed.get(kind, f"{n}_{kind}" if n else ""), "type": f"{OLD}.{kind}"}
        for n, kind in enumerate(kinds)
    ]


def dense(place: Path, size: int, out: int, bias: bool = True, **keys: Any) -> None:
    activation = "torch.nn.modules.activation.Tanh"
    config = {"in_features": size, "out_features": out, "bias": bias, "activation_function": activation}
    write_json(place / "config.json", config | keys)
    rng = torch.Generator().manual_seed(3)
    tensors = {"linear.weight": torch.randn(out, size, generator=rng)}
    if bias:
        tensors["linear.bias"] = torch.randn(out, generator=rng)
    safetensors.torch.save_file(tensors, place / "model.safetensors")


def pooled(folder: Path, name: str = "BertModel", family: str = "bert") -> Path:
    """The mean of at most 12 tokens of an encoder of 16, on the unit sphere."""
    save(folder, name, family)
    write_json(folder / "modules.json", entries("Transformer", "Pooling", "Normalize"))
    write_json(folder / "1_Pooling" / "config.json", MEAN)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
    library = {"__version__": {"sentence_transformers": "2.1.0"}, "prompts": {"query": "w3 w4 "}}
    write_json(folder / "config_sentence_transformers.json", library | {"similarity_fn_name": "dot"})
    return folder
