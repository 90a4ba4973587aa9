"""Tokens, the one batch type, for pre-training, fine-tuning and export alike.

Rows lie packed end to end (no padding anywhere but inside attention), or padded to one length (static shapes).
Other files work on flat tensors of T tokens; which of them are real, `valid_mask` and `key_mask` say.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """N rows of token ids, flat. Make one with `Tokens.pack`; pad it with `padded`."""

    ids: Tensor
    """[T] int64."""
    segment_ids: Tensor
    """[T] int64, 0 or 1."""
    positions: Tensor
    """[T] int64, counted from 0 in every row."""
    row_starts: Tensor
    """[N] int64, index of each row's first token in the flat tensors."""
    row_lengths: Tensor
    """[N] int64, real tokens of each row."""
    max_seqlen: int
    """Where padded, the length of every row; where packed, that of the longest."""
    pad_indices: Tensor | None
    """[T] int64: the place of each token in the padded batch, N × max_seqlen; None where it is padded already."""
    has_padding: bool
    """Whether the padded batch has places without a token; `padded` sets it, so that a graph never changes."""

    @classmethod
    def pack(cls, ids: np.ndarray, segment_ids: np.ndarray, row_lengths: np.ndarray) -> "Tokens":
        """Lay rows end to end: `ids` and `segment_ids` [T], `row_lengths` [N] with sum T, each at least 1."""
        lengths = np.asarray(row_lengths, dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        assert lengths.sum() == len(ids) and (len(lengths) == 0 or lengths.min() > 0)
        longest = int(lengths.max(initial=0))
        positions = np.arange(len(ids), dtype=np.int64) - np.repeat(starts, lengths)
        even = len(ids) == longest * len(lengths)
        pad_indices = None if even else positions + np.repeat(np.arange(len(lengths)) * longest, lengths)
        return cls(
            ids=torch.from_numpy(np.asarray(ids, dtype=np.int64)),
            segment_ids=torch.from_numpy(np.asarray(segment_ids, dtype=np.int64)),
            positions=torch.from_numpy(positions),
            row_starts=torch.from_numpy(starts),
            row_lengths=torch.from_numpy(lengths),
            max_seqlen=longest,
            pad_indices=None if pad_indices is None else torch.from_numpy(pad_indices),
            has_padding=not even,
        )

    @property
    def num_tokens(self) -> int:
        """T, padding included."""
        return self.ids.shape[0]

    @property
    def num_rows(self) -> int:
        return self.row_lengths.shape[0]

    def rows(self, start: int, stop: int) -> "Tokens":
        """Return the packed rows `start` to `stop` as a batch (on the host, before `padded`)."""
        first = int(self.row_starts[start])
        lengths = self.row_lengths[start:stop].numpy()
        piece = slice(first, first + int(lengths.sum()))
        return Tokens.pack(self.ids[piece].numpy(), self.segment_ids[piece].numpy(), lengths)

    def padded(self, length: int, pad_id: int) -> "Tokens":
        """Return the same rows, each padded to `length`, so that every batch of N rows has the same shapes."""
        assert self.max_seqlen <= length
        total = self.num_rows * length
        starts = torch.arange(0, total, length)
        places = self.positions + torch.repeat_interleave(starts, self.row_lengths)
        return Tokens(
            ids=torch.full((total,), pad_id).index_copy_(0, places, self.ids),
            segment_ids=torch.zeros(total, dtype=torch.int64).index_copy_(0, places, self.segment_ids),
            positions=torch.arange(length).repeat(self.num_rows),
            row_starts=starts,
            row_lengths=self.row_lengths,
            max_seqlen=length,
            pad_indices=None,
            has_padding=True,
        )

    def tensors(self) -> dict[str, Any]:
        """Return the fields that are tensors, by name."""
        names = ("ids", "segment_ids", "positions", "row_starts", "row_lengths", "pad_indices")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def pinned(self) -> "Tokens":
        """Return a copy in memory from which a GPU copies while the host goes on."""
        return replace(self, **{name: tensor.pin_memory() for name, tensor in self.tensors().items()})

    def to(self, device: torch.device) -> "Tokens":
        copied: dict[str, Any] = {name: copy_to(tensor, device) for name, tensor in self.tensors().items()}
        return replace(self, **copied)

    def with_ids(self, ids: Tensor) -> "Tokens":
        """Return the same rows with other ids ([T], masked or replaced ones)."""
        return replace(self, ids=ids)

    def to_padded(self, flat: Tensor) -> Tensor:
        """Pad: [T, …] → [N, L, …], zeros where there is no token."""
        if self.pad_indices is not None:
            flat = _spread(flat, self.pad_indices, self.num_rows * self.max_seqlen)
        return flat.view(self.num_rows, self.max_seqlen, *flat.shape[1:])

    def to_flat(self, padded: Tensor) -> Tensor:
        """Take padding out: [N, L, …] → [T, …], the inverse of `to_padded`."""
        flat = padded.reshape(self.num_rows * self.max_seqlen, *padded.shape[2:])
        return flat if self.pad_indices is None else _gather(flat, self.pad_indices)

    def mean_of_rows(self, flat: Tensor) -> Tensor:
        """Average over the real tokens of each row: [T, D] → [N, D]."""
        padded = self.to_padded(flat)
        mask = self.key_mask()
        if mask is not None:
            padded = padded.masked_fill(~mask[:, 0, 0, :, None], 0.0)
        return padded.sum(dim=1) / self.row_lengths[:, None]

    def valid_mask(self) -> Tensor | None:
        """Return [T], true at real tokens; None where there is no padding."""
        return None if self.pad_indices is not None or not self.has_padding else self._padded_mask().flatten()

    def key_mask(self) -> Tensor | None:
        """Return [N, 1, 1, L], true at real tokens; None where there is no padding."""
        return self._padded_mask()[:, None, None, :] if self.has_padding else None

    def _padded_mask(self) -> Tensor:
        return torch.arange(self.max_seqlen, device=self.ids.device) < self.row_lengths[:, None]  # [N, L]

    def cu_seqlens(self) -> Tensor:
        """Return cumulative lengths, int32, for `torch.nn.attention.varlen`: [N + 1] for packed rows. Padded rows give
        [2N + 1]: the padding after each row is a row of its own, so that no real token sees it."""
        ends = self.row_starts + self.row_lengths
        if self.pad_indices is None and self.has_padding:
            last = ends.new_full((1,), self.num_tokens)
            return torch.cat([torch.stack([self.row_starts, ends], dim=1).flatten(), last]).to(torch.int32)
        return torch.nn.functional.pad(ends, (1, 0)).to(torch.int32)


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to `device`. The host waits for no copy to a GPU, which takes memory that is pinned."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # as it is where it is pinned already
    return tensor.to(device, non_blocking=True)


def _spread(flat: Tensor, places: Tensor, size: int) -> Tensor:
    if torch.compiler.is_compiling():  # torch 2.11 compiles the function below to one without a gradient
        return flat.new_zeros(size, *flat.shape[1:]).index_copy(0, places, flat)
    return _Spread.apply(flat, places, size)  # type: ignore[no-untyped-call]


def _gather(padded: Tensor, places: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return padded.index_select(0, places)
    return _Gather.apply(padded, places)  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    """Rows of a matrix to places of a larger one. Places are distinct, so both directions are plain copies: torch's
    own backward of indexing adds instead, which on the CPU is several times slower."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(places)
        return flat.new_zeros(size, *flat.shape[1:]).index_copy_(0, places, flat)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None, None


class _Gather(torch.autograd.Function):
    """The inverse of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = padded.shape[0]
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        zeros = gradient.new_zeros(ctx.size, *gradient.shape[1:])
        return zeros.index_copy_(0, ctx.saved_tensors[0], gradient), None
