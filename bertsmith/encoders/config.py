"""The base of encoders' settings: sizes by Hugging Face's names, and methods that build parts and count their costs."""

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Literal, NamedTuple, Self

from torch import Tensor, nn

from bertsmith.encoders.attention import FULL, SHORT_ROW, AttentionWindow
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.storage.folders import differences

CLASSIFIER_DROPOUT = "dropout before the outputs of heads for classes, and for tags but in deberta and distilbert"
"""Says what the setting of this name is, in each encoder that has it."""


class Precision(NamedTuple):
    """The device and the number type of a forward pass; compiled, it keeps less than is counted here."""

    half: bool
    """True if matrix products are in 16 bits, all else in 32 (autocast)."""
    cuda: bool
    """True on a GPU, where attention keeps no weights; on the CPU it does with dropout on them, and of
    short rows in half precision."""

    @property
    def size(self) -> int:
        """Bytes of an operand of a matrix product."""
        return 2 if self.half else 4


class TokenEmbeddings(nn.Module):
    """An encoder's embeddings: `tokens`, and `base` [V, E] (or None), which is added to the token table → [T, E]."""

    token: nn.Embedding


class VocabularyHead(nn.Module):
    """The layers before the product with the token table, [M, D] → [M, E] or [M, D], and the bias after it, [V]."""

    bias: Tensor

    def position_vectors(self, tokens: Tokens) -> Tensor:
        """Return the vectors of positions, [T, D], of a head with an enhanced mask decoder."""
        raise AssertionError("it has none")


class EncoderConfig(ABC):
    """The base of an architecture's settings class. Each is in a file of its own, where `registry.py` finds it."""

    kind: str
    """Name in a recipe's model.kind."""
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int | None
    intermediate_size: int | None
    embedding_size: int | None
    max_position_embeddings: int
    initializer_range: float

    takes_windows: ClassVar[bool] = False
    """True if a stack of its layers takes an attention window, as the causal ones of two towers."""
    in_reference: ClassVar[bool] = False
    """True if google-research/electra counts the operations of such an encoder (`reference_flops.py`)."""
    compiled: ClassVar[tuple[type[nn.Module], ...]] = ()
    """The modules that are worth compiling."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_attention_heads {self.heads}")

    @property
    def heads(self) -> int:
        return self.num_attention_heads or max(1, self.hidden_size // 64)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def embedding(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def projection_size(self) -> int:
        """Weights of the projection of embeddings; 0 where they are as wide as the layers."""
        return self.embedding * self.hidden_size if self.embedding != self.hidden_size else 0

    @property
    @abstractmethod
    def feed_forward(self) -> int:
        """Width of the feed-forward part."""

    def sizes(self) -> dict[str, Any]:
        """Return the settings that decide the weights' shapes and the function that they compute: not dropout, initial
        weights, how fine-tuning pools, or the classes of an export."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        values |= {
            "num_attention_heads": self.heads, "intermediate_size": self.feed_forward, "embedding_size": self.embedding,
        }  # fmt: skip
        free = ("dropout", "dropout_prob", "initializer_range", "classifier_pooling", "model_type")
        return {name: value for name, value in values.items() if not name.endswith(free)}

    @property
    def num_segments(self) -> int:
        """Kinds of segment that the encoder tells apart; 0 for one without segment vectors."""
        return 0

    @property
    def pools_mean(self) -> bool:
        """Whether a row's classes are read from the mean of its tokens' vectors, not from [CLS]."""
        return False

    @property
    def has_mask_decoder(self) -> bool:
        """Whether masked tokens are read from an enhanced mask decoder, not from the last layer. Then a layer takes
        queries and the tokens that are asked for, and the head has vectors of positions; no class of Hugging Face's is
        such a model."""
        return False

    def with_pooling(self, pooling: Literal["cls", "mean"]) -> Self:
        """Return the same settings, with classes read from each row's [CLS] or from its mean. Raises UserError where
        the architecture's classification classes read [CLS]."""
        if pooling == "mean":
            raise UserError(
                "classifier_pooling = 'mean': the classes of such an encoder are read from [CLS]; leave it out, or "
                "pre-train with model.kind=modern"
            )
        return self

    @abstractmethod
    def family(self, of_electra: bool = False) -> str:
        """Return the family of Hugging Face's classes that hold it (`of_electra`: as one of ELECTRA's two)."""

    @abstractmethod
    def build_embeddings(self, vocab_size: int) -> TokenEmbeddings:
        """Return the embeddings of so many tokens."""

    @abstractmethod
    def build_projection(self) -> nn.Module:
        """Return the layer [T, E] → [T, D] of an encoder whose `projection_size` is not 0."""

    def build_input_norm(self) -> nn.Module:
        """Return the norm before the first layer: [T, D] → [T, D]."""
        return nn.Identity()

    def build_input_dropout(self) -> nn.Module:
        """Return the dropout after `build_input_norm`."""
        return nn.Identity()

    def build_distances(self) -> nn.Module | None:
        """Return what all layers are given besides: `tokens` → vectors of the distances between them; None: nothing."""
        return None

    @abstractmethod
    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        """Return layer `index`, counted from 0: [T, D] and `tokens` (and the result of `build_distances`) → [T, D]."""

    def build_final_norm(self) -> nn.Module:
        """Return the norm after the last layer."""
        return nn.Identity()

    @abstractmethod
    def masked_token_head(self, vocab_size: int) -> VocabularyHead:
        """Return the head over so many tokens."""

    def project_to_embedding(self, vectors: Tensor, projection: nn.Module) -> Tensor:
        """Project the vectors of `masked_token_head` to [M, E], where they are not as wide already."""
        return vectors

    @abstractmethod
    def replaced_token_head(self) -> nn.Module:
        """Return the head [T, D] → [T] logits."""

    @abstractmethod
    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        """Return the head [N, D] → [N, C] of the family's …ForSequenceClassification."""

    @abstractmethod
    def tagging_head(self, num_labels: int) -> nn.Module:
        """Return the head [T, D] → [T, C] of …ForTokenClassification."""

    @abstractmethod
    def answer_head(self) -> nn.Module:
        """Return the head [T, D] → [T, 2] of …ForQuestionAnswering: logits of a beginning and of an end."""

    def fold_projection(self, weights: dict[str, Tensor]) -> tuple[Self, dict[str, Tensor]]:
        """Return settings and weights ("encoder.…") of the same function in the form of Hugging Face's classes."""
        return self, weights

    @abstractmethod
    def flops_per_token(self, length: float) -> float:
        """Count one forward pass, a token of a row of `length`: multiply-adds of matrix products, times two."""

    @abstractmethod
    def masked_token_head_flops(self, vocab_size: int) -> float:
        """Count one predicted position, forward, the product with the table included."""

    def mask_decoder_flops(self, length: float) -> float:
        """Count what an enhanced mask decoder does besides, forward, a token of a row of `length`."""
        return 0.0

    def replaced_token_head_flops(self) -> float:
        """Count one token, forward."""
        return 2.0 * self.hidden_size * (self.hidden_size + 1)

    @abstractmethod
    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        """Count the bytes that a forward pass keeps for the backward pass, a token of a row of `length`."""

    @abstractmethod
    def masked_token_head_bytes(self, precision: Precision) -> float:
        """Count the same of one predicted position; the scores are not kept."""

    def mask_decoder_bytes(self, length: int, precision: Precision) -> float:
        """Count the same of an enhanced mask decoder, a token of a row of `length`."""
        return 0.0

    @abstractmethod
    def replaced_token_head_bytes(self, precision: Precision) -> float:
        """Count the same of one token."""


def check_length(settings: EncoderConfig, key: str, length: int) -> None:
    """Raise ValueError where rows of `length` tokens, the value of the setting `key`, have no position vectors."""
    if length > settings.max_position_embeddings:
        raise ValueError(
            f"{key} = {length} is beyond the model's {settings.max_position_embeddings} positions "
            f"(max_position_embeddings); shorten it"
        )


def refuse_differences(
    problem: str, prefix: str, recipe: dict[str, Any], model: dict[str, Any], remedy: str | None = None
) -> None:
    """Compare the sizes in a recipe with a model's. Raises UserError where they differ; it begins with `problem` and
    names each key, after `prefix`."""
    changed = differences(*({f"{prefix}{name}": value for name, value in side.items()} for side in (recipe, model)))
    if recipe.get("kind") != model.get("kind"):  # all else follows
        changed = [line for line in changed if line.startswith(f"{prefix}kind:")]
    if changed:
        usual = "leave these settings out, since a model's architecture is its own, or name another model"
        raise UserError(f"{problem} (recipe → model: {'; '.join(changed)}); {remedy or usual}")


def training_flops(forward: float) -> float:
    """Return the operations of a training step: the backward pass costs two forward ones."""
    return 3.0 * forward


def dropout_bytes(size: int, prob: float) -> int:
    """Return the bytes of a dropout mask: one an element, where there is dropout."""
    return size if prob else 0


def attention_bytes(
    hidden_size: int, heads: int, length: int, dropout_prob: float, precision: Precision, is_relative: bool = False
) -> float:
    """Return a token's bytes: inputs of both products, queries, keys and values; attention weights, or the softmax's
    sums. `is_relative`: whether scores have a `RelativeBias`."""
    is_short_half = precision.half and length <= SHORT_ROW and not is_relative
    keeps_weights = not precision.cuda and (dropout_prob > 0.0 or is_short_half)
    weights = precision.size * length + dropout_bytes(length, dropout_prob) if keeps_weights else 4
    return precision.size * 5 * hidden_size + heads * weights
