"""A fine-tuned model's scores of rows, batch by batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bertsmith.console.progress import PATIENCE_SECONDS, progress_bar
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.tasks.rows import Rows
from bertsmith.training.batches import by_length
from bertsmith.training.machine import Machine, evaluating

PREDICTED_TOKENS = 8192
"""Of a batch that is only predicted."""


def scored(objective: Any, rows: Any, machine: Machine) -> Iterator[tuple[np.ndarray, Tokens, Any]]:
    """Yield all of `rows` (`Rows` or `Windows`), those of similar length together: their numbers, themselves, and what
    `objective.scores` gives. What takes long shows how far it is."""
    done, total = 0, int(rows.lengths.sum())
    with evaluating(objective), progress_bar("predicting", total, patience=PATIENCE_SECONDS) as bar:
        for chosen in by_length(rows.lengths, PREDICTED_TOKENS):
            tokens = rows.take(chosen)
            tokens = machine.lay_out(tokens, tokens.max_seqlen).to(machine.device)
            with machine.inference():
                scores = objective.scores(tokens)
            yield chosen, tokens, scores
            done += int(rows.lengths[chosen].sum())
            bar.update(done)


def refuse_truncated(rows: Rows, length: int) -> None:
    """Raise UserError where texts were cut, which are longer than a model's `length` in tokens."""
    if rows.truncated:
        raise UserError(
            f"{rows.truncated} of {len(rows.lengths)} texts are longer than the model's {length} tokens; shorten "
            f"them, or have them cut (truncate=True)"
        )
