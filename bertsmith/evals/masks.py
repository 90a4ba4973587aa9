"""What a masked-token model puts in the place of [MASK]."""

from collections.abc import Sequence

import numpy as np
import torch

from bertsmith.encoders.networks import MaskedTokenModel
from bertsmith.evals.rows import asking, batches, framed, on_machine, places
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine

Guesses = list[tuple[str, float]]
"""Tokens with their probabilities, the likeliest first."""


def guess_masks(
    network: MaskedTokenModel, texts: Sequence[Sequence[int]], tokenizer: Tokenizer, machine: Machine, top_k: int = 5
) -> list[list[Guesses]]:
    """Return, for each [MASK] in each text of token ids, the `top_k` likeliest tokens, special ones ([CLS], [SEP],
    [PAD], [MASK]) excluded. Several masks in one text are guessed independently: each while the others are still
    masked."""
    never = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id]
    rows = [framed(text, tokenizer) for text in texts]
    guessed: list[list[Guesses]] = [[] for _ in rows]
    with asking(network, machine):
        for chosen in batches(np.array([len(row) for row in rows], dtype=np.int64), machine):
            asked = [(row, column) for row, number in enumerate(chosen.tolist())
                     for column in np.flatnonzero(rows[number] == tokenizer.mask_id)]  # fmt: skip
            if not asked:
                continue
            row, column = np.array(asked).T
            tokens = on_machine([rows[number] for number in chosen], machine)
            scores = network.scores(tokens, places(tokens, row, column)).float()  # [M, V]
            probs = scores.softmax(dim=1)[:, : tokenizer.vocab_size]  # a table may be larger than its vocabulary
            best = probs.index_fill(1, torch.tensor(never, device=probs.device), -1.0).topk(
                min(top_k, tokenizer.vocab_size - len(never))
            )
            for place, ids, values in zip(row.tolist(), best.indices.tolist(), best.values.tolist(), strict=True):
                guesses = [(tokenizer.token(id), value) for id, value in zip(ids, values, strict=True)]
                guessed[chosen[place]].append(guesses)
    return guessed


def filled(text: str, guesses: Sequence[Guesses]) -> str:
    """Return `text` with the likeliest token in the place of each [MASK]; a "##" one goes on with the word before
    it."""
    so_far, *rest = text.split("[MASK]")
    for number, behind in enumerate(rest):
        token = guesses[number][0][0] if number < len(guesses) else "[MASK]"  # what was cut off stays
        so_far = so_far.rstrip() + token[2:] if token.startswith("##") else so_far + token
        so_far += behind
    return so_far
