"""Fine-tuning: a pre-trained encoder and a labelled task in, a trial a seed and their scores out.

RUN/recipe.toml          every setting of the run
    manifest.json        what it is: identity, task, model; finished or not
    tokenizer.json       vocab.txt …
    trials/seed-0/…      see `bertsmith.tasks.trial`
    results.json         all trials' scores, rewritten after each
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.config.loading import Loaded, defaults, identity, to_dict, to_toml
from bertsmith.console.terminal import say
from bertsmith.encoders.config import check_length
from bertsmith.errors import UserError
from bertsmith.storage.files import locked, make_folder, own_folder, write_text
from bertsmith.storage.folder_kinds import KINDS
from bertsmith.storage.folders import no_empty_folder, number_of, open_run_folder, remove_unfinished
from bertsmith.storage.json_files import member, write_json
from bertsmith.storage.manifests import read_manifest, write_manifest
from bertsmith.storage.results import cautions_of, read_trial_results
from bertsmith.tasks.answering.answering_lesson import read_answering_lesson
from bertsmith.tasks.lesson import Lesson
from bertsmith.tasks.metrics import summarize
from bertsmith.tasks.mixing import SEVERAL, task_and_metric
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.runs import trial_folder
from bertsmith.tasks.several import SeveralLesson
from bertsmith.tasks.starting_point import StartingPoint, open_starting_point
from bertsmith.tasks.texts.text_lesson import read_text_lesson
from bertsmith.tasks.trial import Setup, run_trial
from bertsmith.tasks.words.word_lesson import read_word_lesson
from bertsmith.training.machine import choose_machine

LESSONS = {"texts": read_text_lesson, "words": read_word_lesson, "questions": read_answering_lesson}
"""By what is given an answer, see `FinetuneRecipe.kind`."""


@no_empty_folder("out")
def finetune(loaded: Loaded, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Run the trials of a `FinetuneRecipe` that the folder `out` does not have yet; returns its results.json.

    A trial is whole or absent: one that was killed starts again from its beginning, finished ones stay.

    Raises:
        UserError: the model or the data cannot be used; `out` belongs to another recipe, model or data (what differs
            is named) or to another process; memory or disk is full; gradients are not finite.
        Interrupted: by SIGTERM or SIGINT; the trials finished before it stay.
    """
    recipe: FinetuneRecipe = loaded.settings
    start = open_starting_point(Path(recipe.model))
    if recipe.random_weights:
        start = replace(start, finetuned_on=())
    if pooling := "cls" if recipe.compat else recipe.classifier_pooling:
        start = start.pooled_by(pooling)
    lesson = read_lesson(recipe)
    check_rows(recipe, start, lesson)
    seen = start.trained_length
    if seen is not None and recipe.sequence_length > seen and not recipe.random_weights:
        _say(
            f"{recipe.model}: has seen no row of more than {seen} tokens; what lies behind them in one of "
            f"{recipe.sequence_length} (sequence_length) is new to it"
        )
    machine = choose_machine(recipe.machine, start.tokenizer.pad_id, compile_on_gpu=False)
    make_folder(out)
    with locked(out) as held:
        _open(out, recipe, start, lesson, overwrite)
        missing = [seed for seed in range(recipe.seeds) if not trial_folder(out, seed).is_dir()]
        if missing:
            setup = Setup(recipe, lesson, start, machine, lesson.encode(start))
            assert (setup.splits.held_out is not None) == (recipe.early_stopping.share > 0), "lessons hold it out"
            if setup.splits.held_out is not None:
                _say(
                    f"{setup.splits.num_held_out:,} of {lesson.num_examples['train']:,} training examples are held out "
                    f"for early stopping"
                )
            for seed in missing:
                run_trial(setup, seed, trial_folder(out, seed))
                held.check()
                write_json(out / "results.json", _collect(out, lesson))
        results = _collect(out, lesson)
        write_json(out / "results.json", results)
        write_manifest(out, "finetune", read_manifest(out, "finetune") | {"finished": True})
    _note_trials(results, out)
    if start.finetuned_on:
        _say(f"started from a model that had learnt {', '.join(start.finetuned_on)} before")
    return results


def read_lesson(recipe: FinetuneRecipe) -> Lesson:
    """The recipe's task with its files, read. Raises UserError where they cannot be used."""
    if recipe.task == SEVERAL:
        return SeveralLesson(recipe, {name: read_lesson(recipe.of_task(name)) for name in recipe.several.tasks})
    return LESSONS[recipe.kind](recipe)


def check_rows(recipe: FinetuneRecipe, start: StartingPoint, lesson: Lesson) -> None:
    """Raises UserError where the model cannot have such rows, or `Lesson.check` refuses it."""
    try:
        check_length(start.settings, "sequence_length", recipe.sequence_length)
    except ValueError as error:
        raise UserError(str(error)) from None
    lesson.check(start)


def _open(out: Path, recipe: FinetuneRecipe, start: StartingPoint, lesson: Lesson, overwrite: bool) -> None:
    """Check that `out` is this recipe's, or make it so."""
    mine = identity(recipe) | {"model": start.fingerprint()} | lesson.identity()
    open_run_folder(out, KINDS["finetune"], mine, defaults(recipe), overwrite)
    remove_unfinished(own_folder(out / "trials"), "seed-")
    write_manifest(out, "finetune", {
        "identity": mine, "recipe": to_dict(recipe), **_described(lesson),
        "encoder": to_dict(start.settings), "family": start.family, "vocab_size": start.vocab_size,
        "trained_length": start.trained_length, "learnt_before": start.finetuned_on,
        "tokenizer": start.tokenizer.fingerprint, "finished": False,
    })  # fmt: skip
    # Behind the manifest: killed between them, the folder is known for ours.
    write_text(out / "recipe.toml", to_toml(recipe))
    start.tokenizer.save(out)


def _described(lesson: Lesson) -> dict[str, Any]:
    """What of the task, or of each of several, is needed to read a trial."""
    task = lesson.task
    found = {"task": task.name, "metrics": lesson.metrics, "examples": lesson.num_examples}
    if isinstance(lesson, SeveralLesson):
        return found | {"tasks": {name: _described(part) for name, part in lesson.lessons.items()}}
    return found | {"labels": task.labels, "multi_label": task.is_multi_label, "low": task.low, "high": task.high}


def _collect(run: Path, lesson: Lesson) -> dict[str, Any]:
    """The content of results.json, out of all finished trials."""
    numbers = (number_of(path.name, "seed-") for path in (run / "trials").iterdir())
    seeds = sorted(number for number in numbers if number is not None)
    found = [read_trial_results(trial_folder(run, seed), seed) for seed in seeds]
    trials = []
    for seed, details in zip(seeds, found, strict=True):
        path = str(trial_folder(run, seed) / "results.json")
        metrics = member(details, "metrics", dict, path)
        for name in lesson.metrics:
            member(metrics, name, float, path)
        trials.append({"seed": seed, "metrics": metrics})
    summary = {name: summarize([trial["metrics"][name] for trial in trials]) for name in lesson.metrics}
    return {"task": lesson.task.name, "trials": trials, "summary": summary}


def score_table(results: dict[str, Any]) -> list[str]:
    """Return the lines of a table for each task: scores by seed; of several seeds median, mean and deviation too."""
    tasks: dict[str, list[str]] = {}
    for name in results["summary"]:
        tasks.setdefault(task_and_metric(name)[0] or results["task"], []).append(name)
    return [line for title, names in tasks.items() for line in _table(title, names, results)]


def _table(title: str, names: list[str], results: dict[str, Any]) -> Iterator[str]:
    widths = {name: max(10, len(task_and_metric(name)[1]) + 2) for name in names}

    def line(title: str, scores: dict[str, float]) -> str:
        return f"{title:>10}" + "".join(f"{scores[name]:>{width}.4f}" for name, width in widths.items())

    yield f"{title:>10}" + "".join(f"{task_and_metric(name)[1]:>{width}}" for name, width in widths.items())
    for trial in results["trials"]:
        yield line(f"seed {trial['seed']}", trial["metrics"])
    for row in ("median", "mean", "std") if len(results["trials"]) > 1 else ():
        yield line(row, {name: results["summary"][name][row] for name in names})


def _note_trials(results: dict[str, Any], run: Path) -> None:
    """Write to standard error what early stopping kept of each trial, and what it was warned of."""
    for trial in results["trials"]:
        details = read_trial_results(trial_folder(run, trial["seed"]), trial["seed"])
        if stopping := details.get("early_stopping"):
            _say(
                f"seed {trial['seed']}: the weights of step {stopping['step']} of {details['steps']} are kept, "
                f"{stopping['metric']} {stopping['score']:.4f} on what is held out"
            )
        for caution in cautions_of(details):
            _say(f"seed {trial['seed']}: {caution}")


def _say(text: str) -> None:
    say(text, error=True)
