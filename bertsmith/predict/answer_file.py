"""A run's answers to a file of questions, as SQuAD's and MRQA's servers and scripts take them: a text by id."""

import math
from pathlib import Path

from bertsmith.config.fields import setting, settings
from bertsmith.console.shell import quote
from bertsmith.errors import UserError
from bertsmith.scoring.questions import mrqa_questions_of, questions_of
from bertsmith.storage.file_types import ANSWERS_FILE, check_output
from bertsmith.storage.files import ending, make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import write_json
from bertsmith.storage.manifests import folder_type
from bertsmith.tasks.answering.answerer import open_answerer
from bertsmith.tasks.answering.questions import Questions, read_unanswered
from bertsmith.tasks.custom import ENDINGS
from bertsmith.tasks.runs import choose_seed, chosen_run, load_trial, read_run, read_run_recipe
from bertsmith.training.machine import MachineSettings


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
