"""A run's answers to a file of questions, as SQuAD's and MRQA's servers and scripts take them: a text by id."""

from pathlib import Path

from bertsmith.errors import UserError
from bertsmith.files import make_folder, read_json, write_json
from bertsmith.settings import setting, settings
from bertsmith.tasks.answering.answerer import FoundAnswer, open_answering_trial
from bertsmith.tasks.answering.mrqa import read_asked_mrqa
from bertsmith.tasks.answering.squad import read_asked_squad
from bertsmith.tasks.runs import chosen_run, load_trial, trial_folder
from bertsmith.training.machine import MachineSettings


@settings
class AnswerFileSettings:
    """What `bertsmith submit` can be told about a run that answers questions."""

    data: str = setting(description="the file of questions: SQuAD's layout, or MRQA's (.jsonl, .jsonl.gz)")
    seed: int | None = setting(None, "the trial that answers; without it, the best on dev", ge=0)
    null_threshold: float | None = setting(
        None, "null odds above which a question gets no answer; without it, what gave the best F1 on dev"
    )
    machine: MachineSettings = setting(MachineSettings(), "on what")


def write_answers(run: Path, out: Path, options: AnswerFileSettings) -> str:
    """Answer all questions of a file and write a JSON object of texts by id, "" for no answer; returns what was
    answered, for people.

    Raises:
        UserError: the run has no such trial; the file is missing or laid out otherwise; `out` cannot be written.
    """
    if out.suffix != ".json" or out.is_dir():
        raise UserError(f"{out}: answers to questions are a JSON object; name a file that ends in .json")
    path = Path(options.data)
    if path.suffix in (".tsv", ".csv", ".parquet"):
        raise UserError(f"{path}: not SQuAD's layout or MRQA's; `bertsmith predict {run} --file {path}` answers it")
    make_folder(out.resolve().parent)
    run = chosen_run(run)
    asked = (read_asked_mrqa if ".jsonl" in path.suffixes else read_asked_squad)(path)
    seed = load_trial(run, options.seed).seed
    answerer = open_answering_trial(run, options.machine, seed)
    found = answerer.answer_all(asked)
    none_said = ""
    if answerer.objective.may_have_none:
        threshold, source = options.null_threshold, "null_threshold"
        if threshold is None:
            threshold, source = read_json(trial_folder(run, seed) / "eval.json")["best_f1_thresh"], "best F1 on dev"
        found = [answer if answer.null_odds <= threshold else FoundAnswer("", None, None, None) for answer in found]
        num_none = sum(not answer.text for answer in found)
        none_said = f", {num_none:,} without an answer (null odds above {threshold:g}, {source})"
    write_json(out, {id: answer.text for id, answer in zip(asked.ids, found, strict=True)})
    return f"{len(asked):,} questions answered by {run}, seed {seed}{none_said}"
