"""The training step on a GPU against `transformers`: tokens a second, memory, share of the chip's measured peak.

    python -m benchmarks.gpu --out gpu.json

Needs torch and transformers, nothing else. First it checks that the GPU computes what the CPU does and that a run
compiles once (`agreement.py`). Then the contestants take their steps in turns (`contestants.py`), on random full rows
of 128 tokens, in bfloat16, compiled, with fused AdamW; compilation is not counted:

    bertsmith              dropout 0.1, as the recipes have it
    bertsmith, no dropout  for which attention has a faster kernel
    transformers           dropout 0.1, scaled-dot-product attention

All have the same batch; who runs out of memory cuts it in halves. The share of the peak counts the operations that the
objective needs (scores over the vocabulary at masked positions only), for all contestants alike. What fails, and what
there is no time for, is in the JSON with its reason; the JSON is written after each result. The exit status is 1 where
a check has not passed, or where nothing could be measured.

`--toy` runs all of it on the CPU in seconds, which says that it runs, and nothing about speed.
"""

import argparse
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.agreement import compiles_once, kernels_agree, losses_agree
from benchmarks.contestants import Bertsmith, Network, Transformers, build_objective
from benchmarks.trials import Trials
from bertsmith.encoders.config import training_flops
from bertsmith.errors import Interrupted
from bertsmith.objectives.objective import Batch
from bertsmith.randomness import derived_rng
from bertsmith.training.batches import prefetch
from bertsmith.training.cuda_graphs import RUNS_BEFORE
from bertsmith.training.loop import Event, State, TrainContext, fit
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.metrics import measured_peak_flops, memory_bytes
from bertsmith.training.schedules import Plan, PolynomialSettings

OURS, PEER = "bertsmith", "transformers"
NO_DROPOUT = "bertsmith, no dropout"


@dataclass(frozen=True)
class Case:
    network: Network
    rows: int
    """Of a batch."""
    known: dict[str, float] = field(default_factory=dict)
    """Tokens a second elsewhere, or wanted."""


ELECTRA_SMALL = Network(256, 12, 128, generator_fraction=0.25)
BERT_SMALL = Network(256, 12, 128)
CASES = {
    "ELECTRA-small": Case(
        ELECTRA_SMALL, 1024, {"V100, published": 47e3, "RTX 3090, published": 95e3, "H200, aim": 2e6}
    ),
    "ELECTRA-small, 128 rows": Case(ELECTRA_SMALL, 128),
    "BERT-small": Case(BERT_SMALL, 1024),
    "ELECTRA-base": Case(Network(768, 12, generator_fraction=1 / 3), 256),
    "BERT-base": Case(Network(768, 12), 256),
}
LOOP = "ELECTRA-small, the loop of pretrain"
LOOP_ROWS, LOOP_STEPS = 128, 200
"""As the recipe electra-small-owt has it: where a step is short, what surrounds it shows."""


def toy(network: Network) -> Network:
    """Of the same kind, and so small that a CPU does a step in milliseconds."""
    embedding_size = 32 if network.embedding_size else None
    return replace(network, hidden_size=64, num_hidden_layers=1, embedding_size=embedding_size, length=16,
                   vocab_size=1300)  # fmt: skip


class Benchmark:
    """A device, a deadline, and the trials so far."""

    def __init__(self, arguments: argparse.Namespace):
        self.toy = arguments.toy
        self.deadline = time.perf_counter() + arguments.seconds
        self.machine = choose_machine(MachineSettings(device="cpu" if self.toy else "cuda", compile=not self.toy))
        self.device = self.machine.device
        name = describe(self.device)
        self.trials = Trials(arguments.out, name)
        if self.trials.content["machine"] != name:
            sys.exit(f"{arguments.out}: holds trials of another machine, {self.trials.content['machine']}")
        self.trials.content.pop("skipped", None)  # by an earlier call: it may go now
        self.parts = arguments.parts
        self.repeats, self.window_seconds = (1, 0.02) if self.toy else (3, 1.5)
        self.longest_start = 0.0 if self.toy else 20.0
        """Of all contestants, until now, from being built to the end of the steps that are not counted."""

    def run(self) -> None:
        self.peak_flops = measured_peak_flops(self.machine)
        self.trials.note("peak", "measured TFLOP/s", self.peak_flops / 1e12)
        print(f"{self.trials.content['machine']}: {self.peak_flops / 1e12:,.1f} TFLOP/s measured", flush=True)
        parts = {"checks": self.check, LOOP: partial(self.guarded, LOOP, OURS, self.measure_loop)}
        for what, case in CASES.items():
            parts[what] = partial(self.measure_case, f"toy {what}" if self.toy else what, self.scaled(case))
        for what in self.parts or parts:
            parts[what]()
            self.forget()
        self.print_table()

    def scaled(self, case: Case) -> Case:
        return replace(case, network=toy(case.network), rows=8, known={}) if self.toy else case

    def check(self) -> None:
        """Whether the device agrees with the CPU, then compilation."""
        layers = 1 if self.toy else 4
        checks: dict[str, Callable[[], dict[str, Any]]] = {
            "attention kernels agree": partial(kernels_agree, self.device)
        }
        for dtype in (torch.float32, torch.bfloat16):
            for what, network in (("masked tokens", BERT_SMALL), ("replaced tokens", ELECTRA_SMALL)):
                network = replace(toy(network) if self.toy else network, num_hidden_layers=layers)
                name = f"{what} agree, {str(dtype).removeprefix('torch.')}"
                checks[name] = partial(losses_agree, network, self.device, dtype)
        case = self.scaled(CASES["BERT-small" if self.toy else "ELECTRA-small"])
        checks["a run compiles once"] = partial(compiles_once, case.network, case.rows, self.device)
        for name, check in checks.items():
            figures = self.attempt(check)
            self.forget()
            figures = {"passed": False, "error": figures} if isinstance(figures, str) else figures
            self.trials.note("checks", name, figures)
            told = ", ".join(
                f"{key} {value:.2g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in figures.items()
                if key != "passed"
            )
            print(f"{name}: {'passed' if figures['passed'] else 'FAILED'} ({told})", flush=True)

    def attempt(self, act: Callable[[], Any]) -> Any:
        """What `act` returns, or what it died of."""
        try:
            return act()
        except Interrupted:
            raise
        except Exception as error:  # one case's failure, be it the driver's or the compiler's, is not the next one's
            return f"{type(error).__name__}: {error}"[:1000]

    def forget(self) -> None:
        """What the last contestants compiled, and the memory they held."""
        torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def guarded(self, what: str, who: str, act: Callable[[], Any]) -> Any:
        """What `act` returns; None where there is no time for it, or where it fails, which is noted."""
        left = self.deadline - time.perf_counter()
        if left < self.longest_start:
            result: Any = f"out of time: {left:.0f} s left, and it may need {self.longest_start:.0f}"
        else:
            result = self.attempt(act)
        if not isinstance(result, str):
            return result
        self.trials.note("skipped", f"{what}, {who}", result)
        print(f"{what}, {who}: skipped, {result}", flush=True)
        return None

    def measure_case(self, what: str, case: Case) -> None:
        """All contestants side by side, in turns."""
        still = replace(case.network, dropout_prob=0.0)
        contestants = {}
        for who, kind, network in ((OURS, Bertsmith, case.network), (PEER, Transformers, case.network),
                                   (NO_DROPOUT, Bertsmith, still)):  # fmt: skip
            if len(self.trials.figures(what, who, "tokens/s")) < self.repeats:
                contestant = self.guarded(what, who, partial(self.start, kind, network, case.rows))
                if contestant is not None:
                    contestants[who] = contestant
        windows = {who: partial(self.window, contestant, case) for who, contestant in contestants.items()}
        died_of = self.attempt(lambda: self.trials.alternate(what, windows, self.repeats))
        if died_of:
            self.trials.note("skipped", what, died_of)
            print(f"{what}: {died_of}", flush=True)

    def start(self, kind: type, network: Network, rows: int) -> Any:
        """A contestant that has compiled."""
        started_at = time.perf_counter()
        held = self.allocated()
        torch.manual_seed(0)
        contestant = kind(network, rows, str(self.device), self.machine.compile)
        contestant.step()
        if self.device.type == "cuda":  # once compiled, and before a graph is replayed, whose memory is not counted
            torch.cuda.reset_peak_memory_stats(self.device)
        for _ in range(0 if self.toy else RUNS_BEFORE):
            contestant.step()
        self.synchronize()
        contestant.peak_bytes = memory_bytes(self.device) - held
        self.rest(contestant)
        self.longest_start = max(self.longest_start, time.perf_counter() - started_at)
        return contestant

    def window(self, contestant: Any, case: Case) -> dict[str, float]:
        """Figures of as many steps as fit in a window; those before them warm up, and ours are recorded anew, since
        their memory was the others' meanwhile."""
        self.timed(contestant.step, RUNS_BEFORE + 1)
        seconds = self.timed(contestant.step, 1)
        steps = min(max(3, math.ceil(self.window_seconds / seconds)), 200)
        rate = steps * case.rows * case.network.length / self.timed(contestant.step, steps)
        self.rest(contestant)
        return {
            "tokens/s": rate,
            "peak MB": contestant.peak_bytes / 2**20,
            "peak share": rate * self.flops_per_token(case.network) / self.peak_flops,
            "rows at once": contestant.rows_at_once,
        }

    def rest(self, contestant: Any) -> None:
        contestant.rest()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def measure_loop(self) -> None:
        """ELECTRA-small as `pretrain` runs it: masks from a thread, copies, a look at each step's gradients."""
        network, rows = (toy(ELECTRA_SMALL), 8) if self.toy else (ELECTRA_SMALL, LOOP_ROWS)
        what = f"toy {LOOP}" if self.toy else LOOP
        if self.trials.figures(what, OURS, "tokens/s"):
            return
        steps = 6 if self.toy else LOOP_STEPS
        torch.manual_seed(0)
        ours = Bertsmith(network, rows, str(self.device), self.machine.compile)

        def batches() -> Iterator[tuple[Batch, tuple[int, ...]]]:
            for number in count():
                rng = derived_rng(0, "masks", number)
                yield ours.make_batch(ours.rows, rng), (number,)

        ends = []
        context = TrainContext(ours.optimizer, PolynomialSettings(), Plan(steps=steps), 1.0, network.length, seed=0)
        with closing(prefetch(batches())) as fed:
            fit(ours.runner, fed, context, [Event(1, lambda *_: ends.append(time.perf_counter()))], State())
        seconds = statistics.median(after - before for before, after in pairwise(ends[2:]))
        rate = rows * network.length / seconds
        figures = {"tokens/s": rate, "peak share": rate * self.flops_per_token(network) / self.peak_flops}
        self.trials.alternate(what, {OURS: lambda: figures}, 1)

    def flops_per_token(self, network: Network) -> float:
        with torch.device("meta"):
            return training_flops(build_objective(network).flops_per_token(network.length))

    def timed(self, step: Callable[[], None], steps: int) -> float:
        """Seconds of so many steps, to their end on the device."""
        self.synchronize()
        started_at = time.perf_counter()
        for _ in range(steps):
            step()
        self.synchronize()
        return time.perf_counter() - started_at

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def allocated(self) -> int:
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0

    def print_table(self) -> None:
        """Medians, and our figure over the peer's."""
        print(f"\n{'':36}{'':24}{'tokens/s':>12}{'× peer':>9}{'GB':>8}{'of peak':>9}")
        trials = self.trials.content["trials"]
        for what, who in dict.fromkeys((trial["what"], trial["who"]) for trial in trials):
            rate, megabytes, share = (
                statistics.median(values) if (values := self.found(what, who, name)) else math.nan
                for name in ("tokens/s", "peak MB", "peak share")
            )
            peer = self.found(what, PEER, "tokens/s")
            ratio = rate / statistics.median(peer) if peer else math.nan
            print(f"{what:36}{who:24}{rate:12,.0f}{ratio:9.2f}{megabytes / 1024:8.1f}{share:9.1%}")
        if not self.toy:
            for name, rate in CASES["ELECTRA-small"].known.items():
                print(f"{'ELECTRA-small':36}{name:24}{rate:12,.0f}")
        print(f"checks: {'all passed' if not self.failed else 'FAILED: ' + ', '.join(self.failed)}")

    @property
    def failed(self) -> list[str]:
        """Names of the checks that have not passed."""
        return [name for name, figures in self.trials.content.get("checks", {}).items() if not figures["passed"]]

    @property
    def status(self) -> int:
        """The program's: 1 where the device cannot be trusted, or nothing is known of it."""
        return int(bool(self.failed) or ("skipped" in self.trials.content and not self.trials.content["trials"]))

    def found(self, what: str, who: str, name: str) -> list[float]:
        trials = self.trials.content["trials"]
        return [trial[name] for trial in trials if (trial["what"], trial["who"]) == (what, who) and name in trial]


def describe(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="JSON file; finished trials in it are kept")
    parser.add_argument("--seconds", type=float, default=450, help="begin nothing that may end later")
    parser.add_argument("--toy", action="store_true", help="tiny, on the CPU: for tests")
    parser.add_argument(
        # Not "--only", in which torch's compiler would look for a name to write into its code.
        "--parts",
        nargs="+",
        metavar="PART",
        choices=["checks", LOOP, *CASES],
        help="some of: %(choices)s",
    )
    arguments = parser.parse_args()
    if not arguments.toy and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; --toy runs on the CPU, to show that it runs")
    benchmark = Benchmark(arguments)
    benchmark.run()
    sys.exit(benchmark.status)


if __name__ == "__main__":
    main()
