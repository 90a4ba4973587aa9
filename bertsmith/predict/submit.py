"""A GLUE run's answers to the test sets, as the archive that the GLUE server takes; what `bertsmith submit` does."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.predict.glue_archive import SHEETS, Sheet, sheet_text, write_submission
from bertsmith.storage.file_types import SUBMISSION_FILE, check_output
from bertsmith.storage.files import ending, make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import member
from bertsmith.storage.manifests import folder_type, read_manifest
from bertsmith.tasks.published.glue import DIAGNOSTIC, GLUE, read_split, why_absent
from bertsmith.tasks.runs import choose_seed, chosen_run, load_trial, read_run
from bertsmith.tasks.texts.classifier import Classifier, open_classifier
from bertsmith.tasks.texts.examples import Examples
from bertsmith.training.machine import MachineSettings


@settings
class SubmitSettings:
    """What `bertsmith submit` can be told."""

    data: str | None = setting(None, "the GLUE folder with the test sets; without it, that of the run")
    seed: int | None = setting(None, "the trial that answers; without it, each task's best on dev", ge=0)
    check_counts: bool = setting(True, "refuse test files whose number of examples is not the published one")
    machine: MachineSettings = setting(MachineSettings(), "on what")


class TaskRun(NamedTuple):
    """A fine-tuning run of a task, with the trial that answers."""

    folder: Path
    task: str
    data: Path
    seed: int
    score: str
    """The trial's headline on dev, for people."""
    learnt_before: list[str]
    """Tasks that the model it started from was fine-tuned on."""


class Work(NamedTuple):
    """A file that is to be written, and what it is made of."""

    sheet: Sheet
    run: TaskRun | None
    """None where a filler answers."""
    examples: Examples | None
    num_rows: int
    filler: str | float = ""
    why: str = ""
    """Where the filler is from, or why nothing answers."""


@no_empty_folder
def submit(run: Path, out: Path, options: SubmitSettings, fill: bool = False) -> tuple[list[str], list[str]]:
    """Answer the test sets and write the archive `out`; return what was written and what was left out, a line a file.

    All files are read before a model answers, so that what is wrong with them is said at once. No malformed line of a
    test set is skipped: each line has its index.

    Args:
        run: a GLUE run, or a fine-tuning run of one GLUE task or of several, or a search of these.
        fill: write also the files of tasks without a finished trial, each with one answer for all rows: the most
            frequent training label, or the mean; where there are no training labels, the first label, or the middle.

    Raises:
        UserError: `run` is neither, or has no finished trial (of that seed); a test file of a task that was run is
            missing, malformed or not as long as the official one; `out` cannot be written. Nothing is written then, and
            an archive that was there before stays.
    """
    if ending(out) != ".zip" or out.is_dir():
        raise UserError(f"{out}: the server takes an archive; name a file that ends in .zip (of questions, in .json)")
    check_output(out, SUBMISSION_FILE)
    make_folder(out.resolve().parent)
    runs = _task_runs(chosen_run(run), options.seed)
    works, left_out = [], []
    for sheet in SHEETS:
        work = _work(sheet, runs, options, fill)
        if work.run is None and not fill:
            left_out.append(f"{sheet.file}: {work.why}")
        else:
            works.append(work)
    contents, written = {}, []
    for work, answers in _answered(works, options.machine):
        contents[work.sheet.file] = sheet_text(GLUE[work.sheet.task].spec.answers, answers)
        written.append(f"{work.sheet.file:<12}{work.num_rows:>9,}  {_source(work)}")
    write_submission(out, contents)
    return written, left_out


def _task_runs(run: Path, seed: int | None) -> dict[str, TaskRun]:
    """Return task → its run, of those that have a finished trial."""
    folders = {"": run}
    kind = folder_type(run, strict=True)
    if kind == "glue":
        read_manifest(run, "glue")
        folders = {task: folder for task in GLUE if (folder := run / "tasks" / task).is_dir()}
    elif kind != "finetune":
        raise UserError(
            f"{run}: neither a GLUE run nor a fine-tuning run; name a folder that `bertsmith glue` or `finetune` wrote"
        )
    found = {}
    for folder in folders.values():
        if not (folder / "results.json").is_file():
            continue  # stopped before its first trial was finished
        manifest = read_manifest(folder, "finetune")
        tasks = list(manifest.get("tasks", [member(manifest, "task", str, str(folder / "manifest.json"))]))
        if not any(task in GLUE for task in tasks):
            raise UserError(
                f"{folder}: a run of the task {', '.join(tasks)}, which is none of GLUE's; `bertsmith predict` asks it "
                f"(answers to a file of questions go into an OUT.json)"
            )
        for task in (task for task in tasks if task in GLUE):
            recipe, own, results = read_run(folder, task)
            metric = own["metrics"][0]  # `read_run` has seen to it
            chosen = choose_seed(folder, results, metric, seed)
            [score] = [trial["metrics"][metric] for trial in results["trials"] if trial["seed"] == chosen]
            told = f"{metric} {100 * score:.2f} on dev"
            found[task] = TaskRun(folder, task, Path(recipe.data), chosen, told, own.get("learnt_before", []))
    if not found:
        raise UserError(f"{run}: no task has a finished trial; run `bertsmith {kind}` again, which goes on")
    return found


def _work(sheet: Sheet, runs: dict[str, TaskRun], options: SubmitSettings, fill: bool) -> Work:
    """Read what the file is made of."""
    run = runs.get(sheet.task)
    data = Path(options.data) if options.data else (run or next(iter(runs.values()))).data
    why = "not run"
    if run is not None and sheet.examples == DIAGNOSTIC:  # many copies of GLUE come without it
        absent = why_absent(DIAGNOSTIC, data, "test")
        if absent:
            run, why = None, f"{absent}; `bertsmith download glue` fetches it"
    if run is not None:
        examples = read_split(sheet.examples, data, "test", check_counts=options.check_counts)
        return Work(sheet, run, examples, len(examples.first))
    if not fill:
        return Work(sheet, None, None, 0, why=why)
    num_rows = sheet.num_rows
    if data.is_dir() and why_absent(sheet.examples, data, "test") is None:
        num_rows = len(read_split(sheet.examples, data, "test", check_counts=options.check_counts).first)
    filler, source = _filler(sheet.task, data, options.check_counts)
    return Work(sheet, None, None, num_rows, filler, f"{source} ({why})")


def _filler(name: str, data: Path, check_counts: bool) -> tuple[str | float, str]:
    """Return one answer for all rows, and where it is from."""
    answers = GLUE[name].spec.answers
    if not data.is_dir() or why_absent(name, data, "train"):
        answer, which = answers.commonest(None)
        return answer, f"{which}, for want of training labels in {data}"
    return answers.commonest(read_split(name, data, "train", check_counts=check_counts, skip_malformed=True).targets)


def _answered(works: list[Work], machine: MachineSettings) -> Iterator[tuple[Work, list[str | float]]]:
    """Yield each file with its answers; a model is opened once for all files that it answers."""
    opened: tuple[TaskRun, Classifier] | None = None
    for work in works:
        if work.run is None:
            yield work, [work.filler] * work.num_rows
            continue
        if opened is None or opened[0] != work.run:
            opened = work.run, open_classifier(load_trial(work.run.folder, work.run.seed, work.run.task), machine)
        assert work.examples is not None
        _say(f"{work.sheet.file}: answering {work.num_rows:,} examples")
        classifier = opened[1]
        rows = classifier.encode(work.examples.first, work.examples.second)
        if rows.truncated:
            length = classifier.model.length
            _say(f"{work.sheet.file}: {rows.truncated:,} of them are cut to {length} tokens, as in training")
        yield work, [answer.answer for answer in classifier.answer(rows)]


def _source(work: Work) -> str:
    if work.run is None:
        filler = work.filler if isinstance(work.filler, str) else f"{work.filler:.3f}"
        return f"filler {filler}: {work.why}"
    before = f" (from a model of {', '.join(work.run.learnt_before)})" if work.run.learnt_before else ""
    return f"{work.run.folder}, seed {work.run.seed}{before}, {work.run.score}"


def _say(text: str) -> None:
    say(text, error=True)
