"""The training step on the CPU against `transformers`, the same network in both: tokens a second and peak memory.

    python -m benchmarks.train --out train.json

Random full rows of 128 tokens (of DeBERTa also of 512), dropout 0.1 on both sides, forward, backward, clipping and
optimizer (`contestants.py`). Each measurement has a process of its own, since its peak memory is one of the figures;
compilation is not counted.
"""

import argparse
import json
import resource
import statistics
import time
from functools import partial

import torch

from benchmarks.contestants import CONTESTANTS, Network
from benchmarks.trials import Trials, in_own_process, parser_of

NETWORKS = {
    "small": Network(256, 12, 128),
    "electra": Network(256, 12, 128, generator_fraction=0.25),
    "tiny": Network(128, 2),
    "roberta": Network(256, 12, vocab_size=50_265, kind="roberta"),
    "deberta-v3-xsmall": Network(384, 12, kind="deberta", vocab_size=128_100),
    "deberta-v3-xsmall, long": Network(384, 12, kind="deberta", vocab_size=128_100, length=512),
    "deberta-v3-xsmall, 30 k": Network(384, 12, kind="deberta"),
}
CASES = {
    # what: (network, rows, steps, compiled, target of tokens/s, target of memory)
    "small 16 × 128": ("small", 16, 5, False, 1.8, 0.5),
    "small 16 × 128, compiled": ("small", 16, 5, True, 1.8, 0.5),
    "small 128 × 128": ("small", 128, 2, False, 1.8, 0.5),
    "small 128 × 128, compiled": ("small", 128, 2, True, 1.8, 0.5),
    "electra 16 × 128": ("electra", 16, 5, False, 1.2, None),
    "electra 16 × 128, compiled": ("electra", 16, 5, True, 1.6, None),
    "roberta 16 × 128": ("roberta", 16, 5, False, 1.8, None),
    "roberta 16 × 128, compiled": ("roberta", 16, 5, True, 1.8, None),
    "tiny 16 × 128": ("tiny", 16, 10, False, 4.5, 0.5),
    "tiny 16 × 128, compiled": ("tiny", 16, 10, True, 4.5, 0.5),
    "deberta-v3-xsmall 16 × 128": ("deberta-v3-xsmall", 16, 3, False, 2.5, 0.5),
    "deberta-v3-xsmall 4 × 512": ("deberta-v3-xsmall, long", 4, 3, False, 2.5, 0.5),
    "deberta-v3-xsmall 16 × 128, 30 k tokens": ("deberta-v3-xsmall, 30 k", 16, 3, False, 2.5, 0.5),
}


def main() -> None:
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--measure", nargs=2, metavar=("WHO", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    trials = Trials(arguments.out)
    for what in arguments.only:
        contestants = {who: partial(in_own_process, "train", "--measure", who, what) for who in CONTESTANTS}
        trials.alternate(what, contestants, arguments.repeats)
        trials.ratio(what, "transformers", "tokens/s", CASES[what][4])
        if CASES[what][5]:
            trials.ratio(what, "transformers", "peak MB", CASES[what][5], least=False)


def measure(who: str, what: str) -> dict[str, float]:
    """The median over a case's steps, after two that are not counted."""
    size, rows, steps, compiled, _, _ = CASES[what]
    torch.manual_seed(0)
    contestant = CONTESTANTS[who](NETWORKS[size], rows, "cpu", compiled)
    seconds = []
    for _ in range(steps + 2):
        started_at = time.perf_counter()
        contestant.step()
        seconds.append(time.perf_counter() - started_at)
    return {
        "tokens/s": rows * NETWORKS[size].length / statistics.median(seconds[2:]),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
