"""One seed of a task: train, predict, score, in a folder that is whole or absent."""

import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from bertsmith.files import atomic_folder, atomic_write, write_json
from bertsmith.model.encoder import Encoder
from bertsmith.model.heads import CLASSIFICATION_HEADS, TAGGING_HEADS, PlainClassificationHead
from bertsmith.model.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.progress import format_count, progress
from bertsmith.randomness import derived_seed, generator
from bertsmith.tasks.classification import Classification, layer_rates
from bertsmith.tasks.encode import Rows
from bertsmith.tasks.encode_words import TaggedSplit
from bertsmith.tasks.metrics import is_constant, measure
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.starting_point import StartingPoint
from bertsmith.tasks.tag_scores import fallback, score_tags
from bertsmith.tasks.tagging import Tagging
from bertsmith.tasks.task import MISMATCHED, Task
from bertsmith.training.batches import by_length
from bertsmith.training.loop import Course, Event, State, Step, fit
from bertsmith.training.machine import Machine
from bertsmith.training.metrics import MetricsLog
from bertsmith.training.optimizers import build_optimizer
from bertsmith.training.plan import Plan

PREDICTED_TOKENS = 8192
"""Of a batch that is only predicted."""

POOLED_BATCHES = 32
"""So many batches of training examples at a time are sorted by length."""

LOG_STEPS = 50
"""Between two lines of metrics.jsonl."""


class Split(NamedTuple):
    """Encoded examples with their answers, as the model is to give them."""

    rows: Rows
    answers: np.ndarray
    """[N]: int64 class ids, or float32 numbers scaled so that the task's `low` is 0 and its `high` 1."""


class Setup(NamedTuple):
    """What all trials of a run share."""

    recipe: FinetuneRecipe
    task: Task
    start: StartingPoint
    machine: Machine
    train: Split | TaggedSplit
    dev: Split | TaggedSplit
    mismatched: Split | None = None
    """MNLI's second dev set."""


def run_trial(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """Train with `seed`, score on dev, and write `folder`; returns the metrics.

        model.safetensors    "encoder.…" and "head.…"
        results.json         the seed, the metrics, how long it took
        predictions-dev.tsv  an example a line, in the order of the dev file; of MNLI's mismatched dev set likewise;
                             of a tagging task predictions-dev.txt, a word a line
        metrics.jsonl        losses and learning rate by step

    Raises:
        Interrupted: by SIGTERM or SIGINT; nothing is left, the trial has to begin anew.
        UserError: memory or disk is full, gradients are not finite.
    """
    with atomic_folder(folder) as partial:
        objective = build_objective(setup, seed)
        plan = Plan(steps=num_steps(setup.recipe, len(setup.train.answers)))
        state = train(setup, objective, plan, seed, partial)
        predicted, metrics = _score(objective, setup, setup.dev, partial / "predictions-dev")
        if setup.mismatched is not None:
            path = partial / f"predictions-dev{MISMATCHED}"
            _, second = _score(objective, setup, setup.mismatched, path)
            metrics |= {name + MISMATCHED: score for name, score in second.items()}
        write_json(partial / "results.json", {
            "seed": seed, "metrics": metrics, "constant": is_constant(predicted),
            "steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 3),
        })  # fmt: skip
        with atomic_write(partial / "model.safetensors") as file:
            file.write(save({name: tensor.cpu().contiguous() for name, tensor in objective.state_dict().items()}))
    return metrics


def build_objective(setup: Setup, seed: int) -> Classification | Tagging:
    """The model before its first step: pre-trained weights, and what is new drawn from `seed`."""
    torch.manual_seed(derived_seed(seed, "weights"))
    recipe, start = setup.recipe, setup.start
    kind, heads = (Tagging, TAGGING_HEADS) if recipe.tags_words else (Classification, CLASSIFICATION_HEADS)
    head = partial(heads[start.family], start.settings, setup.task.num_outputs)
    if recipe.compat:  # the reference has no dropout there when it tags
        dropout_prob = 0.0 if recipe.tags_words else 0.1
        head = partial(PlainClassificationHead, start.settings, setup.task.num_outputs, dropout_prob)
    objective = kind(Encoder(start.settings, start.vocab_size), head(), recipe.compat)
    if not recipe.random_weights:
        wanted = objective.state_dict()
        weights = {name: tensor for name, tensor in start.weights.items() if name in wanted}
        missing = objective.load_state_dict(weights, strict=False).missing_keys
        assert all(name.startswith("head.") for name in missing), missing
    setup.machine.place(objective)
    return objective


def num_steps(recipe: FinetuneRecipe, num_examples: int) -> int:
    """Optimiser steps of a trial; a last batch that is not full counts as one. `compat` drops the fraction of a step
    that a broken number of epochs leaves, otherwise it is rounded up."""
    steps = math.ceil(num_examples / recipe.batch_size) * recipe.epochs
    return max(1, int(steps) if recipe.compat else math.ceil(steps))


def batches(
    split: Split | TaggedSplit, batch_size: int, seed: int, similar_lengths: bool = True
) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """Without end: every example once an epoch, in an order drawn for that epoch.

    `similar_lengths` sorts each POOLED_BATCHES batches' worth of examples by length, cuts them into batches and draws
    the order of these: a batch of short rows then needs little padding. Which examples share a pool is still chance.
    """
    for epoch in count():
        draw = generator(seed, "order", epoch)
        order = draw.permutation(len(split.answers))
        if similar_lengths:
            pools = np.arange(len(order)) // (POOLED_BATCHES * batch_size)
            order = order[np.lexsort((split.rows.lengths[order], pools))]
        cut = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
        for number, place in enumerate(draw.permutation(len(cut)) if similar_lengths else range(len(cut)), start=1):
            answers = torch.from_numpy(split.answers[cut[place]])
            yield Batch(split.rows.take(cut[place]), {"answers": answers}), (epoch, number)


def predict(objective: Classification, rows: Rows, machine: Machine) -> np.ndarray:
    """Scores [N, C] float32 of all rows."""
    scores = np.empty((len(rows.lengths), objective.head.output.out_features), dtype=np.float32)
    for chosen, _, found in _scored(objective, rows, machine):
        scores[chosen] = found.cpu().numpy()
    return scores


def predict_tags(objective: Tagging, rows: Rows, machine: Machine) -> np.ndarray:
    """The id of each token's likeliest tag, [N, L] int16; 0 where there is no token."""
    grid = np.zeros((len(rows.lengths), int(rows.lengths.max())), dtype=np.int16)
    for chosen, tokens, scores in _scored(objective, rows, machine):
        grid[chosen, : tokens.length] = tokens.to_grid(scores.argmax(dim=1)).cpu().numpy()
    return grid


def _scored(
    objective: Classification | Tagging, rows: Rows, machine: Machine
) -> Iterator[tuple[np.ndarray, Tokens, Tensor]]:
    """All rows, those of similar length together: their numbers, themselves, and the objective's float32 scores."""
    objective.eval()
    for chosen in by_length(rows.lengths, PREDICTED_TOKENS):
        tokens = rows.take(chosen)
        if machine.device.type != "cpu":
            tokens = tokens.padded(tokens.length, machine.pad_id).to(machine.device)
        with machine.inference():
            scores = objective.scores(tokens).float()
        yield chosen, tokens, scores
    objective.train()


def train(setup: Setup, objective: Classification | Tagging, plan: Plan, seed: int, folder: Path) -> State:
    """Train to the end of the plan, with metrics.jsonl in `folder`."""
    recipe, machine = setup.recipe, setup.machine
    rate_of = layer_rates(setup.start.settings.num_hidden_layers, recipe.layerwise_lr_decay, recipe.compat)
    optimizer = build_optimizer(objective, recipe.optimizer, rate_of)
    longest = int(setup.train.rows.lengths.max())
    course = Course(
        optimizer, recipe.schedule, plan, machine, recipe.optimizer.clip_norm, longest, seed, recipe.compat,
        static_shapes=False,
    )  # fmt: skip
    state = State()
    with closing(MetricsLog(folder, 0, tensorboard=False)) as log, progress(f"seed {seed}", plan.steps) as bar:
        total: list[Losses] = []

        def show(state: State, step: Step) -> None:
            total[:] = [total[0] + step.losses if total else step.losses]
            rate = format_count(state.tokens / max(state.seconds, 1e-9))
            bar.update(state.step, f"step {state.step:,}, {rate} tokens/s")

        def write(state: State, step: Step) -> None:
            log.write("train", state.step, {
                "tokens": state.tokens, "seconds": round(state.seconds, 3), **total.pop().means(),
                "learning_rate": step.learning_rate, "gradient_norm": step.gradient_norm,
            })  # fmt: skip

        events = [Event(1, show), Event(LOG_STEPS, write)]
        fit(objective, batches(setup.train, recipe.batch_size, seed, not recipe.compat), course, events, state)
    return state


def _score(
    objective: Classification | Tagging, setup: Setup, split: Split | TaggedSplit, path: Path
) -> tuple[np.ndarray, dict[str, float]]:
    """Predict a dev set and write the predictions to `path` and an ending; returns them with the metrics."""
    task = setup.task
    if isinstance(split, TaggedSplit):
        grid = predict_tags(objective, split.rows, setup.machine)
        ids = split.encoded.gather(grid, fallback(task, setup.train))
        return ids, score_tags(ids, split, task, path.with_suffix(".txt"))
    predicted = _as_answers(predict(objective, split.rows, setup.machine), task)
    answers = _unscaled(split.answers, task) if task.is_regression else split.answers
    _write_predictions(path.with_suffix(".tsv"), predicted, answers, task)
    return predicted, measure(task.metrics, predicted, answers)


def _as_answers(scores: np.ndarray, task: Task) -> np.ndarray:
    return _unscaled(scores[:, 0], task) if task.is_regression else scores.argmax(axis=1)


def _unscaled(answers: np.ndarray, task: Task) -> np.ndarray:
    return answers * (task.high - task.low) + task.low


def _write_predictions(path: Path, predicted: np.ndarray, answers: np.ndarray, task: Task) -> None:
    def text(answer: float) -> str:
        return f"{answer:.6g}" if task.is_regression else " ".join(task.labels[int(answer)].split())

    with atomic_write(path, "w") as file:
        file.write("index\tprediction\tlabel\n")
        file.writelines(
            f"{index}\t{text(prediction)}\t{text(answer)}\n"
            for index, (prediction, answer) in enumerate(zip(predicted, answers, strict=True))
        )
