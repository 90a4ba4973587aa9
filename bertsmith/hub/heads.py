"""The heads that a network may have: a record each, and `HEADS`, which all of hub and the rooms above it ask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder, MaskedTokenModel, ReplacedTokenModel
from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.tokens import Tokens

PROBLEM_TYPES = (REGRESSION, SINGLE_LABEL, MULTI_LABEL) = (
    "regression", "single_label_classification", "multi_label_classification",
)  # fmt: skip
"""In config.json of a classification head: a number, a class, or any number of labels a text."""

Build = Callable[[Any, int], nn.Module]
"""A `Network`'s description, and the number of outputs where these are a task's labels → its modules."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head: its words for people, its name on Hugging Face's hub, its module and that module's logits."""

    title: str
    outputs: str
    """The answers, for `show`."""
    uses: str = "predict, embed, finetune"
    """The verbs for a model with it, for `show`."""
    next_arguments: tuple[object, ...] = ("--file", "FILE")
    """The arguments of `predict` after the model's, in the command that `show` ends with."""
    pipeline: str
    """The hub's `pipeline_tag`."""
    example: str = ""
    """A text for that pipeline."""
    is_pretrained: bool = False
    """Whether a network has it before fine-tuning."""
    has_labels: bool = False
    """Whether its outputs are a task's labels, of a row or of each token."""
    by_token: bool = True
    """Whether it has outputs for each token, or for each row."""
    output_names: tuple[str, ...] = ("logits",)
    """Names of the outputs in an ONNX file; where they are several, the last axis of the logits is cut into them."""
    build: Build
    logits: Callable[[Any, Tokens], Tensor] = lambda model, tokens: model.head(model.encoder(tokens))
    """The result of `build`, and its input → [T, V], [T] or [T, C] by token, or [N, C] by row."""


def _finetuned(head: Build) -> Build:
    """Return a builder of an encoder with a head that fine-tuning makes."""
    return lambda network, num_labels: nn.ModuleDict(
        {"encoder": Encoder(network.settings, network.vocab_size), "head": head(network, num_labels)}
    )


HEADS: dict[HeadName | None, Head] = {
    "masked_tokens": Head(
        title="masked-token head", outputs="masked tokens", pipeline="fill-mask", is_pretrained=True,
        uses="predict (fills [MASK]), score, embed, evaluate, finetune, pretrain init=",
        next_arguments=("a text with a [MASK]",), example="The capital of France is [MASK].",
        build=lambda network, _: MaskedTokenModel(network.settings, network.vocab_size),
        logits=lambda model, tokens: model.scores(tokens, torch.arange(tokens.num_tokens)),
    ),
    "replaced_tokens": Head(
        title="replaced-token head", outputs="replaced tokens (a discriminator)", pipeline="feature-extraction",
        uses="predict (marks replaced tokens), score, embed, finetune, pretrain init=", is_pretrained=True,
        next_arguments=("a text with a word that does not fit",), example="The capital of France is cheese.",
        build=lambda network, _: ReplacedTokenModel(network.settings, network.vocab_size, network.is_energy_head),
        logits=lambda model, tokens: model.logits(tokens),
    ),
    "classification": Head(
        title="classification head", outputs="classes", pipeline="text-classification", has_labels=True,
        by_token=False, example="The text to classify.",
        build=_finetuned(lambda network, num: network.settings.classification_head(num, network.family)),
        logits=lambda model, tokens: model.head(model.encoder.pooled(tokens)),
    ),
    "tagging": Head(
        title="tagging head", outputs="a tag a word", pipeline="token-classification", has_labels=True,
        example="The words to tag .", build=_finetuned(lambda network, num: network.settings.tagging_head(num)),
    ),
    "answering": Head(
        title="answering head", outputs="answers in a context", pipeline="question-answering",
        output_names=("start_logits", "end_logits"),
        build=_finetuned(lambda network, _: network.settings.answer_head()),
    ),
    None: Head(
        title="no head", outputs="none", pipeline="feature-extraction", uses="embed, finetune, pretrain init=",
        is_pretrained=True,
        build=lambda network, _: nn.ModuleDict({"encoder": Encoder(network.settings, network.vocab_size)}),
    ),
}  # fmt: skip
"""A network's `head` → its record; None: no head."""


def problem_type(num_outputs: int, given: str | None) -> str:
    """Return the `problem_type` of a classification head, as transformers concludes it from the number of outputs where
    config.json does not say that any number of labels may hold."""
    if given == MULTI_LABEL:
        return MULTI_LABEL
    return REGRESSION if num_outputs == 1 else SINGLE_LABEL
