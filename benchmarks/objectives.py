"""BERT against ELECTRA at equal training FLOPs: one encoder, two objectives, two seeds; what comes of each on tasks.

    python -m benchmarks.objectives data=DATA glue=GLUE blimp=BLIMP runs=FOLDER [--budget large] --out objectives.json

DATA is a prepared folder with a vocabulary of 8,000. The encoder is ModernBERT's, 4 × 256 (4.4 M parameters; a
post-norm one of that size does not leave the frequencies of words within the small budget, see docs/log.md). By
`bertsmith plan` both sides do the same number of operations, to 1 %. Then each is fine-tuned on CoLA, RTE, MRPC and
SST-2 (one seed), and BLiMP is measured on 20 pairs a paradigm.

Everything is in FOLDER, and what is there is not done again. A model that was trained elsewhere may be put there as it
was exported: FOLDER/small-BERT-0 and so on.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.trials import Trials, parser_of
from bertsmith.planning.estimate import estimate

BUDGETS = {
    "small": ["batch_size=16", {"BERT": 1600, "ELECTRA": 1450}],  # 5.5e13 FLOPs: about 16 minutes of one core
    "large": ["batch_size=64", {"BERT": 5500, "ELECTRA": 5000}],  # 7.6e14: under a minute of an H100
}
"""Rows a step, and steps."""

SHAPE = ["model.hidden_size=256", "model.num_hidden_layers=4", "rows.length=128", "objective.masking.prob=0.15"]
RATE = ["schedule.learning_rate=2e-3", "schedule.warmup_proportion=0.05", "plan.evaluate_steps=200"]
OBJECTIVES = {
    "BERT": ["objective.masking.mask_token_prob=0.8", "objective.masking.random_token_prob=0.1"],
    "ELECTRA": ["objective.kind=rtd", "objective.masking.mask_token_prob=0.85"],
}
"""Each with the masks of its paper."""

TASKS = {
    "cola": ["seeds=1"],
    "rte": ["seeds=1", "epochs=3"],
    "mrpc": ["seeds=1", "double_unordered=false"],
    "sst-2": ["seeds=1", "epochs=1"],
}
SEEDS = (0, 1)


def main() -> None:
    parser = parser_of(__doc__)
    for name in ("data", "glue", "blimp", "runs"):
        parser.add_argument(name, type=lambda text: Path(text.partition("=")[2]), help=f"{name}=FOLDER")
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    arguments = parser.parse_args()
    batch_size, steps = BUDGETS[arguments.budget]
    recipes = {
        name: [*SHAPE, *RATE, batch_size, *overrides, f"plan.steps={steps[name]}"]
        for name, overrides in OBJECTIVES.items()
    }
    flops = {
        name: estimate("modern-7x256", [f"data={arguments.data}", *recipe]).flops for name, recipe in recipes.items()
    }
    assert abs(flops["ELECTRA"] / flops["BERT"] - 1) < 0.01, flops
    trials = Trials(arguments.out)
    trials.note("FLOPs", arguments.budget, flops)
    for seed in SEEDS:
        for name, recipe in recipes.items():
            folder = arguments.runs / f"{arguments.budget}-{name}-{seed}"
            what = f"{arguments.budget}, seed {seed}"
            trials.alternate(what, {name: lambda: measure(folder, [*recipe, f"seed={seed}"], arguments)}, 1)  # noqa: B023
    print_table(trials, arguments.budget)


def measure(folder: Path, recipe: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """Train if need be, fine-tune, and look."""
    exported = [path for path in (folder, folder / "discriminator") if (path / "config.json").is_file()]
    if not exported:
        bertsmith("pretrain", "modern-7x256", f"data={arguments.data}", *recipe, "--out", folder)
    figures = last_measures(folder)
    for task, overrides in TASKS.items():
        out = folder.with_name(f"{folder.name}-{task}")
        model = exported[0] if exported else folder
        bertsmith("finetune", task, f"model={model}", f"data={arguments.glue}", *overrides, "--out", out)
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
        figures |= {f"{task} {name}": of["median"] for name, of in results["summary"].items()}
    grammar = folder.with_name(f"{folder.name}-blimp.json")
    if not grammar.exists():
        bertsmith("evaluate", folder, f"blimp={arguments.blimp}", "pairs=20", "--out", grammar)
    found = json.loads(grammar.read_text(encoding="utf-8"))
    return figures | {"blimp": found["blimp"]["overall"]["accuracy"]}


def last_measures(folder: Path) -> dict[str, float]:
    """Of the last held-out evaluation."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = [line for line in map(json.loads, lines) if line["split"] == "heldout"][-1]
    return {name: last[name] for name in ("tokens", "mlm_loss", "mlm_accuracy", "rtd_auc") if name in last}


def bertsmith(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "bertsmith", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def print_table(trials: Trials, budget: str) -> None:
    """Each side's seeds, and their mean."""
    found = [trial for trial in trials.content["trials"] if trial["what"].startswith(budget)]
    names = dict.fromkeys(name for trial in found for name in trial if name not in ("what", "who", "number", "commit"))
    for name in names:
        told = []
        for who in OBJECTIVES:
            values = [trial[name] for trial in found if trial["who"] == who and name in trial]
            seeds = ", ".join(f"{value:.4g}" for value in values)
            told += [f"{who} {statistics.mean(values):.4g} ({seeds})"] if values else []
        print(f"{name:16} {'   '.join(told)}")


if __name__ == "__main__":
    main()
