"""A run's answers as servers take them. Of GLUE to its test sets, in an archive of eleven TSV files with the server's
names, and its words for labels; of questions to a file, as SQuAD and MRQA have them: a text by id.

Source: gluebenchmark.com, FAQ, and the sample submission there.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.console.shell import quote
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.scoring.questions import mrqa_questions_of, questions_of
from bertsmith.storage.file_types import ANSWERS_FILE, SUBMISSION_FILE, ZIP_TIMESTAMP, check_output
from bertsmith.storage.files import atomic_write, ending, make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import member, write_json
from bertsmith.storage.manifests import folder_type, read_manifest
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.answering.answerer import open_answerer
from bertsmith.tasks.answering.questions import Questions, read_unanswered
from bertsmith.tasks.custom import ENDINGS
from bertsmith.tasks.published.glue import DIAGNOSTIC, GLUE, MNLI_MISMATCHED, SETS, read_split, why_absent
from bertsmith.tasks.runs import choose_seed, chosen_run, load_trial, read_run, read_run_recipe
from bertsmith.tasks.texts.classifier import Classifier, open_classifier
from bertsmith.tasks.texts.examples import Examples
from bertsmith.training.machine import MachineSettings


class ServerFile(NamedTuple):
    """One file of a submission."""

    name: str
    examples: str
    """A key of `SETS`: its test split is answered, in the order of the file."""
    task: str
    """A key of `GLUE`: a model of it answers."""

    @property
    def num_rows(self) -> int:
        """The official number."""
        return SETS[self.examples].counts["test"][0]


SERVER_FILES = (
    ServerFile("CoLA.tsv", "cola", "cola"),
    ServerFile("SST-2.tsv", "sst-2", "sst-2"),
    ServerFile("MRPC.tsv", "mrpc", "mrpc"),
    ServerFile("STS-B.tsv", "sts-b", "sts-b"),
    ServerFile("QQP.tsv", "qqp", "qqp"),
    ServerFile("MNLI-m.tsv", "mnli", "mnli"),
    ServerFile("MNLI-mm.tsv", MNLI_MISMATCHED, "mnli"),
    ServerFile("AX.tsv", DIAGNOSTIC, "mnli"),
    ServerFile("QNLI.tsv", "qnli", "qnli"),
    ServerFile("RTE.tsv", "rte", "rte"),
    ServerFile("WNLI.tsv", "wnli", "wnli"),
)
assert {file.task for file in SERVER_FILES} == GLUE.keys()


@settings
class SubmitSettings:
    """The settings of `bertsmith submit`."""

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
    source: str
    """Run, trial and its headline on dev, for people."""


class Job(NamedTuple):
    """A file to write: the trial that answers its examples, or one answer for all rows."""

    file: ServerFile
    source: str
    """Description of the answers, for people."""
    num_rows: int
    run: TaskRun | None = None
    examples: Examples | None = None
    default_answer: str | float = ""


@no_empty_folder
def submit(run: Path, out: Path, options: SubmitSettings, fill: bool = False) -> tuple[list[str], list[str]]:
    """Answer the test sets and write the archive `out`; return a line for each file that was written, and for each that
    was left out.

    All files are read before a model answers, so that faults in them are reported at once. No malformed line of a test
    set is skipped: each line has its index.

    Args:
        run: a GLUE run, or a fine-tuning run of one GLUE task or of several, or a search of these.
        fill: write also the files of tasks without a finished trial, each with one answer for all rows: the most
            frequent training label, or the mean; where there are no training labels, the first label, or the middle.

    Raises:
        UserError: `run` is neither, or has no finished trial (of that seed); a test file of a task that was run is
            missing, malformed or not as long as the official one; `out` cannot be written. Then nothing is written.
    """
    if ending(out) != ".zip" or out.is_dir():
        raise UserError(f"{out}: the server takes an archive; name a file that ends in .zip (of questions, in .json)")
    check_output(out, SUBMISSION_FILE)
    make_folder(out.resolve().parent)
    runs = _task_runs(chosen_run(run), options.seed)
    jobs = {file: _job(file, runs, options, fill) for file in SERVER_FILES}
    left_out = [f"{file.name}: {job}" for file, job in jobs.items() if isinstance(job, str)]
    contents, written = {}, []
    for job, answers in _answered([job for job in jobs.values() if isinstance(job, Job)], options.machine):
        contents[job.file.name] = file_text(GLUE[job.file.task].spec.answers, answers)
        written.append(f"{job.file.name:<12}{job.num_rows:>9,}  {job.source}")
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
    runs = {}
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
            metric = own["metrics"][0]  # `read_run` has checked that there is one
            chosen = choose_seed(folder, results, metric, seed)
            [score] = [trial["metrics"][metric] for trial in results["trials"] if trial["seed"] == chosen]
            before = f" (from a model of {', '.join(names)})" if (names := own.get("learnt_before")) else ""
            source = f"{folder}, seed {chosen}{before}, {metric} {100 * score:.2f} on dev"
            runs[task] = TaskRun(folder, task, Path(recipe.data), chosen, source)
    if not runs:
        raise UserError(f"{run}: no task has a finished trial; run `bertsmith {kind}` again, which goes on")
    return runs


def _job(file: ServerFile, runs: dict[str, TaskRun], options: SubmitSettings, fill: bool) -> Job | str:
    """Return the file's job, after reading its examples; or the reason why nothing answers them."""
    run = runs.get(file.task)
    data = Path(options.data) if options.data else (run or next(iter(runs.values()))).data
    missing = "" if run is not None else "not run"
    if run is not None and file.examples == DIAGNOSTIC and (absent := why_absent(DIAGNOSTIC, data, "test")):
        missing = f"{absent}; `bertsmith download glue` fetches it"  # many copies of GLUE come without it
    if missing and not fill:
        return missing
    examples, num_rows = None, file.num_rows
    if not missing or (data.is_dir() and why_absent(file.examples, data, "test") is None):
        examples = read_split(file.examples, data, "test", check_counts=options.check_counts)
        num_rows = len(examples.first)
    if run is not None and not missing:
        return Job(file, run.source, num_rows, run, examples)
    answer, origin = _default_answer(file.task, data, options.check_counts)
    shown = answer if isinstance(answer, str) else f"{answer:.3f}"
    return Job(file, f"filler {shown}: {origin} ({missing})", num_rows, default_answer=answer)


def _default_answer(name: str, data: Path, check_counts: bool) -> tuple[str | float, str]:
    """Return one answer for all rows, and its origin."""
    answer_kind = GLUE[name].spec.answers
    if not data.is_dir() or why_absent(name, data, "train"):
        answer, which = answer_kind.commonest(None)
        return answer, f"{which}, for want of training labels in {data}"
    train = read_split(name, data, "train", check_counts=check_counts, skip_malformed=True)
    return answer_kind.commonest(train.targets)


def _answered(jobs: list[Job], machine: MachineSettings) -> Iterator[tuple[Job, list[str | float]]]:
    """Yield each job with its answers; a model is opened once for all files that it answers."""
    opened: tuple[TaskRun, Classifier] | None = None
    for job in jobs:
        if job.run is None or job.examples is None:
            yield job, [job.default_answer] * job.num_rows
            continue
        if opened is None or opened[0] != job.run:
            opened = job.run, open_classifier(load_trial(job.run.folder, job.run.seed, job.run.task), machine)
        say(f"{job.file.name}: answering {job.num_rows:,} examples", error=True)
        classifier = opened[1]
        rows = classifier.encode(job.examples.first, job.examples.second)
        if rows.truncated:
            cut = f"{rows.truncated:,} of them are cut to {classifier.model.length} tokens, as in training"
            say(f"{job.file.name}: {cut}", error=True)
        yield job, [answer.answer for answer in classifier.answer(rows)]


def file_text(answer_kind: AnswerKind, answers: Sequence[str | float]) -> str:
    """Return the content of a file with these answers: labels as words, or numbers, which are clipped to the task's
    range and written with three decimals."""
    lines = [f"{index}\t{answer_kind.submitted(answer)}\n" for index, answer in enumerate(answers)]
    return "index\tprediction\n" + "".join(lines)


def write_submission(out: Path, contents: Mapping[str, str]) -> None:
    """Write a zip archive of these files' contents by name. Raises UserError where `out` cannot be written; a file that
    was there before is then as it was."""
    with atomic_write(out) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in sorted(contents.items()):
            member = zipfile.ZipInfo(name, ZIP_TIMESTAMP)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3  # as on Unix, wherever it is made
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)


@settings
class AnswerFileSettings:
    """The settings of `bertsmith submit` for a run that answers questions."""

    data: str = setting(description="the file of questions: SQuAD's layout, or MRQA's (.jsonl, .jsonl.gz)")
    seed: int | None = setting(None, "the trial that answers; without it, the best on dev", ge=0)
    null_threshold: float | None = setting(
        None, "null odds above which a question gets no answer; without it, the recipe's, or what gave dev's best F1"
    )
    machine: MachineSettings = setting(MachineSettings(), "on what")


@no_empty_folder
def write_answers(run: Path, out: Path, options: AnswerFileSettings, task: str | None = None) -> str:
    """Answer all questions of a file, write a JSON object of texts by id, "" for no answer, and return a line about it.

    Args:
        task: which one, of a run of several tasks.

    Raises:
        UserError: the run was not fine-tuned on questions, or has no such trial or task; the file is missing or laid
            out otherwise; `out` cannot be written.
    """
    if ending(out) != ".json" or out.is_dir():
        raise UserError(f"{out}: answers to questions are a JSON object; name a file that ends in .json")
    check_output(out, ANSWERS_FILE)
    make_folder(out.resolve().parent)
    run = run_of_questions(run, task)
    recipe, manifest, results = read_run(run, task)
    if options.null_threshold is not None and not recipe.spec.may_have_none:
        raise UserError(f"null_threshold: {run} learnt that each question has an answer; leave it out")
    asked = _read_asked(Path(options.data))
    seed = choose_seed(run, results, manifest["metrics"][0], options.seed)
    answerer = open_answerer(load_trial(run, seed, task), options.machine, options.null_threshold)
    answers = answerer.with_threshold(answerer.best_spans(asked))
    write_json(out, {id: answer.text for id, answer in zip(asked.ids, answers, strict=True)})
    line = f"{len(asked):,} questions answered by {run}, seed {seed}"
    if answerer.objective.may_have_none:
        why = f" (null odds above {answerer.null_threshold:g})" if math.isfinite(answerer.null_threshold) else ""
        line += f", {sum(not answer.text for answer in answers):,} without an answer{why}"
    return line


def run_of_questions(run: Path, task: str | None = None) -> Path:
    """Return `run`, of a search the chosen one. Raises UserError where it was not fine-tuned on questions."""
    run = chosen_run(run)
    kind = folder_type(run, strict=True)
    if kind == "glue":
        raise UserError(f"{run}: a GLUE run, whose answers go into an archive; name an OUT.zip")
    if kind != "finetune":
        raise UserError(f"{run}: no run of `bertsmith finetune`; one that was fine-tuned on questions writes a .json")
    recipe = read_run_recipe(run, task)
    if recipe.spec.input != "questions":
        raise UserError(f"{run}: fine-tuned on {recipe.task}, which has no questions; of GLUE name an OUT.zip")
    return run


def _read_asked(path: Path) -> Questions:
    """Return the questions of the file, whatever its layout."""
    if ".jsonl" in path.name.lower():
        return read_unanswered(path, mrqa_questions_of)
    if ending(path) in ENDINGS:
        raise UserError(
            f"{path}: not SQuAD's layout or MRQA's; `bertsmith predict RUN --file {quote(path)}` answers its rows"
        )
    return read_unanswered(path, questions_of)
