"""How often a plan sees the text of each corpus of a mix, judged by a sample of its rows: how full these are depends on
the documents and on the rows' length."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bertsmith.randomness import derived_rng
from bertsmith.text.segments import RowSettings, assemble, gather_rows, rows_of
from bertsmith.text.shards import Data, Shard
from bertsmith.training.schedules import Plan
from bertsmith.training.stages import Stage

SAMPLED_SHARDS, SAMPLES, SAMPLED_TOKENS = 4, 4, 1 << 15
"""Of each corpus; in each of the shards, spread over it; in each of them. Half a million tokens, 0.1 to 0.2 s."""

MAX_EPOCHS = 4
"""Of one corpus, beyond which text is worth less at each repetition (Muennighoff et al. 2023, section 6)."""


class RowMeans(NamedTuple):
    """What a corpus's rows hold on average."""

    text: float
    """Tokens of a row, without special tokens."""
    specials: float
    used: float
    """Share of the text that is in a row; less than 1 for the reference's rows alone."""


def row_means(data: Data, settings: RowSettings, compat: bool = False) -> RowMeans:
    """Return what rows of the training text hold, by a sample of the text, the same at each call."""
    rows = tokens = text = sampled = 0
    num_shards = data.num_shards("train")
    for index in sorted({place * num_shards // SAMPLED_SHARDS for place in range(SAMPLED_SHARDS)}):
        for part in _samples(data.read("train", index)):
            spans = rows_of(part, settings, derived_rng(0, "row means", index), compat)
            gathered = gather_rows(part.tokens, spans, np.arange(len(spans)))
            rows, sampled, text = rows + len(spans), sampled + len(part.tokens), text + len(gathered.ids)
            tokens += len(assemble([gathered], (0, 0)).ids)
    return RowMeans(text / rows, (tokens - text) / rows, text / sampled)


def _samples(shard: Shard) -> Iterator[Shard]:
    """Yield whole documents from places spread over the shard, none twice."""
    ends, starts = shard.document_ends, np.concatenate([[0], shard.document_ends[:-1]]).astype(np.int64)
    after = 0  # of the documents, the first that was not taken yet
    for place in range(SAMPLES):
        first = max(after, int(np.searchsorted(starts, place * len(shard.tokens) // SAMPLES)))
        if first == len(ends):
            return
        after = min(len(ends), int(np.searchsorted(ends, starts[first] + SAMPLED_TOKENS)) + 1)
        start, end = int(starts[first]), int(ends[after - 1])
        lines = shard.line_ends[slice(*np.searchsorted(shard.line_ends, [start, end], side="right"))]
        yield Shard(shard.tokens[start:end], lines - np.uint32(start), ends[first:after] - np.uint32(start))


def planned_epochs(
    data: Data, shares: Mapping[str, float], stages: Sequence[Stage], plan: Plan, compat: bool = False
) -> dict[str, float] | None:
    """Return how often each corpus is seen in a plan, about; None where the plan is in hours."""
    if plan.steps is None and plan.tokens is None:
        return None
    epochs = dict.fromkeys(shares, 0.0)
    steps = tokens = 0.0
    for stage in stages:
        means = {name: row_means(data.corpora[name], stage.rows, compat) for name in shares}
        text = 1 / sum(share / means[name].text for name, share in shares.items())  # of a row of the mix
        of_each = {name: share * text / means[name].text for name, share in shares.items()}  # of its rows
        a_step = stage.batch_size * (text + sum(of_each[name] * means[name].specials for name in shares))
        end = min(stage.end, np.inf if plan.tokens is None else plan.tokens)
        left = np.inf if plan.steps is None else plan.steps - steps
        done = max(0.0, min((end - tokens) / a_step, left))  # steps
        steps, tokens = steps + done, tokens + done * a_step
        for name, share in shares.items():
            there = data.corpora[name].num_tokens("train") * means[name].used
            epochs[name] += share * text * stage.batch_size * done / there
    return epochs


def describe_mix(shares: Mapping[str, float], epochs: Mapping[str, float] | None) -> str:
    """Return a line with each corpus's share, and with its `planned_epochs` where there are any."""
    if epochs is None:
        return "mix: " + ", ".join(f"{name} {share:.3g}" for name, share in shares.items())
    each = ", ".join(f"{name} {share:.3g} ({epochs[name]:.2g} epochs)" for name, share in shares.items())
    most = max(epochs, key=lambda name: epochs[name])
    if epochs[most] <= MAX_EPOCHS:
        return f"mix: {each}"
    return (
        f"mix: {each}; beyond {MAX_EPOCHS} epochs text teaches less each time: give {most} a lower weight, or more text"
    )
