"""The families of encoders by name, for tests that each new one joins: toy sizes as a recipe's settings, odd shapes,
tokenizers of their own kind."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.distilbert import DistilBertConfig
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.encoders.roberta import RobertaConfig
from bertsmith.hub.huggingface import read_folder
from tests.tokenizers import formats


@dataclass(frozen=True)
class ToyFamily:
    """One family of Hugging Face's classes."""

    model: tuple[str, ...]
    """Settings of `model` beside the toy's sizes."""
    generator: tuple[str, ...] = ("objective.generator.sharing=nothing", "objective.generator.hidden_fraction=0.5")
    """Settings of a generator that can be exported."""
    tokenizer: Callable[[Path], Path] | None = None
    """What writes a folder with a tokenizer of the family's own kind; None: WordPiece, as BERT's."""
    shapes: tuple[EncoderConfig, ...] = ()
    """Odd ones, to be held to transformers' class of the same name; the last one in quick tests too."""
    base: EncoderConfig | None = None
    """The published base shape."""


FAMILIES = {
    "bert": ToyFamily(
        ("model.kind=classic",), ("objective.generator.hidden_fraction=0.5",),
        shapes=(
            BertConfig(
                hidden_size=96, num_hidden_layers=3, num_attention_heads=6, intermediate_size=200,
                max_position_embeddings=20, layer_norm_eps=1e-5, type_vocab_size=3,
            ),
            BertConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=1, type_vocab_size=1),
            BertConfig(hidden_size=64, num_hidden_layers=2, max_position_embeddings=40),
        ),
        base=BertConfig(hidden_size=768),
    ),
    "electra": ToyFamily(
        ("model.kind=classic", "model.embedding_size=8"), ("objective.generator.hidden_fraction=0.5",),
        shapes=(
            BertConfig(
                hidden_size=48, embedding_size=80, num_attention_heads=4, num_hidden_layers=2, type_vocab_size=3
            ),
            BertConfig(hidden_size=64, embedding_size=32, num_hidden_layers=2, max_position_embeddings=20),
        ),
        base=BertConfig(hidden_size=768),
    ),
    "modernbert": ToyFamily(
        ("model.kind=modern", "model.local_attention=4"),
        tokenizer=formats.modernbert,
        shapes=(
            ModernBertConfig(hidden_size=64, num_hidden_layers=4, local_attention=8),
            ModernBertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=1, local_attention=128),
            ModernBertConfig(hidden_size=64, num_hidden_layers=3, local_attention=8, classifier_pooling="mean"),
            ModernBertConfig(
                hidden_size=96, num_hidden_layers=5, num_attention_heads=4, intermediate_size=100, local_attention=2,
                global_attn_every_n_layers=2, global_rope_theta=500.0, local_rope_theta=50.0, norm_eps=1e-3,
                max_position_embeddings=64,
            ),
        ),
        base=ModernBertConfig(hidden_size=768, num_hidden_layers=22, classifier_pooling="mean"),
    ),
    "roberta": ToyFamily(
        ("model.kind=roberta",),
        tokenizer=formats.roberta,
        shapes=(
            RobertaConfig(hidden_size=64, num_hidden_layers=2, max_position_embeddings=40),
            RobertaConfig(
                hidden_size=48, num_hidden_layers=1, num_attention_heads=1, intermediate_size=100, type_vocab_size=3,
                max_position_embeddings=20, layer_norm_eps=1e-3,
            ),
        ),
        base=RobertaConfig(),
    ),
    "xlm-roberta": ToyFamily(
        ("model.kind=roberta", "model.model_type=xlm-roberta"),
        tokenizer=formats.xlm_roberta,
        shapes=(RobertaConfig(model_type="xlm-roberta", hidden_size=96, num_attention_heads=6, num_hidden_layers=2),),
        base=RobertaConfig(model_type="xlm-roberta"),
    ),
    "camembert": ToyFamily(
        ("model.kind=roberta", "model.model_type=camembert"),
        tokenizer=formats.camembert,
        shapes=(RobertaConfig(model_type="camembert", hidden_size=64, num_hidden_layers=1),),
        base=RobertaConfig(model_type="camembert"),
    ),
    "deberta-v2": ToyFamily(
        ("model.kind=deberta", "model.position_buckets=8"),
        (
            "objective.generator.sharing=gradient_disentangled", "objective.generator.hidden_fraction=1.0",
            "objective.generator.layers_fraction=0.5",
        ),
        tokenizer=formats.deberta_v3,
        shapes=(
            DebertaConfig(
                hidden_size=48, num_hidden_layers=2, max_position_embeddings=40, embedding_size=16, type_vocab_size=2,
                share_att_key=False, position_buckets=0, norm_rel_ebd="none", layer_norm_eps=1e-3,
            ),
            DebertaConfig(
                hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=100, embedding_size=32,
                max_position_embeddings=40, position_buckets=8, conv_kernel_size=3, conv_groups=2,
            ),
        ),
        base=DebertaConfig(hidden_size=768),
    ),
    "distilbert": ToyFamily(
        ("model.kind=distilbert",),
        shapes=(
            DistilBertConfig(hidden_size=64, num_hidden_layers=2, max_position_embeddings=40),
            DistilBertConfig(
                hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=50,
                max_position_embeddings=19,
            ),
        ),
        base=DistilBertConfig(),
    ),
}  # fmt: skip


def parameters(quick: Iterable[str]) -> list:
    """Return the families as a test's parameters; those that are not `quick` are slow."""
    names = list(quick)
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


def scrambled(model: nn.Module) -> nn.Module:
    """Return the model with weights that no two parts have alike, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.15 * min(1.0, (64 / max(parameter.shape)) ** 0.5)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + ("norm.w" in name))
    return model.eval()


def check_gradients(
    ours: nn.Module,
    theirs: Any,
    found: Tensor,
    expected: Tensor,
    folder: Path,
    floor: float,
    within: float = 1e-4,
    apart: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Hold the gradients of weighted sums of logits to transformers', which are written as a folder of theirs and read
    back under our names: each one's error, as a norm, to `within` of its norm, or of `floor` if that is more. `apart`
    are those that their class has not, by our names."""
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    theirs.load_state_dict({name: parameter.grad for name, parameter in theirs.named_parameters()}, strict=False)
    theirs.save_pretrained(folder / "gradients")
    gradients = read_folder(folder / "gradients").weights | {name: tensor.grad for name, tensor in apart.items()}
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - gradients[name]).norm() / gradients[name].norm().clamp(min=floor)
        assert error < within, (name, error)
