"""The reference's settings of fine-tuning → ours.

Source: google-research/electra, configure_finetuning.py.
"""

import difflib
from typing import Any, Literal

from bertsmith.config.loading import read_recipe_values
from bertsmith.convert.from_electra.hparams import TPU_KEYS, Hparams, Key, Table
from bertsmith.convert.from_electra.pretraining import RUN_FOLDER, ModelOverrides
from bertsmith.errors import UserError, quoted
from bertsmith.tasks.answering.settings import AnsweringSettings

REFERENCE_TASKS = {
    "cola": "cola", "mrpc": "mrpc", "mnli": "mnli", "sst": "sst-2", "rte": "rte", "qnli": "qnli", "qqp": "qqp",
    "sts": "sts-b", "squad": "squad-v2.0", "squadv1": "squad-v1.1", "newsqa": "newsqa", "naturalqs": "naturalqs",
    "triviaqa": "triviaqa", "searchqa": "searchqa", "chunk": "chunk",
}  # fmt: skip
"""The reference's name → that of our recipe."""

OF_THE_MODEL = "read from model=..."
CLASSIFIER = "nothing to set; with answering.joint it is there for SQuAD 2.0, as the reference's default, otherwise not"
CACHE = "nothing is cached"
UNSET = "nothing to set; a trial is complete or absent"
BOTH = "a trial is training and evaluation"
NO_TESTS = "`bertsmith submit RUN OUT.zip` answers the test sets afterwards, of questions OUT.json data=FILE"
ALL_AT_ONCE = "nothing to set; rows of prediction are put together by their length"


def _task(given: Hparams) -> dict[str, Any]:
    names = given["task_names"]
    if not names:
        raise UserError(f"task_names = {names}: name one task at least")
    for name in names:
        if name not in REFERENCE_TASKS:
            near = difflib.get_close_matches(name, REFERENCE_TASKS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(REFERENCE_TASKS)}"
            raise UserError(f"task_names = {names}: the reference has no task {quoted(name, 60)}; {hint}")
    if len(names) == 1:
        return {"task": REFERENCE_TASKS[names[0]]}
    ours = [REFERENCE_TASKS[name] for name in names]
    lenient = any(read_recipe_values("finetune", name).get("skip_malformed", False) for name in ours)
    mixed = {"task": "several", "several.tasks": ours, "several.power": 1}  # by size, as the reference mixes them
    return mixed | ({"skip_malformed": True} if lenient else {})


def _seeds(given: Hparams) -> dict[str, Any]:
    if given["num_trials"] < 1:
        raise UserError(
            f"num_trials = {given['num_trials']}: a number is needed; more seeds can be added to a run later"
        )
    return {"seeds": given["num_trials"]}


def _decay(given: Hparams) -> dict[str, Any]:
    return {"layerwise_lr_decay": given["layerwise_lr_decay"] if given["layerwise_lr_decay"] > 0 else 1.0}


def _threshold(given: Hparams) -> dict[str, Any]:
    """Return the threshold unless it is our own default: most tasks have no use for it."""
    value = given["qa_na_threshold"]
    return {} if value == AnsweringSettings(joint=given["joint_prediction"]).threshold else {
        "answering.null_threshold": value
    }  # fmt: skip


def _defaults(given: Hparams) -> Hparams:
    """Return the defaults that depend on other settings, in the order in which the reference decides them."""
    hparams: Hparams = {}
    if given["task_names"] in (["rte"], ["sts"]):
        hparams["num_train_epochs"] = 10.0
    if len(given["task_names"]) == 1 and any(part in given["task_names"][0] for part in ("squad", "qa")):
        hparams |= {"num_train_epochs": 2.0, "max_seq_length": 512}  # naturalqs is none of these
    if given["task_names"] == ["chunk"]:
        hparams["max_seq_length"] = 256
    if given["model_size"] == "large":
        hparams |= {"learning_rate": 5e-5, "layerwise_lr_decay": 0.9}
    if given["debug"]:
        hparams |= {"num_trials": 1, "train_batch_size": 32, "num_train_epochs": 3.0}
    return hparams


FINETUNING_TABLE = Table("fine-tuning", "finetune", (
    Key("model_name", str, "", None, "model=... names the pre-trained run"),
    Key("debug", bool, False, None, "the batch and the epochs are the reference's for it; the model is model=..."),
    Key("log_examples", bool, False, None, "examples are not shown"),
    Key("num_trials", int, 1, _seeds),
    Key("do_train", bool, True, None, BOTH),
    Key("do_eval", bool, True, None, BOTH),
    Key("keep_all_models", bool, True, None, "every trial is kept"),
    Key("model_size", Literal["small", "base", "large"], "small", None,
        "the model is model=...; the size decides learning rate and layer-wise decay"),
    Key("task_names", list[str], ["chunk"], _task),
    Key("model_hparam_overrides", ModelOverrides, ModelOverrides(), None, OF_THE_MODEL),
    Key("embedding_size", int | None, None, None, OF_THE_MODEL),
    Key("vocab_size", int, 30_522, None, OF_THE_MODEL),
    Key("do_lower_case", bool, True, None, OF_THE_MODEL),
    Key("learning_rate", float, 1e-4, "schedule.learning_rate"),
    Key("weight_decay_rate", float, 0.01, "optimizer.weight_decay"),
    Key("layerwise_lr_decay", float, 0.8, _decay),
    Key("num_train_epochs", float, 3.0, "epochs"),
    Key("warmup_proportion", float, 0.1, "schedule.warmup_proportion"),
    Key("save_checkpoints_steps", int, 1_000_000, None, UNSET),
    Key("iterations_per_loop", int, 1000, None, UNSET),
    Key("use_tfrecords_if_existing", bool, True, None, CACHE),
    Key("write_test_outputs", bool, False, None, NO_TESTS),
    Key("n_writes_test", int, 5, None, NO_TESTS),
    Key("max_seq_length", int, 128, "sequence_length"),
    Key("train_batch_size", int, 32, "batch_size"),
    Key("eval_batch_size", int, 32, None, ALL_AT_ONCE),
    Key("predict_batch_size", int, 32, None, ALL_AT_ONCE),
    Key("double_unordered", bool, True, "double_unordered"),
    Key("max_query_length", int, 64, "answering.question_length"),
    Key("doc_stride", int, 128, "answering.stride"),
    Key("n_best_size", int, 20, None, "nothing to set; the best answer is what is written, and is looked for in all"),
    Key("max_answer_length", int, 30, "answering.answer_length"),
    Key("answerable_classifier", bool, True, None, CLASSIFIER),
    Key("answerable_uses_start_logits", bool, True, None, CLASSIFIER),
    Key("answerable_weight", float, 0.5, "answering.answerable_weight"),
    Key("joint_prediction", bool, True, "answering.joint"),
    Key("beam_size", int, 20, "answering.beam_size"),
    Key("qa_na_threshold", float, -2.75, _threshold),
    *TPU_KEYS,
    Key("data_dir", str, "", None, "data=... names the folder that holds a folder for each task"),
    Key("raw_data_dir", str, "", None, "data=... names the folder that holds a folder for each task"),
    Key("vocab_file", str, "", None, OF_THE_MODEL),
    Key("init_checkpoint", str | None, None, None, "model=... names a run, or a Hugging Face folder"),
    Key("model_dir", str, "", None, RUN_FOLDER),
    Key("results_txt", str, "", None, "results.json in the run's folder"),
    Key("results_pkl", str, "", None, "results.json in the run's folder"),
    Key("qa_eval_file", str, "", None, "eval.json in the trial's folder"),
    Key("qa_preds_file", str, "", None, "preds.json in the trial's folder"),
    Key("qa_na_file", str, "", None, "null_odds.json in the trial's folder"),
    Key("preprocessed_data_dir", str, "", None, CACHE),
    Key("test_predictions", str, "", None, NO_TESTS),
), _defaults)  # fmt: skip
