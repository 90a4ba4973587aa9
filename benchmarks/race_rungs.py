"""The race's rungs: text, model and budget, and the arms of each question. docs/race.md has the rules."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.race_text import web_and_books

BASE = "base"


class Arm(NamedTuple):
    """A run that differs from the rung's base."""

    given: Sequence[str] = ()
    """Settings laid over the base's; of a peer, arguments of `benchmarks.race_peer`."""
    seeds: Sequence[int] = (0,)
    peer: bool = False
    minutes: float | None = None
    """Its budget, of a quiet core; None: the tokens of the base."""
    speed: str = "own"
    """Whose speed of the rung turns minutes into tokens."""


class Rung(NamedTuple):
    """A text, a model and a budget."""

    base: Sequence[str]
    """The recipe and its settings that arms are laid over."""
    questions: dict[str, dict[str, Arm]]
    vocabulary: int = 8000
    folder: str = "A"
    """Of its text, data and runs."""
    texts: Callable[[], Iterable[tuple[str, str]]] | None = None
    """Pairs (source, text); None: the docstrings of the installed packages."""
    peer: Sequence[str] = ()
    """Arguments that all its peers have."""
    speeds: Mapping[str, Arm] = {}
    """What is timed, by name; budgets in minutes need it."""


def masked(share: float, final: float | None = None) -> tuple[str, ...]:
    return (f"objective.masking.prob={share}", f"objective.masking.final_prob={final or share}")


def rate(learning_rate: str) -> str:
    return f"schedule.learning_rate={learning_rate}"


def muon(learning_rate: str, factor: float, *more: str) -> Arm:
    return Arm(("optimizer.kind=muon", rate(learning_rate), f"optimizer.matrix_rate={factor}", *more))


def stage(tokens: int, differs: str) -> str:
    """Return the setting of one stage before the base's own rows."""
    return f"stages=[{{tokens={tokens}, {differs}}}]"


ALL_MASK = ("objective.masking.mask_token_prob=1.0", "objective.masking.random_token_prob=0.0")
POST_NORM = ("model.kind=classic",)
THREE = (0, 1, 2)

RATES = {f"AdamW {value}": Arm((rate(value),)) for value in ("1e-3", "3e-3", "4e-3", "6e-3")}
BLOCK = {f"post-norm {value}": Arm((*POST_NORM, rate(value))) for value in ("5e-4", "1e-3", "2e-3")}
MEMORY = {
    "β2 0.95": Arm(("optimizer.beta2=0.95",)), "β2 0.999": Arm(("optimizer.beta2=0.999",)),
    "no bias correction": Arm(("optimizer.bias_correction=false",)),
}  # fmt: skip
SCHEDULES = {
    "cosine": Arm(("schedule.kind=cosine",)), "one minus sqrt": Arm(("schedule.kind=one_minus_sqrt",)),
    "wsd 0.3": Arm(("schedule.kind=wsd", "schedule.decay_proportion=0.3")),
    "warm-up 0.03": Arm(("schedule.warmup_proportion=0.03",)),
}  # fmt: skip

TUNED = ("--batch-size=16", "--beta2=0.98", "--warmup=0.1")
"""A peer's settings that are ours, beside its rate."""


BF16 = ("--bf16",)


def tuned(network: str, learning_rate: str, *more: str, minutes: float | None = None) -> Arm:
    """Return a peer that has our batch, β2 and warm-up."""
    given = (f"--network={network}", f"--rate={learning_rate}", *TUNED, *more)
    return Arm(given, peer=True, minutes=minutes, speed=network)


A_BUDGET = ("fast-tiny", "plan.tokens=1200000", "plan.checkpoint_steps=100000", "evaluate_rows=512")

A = Rung(
    base=(*A_BUDGET, "plan.evaluate_steps=200", *masked(0.15)),
    questions={
        "noise": {BASE: Arm(seeds=THREE)},
        "masks": {
            "20 %": Arm(masked(0.2)), "30 %": Arm(masked(0.3)), "30 to 15 %": Arm(masked(0.3, 0.15)),
            "all [MASK]": Arm(ALL_MASK),
        },
        "optimizer": {"Muon 2e-3 × 1": muon("2e-3", 1)},
        "peers": {
            "run_mlm's defaults": Arm(peer=True),
            **{f"bert {value}": tuned("bert", value) for value in ("5e-4", "1e-3", "2e-3")},
            **{f"modernbert {value}": tuned("modernbert", value) for value in ("1e-3", "2e-3", "4e-3")},
        },
    },
)  # fmt: skip

A2 = Rung(
    base=(*A_BUDGET, "plan.evaluate_steps=300", *masked(0.3)),
    questions={
        "noise": {BASE: Arm(seeds=THREE)},
        "masks": {
            "40 %": Arm(masked(0.4)), "50 %": Arm(masked(0.5)), "40 to 15 %": Arm(masked(0.4, 0.15)),
            "whole words": Arm(("objective.masking.whole_words=true",)),
        },
        "rate": RATES,
        "batch": {
            "8 rows": Arm(("batch_size=8", "plan.evaluate_steps=600")),
            "8 rows, 1.4e-3": Arm(("batch_size=8", rate("1.4e-3"), "plan.evaluate_steps=600")),
            "4 rows, 1e-3": Arm(("batch_size=4", rate("1e-3"), "plan.evaluate_steps=1200")),
            "32 rows, 3e-3": Arm(("batch_size=32", rate("3e-3"), "plan.evaluate_steps=150")),
        },
        "stages": {
            "32, then 64 tokens": Arm((stage(300_000, "length=32, batch_size=32"),)),
            "32 for longer, then 64": Arm((stage(600_000, "length=32, batch_size=32"),)),
            "40 to 15 %, 32, then 64": Arm((*masked(0.4, 0.15), stage(300_000, "length=32, batch_size=32"))),
            "8 rows, then 16": Arm((stage(300_000, "batch_size=8"),)),
            "16 rows, then 32 of 64": Arm((stage(600_000, "batch_size=16"), "batch_size=32")),
        },
        "initial weights": {f"std {std}": Arm((f"model.initializer_range={std}",)) for std in (0.04, 0.08)},
        "shape": {
            "6 heads": Arm(("model.num_attention_heads=6",)),
            "feed-forward × 2.5": Arm(("model.intermediate_size=480",)),
        },
        "averages": {f"average {decay}": Arm((f"average_decay={decay}",)) for decay in (0.98, 0.995)},
        "block": BLOCK,
        "memory": MEMORY,
        "schedule": SCHEDULES,
        "optimizer": {
            f"Muon {value} × {factor}": muon(value, factor)
            for value, factor in (("2e-3", 1), ("4e-3", 1), ("8e-3", 1), ("2e-3", 2), ("2e-3", 4))
        },
    },
)  # fmt: skip
"""The first rung again, over what won its first round: 30 % masked."""
A2_VOCABULARIES = {
    f"A2-{size}": A2._replace(vocabulary=size, folder=f"A-{size}", questions={"noise": {BASE: Arm()}})
    for size in (4000, 16_000)
}
"""A2's base with other vocabularies, to be compared by bits a byte."""


def b_speeds(*peer: str) -> dict[str, Arm]:
    """Return what is timed on a rung of B's size; `peer` are arguments of its tuned peers."""
    return {
        "own": Arm(), "own Muon": muon("2e-3", 1), "bert": tuned("bert", "1e-3", *peer),
        "modernbert": tuned("modernbert", "1e-3", *peer), "run_mlm's defaults": Arm(peer=True),
    }  # fmt: skip


def b_finals(*peer: str) -> dict[str, dict[str, Arm]]:
    """Return the questions after the rates are known; `peer` are arguments of the tuned peers."""
    return {
        "optimizer": {
            f"Muon {value} × 1": muon(value, 1)._replace(minutes=10, speed="own Muon")
            for value in ("1e-3", "2e-3", "4e-3")
        },
        "noise": {BASE: Arm(minutes=20, seeds=THREE)},
        "short": {
            f"in 2 minutes, {rows} rows": Arm((f"batch_size={rows}",), minutes=2, seeds=THREE) for rows in (8, 4)
        },
        "final": {
            **{f"in {minutes} minutes": Arm(minutes=minutes, seeds=THREE) for minutes in (10, 5, 2)},
            "tuned bert": tuned("bert", "5e-4", *peer, minutes=20)._replace(seeds=THREE),
            "tuned modernbert": tuned("modernbert", "1e-3", *peer, minutes=20)._replace(seeds=THREE),
            "run_mlm's defaults": Arm(peer=True, minutes=20, speed="run_mlm's defaults", seeds=THREE),
        },
    }


B = Rung(
    folder="B",
    texts=web_and_books,
    base=(
        "fast-tiny", "model.hidden_size=256", "model.num_hidden_layers=6", "plan.checkpoint_steps=100000",
        "plan.evaluate_steps=500", "plan.tokens=1000000", "evaluate_rows=512", "machine.dtype=bfloat16", *masked(0.4),
    ),
    peer=("--hidden-size=256", "--layers=6", "--intermediate-size=576", "--length=64"),
    speeds=b_speeds(*BF16)
    | {"own float32": Arm(("machine.dtype=float32",)), "bert float32": tuned("bert", "1e-3")},
    questions={
        "bert's rate": {
            f"bert {value}": tuned("bert", value, *BF16, minutes=10) for value in ("2.5e-4", "5e-4", "1e-3")
        },
        "modernbert's rate": {
            f"modernbert {value}": tuned("modernbert", value, *BF16, minutes=10) for value in ("5e-4", "1e-3", "2e-3")
        },
        "rate": {f"AdamW {value}": Arm((rate(value),), minutes=10) for value in ("1e-3", "2e-3", "3e-3")},
        **b_finals(*BF16),
    },
)  # fmt: skip
"""A peer's BERT has the width of its feed-forward part that gives it as many parameters as our block has."""

B32 = B._replace(
    base=tuple(setting for setting in B.base if not setting.startswith("machine.dtype=")),
    speeds=b_speeds(),
    questions=b_finals(),
)
"""B in float32, which every processor multiplies fast. Its 20 minutes are about as many tokens as B's ten, at which B
has bracketed the rates."""

RUNGS = {"A": A, "A2": A2, **A2_VOCABULARIES, "B": B, "B32": B32}
