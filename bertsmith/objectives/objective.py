"""The base of objectives and of their settings, with the types that they share: Batch and Losses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig, Precision
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.reference_flops import Pass
from bertsmith.encoders.tokens import Tokens, copy_to
from bertsmith.text.segments import PackedRows


@dataclass(frozen=True)
class Batch:
    """Rows and their targets."""

    tokens: Tokens
    targets: dict[str, Tensor]
    """Targets by name, [N, …]: one entry a row, so that a batch can be cut between rows."""
    original_ids: Tensor | None = None
    """[T] int64, the ids of `tokens` before some were masked; None where an objective does not ask for them."""
    task: str | None = None
    """The batch's task, in a model of several."""

    def split(self, num_rows: int) -> Iterator["Batch"]:
        """Yield micro-batches of at most `num_rows` rows, in order (on the host, before padding)."""
        for start in range(0, self.tokens.num_rows, num_rows):
            yield self.rows(start, min(start + num_rows, self.tokens.num_rows))

    def rows(self, start: int, stop: int) -> "Batch":
        """Return the rows from `start` to before `stop` (on the host, before padding)."""
        if (start, stop) == (0, self.tokens.num_rows):
            return self
        targets = {name: target[start:stop] for name, target in self.targets.items()}
        tokens, ids = self.tokens.rows(start, stop), self.original_ids
        first = int(self.tokens.row_starts[start])
        return Batch(tokens, targets, None if ids is None else ids[first : first + tokens.num_tokens], self.task)

    def padded(self, length: int, pad_id: int) -> "Batch":
        ids = self.original_ids
        if ids is not None:
            ids = self.tokens.with_ids(ids).padded(length, pad_id).ids
        return Batch(self.tokens.padded(length, pad_id), self.targets, ids, self.task)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        tokens = {f"tokens.{name}": tensor for name, tensor in self.tokens.tensors().items()}
        targets = {f"targets.{name}": tensor for name, tensor in self.targets.items()}
        return tokens | targets | ({} if self.original_ids is None else {"original_ids": self.original_ids})

    def pinned(self) -> "Batch":
        """Return the batch in pinned memory, from which a GPU copies while the host goes on."""
        return self._with_copies(self.tokens.pinned(), Tensor.pin_memory)

    def to(self, device: torch.device) -> "Batch":
        return self._with_copies(self.tokens.to(device), lambda tensor: copy_to(tensor, device))

    def _with_copies(self, tokens: Tokens, copy: Callable[[Tensor], Tensor]) -> "Batch":
        targets = {name: copy(target) for name, target in self.targets.items()}
        return Batch(tokens, targets, None if self.original_ids is None else copy(self.original_ids), self.task)


@dataclass(frozen=True)
class Losses:
    """Named sums with their counts, never means: micro-batches and processes add up, and the mean is taken once."""

    sums: Mapping[str, Tensor]
    """0-dimensional; those that carry a gradient are the objective's losses, the others are measures."""
    counts: Mapping[str, Tensor | float]

    def __add__(self, other: "Losses") -> "Losses":
        """Add sums and counts by name; a name that only one of the two has keeps its value."""
        return Losses(_added(self.sums, other.sums), _added(self.counts, other.counts))

    def detach(self) -> "Losses":
        return Losses({name: total.detach() for name, total in self.sums.items()}, self.counts)

    def means(self) -> dict[str, float]:
        """Return each sum over its count; NaN where the count is 0."""
        counts = {name: float(count) for name, count in self.counts.items()}
        sums = {name: float(total.detach()) for name, total in self.sums.items()}
        return {name: total / counts[name] if counts[name] else float("nan") for name, total in sums.items()}


NO_LOSSES = Losses({}, {})


def _added(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    return {**left, **{name: left[name] + value if name in left else value for name, value in right.items()}}


def sum_losses(parts: Iterable[Losses]) -> Losses:
    """Add up the losses of micro-batches, in their order."""
    return sum(parts, NO_LOSSES)


class Objective(nn.Module, ABC):
    """Networks with their losses: what the training loop trains."""

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Return over how many tokens or rows of `batch`, on the host or the device, each loss is summed."""

    @abstractmethod
    def losses(self, batch: Batch) -> Losses:
        """Run the model. The measures beside the losses are there in evaluation mode; while training they may be."""

    @abstractmethod
    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        """Return the scalar to differentiate: each loss over the whole batch's count, weighted."""


def denominators_of(objective: Objective, batch: Batch) -> dict[str, float]:
    """Return what each loss of a whole batch, which is on the host, is divided by: its count, or 1 where that is 0."""
    return {name: float(count) or 1.0 for name, count in objective.counts(batch).items()}


class Collator(Protocol):
    """A function from rows to batches, on the host, without a model."""

    def __call__(self, rows: PackedRows, rng: np.random.Generator, progress: float = 0.0) -> Batch:
        """Return a batch of the rows with targets. `progress` of the plan, from 0 to 1, is done."""


class TrainedWeights(NamedTuple):
    """The weights of one network of an objective, as a model of its own has them: "encoder.…" and "head.…"."""

    name: str
    """Empty where there is but one."""
    config: EncoderConfig
    head: HeadName
    weights: dict[str, Tensor]
    is_energy_head: bool = False
    """Whether the head gives energies; see `ReplacedTokenModel`."""
    is_disentangled: bool = False
    """Whether the discriminator's token vectors are this generator's plus what it learns itself."""


class PretrainingSettings(ABC):
    """An objective's settings, which describe it to everything outside of this room. Networks of a model are
    `bertsmith.hub.network.Network`s."""

    kind: str
    """Name in a recipe's objective.kind."""
    head: ClassVar[HeadName]
    """Name of the head, in `bertsmith.hub.heads`, of the network that fine-tuning starts from."""
    energies: ClassVar[bool] = False
    """Whether the head gives energies; see `ReplacedTokenModel`."""
    headline: ClassVar[str]
    """Name of the measure that shows whether that network learns; a fraction of 1."""
    perplexities: ClassVar[tuple[str, ...]] = ()
    """Names of losses in nats a token, whose exponentials are perplexities."""
    metric_prefix: ClassVar[str] = ""
    """Prefix of metrics' names, left out where they are shown."""
    titles: ClassVar[Mapping[str, str]] = {}
    """Titles of measures, for people."""

    def check_fits(self, config: EncoderConfig, compat: bool = False) -> None:  # noqa: B027
        """Raises ValueError where the objective cannot be built on this encoder, or would learn what is not so (with
        `compat` that is let pass, as the reference does)."""

    @abstractmethod
    def build(self, config: EncoderConfig, vocabulary: Any) -> "PretrainingObjective":
        """Return the objective with initial weights from torch's default generator."""

    @abstractmethod
    def collator(self, vocabulary: Any, length: int, compat: bool = False) -> Collator:
        """Return the collator for rows of at most `length` tokens; `compat`: as the reference does."""

    @abstractmethod
    def max_predictions(self, length: int) -> int:
        """Return the most tokens predicted in a row of `length` tokens."""

    @abstractmethod
    def baseline(self, batches: Sequence[Batch]) -> float:
        """Return the headline of always giving the commonest answer."""

    @abstractmethod
    def init_from(
        self, initial: dict[str, Tensor], trained: Mapping[str, Tensor], generator: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Return the objective's weights with those of `trained` networks in place of the random `initial`
        ones, and the names of parts that stay random.

        Raises:
            ValueError: the networks differ in what the objective makes them share.
        """

    @property
    def unexported(self) -> Mapping[str, str]:
        """Trained weights that an export leaves out: name → description and reason."""
        return {}

    def networks(self, config: EncoderConfig, weights: Mapping[str, Tensor]) -> list[TrainedWeights]:
        """Return the networks out of the objective's weights, the one that fine-tuning starts from first."""
        return [TrainedWeights("", config, self.head, dict(weights), self.energies)]

    def has_networks_of(self, other: Any) -> bool:
        """Return whether an objective of the settings `other`, on the same encoder, has the same weights."""
        return type(self) is type(other)

    def takes_head_of(self, network: Any) -> bool:
        """Return whether the objective goes on with the head of this network."""
        return (network.head, network.is_energy_head) == (self.head, self.energies)

    def other_networks(self, config: EncoderConfig, networks: Sequence[Any], init: str, is_run: bool) -> list[Any]:
        """Return the networks of the model `init` that the objective trains besides the first; one may be made of it.

        Raises:
            UserError: one is of other sizes, or is missing from a folder.
        """
        return []

    @classmethod
    def fit_to(
        cls, given: Mapping[str, Any], config: EncoderConfig, networks: Sequence[Any], trained: Any
    ) -> dict[str, dict[str, Any]]:
        """Return settings, by table, that make networks as large as a model's: `given` is what a recipe says of the
        objective, unchecked, and `trained` the objective of the run that the model is, if it is one."""
        return {}

    def reference_passes(self, config: Any, length: int, vocab_size: int) -> list[Pass] | None:
        """Return the passes over a row that google-research/electra counts; None where it has no count of them."""
        return None

    def rate_of(self, name: str) -> float:
        """Return the learning rate of the objective's weight of this name, times the schedule's."""
        return 1.0

    def measuring(self) -> dict[str, Any]:
        """Return the settings that decide the measures of held-out text, as an export keeps them."""
        return {}

    def describe_measuring(self) -> str:
        """Return these settings in words."""
        return "the objective's defaults"

    @classmethod
    def from_networks(cls, networks: Sequence[Any], measuring: Mapping[str, Any]) -> "PretrainingSettings | None":
        """Return settings that measure the networks of a folder by what `measuring` returned of their run, {} where
        that is unknown; None where they are not this objective's.

        Raises:
            ValueError: they are this objective's and cannot be measured.
            UserError: a setting cannot be.
        """
        return None

    def build_from(self, networks: Sequence[Any], vocabulary: Any) -> Any:
        """Return the objective with the weights of a folder's networks."""
        objective: Any = self.build(networks[0].settings, vocabulary)
        objective.load_state_dict(networks[0].weights)
        return objective


class PretrainingObjective(Objective):
    """An objective that learns from plain text, of which a collator makes its batches; `encoder` is what is kept."""

    encoder: Encoder
    settings: PretrainingSettings

    @abstractmethod
    def hidden(self, tokens: Tokens) -> Tensor:
        """Return the vectors that the encoder makes of tokens: [T] → [T, D]."""

    @abstractmethod
    def flops_per_token(self, length: int) -> float:
        """Count the forward pass, for one token of a row of `length` tokens."""

    @abstractmethod
    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        """Count what is kept for the backward pass, of one token of a row of `length` tokens."""
