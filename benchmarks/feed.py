"""How fast batches of two-segment rows with their masks are made by one process, against a target in tokens a second.

    python -m benchmarks.feed data=DATA_FOLDER [--out feed.json]

With data of several corpora it measures their mix as well, beside the same shards taken for one corpus. Also prints
what the rows look like, beside the figures known of the reference's rules.
"""

import itertools
import time
from functools import partial

import numpy as np

from benchmarks.trials import Trials, parser_of
from bertsmith.randomness import derived_rng
from bertsmith.text.segments import RowSettings, assemble, gather_rows, rows_of
from bertsmith.text.shards import open_data
from bertsmith.text.weights import training_shares
from bertsmith.training.batches import masked_batches
from bertsmith.training.mixing import open_rows
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.schedules import Plan
from bertsmith.training.staged_rows import build_collator

TARGET = 5e6


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("data", help="data=DATA_FOLDER, made by `bertsmith prepare`")
    parser.add_argument("--batches", type=int, default=1000)
    arguments = parser.parse_args()
    folder = arguments.data.removeprefix("data=")
    data = open_data(folder)
    trials = Trials(arguments.out)
    collator = build_collator(PretrainRecipe(data=folder, plan=Plan(steps=1)), data.tokenizer)

    def feed(shares: dict[str, float]) -> dict[str, float]:
        """From nothing: planning the rows of the first shards is part of it."""
        started_at, used = time.perf_counter(), time.process_time()
        stream = open_rows(data, shares, RowSettings(), seed=0, compat=False)
        made = itertools.islice(masked_batches(stream, collator, 128), arguments.batches)
        tokens = sum(batch.tokens.num_tokens for batch, _ in made)
        seconds, used = time.perf_counter() - started_at, time.process_time() - used
        return {"tokens/s": tokens / seconds, "tokens/CPU s": tokens / used}  # the second beside other work

    mixes = {"bertsmith": {}} | ({"mixed": training_shares(data, {})} if data.corpora else {})
    trials.alternate("feed", {name: partial(feed, shares) for name, shares in mixes.items()}, arguments.repeats)
    for name in mixes:
        median = float(np.median(trials.figures("feed", name, "tokens/s")))
        reached = "reached" if median >= TARGET else "missed"
        print(f"feed, {name}: {median:,.0f} tokens/s, target {TARGET:,.0f}: {reached}")
    shard = data.read("train", 0)
    for compat in (False, True):
        rows = rows_of(shard, RowSettings(), derived_rng(0, "rows"), compat)
        packed = assemble(
            [gather_rows(shard.tokens, rows, np.arange(len(rows)))], (data.tokenizer.cls_id, data.tokenizer.sep_id)
        )
        pieces = np.add.reduceat(packed.segment_ids, np.cumsum(packed.lengths) - packed.lengths)
        kept = (rows.ends - rows.starts).sum() / len(shard.tokens)
        print(
            f"{'the reference' if compat else 'bertsmith'}: {np.mean(pieces == 0):.1%} single-segment rows, "
            f"mean length {packed.lengths.mean():.1f}, {1 - kept:.1%} of the tokens thrown away"
        )


if __name__ == "__main__":
    main()
