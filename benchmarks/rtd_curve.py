"""Replaced tokens against masked tokens at equal FLOPs, and why the first tries failed (docs/log.md, November 2026).

    python -m benchmarks.rtd_curve runs=FOLDER [--questions curve] [--arms RTD] [--budgets 1e13 3e13] [--blimp DIR]
        [--jobs 1] [--out benchmarks/rtd.json]

Two questions have arms that differ from a base in one thing each: "first try" begins with the settings of the first
tries, "repaired" with those that Adam needs in a short run. "curve" sets masked tokens, replaced tokens and the one
after the other beside one another at growing budgets. A budget is in FLOPs as `bertsmith plan` counts them, and an arm
sees as many tokens as it pays for; the text, vocabulary, encoder, rows and batches are those of the race's rung A.

The own losses of the two objectives cannot be compared. What both have is a task, fine-tuned with three seeds (are a
sentence's words in order? Its sentences are kept out of the text), and BLiMP. What is in FOLDER is not done again.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.race import bertsmith, folder_name, prepare
from benchmarks.trials import Trials
from bertsmith.planning.estimate import estimate
from bertsmith.training.metrics import read_metrics


class Arm(NamedTuple):
    """A recipe's settings."""

    settings: Sequence[str] = ()
    """Laid over those of `Sizes.base`."""
    first: Sequence[str] | None = None
    """Settings of a run on half the budget, with whose weights the arm begins; None: random ones, and the whole
    budget."""


class Sizes(NamedTuple):
    """Sizes of the experiment."""

    vocabulary: int = 8000
    train_examples: int = 1000
    dev_examples: int = 1000
    base: Sequence[str] = (
        "fast-tiny", "log=[]", "evaluate_rows=512", "machine.compile=false", "plan.checkpoint_steps=1000"
    )  # fmt: skip
    finetune: Sequence[str] = ("seeds=3",)
    budget: float = 1e13
    """FLOPs of an arm, but of the question "curve"."""
    evaluations: int = 8


BUDGETS = (1e13, 3e13, 1e14, 3e14)
RTD = ("objective.kind=rtd", "objective.masking.mask_token_prob=0.85", "objective.masking.random_token_prob=0")
SHARE = "objective.masking.prob={0}", "objective.masking.final_prob={0}"
MASKS_15, MASKS_25 = (tuple(setting.format(share) for setting in SHARE) for share in (0.15, 0.25))
HOT_ADAM = ("optimizer.bias_correction=false", "optimizer.beta2=0.999", "schedule.warmup_proportion=0.05")
"""As the first tries had it: the reference's Adam, with a short warm-up."""

ONE_THING: dict[str, Sequence[str]] = {
    "base": (),
    "rate 1e-3": ("schedule.learning_rate=1e-3",),
    "discriminator weight 10": ("objective.discriminator_weight=10",),
    "discriminator weight 1": ("objective.discriminator_weight=1",),
    "generator ½": ("objective.generator.hidden_fraction=0.5",),
    "generator ⅛": ("objective.generator.hidden_fraction=0.125",),
    "generator's rate × 0.3": ("objective.generator.rate=0.3",),
    "generator's rate × 0.1": ("objective.generator.rate=0.1",),
    "25 % masked": MASKS_25,
    "gradient-disentangled": ("objective.generator.sharing=gradient_disentangled",),
    "nothing shared": ("objective.generator.sharing=nothing",),
}
"""What both of the questions about one thing at a time ask."""
FIRST_TRY = {
    "bias correction": ("optimizer.bias_correction=true",), "β2 0.98": ("optimizer.beta2=0.98",),
    "warm-up 0.2": ("schedule.warmup_proportion=0.2",), "no clipping": ("optimizer.clip_norm=0",),
    "post-norm, 1e-3": ("model.kind=classic", "schedule.learning_rate=1e-3"),
}  # fmt: skip
REPAIRED = {
    "rate 4e-3": ("schedule.learning_rate=4e-3",), "masked tokens first": (),
    **{f"Muon {rate}": ("optimizer.kind=muon", f"schedule.learning_rate={rate}") for rate in ("1e-3", "2e-3", "4e-3")},
}  # fmt: skip

QUESTIONS: dict[str, dict[str, Arm]] = {
    "first try": {
        name: Arm((*RTD, *MASKS_15, *HOT_ADAM, *settings)) for name, settings in (ONE_THING | FIRST_TRY).items()
    },
    "repaired": {
        name: Arm((*RTD, *MASKS_15, *settings), () if name == "masked tokens first" else None)
        for name, settings in (ONE_THING | REPAIRED).items()
    },
    "curve": {
        "MLM": Arm(),
        "RTD": Arm((*RTD, *MASKS_15)),
        "MLM, then RTD": Arm((*RTD, *MASKS_15), first=()),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=lambda text: Path(text.partition("=")[2]), help="runs=FOLDER")
    parser.add_argument("--questions", nargs="*", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument(
        "--arms", nargs="*", choices=sorted({name for arms in QUESTIONS.values() for name in arms}), help="of them"
    )
    parser.add_argument("--budgets", nargs="*", type=float, default=BUDGETS, help="FLOPs, of the question curve")
    parser.add_argument("--blimp", type=Path, help="folder of BLiMP; 20 pairs of each paradigm are scored")
    parser.add_argument("--jobs", type=int, default=1, help="arms at a time, of one thread each")
    parser.add_argument("--out", type=Path, help="JSON file; finished arms in it are kept")
    arguments = parser.parse_args()
    trials, sizes = Trials(arguments.out), Sizes()
    data = prepare_text(arguments.runs, sizes)
    for question in arguments.questions:
        for budget in arguments.budgets if question == "curve" else (sizes.budget,):
            what = f"{question}, {budget:.0e}"
            arms = {
                (what, name, 0): partial(measure, data, arm, budget, f"{what}, {name}", sizes, arguments.blimp)
                for name, arm in QUESTIONS[question].items()
                if name in (arguments.arms or QUESTIONS[question])
            }
            trials.side_by_side(arms, arguments.jobs)
    print_table(trials)


def prepare_text(folder: Path, sizes: Sizes, texts: Callable[[], Iterable[tuple[str, str]]] | None = None) -> Path:
    """Return the data in `folder`, with the task's examples beside it, made of `texts` (by default docstrings) if it is
    not there."""
    from bertsmith.quickstart.task import split_texts, write_task
    from bertsmith.text.docstrings import documents

    def without_examples() -> list[tuple[str, str]]:
        split = split_texts(list((texts or documents)()), sizes.train_examples, sizes.dev_examples)
        write_task(folder / "task", split)
        return split.rest

    return prepare(folder, sizes.vocabulary, without_examples)


def measure(data: Path, arm: Arm, budget: float, name: str, sizes: Sizes, blimp: Path | None) -> dict[str, Any]:
    """Train an arm, fine-tune it, and return its figures."""
    folder = data.parent / folder_name(name)
    runs = [(folder, [*sizes.base, *arm.settings], budget)]
    if arm.first is not None:
        begun = folder.with_name(f"{folder.name}-first")
        runs = [(begun, [*sizes.base, *arm.first], budget / 2), (folder, [*runs[0][1], f"init={begun}"], budget / 2)]
    tokens = 0
    for out, recipe, flops in runs:
        settings = [f"data={data}", *recipe[1:]]
        planned = plan(recipe[0], settings, flops, sizes.evaluations)
        bertsmith("pretrain", recipe[0], *settings, *planned, "--out", out)
        tokens += last(out)["tokens"]
    task = folder.with_name(f"{folder.name}-order")
    bertsmith(
        "finetune", "quickstart", f"model={folder}", f"data={data.parent / 'task'}", *sizes.finetune, "--out", task
    )
    accuracies = [trial["metrics"]["accuracy"] for trial in read(task / "results.json")["trials"]]
    measured = {key: value for key, value in last(folder).items() if key.endswith(("_loss", "_auc", "_accuracy"))}
    figures = {"budget": budget, "tokens": tokens, **measured, "word_order": statistics.mean(accuracies)}
    if blimp:
        grammar = folder.with_name(f"{folder.name}-blimp.json")
        if not grammar.exists():
            bertsmith("evaluate", folder, f"blimp={blimp}", "pairs=20", "--out", grammar)
        figures["blimp"] = read(grammar)["blimp"]["overall"]["accuracy"]
    return figures | {
        "word_order_of_seeds": accuracies, "settings": [*sizes.base, *arm.settings],
        "first": arm.first, "curve": curve(folder),
    }  # fmt: skip


def plan(recipe: str, settings: Sequence[str], flops: float, evaluations: int) -> list[str]:
    """Return a plan of as many tokens as the operations allow, with so many evaluations."""
    tokens = round(flops / estimate(recipe, [*settings, "plan.tokens=1"]).flops_per_token)
    steps = estimate(recipe, [*settings, f"plan.tokens={tokens}"]).steps
    assert steps is not None, "a plan in tokens has them"
    return [f"plan.tokens={tokens}", f"plan.evaluate_steps={max(1, steps // evaluations)}"]


def held_out(run: Path) -> list[dict[str, Any]]:
    """Return a run's held-out evaluations."""
    return [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "heldout"]


def last(run: Path) -> dict[str, Any]:
    """Return a run's last held-out evaluation."""
    return held_out(run)[-1]


def curve(run: Path) -> list[dict[str, float]]:
    """Return the measures that show how far each of the two networks is, by tokens."""
    kept = ("tokens", "mlm_loss", "rtd_loss", "rtd_auc", "pinned_loss")
    return [{name: round(line[name], 4) for name in kept if name in line} for line in held_out(run)]


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def print_table(trials: Trials) -> None:
    """Print the arms of each question by their accuracy on the task."""
    arms = trials.content["trials"]
    for what in dict.fromkeys(trial["what"] for trial in arms):
        print(f"\n{what} FLOPs")
        for trial in sorted((trial for trial in arms if trial["what"] == what), key=lambda trial: -trial["word_order"]):
            names = ("blimp", "rtd_auc", "rtd_loss", "mlm_loss", "pinned_loss")
            measured = "  ".join(f"{name} {trial[name]:.3f}" for name in names if name in trial)
            print(f"{trial['who']:24} word order {trial['word_order']:.3f}  {measured}  {trial['tokens'] / 1e6:.2f} M")


if __name__ == "__main__":
    main()
