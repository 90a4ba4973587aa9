"""Hugging Face's names for an encoder's classes, tensors and config keys. A file in `families/` describes each family.

Another family is a file there, and where its folders may name no tokenizer class or another one than they use, an entry
in `tokenizers/tokenizer_folder.py`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError
from bertsmith.hub.heads import HEADS

if TYPE_CHECKING:  # the room of training imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer

REPLACED: dict[str, Any] = {"id2label": {"0": "replaced"}, "label2id": {"replaced": 0}}
"""In config.json of a …ForTokenClassification that is a discriminator; see `Family.tags_replaced`."""

Shape = Callable[..., tuple[int, ...]]
"""`shape(name, num_axes=2)`: a tensor's shape by the family's own name; refuses a missing or impossible one."""


class Family(ABC):
    """One family of transformers' classes."""

    name: str
    """The `model_type` in config.json."""
    title: str
    config: type[EncoderConfig]
    base_model_prefix: str
    """The name of the encoder's attribute in its classes, with which the tensors' names begin; transformers' word."""
    classes: ClassVar[Mapping[str, HeadName | None]]
    """Name of a class → the head in it."""
    other_classes: ClassVar[Mapping[str, HeadName | None]]
    """The same of the bare encoder's class, and of one that is read as another of `classes` and never written."""
    class_by_prefix: ClassVar[Mapping[str, str]]
    """Beginning of a tensor's name → the class that it shows; the first one counts, and without any it is the bare
    encoder's."""
    names_pattern: str
    """A regular expression that the beginning of one of its tensors' names matches."""
    tags_replaced: ClassVar[bool] = False
    """Whether a discriminator is its …ForTokenClassification with one label; with several it tags words."""
    shares_names: ClassVar[bool] = False
    """Whether another family's tensors may match `names_pattern` too; that one is tried first."""
    unique_suffixes: tuple[str, ...]
    """Ends of the names of tensors that each encoder has one of."""
    inputs: tuple[str, ...]
    """The inputs of its classes, which are the outputs of its tokenizers."""
    tied_copies: ClassVar[Mapping[str, str]]
    """Tensors that some folders hold twice: the copy → the tensor that it must equal."""
    buffers: str = r"(?!)"
    """A regular expression of the names of buffers besides `embeddings.position_ids` and `embeddings.token_type_ids`,
    which versions of transformers wrote; its group is their kind."""
    dropped: ClassVar[Mapping[str, str]] = {}
    """Beginnings of the names of tensors that are not read, unless they are the head's own → their title."""
    pooler: ClassVar[Mapping[str, str]] = {}
    """Our names → its names of a layer that classes without a classification head carry too."""
    required_values: ClassVar[Mapping[str, Any]]
    """Keys that our encoder has one value for → that value, which is Hugging Face's default too."""
    relevant_heads: ClassVar[Mapping[str, tuple[HeadName, ...]]] = {}
    """Key of `required_values` → the heads that it matters to, where it does not to all."""
    defaults: tuple[str, ...]
    """Settings with Hugging Face's defaults, which a config.json may leave out."""
    config_keys: ClassVar[Mapping[str, str]] = {}
    """Settings of ours → their keys in config.json, where these have other names."""
    position_table: ClassVar[str] = ""
    """The tensor whose first rows belong to no position, see `unread_positions`; empty where there is none."""
    is_unprojected: ClassVar[bool] = False
    """Whether its classes take embeddings of the layers' width only, though the encoder knows others."""
    unread_values: ClassVar[Mapping[str, tuple[Any, str]]] = {}
    """Keys that change no output and are not kept → Hugging Face's default, and a line for another value."""
    required_keys: tuple[str, ...] = ("num_attention_heads",)
    """Settings that no tensor shows, and a config.json must give."""

    @abstractmethod
    def names(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, tuple[str, ...]]:
        """Return our name of every tensor → its names; where there are several, ours is these one below the other."""

    @abstractmethod
    def normalized_name(self, name: str) -> str:
        """Return the name in our table of a tensor of a saved file (a bare encoder leaves its prefix away)."""

    def infer_class(self, config: Mapping[str, Any], names: Collection[str], where: str) -> str:
        """Return the class that has such tensors. Raises UserError where it may be one of several."""
        bare = next(name for name, head in self.other_classes.items() if head is None)
        return next((name for beginning, name in self.class_by_prefix.items() if has_any(names, beginning)), bare)

    @abstractmethod
    def sizes(self, shape: Shape, where: str) -> tuple[dict[str, int], str, str]:
        """Return sizes of the tables, by their keys in config.json; a regular expression of a layer's names, with
        its number as first group; and the tensor of the first layer for `layer_sizes`."""

    @abstractmethod
    def layer_sizes(self, rows: int, columns: int) -> dict[str, int]:
        """Return the sizes that the shape of the first layer's tensor shows."""

    @abstractmethod
    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        """Return the family's own keys of config.json."""

    def buffer(self, name: str, size: int, settings: EncoderConfig) -> tuple[Tensor, str]:
        """Return the values of a buffer of `size` numbers, and their name in a message."""
        if name.endswith("token_type_ids"):
            return torch.zeros(size), "all 0"
        return torch.arange(size, dtype=torch.float32), "0, 1, 2, …"

    def class_of(self, head: HeadName | None) -> str:
        """Return the class that a network with this head is written as."""
        head = "tagging" if self.tags_replaced and head == "replaced_tokens" else head
        return next(name for name, its_head in {**self.classes, **self.other_classes}.items() if its_head == head)

    def head_of(self, name: str, labels: tuple[str, ...]) -> HeadName | None:
        """Return the head in a class of this name, for a config.json with these labels."""
        head = {**self.classes, **self.other_classes}[name]
        return "replaced_tokens" if self.tags_replaced and head == "tagging" and len(labels) == 1 else head

    def key(self, setting: str) -> str:
        """Return the key in config.json of a setting of ours."""
        return self.config_keys.get(setting, setting)

    def unread_positions(self, config: Mapping[str, Any]) -> int:
        """Return how many rows of `position_table` come before the first position's."""
        return 0

    def padding_warning(self, folder: Path, tokenizer: "Tokenizer") -> str | None:
        """Return a line where a folder's config.json has another padding than its tokenizer, and positions depend on
        it; None where all is well. Raises UserError where the token has a place in each row."""
        return None

    def inputs_of(self, settings: EncoderConfig) -> tuple[str, ...]:
        """Return the inputs of its classes that a model with such settings reads; of one segment none says so."""
        return tuple(name for name in self.inputs if name != "token_type_ids" or settings.num_segments > 1)

    def token_ids(self, tokenizer: "Tokenizer") -> dict[str, int]:
        """Return the ids of special tokens that config.json names."""
        return {"pad_token_id": tokenizer.pad_id}

    def translated(self, config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
        """Return keys with the values that they would have here, where config.json writes them in another way, or is
        silent and transformers takes another default than ours."""
        return {}

    def recognises(self, config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]]) -> bool:
        """Return whether a folder without a `model_type` is of this family, by its tensors' names and shapes."""
        return any(re.match(self.names_pattern, name) for name in names)

    def check_network(self, config: Mapping[str, Any], where: str) -> None:  # noqa: B027
        """Raise UserError where keys contradict one another."""

    def kind_of_buffer(self, name: str) -> str | None:
        """Return the name of a buffer, a tensor that is not trained, such as "position_ids"; None for all others."""
        root = re.escape(self.base_model_prefix)
        match = re.fullmatch(rf"{root}\.embeddings\.(position_ids|token_type_ids)|{self.buffers}", name)
        return match and match[match.lastindex or 0]

    def ambiguous(self, where: str) -> UserError:
        """Return the error for a classifier that may be of texts or of words."""
        classes = [name for name, head in self.classes.items() if HEADS[head].has_labels]
        return UserError(
            f"{where}: no architectures, and by its tensors the classifier may be of texts or of words; add "
            f'"architectures": [one of {", ".join(classes)}]'
        )


def has_any(names: Collection[str], *beginnings: str) -> bool:
    """Return whether one of the names begins so."""
    return any(name.startswith(beginnings) for name in names)


def with_parts(ours: str, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the names of a module's weight and bias."""
    return {f"{ours}.{part}": tuple(f"{name}.{part}" for name in names) for part in ("weight", "bias")}
