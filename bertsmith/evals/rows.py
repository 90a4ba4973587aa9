"""Token ids → rows on the device; a network held in evaluation mode while it scores them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.encoders.tokens import Tokens
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.batches import by_length
from bertsmith.training.machine import Machine, evaluating
from bertsmith.training.runner import CPU_MICRO_BATCH_TOKENS

GPU_BATCH_TOKENS = 32_768
"""Of short rows with one mask each, 3,000 and more places where the vocabulary is projected: 400 MB of scores."""


def with_special_tokens(ids: Sequence[int] | np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Return [CLS] ids [SEP], int64."""
    return np.array([tokenizer.cls_id, *ids, tokenizer.sep_id], dtype=np.int64)


def batches(lengths: np.ndarray, machine: Machine) -> Iterator[np.ndarray]:
    """Yield row numbers to run together, of similar length, the shortest first."""
    return by_length(lengths, CPU_MICRO_BATCH_TOKENS if machine.device.type == "cpu" else GPU_BATCH_TOKENS)


def to_device(rows: Sequence[np.ndarray], machine: Machine) -> Tokens:
    """Return rows of ids, special tokens included, on the device, laid out as it runs them; padded ones
    are as long as the longest of them."""
    flat = np.concatenate(rows)
    tokens = Tokens.pack(flat, np.zeros_like(flat), np.array([len(row) for row in rows]))
    return machine.lay_out(tokens, tokens.max_seqlen).to(machine.device)


def flat_indices(tokens: Tokens, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Return where in the flat tokens the token in this column of this row lies, for M of them: [M] twice → [M]."""
    rows_there, columns_there = (torch.from_numpy(part).to(tokens.ids.device) for part in (rows, columns))
    return tokens.row_starts[rows_there] + columns_there


def per_token_values(
    score: Callable[[Tokens], Tensor], rows: Sequence[np.ndarray], machine: Machine
) -> list[np.ndarray]:
    """Return the values that `score` gives each token, [T]: those of each row between its [CLS] and its last [SEP],
    float64."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    by_row: dict[int, np.ndarray] = {}
    for chosen in batches(lengths, machine):
        tokens = to_device([rows[number] for number in chosen], machine)
        values = score(tokens).double().cpu().numpy()
        for number, start in zip(chosen.tolist(), tokens.row_starts.tolist(), strict=True):
            by_row[number] = values[start + 1 : start + lengths[number] - 1]
    return [by_row[number] for number in range(len(rows))]


@contextmanager
def scoring_mode(network: nn.Module, machine: Machine) -> Iterator[None]:
    """Hold `network` in evaluation mode without gradients, in float32 and with full-precision products whatever the
    machine's dtype: scores are compared with one another, often by little. Afterwards `network` and torch are as
    before."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # TF32, which a GPU is set to, keeps 10 bits of each factor
    try:
        with evaluating(network), replace(machine, dtype=torch.float32).inference():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
