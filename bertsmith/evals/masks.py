"""Predictions for single tokens: the likeliest for a [MASK], and which ones a discriminator takes for replaced."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.evals.rows import batches, flat_indices, per_token_values, scoring_mode, to_device, with_special_tokens
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
    never = list(set(tokenizer.control_ids))
    rows = [with_special_tokens(text, tokenizer) for text in texts]
    guessed: list[list[Guesses]] = [[] for _ in rows]
    with scoring_mode(network, machine):
        for chosen in batches(np.array([len(row) for row in rows], dtype=np.int64), machine):
            asked = [(row, column) for row, number in enumerate(chosen.tolist())
                     for column in np.flatnonzero(rows[number] == tokenizer.mask_id)]  # fmt: skip
            if not asked:
                continue
            row, column = np.array(asked).T
            tokens = to_device([rows[number] for number in chosen], machine)
            scores = network.scores(tokens, flat_indices(tokens, row, column)).float()  # [M, V]
            probs = scores.softmax(dim=1)[:, : tokenizer.vocab_size]  # a table may be larger than its vocabulary
            best = probs.index_fill(1, torch.tensor(never, device=probs.device), -1.0).topk(
                min(top_k, tokenizer.vocab_size - len(never))
            )
            for place, ids, values in zip(row.tolist(), best.indices.tolist(), best.values.tolist(), strict=True):
                guesses = [(tokenizer.shown(id), value) for id, value in zip(ids, values, strict=True)]
                guessed[chosen[place]].append(guesses)
    return guessed


def filled(text: str, guesses: Sequence[Guesses], tokenizer: Tokenizer) -> str:
    """Return `text` with the likeliest token in the place of each mask; one that continues a word stands right after
    what is before it."""
    ids, offsets = next(tokenizer.encode_with_offsets([text]))
    so_far, start = "", 0
    for (begin, end), its in zip(offsets[ids == tokenizer.mask_id].tolist(), guesses, strict=False):  # some are cut off
        token, so_far = its[0][0], so_far + text[start:begin]
        so_far = tokenizer.append(so_far.rstrip() if tokenizer.continues(token) else so_far, token)
        start = end
    return so_far + text[start:]


def replaced_probs(
    network: ReplacedTokenModel, texts: Sequence[Sequence[int]], tokenizer: Tokenizer, machine: Machine
) -> list[np.ndarray]:
    """Return each token's probability of being a replacement, for each text of token ids: [number of tokens]."""
    assert not network.is_energy_head
    rows = [with_special_tokens(text, tokenizer) for text in texts]
    with scoring_mode(network, machine):
        return per_token_values(lambda tokens: network.logits(tokens).float().sigmoid(), rows, machine)


SENTENCES = (
    "returns a new [MASK] with the same shape.",
    "the number of [MASK] in the graph.",
    "if true, the result is a copy of the input [MASK].",
    "raises an [MASK] if the file does not exist.",
)
"""Of the kind that documentation is full of."""


def show_guesses(
    network: MaskedTokenModel,
    tokenizer: Tokenizer,
    machine: Machine,
    show: Callable[[str], None],
    sentences: Sequence[str] = SENTENCES,
) -> None:
    """Show a line for each sentence: the three likeliest tokens in the place of its [MASK], with their
    probabilities."""
    sentences = [sentence.replace("[MASK]", tokenizer.mask_token) for sentence in sentences]
    width = max(map(len, sentences))
    guessed = guess_masks(network, tokenizer.encode_each(sentences), tokenizer, machine, top_k=3)
    for sentence, (guesses,) in zip(sentences, guessed, strict=True):
        named = ", ".join(f"{token} {probability:.0%}" for token, probability in guesses)
        show(f"    {sentence:{width}}  {named}")
