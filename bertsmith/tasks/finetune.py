"""Fine-tuning: a pre-trained encoder and a labelled task in, a trial a seed and their scores out.

RUN/recipe.toml          every setting of the run
    manifest.json        what it is: identity, task, model; finished or not
    tokenizer.json       vocab.txt …
    trials/seed-0/…      see `bertsmith.tasks.trial`
    results.json         all trials' scores, rewritten after each
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.config.loading import Loaded, defaults, identity, to_dict, to_toml
from bertsmith.console.terminal import say
from bertsmith.encoders.config import check_length
from bertsmith.errors import FilesNotFound, UserError
from bertsmith.randomness import derived_rng
from bertsmith.storage.files import locked, make_folder, own_folder, write_text
from bertsmith.storage.folders import no_empty_folder, numbered_folders, open_run_folder, remove_unfinished
from bertsmith.storage.json_files import member, write_json
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.storage.results import by_task, cautions_of, read_trial_results
from bertsmith.tasks.answering.question_task import QuestionTask
from bertsmith.tasks.metrics import summarize
from bertsmith.tasks.multi_task import MultiTask
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder, open_pretrained_encoder
from bertsmith.tasks.recipe import SEVERAL, FinetuneRecipe
from bertsmith.tasks.runs import trial_folder
from bertsmith.tasks.task import Task
from bertsmith.tasks.task_spec import Input
from bertsmith.tasks.texts.text_task import TextTask
from bertsmith.tasks.trial import TrialContext, run_trial
from bertsmith.tasks.words.tag_task import TagTask
from bertsmith.training.machine import choose_machine

TASK_CLASSES: dict[Input, type[Task]] = {"texts": TextTask, "words": TagTask, "questions": QuestionTask}


@no_empty_folder
def finetune(loaded: Loaded, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Run the trials of a `FinetuneRecipe` that the folder `out` does not have yet; returns its results.json.

    A trial is whole or absent: one that was killed starts again from its beginning, finished ones stay.

    Raises:
        UserError: the model or the data cannot be used; `out` belongs to another recipe, model or data (what differs
            is named) or to another process; memory or disk is full; gradients are not finite.
        Interrupted: by SIGTERM or SIGINT; the trials finished before it stay.
    """
    return finetune_encoder(loaded, open_pretrained_encoder(Path(loaded.settings.model)), out, overwrite)


def finetune_encoder(
    loaded: Loaded, pretrained: PretrainedEncoder, out: Path, overwrite: bool = False
) -> dict[str, Any]:
    """Do what `finetune` does, from this encoder in place of the model that the recipe names."""
    recipe: FinetuneRecipe = loaded.settings
    if recipe.random_weights:
        pretrained = replace(pretrained, finetuned_on=())
    if pooling := "cls" if recipe.compat else recipe.classifier_pooling:
        pretrained = pretrained.pooled_by(pooling)
    task = load_task(recipe)
    check_rows(recipe, pretrained, task)
    seen = pretrained.trained_length
    if seen is not None and recipe.sequence_length > seen and not recipe.random_weights:
        _say(
            f"{recipe.model}: has seen no row of more than {seen} tokens; what lies behind them in one of "
            f"{recipe.sequence_length} (sequence_length) is new to it"
        )
    machine = choose_machine(recipe.machine, pretrained.tokenizer.pad_id, compile_on_gpu=False)
    make_folder(out)
    with locked(out) as held:
        _open(out, recipe, pretrained, task, overwrite)
        missing = [seed for seed in range(recipe.seeds) if not trial_folder(out, seed).is_dir()]
        if missing:
            context = TrialContext(recipe, task, pretrained, machine, task.encode(pretrained))
            assert bool(context.datasets.held_out) == (recipe.early_stopping.share > 0), "tasks hold it out"
            if context.datasets.held_out:
                _say(
                    f"{context.datasets.num_held_out:,} of {task.num_examples['train']:,} training examples are held "
                    f"out for early stopping"
                )
            for seed in missing:
                run_trial(context, seed, trial_folder(out, seed))
                held.check()
                write_json(out / "results.json", _collect(out, task))
        results = _collect(out, task)
        write_json(out / "results.json", results)
        write_manifest(out, "finetune", read_manifest(out, "finetune") | {"finished": True})
    _note_trials(results, out)
    if pretrained.finetuned_on:
        _say(f"started from a model that had learnt {', '.join(pretrained.finetuned_on)} before")
    return results


def load_task(recipe: FinetuneRecipe) -> Task | MultiTask:
    """Return the recipe's task with its files, read. Raises UserError where they cannot be used."""
    if recipe.task == SEVERAL:
        return MultiTask(recipe, {name: _load_one_of(recipe, name) for name in recipe.several.tasks})
    return _load_one(recipe)


def _load_one(recipe: FinetuneRecipe) -> Task:
    """Return the task of a recipe that has one alone, and say what of its files is left out."""
    assert recipe.spec.read is not None, "as in every spec of the registry"
    data = recipe.spec.read(recipe)
    for examples in (data.train, *data.dev_sets.values()):
        for line in examples.notes:
            _say(line)
    limit, count = recipe.train_examples, data.train.num_examples
    if limit is not None and limit < count:
        chosen = np.sort(derived_rng(0, "training examples").permutation(count)[:limit])
        data = data._replace(train=data.train.take(chosen))
    return TASK_CLASSES[recipe.spec.input](recipe, data)


def _load_one_of(recipe: FinetuneRecipe, name: str) -> Task:
    """Return one of several tasks. Raises UserError as `load_task`; where its files are not there, with how to name
    their folder or do without it."""
    try:
        return _load_one(recipe.of_task(name))
    except FilesNotFound as error:
        folder = f"several.folders=\"{{'{name}'='…'}}\"" if "." in name else f"several.folders.{name}=…"
        others = [task for task in recipe.several.tasks if task != name]
        without = f"several.tasks={others}" if len(others) > 1 else "several.tasks=… without it"
        raise FilesNotFound(
            f"{error}\n{name} is one of several.tasks ({', '.join(recipe.several.tasks)}): {folder} names its folder, "
            f'"{without}" leaves it out'
        ) from None


def check_rows(recipe: FinetuneRecipe, pretrained: PretrainedEncoder, task: Task | MultiTask) -> None:
    """Raise UserError where the model cannot have such rows, or `Task.check` refuses it."""
    try:
        check_length(pretrained.settings, "sequence_length", recipe.sequence_length)
    except ValueError as error:
        raise UserError(str(error)) from None
    task.check(pretrained)


def _open(
    out: Path, recipe: FinetuneRecipe, pretrained: PretrainedEncoder, task: Task | MultiTask, overwrite: bool
) -> None:
    """Check that `out` is this recipe's, or make it so."""
    run_identity = identity(recipe) | {"model": pretrained.fingerprint()} | task.identity()
    open_run_folder(out, FOLDER_TYPES["finetune"], run_identity, defaults(recipe), overwrite)
    remove_unfinished(own_folder(out / "trials"), "seed-")
    write_manifest(out, "finetune", {
        "identity": run_identity, "recipe": to_dict(recipe), **task.to_json(),
        "encoder": to_dict(pretrained.settings), "family": pretrained.family, "vocab_size": pretrained.vocab_size,
        "trained_length": pretrained.trained_length, "learnt_before": pretrained.finetuned_on,
        "tokenizer": pretrained.tokenizer.fingerprint, "finished": False,
    })  # fmt: skip
    # After the manifest: of a run that is killed between them, the folder can be recognised.
    write_text(out / "recipe.toml", to_toml(recipe))
    pretrained.tokenizer.save(out)


def _collect(run: Path, task: Task | MultiTask) -> dict[str, Any]:
    """Return the content of results.json, out of all finished trials."""
    trials = []
    for seed in numbered_folders(run / "trials", "seed-"):
        path = str(trial_folder(run, seed) / "results.json")
        metrics = member(read_trial_results(trial_folder(run, seed), seed), "metrics", dict, path)
        for name in task.metrics:
            member(metrics, name, float, path)
        trials.append({"seed": seed, "metrics": metrics})
    summary = {name: summarize([trial["metrics"][name] for trial in trials]) for name in task.metrics}
    return {"task": task.name, "trials": trials, "summary": summary}


def score_table(results: dict[str, Any]) -> list[str]:
    """Return the lines of a table for each task: scores by seed; of several seeds median, mean and deviation too."""
    trials = {f"seed {trial['seed']}": by_task(trial["metrics"]) for trial in results["trials"]}
    lines = []
    for task, summary in by_task(results["summary"]).items():
        rows = {seed: metrics[task] for seed, metrics in trials.items()}
        for row in ("median", "mean", "std") if len(trials) > 1 else ():
            rows[row] = {name: values[row] for name, values in summary.items()}
        widths = {name: max(10, len(name) + 2) for name in summary}
        lines.append(f"{task or results['task']:>10}" + "".join(f"{name:>{width}}" for name, width in widths.items()))
        for row, scores in rows.items():
            lines.append(f"{row:>10}" + "".join(f"{scores[name]:>{width}.4f}" for name, width in widths.items()))
    return lines


def _note_trials(results: dict[str, Any], run: Path) -> None:
    """Write to standard error what early stopping kept of each trial, and what it was warned of."""
    for trial in results["trials"]:
        details = read_trial_results(trial_folder(run, trial["seed"]), trial["seed"])
        if stopping := details.get("early_stopping"):
            _say(
                f"seed {trial['seed']}: the weights of step {stopping['step']} of {details['steps']} are kept, "
                f"{stopping['metric']} {stopping['score']:.4f} on held-out examples"
            )
        for caution in cautions_of(details):
            _say(f"seed {trial['seed']}: {caution}")


def _say(text: str) -> None:
    say(text, error=True)
