"""How fast batches of two-segment rows with their masks are made by one process, against a target in tokens a second.

    python -m benchmarks.feed data=DATA_FOLDER [--out feed.json]

Also prints what the rows look like, beside the figures known of the reference's rules.
"""

import itertools
import time

import numpy as np

from benchmarks.trials import Trials, parser_of
from bertsmith.randomness import derived_rng
from bertsmith.text.segments import RowSettings, assemble, rows_of
from bertsmith.text.shards import open_data
from bertsmith.training.batches import RowStream, masked_batches
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

    def feed() -> dict[str, float]:
        """From nothing: planning the rows of the first shards is part of it."""
        started_at = time.perf_counter()
        stream = RowStream(data, "train", RowSettings(), seed=0)
        made = itertools.islice(masked_batches(stream, collator, 128), arguments.batches)
        tokens = sum(batch.tokens.num_tokens for batch, _ in made)
        return {"tokens/s": tokens / (time.perf_counter() - started_at)}

    trials.alternate("feed", {"bertsmith": feed}, arguments.repeats)
    median = float(np.median(trials.figures("feed", "bertsmith", "tokens/s")))
    print(f"feed: {median:,.0f} tokens/s, target {TARGET:,.0f}: {'reached' if median >= TARGET else 'missed'}")
    shard = data.read("train", 0)
    for compat in (False, True):
        rows = rows_of(shard, RowSettings(), derived_rng(0, "rows"), compat)
        packed = assemble(shard.tokens, rows, np.arange(len(rows)), (data.tokenizer.cls_id, data.tokenizer.sep_id))
        pieces = np.add.reduceat(packed.segment_ids, np.cumsum(packed.lengths) - packed.lengths)
        kept = (rows.ends - rows.starts).sum() / len(shard.tokens)
        print(
            f"{'the reference' if compat else 'bertsmith'}: {np.mean(pieces == 0):.1%} single-segment rows, "
            f"mean length {packed.lengths.mean():.1f}, {1 - kept:.1%} of the tokens thrown away"
        )


if __name__ == "__main__":
    main()
