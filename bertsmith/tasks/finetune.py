"""Fine-tuning: a pre-trained encoder and a labelled task in, a trial a seed and their scores out.

RUN/recipe.toml          every setting of the run
    manifest.json        what it is: identity, task, model; finished or not
    tokenizer.json       vocab.txt …
    trials/seed-0/…      see `bertsmith.tasks.trial`
    results.json         all trials' scores, rewritten after each
"""

import json
import shutil
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.config import Loaded, differences, identity, to_dict, to_toml
from bertsmith.errors import UserError
from bertsmith.files import (
    TEMPORARY,
    locked,
    make_folder,
    read_manifest,
    refuse_foreign,
    reported,
    write_json,
    write_manifest,
    write_text,
)
from bertsmith.model.encoder import check_length, num_segments
from bertsmith.tasks.custom import read_custom
from bertsmith.tasks.encode import encode
from bertsmith.tasks.encode_words import TaggedSplit, encode_tagged
from bertsmith.tasks.glue import read_glue
from bertsmith.tasks.metrics import summarize
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.runs import trial_folder
from bertsmith.tasks.sentences import read_chunking
from bertsmith.tasks.starting_point import StartingPoint, open_starting_point
from bertsmith.tasks.tag_scores import fallback
from bertsmith.tasks.task import Examples, LabelledData, Task, in_both_orders
from bertsmith.tasks.trial import Setup, Split, run_trial
from bertsmith.training.machine import choose_machine


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
    data = read_data(recipe)
    check_rows(recipe, start, data)
    machine = choose_machine(recipe.machine, start.tokenizer.pad_id, compile_on_gpu=False)
    make_folder(out)
    with locked(out):
        _open(out, recipe, start, data, overwrite)
        missing = [seed for seed in range(recipe.seeds) if not trial_folder(out, seed).is_dir()]
        if missing:
            setup = Setup(recipe, data.task, start, machine, *encode_splits(recipe, start, data))
            for seed in missing:
                run_trial(setup, seed, trial_folder(out, seed))
                write_json(out / "results.json", _collect(out, data))
        results = _collect(out, data)
        write_json(out / "results.json", results)
        write_manifest(out, "finetune", read_manifest(out, "finetune") | {"finished": True})
    _show(results, out)
    return results


def read_data(recipe: FinetuneRecipe) -> LabelledData:
    """The recipe's task with its training and dev examples."""
    if recipe.task == "chunk":
        data = read_chunking(Path(recipe.data))
        if data.dev.path.name != "dev.txt":
            _say(f"{data.dev.path}: the official test file is what is scored, since there is no dev.txt beside it")
    elif recipe.task == "custom":
        data = read_custom(recipe.custom, Path(recipe.data), skip_malformed=recipe.skip_malformed)
    else:
        data = read_glue(
            recipe.task, Path(recipe.data), check_counts=recipe.check_counts, skip_malformed=recipe.skip_malformed
        )
    for name, examples in (("train", data.train), ("dev", data.dev), ("mismatched dev", data.mismatched)):
        if examples is not None and examples.skipped:
            _say(f"{recipe.data}: {examples.skipped:,} malformed lines of {name} left out")
    return data


def check_rows(recipe: FinetuneRecipe, start: StartingPoint, data: LabelledData) -> None:
    """Raises UserError where the model cannot have such rows."""
    try:
        check_length(start.settings, "sequence_length", recipe.sequence_length)
    except ValueError as error:
        raise UserError(str(error)) from None
    if data.train.has_pairs and num_segments(start.settings) == 1:
        raise UserError(f"{recipe.model}: knows one kind of segment, and {recipe.task} has pairs of texts")


def _open(out: Path, recipe: FinetuneRecipe, start: StartingPoint, data: LabelledData, overwrite: bool) -> None:
    """Check that `out` is this recipe's, or make it so."""
    mine = identity(recipe) | {
        "model": start.fingerprint(), "data": [data.train.fingerprint(), data.dev.fingerprint()],
    }  # fmt: skip
    if data.mismatched is not None:
        mine["mismatched_dev"] = data.mismatched.fingerprint()
    if overwrite:
        _clear(out)
    if (out / "manifest.json").exists():
        changed = differences(read_manifest(out, "finetune")["identity"], mine)
        if changed:
            raise UserError(
                f"{out}: belongs to another run ({shortened(changed)}); choose another --out or --overwrite"
            )
    elif any(out.glob("trials/seed-*")):
        raise UserError(f"{out}: has trials but no manifest.json; choose another --out, or --overwrite")
    for path in out.glob(f"trials/*{TEMPORARY}"):
        shutil.rmtree(path)
    write_text(out / "recipe.toml", to_toml(recipe))
    start.tokenizer.save(out)
    task = data.task
    write_manifest(out, "finetune", {
        "identity": mine, "recipe": to_dict(recipe), "task": task.name, "metrics": data.metrics,
        "labels": task.labels, "low": task.low, "high": task.high,
        "encoder": to_dict(start.settings), "family": start.family, "vocab_size": start.vocab_size,
        "examples": {"train": data.train.num_examples, "dev": data.dev.num_examples}, "finished": False,
    })  # fmt: skip


def _clear(out: Path) -> None:
    refuse_foreign(out, "finetune")
    with reported(out):
        for name in ("manifest.json", "results.json"):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "trials", ignore_errors=True)


def shortened(changed: list[str]) -> str:
    """At most four of `differences`, hashes cut short."""
    return "; ".join(line if len(line) < 80 else f"{line.partition(':')[0]}: another one" for line in changed[:4])


def encode_splits(
    recipe: FinetuneRecipe, start: StartingPoint, data: LabelledData
) -> tuple[Split | TaggedSplit, Split | TaggedSplit, Split | None]:
    """Training and dev examples as rows for `start`, and those of a second dev set if there is one."""
    if recipe.tags_words:
        return _tagged_splits(recipe, start, data)
    train = data.train
    if data.task.symmetric and recipe.double_unordered:
        train = in_both_orders(train)
    found = [examples for examples in (train, data.dev, data.mismatched) if examples is not None]
    splits = [_split(examples, recipe, start, data.task) for examples in found]
    truncated = sum(split.rows.truncated for split in splits)
    if truncated:
        total = sum(len(split.answers) for split in splits)
        _say(f"{truncated:,} of {total:,} examples were cut to {recipe.sequence_length} tokens (sequence_length)")
    return splits[0], splits[1], splits[2] if len(splits) > 2 else None


def _split(examples: Examples, recipe: FinetuneRecipe, start: StartingPoint, task: Task) -> Split:
    answers = examples.targets
    if task.is_regression:
        answers = ((answers - task.low) / (task.high - task.low)).astype(np.float32)
    return Split(encode(examples, start.tokenizer, recipe.sequence_length), answers)


def _tagged_splits(
    recipe: FinetuneRecipe, start: StartingPoint, data: LabelledData
) -> tuple[TaggedSplit, TaggedSplit, None]:
    segment = recipe.segment_of_words(num_segments(start.settings))
    train, dev = (
        encode_tagged(sentences, data.task.labels, start.tokenizer, recipe.sequence_length, segment)
        for sentences in (data.train, data.dev)
    )
    guess = f", and count as predicted {data.task.labels[fallback(data.task, train)]!r}"
    for split, outcome in ((train, ""), (dev, guess)):
        path, kept, unknown = split.sentences.path, split.encoded.kept, split.encoded.unknown
        if not kept.all():
            _say(
                f"{path}: {split.rows.truncated:,} of {split.sentences.num_examples:,} sentences were cut to "
                f"{recipe.sequence_length} tokens (sequence_length); {(~kept).sum():,} words are lost{outcome}"
            )
        if len(unknown):
            word = next(islice(split.sentences.flat(), int(unknown[0]), None))
            _say(
                f"{path}, line {word.line}: the tokenizer makes nothing of {word.columns[0]!r}, so it is [UNK]; "
                f"{len(unknown):,} of {len(kept):,} words are"
            )
    return train, dev, None


def _collect(run: Path, data: LabelledData) -> dict[str, Any]:
    """The content of results.json, out of all finished trials."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in run.glob("trials/seed-*[0-9]/results.json")]
    trials = [
        {"seed": trial["seed"], "metrics": trial["metrics"]} for trial in sorted(found, key=lambda trial: trial["seed"])
    ]
    summary = {name: summarize([trial["metrics"][name] for trial in trials]) for name in data.metrics}
    return {"task": data.task.name, "trials": trials, "summary": summary}


def _show(results: dict[str, Any], run: Path) -> None:
    """Scores by seed; of several, their median, mean and standard deviation."""
    summary = results["summary"]
    widths = {name: max(10, len(name) + 2) for name in summary}

    def line(title: str, scores: dict[str, float]) -> str:
        return f"{title:>10}" + "".join(f"{scores[name]:>{width}.4f}" for name, width in widths.items())

    print(f"{results['task']:>10}" + "".join(f"{name:>{width}}" for name, width in widths.items()))
    for trial in results["trials"]:
        print(line(f"seed {trial['seed']}", trial["metrics"]))
    for row in ("median", "mean", "std") if len(results["trials"]) > 1 else ():
        print(line(row, {name: scores[row] for name, scores in summary.items()}))
    for trial in results["trials"]:
        details = json.loads((trial_folder(run, trial["seed"]) / "results.json").read_text(encoding="utf-8"))
        if details["constant"]:
            _say(
                f"seed {trial['seed']}: every dev prediction is the same; more epochs or another learning rate may help"
            )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
