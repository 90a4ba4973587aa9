"""A fine-tuned model's scores of rows, batch by batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from bertsmith.console.progress import PATIENCE_SECONDS, progress_bar
from bertsmith.encoders.tokens import Tokens
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.batches import by_length
from bertsmith.training.machine import Machine, MachineSettings, choose_machine, evaluating

PREDICTED_TOKENS = 8192
"""Of a batch that is only predicted."""


def placed(objective: nn.Module, tokenizer: Tokenizer, settings: MachineSettings) -> Machine:
    """Return the machine of these settings, with `objective` on it.

    Raises:
        UserError: its device is not there.
    """
    machine = choose_machine(settings, tokenizer.pad_id)
    machine.prepare_model(objective)
    return machine


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
