"""One seed of a task: train, predict, score, in a folder that is whole or absent."""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save

from bertsmith.config.loading import to_dict
from bertsmith.console.progress import format_count, progress_bar
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import Interrupted
from bertsmith.objectives.objective import NO_LOSSES, Objective
from bertsmith.randomness import derived_seed
from bertsmith.storage.files import atomic_folder, atomic_write, own_folder, sha256_file
from bertsmith.storage.json_files import write_json
from bertsmith.storage.manifests import write_manifest
from bertsmith.tasks.dataset import Datasets, score_sets
from bertsmith.tasks.early_stopping import EarlyStopping
from bertsmith.tasks.multi_task import MultiTask
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task import Task
from bertsmith.training.loop import Event, State, Step, TrainContext, fit
from bertsmith.training.machine import Machine
from bertsmith.training.metrics import MetricsLog
from bertsmith.training.optimizers.optimizer import build_optimizer
from bertsmith.training.runner import Runner
from bertsmith.training.schedules import Plan

STEPS_PER_METRICS_LINE = 50


class TrialContext(NamedTuple):
    """The parts that all trials of a run share."""

    recipe: FinetuneRecipe
    task: Task | MultiTask
    pretrained: PretrainedEncoder
    machine: Machine
    datasets: Datasets
    name: str = ""
    """Of the run among others; empty where it is alone."""


def run_trial(context: TrialContext, seed: int, folder: Path) -> dict[str, float]:
    """Train with `seed`, score on dev, and write `folder`; returns the metrics.

        model.safetensors    "encoder.…" and "head.…"; of several tasks "heads.TASK.head.…"
        results.json         the seed, the metrics, cautions, how long it took; with early stopping also the step of the
                             weights that are kept, and their score on held-out examples
        predictions-dev.…    see `Dataset.score`; of questions preds.json, eval.json and null_odds.json; of several
                             tasks in a folder each
        metrics.jsonl        losses and learning rate by step
        manifest.json        hashes of all these, written last

    Raises:
        Interrupted: by SIGTERM or SIGINT; nothing is left, the trial has to begin anew.
        UserError: memory or disk is full, gradients are not finite.
    """
    own_folder(folder.parent)
    with atomic_folder(folder) as partial:
        objective = build_objective(context, seed)
        plan = Plan(steps=num_steps(context.recipe, len(context.datasets.train.lengths)))
        early_stopping, held_out, num_held_out = None, context.datasets.held_out, context.datasets.num_held_out
        if held_out:
            patience = context.recipe.early_stopping.patience
            early_stopping = EarlyStopping(held_out, context.task.metrics[0], context.machine, patience, num_held_out)
        state = train(context, objective, plan, seed, partial, early_stopping)
        stopping = {}
        if early_stopping is not None:
            early_stopping.restore(objective)
            stopping = {"early_stopping": {"held_out": num_held_out, **early_stopping.to_json()}}
        metrics, is_constant, _, cautions = score_sets(objective, context.datasets.dev, context.machine, partial)
        cautions += tuple(early_stopping.cautions) if early_stopping is not None else ()
        if context.recipe.random_weights:  # of a baseline, which need not learn
            cautions = ()
        write_json(partial / "results.json", {
            "seed": seed, "metrics": metrics, "constant": is_constant,
            "cautions": list(cautions),
            "steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 3),
            "threads": torch.get_num_threads(), **stopping,
        })  # fmt: skip
        with atomic_write(partial / "model.safetensors") as file:
            file.write(save({name: tensor.cpu().contiguous() for name, tensor in objective.state_dict().items()}))
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        hashes = {path.relative_to(partial).as_posix(): sha256_file(path) for path in files}
        write_manifest(partial, "trial", {"files": hashes})
    return metrics


def trial_name(run: str, seed: int) -> str:
    """Return a trial's name for messages, from its run's, which is empty where that is alone."""
    return f"{run} seed {seed}".lstrip()


def build_objective(context: TrialContext, seed: int) -> Objective:
    """Return the model before its first step: pre-trained weights, and what is new drawn from `seed`."""
    torch.manual_seed(derived_seed(seed, "weights"))
    pretrained = replace(context.pretrained, weights={}) if context.recipe.random_weights else context.pretrained
    return context.task.objective(pretrained, Encoder(pretrained.settings, pretrained.vocab_size))


def num_steps(recipe: FinetuneRecipe, num_rows: int) -> int:
    """Return the optimizer steps of a trial; a last batch that is not full counts as one. `compat` drops the fraction
    of a step that a fractional number of epochs leaves, otherwise it is rounded up."""
    steps = math.ceil(num_rows / recipe.batch_size) * recipe.epochs
    return max(1, int(steps) if recipe.compat else math.ceil(steps))


def train(
    context: TrialContext,
    objective: Objective,
    plan: Plan,
    seed: int,
    folder: Path,
    stopping: EarlyStopping | None = None,
) -> State:
    """Train to the end of the plan, or until `stopping` ends it, with metrics.jsonl in `folder`."""
    recipe, runner = context.recipe, Runner(objective, context.machine)
    lr_scale_of = layer_rates(context.pretrained.settings.num_hidden_layers, recipe.layerwise_lr_decay, recipe.compat)
    optimizer = build_optimizer(objective, recipe.optimizer, lr_scale_of)
    longest = int(context.datasets.train.lengths.max())
    train_context = TrainContext(
        optimizer, recipe.schedule, plan, recipe.optimizer.clip_norm, longest, seed, recipe.compat,
        static_shapes=False,
    )  # fmt: skip
    state, title = State(), f"{folder.resolve().parents[1].name}-seed-{seed}"
    with (
        closing(MetricsLog(folder, 0, recipe.log, to_dict(recipe) | {"seed": seed}, title)) as log,
        progress_bar(trial_name(context.name, seed), plan.total) as bar,
    ):
        total = NO_LOSSES

        def show(state: State, step: Step) -> None:
            nonlocal total
            total += step.losses if math.isfinite(step.gradient_norm) else NO_LOSSES
            rate = f", {format_count(state.tokens / state.seconds)} tokens/s" if state.seconds else ""  # it compiled
            bar.update(state.step, f"step {state.step:,}{rate}")

        def write(state: State, step: Step) -> None:
            nonlocal total
            log.write("train", state.step, {
                "tokens": state.tokens, "seconds": round(state.seconds, 3), **total.means(),
                "learning_rate": step.learning_rate, "gradient_norm": step.gradient_norm,
            })  # fmt: skip
            total = NO_LOSSES

        events = [Event(1, show), Event(STEPS_PER_METRICS_LINE, write)]
        if stopping is not None:

            def evaluate(state: State, step: Step) -> bool:
                scores = stopping.evaluate(objective, state.step)
                log.write("heldout", state.step, scores)
                bar.line(f"step {state.step:,}: {stopping.metric} {scores[stopping.metric]:.4f} on held-out examples")
                return stopping.should_stop

            epoch = math.ceil(len(context.datasets.train.lengths) / recipe.batch_size)
            events.insert(1, Event(max(1, round(recipe.early_stopping.every * epoch)), evaluate))
        batches = context.datasets.train.batches(recipe.batch_size, seed, recipe.similar_lengths)
        asked_to_stop = fit(runner, batches, train_context, events, state)
    if asked_to_stop is not None:
        raise Interrupted(asked_to_stop)
    return state


def layer_rates(num_layers: int, decay: float, compat: bool = False) -> Callable[[str], float]:
    """Return the factor on the learning rate of the parameter of this name.

    1 for the head, `decay` for the top layer and what normalises its output, and `decay` times as much for each layer
    below, the embeddings and their projection being the lowest. With `compat` the whole encoder learns slower by one
    more `decay`: the reference counts its layers from 0 and its head from num_layers + 2, so that its top layer gets
    decay² already.
    Source: google-research/electra, model/optimization.py, _get_layer_lrs.
    """
    lowest = num_layers + 2 if compat else num_layers + 1

    def lr_scale_of(name: str) -> float:
        if not name.startswith("encoder."):
            return 1.0
        depth = 0
        if name.startswith("encoder.layers."):
            depth = int(name.split(".")[2]) + 1
        elif name.startswith("encoder.final_norm."):
            depth = num_layers
        return decay ** (lowest - depth)

    return lr_scale_of
