"""The reference's settings of pre-training → ours.

Source: google-research/electra, configure_pretraining.py; run_pretraining.py for what they do.
"""

from dataclasses import asdict
from typing import Any, Literal

from bertsmith.convert.from_electra.hparams import TPU_KEYS, Hparams, Key, Table, settings_class
from bertsmith.errors import UserError

SIZES = {"small": (256, 12), "base": (768, 12), "large": (1024, 24)}
"""hidden_size and num_hidden_layers by model_size."""

DEBUG = {
    "train_batch_size": 8, "num_train_steps": 20, "eval_batch_size": 4, "iterations_per_loop": 1, "num_eval_steps": 2,
}  # fmt: skip
DEBUG_MODEL = {"hidden_size": 144, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 576}
"""These override model_hparam_overrides."""

MODEL = {
    "vocab_size": int, "hidden_size": int, "num_hidden_layers": int, "num_attention_heads": int,
    "hidden_act": Literal["gelu"], "intermediate_size": int, "hidden_dropout_prob": float,
    "attention_probs_dropout_prob": float, "max_position_embeddings": int, "type_vocab_size": int,
    "initializer_range": float,
}  # fmt: skip
"""The fields of its BertConfig."""

ModelOverrides = settings_class("ModelOverrides", {name: (kind, None) for name, kind in MODEL.items()})

OF_THE_DATA = "the data folder's own; bertsmith prepare decides it"
RUN_FOLDER = "--out names the run's folder"
DATA_FOLDER = "data=... names a folder made by bertsmith prepare; TFRecords are not read"
EVALUATION = "a run measures held-out rows every plan.evaluate_steps; to evaluate only: bertsmith evaluate RUN"


def _objective(given: Hparams) -> dict[str, Any]:
    if given["electric_objective"]:
        return {"objective.kind": "electric"}
    return {"objective.kind": "rtd" if given["electra_objective"] else "mlm"}


def _generator(given: Hparams) -> dict[str, Any]:
    """Return the kind of generator; Electric has only one."""
    if given["uniform_generator"]:
        return {"objective.generator.kind": "uniform"}
    if given["two_tower_generator"] and not given["electric_objective"]:
        return {"objective.generator.kind": "two_towers"}
    return {}


def _sharing(given: Hparams) -> dict[str, Any]:
    if not given["untied_generator"]:
        return {"objective.generator.sharing": "everything"}
    return {"objective.generator.sharing": "nothing"} if given["untied_generator_embeddings"] else {}


def _model(given: Hparams) -> dict[str, Any]:
    """Return the model's sizes; heads and feed-forward width only where they do not follow from hidden_size."""
    sizes = dict(zip(("hidden_size", "num_hidden_layers"), SIZES[given["model_size"]], strict=True))
    typed = asdict(given["model_hparam_overrides"])
    sizes |= {name: typed[name] for name in MODEL if typed[name] is not None}
    if given["debug"]:
        sizes |= DEBUG_MODEL
    follows = {
        "num_attention_heads": max(1, sizes["hidden_size"] // 64), "intermediate_size": 4 * sizes["hidden_size"],
        "embedding_size": sizes["hidden_size"],
    }  # fmt: skip
    if given["embedding_size"] is not None:
        sizes["embedding_size"] = given["embedding_size"]
    rows = {"rows.kind": "windows"} if sizes.get("type_vocab_size") == 1 else {}
    return rows | {
        f"model.{name}": value
        for name, value in sizes.items()
        if name not in ("vocab_size", "hidden_act") and value != follows.get(name)
    }


def _rate(given: Hparams) -> dict[str, Any]:
    """Return the learning rates: a warm-up that is longer than training ends as far below the rate as it is longer."""
    reached = min(1.0, given["num_train_steps"] / max(1, given["num_warmup_steps"]))
    return {"schedule.learning_rate": given["learning_rate"] * reached}


def _warmup(given: Hparams) -> dict[str, Any]:
    return {"schedule.warmup_proportion": min(1.0, given["num_warmup_steps"] / max(1, given["num_train_steps"]))}


def _evaluate_rows(given: Hparams) -> dict[str, Any]:
    return {"evaluate_rows": given["num_eval_steps"] * given["eval_batch_size"]}


def _keep(given: Hparams) -> dict[str, Any]:
    return {"plan.keep_checkpoints": given["keep_checkpoint_max"] or 0}


SAMPLING = ("disallow_correct", "temperature")
SHAPE = ("generator_layers", "generator_hidden_size")
TYING = ("untied_generator_embeddings", "untied_generator")


def _defaults(given: Hparams) -> Hparams:
    """Return the defaults that depend on other settings."""
    small = {"embedding_size": 128} if given["model_size"] == "small" else {}
    return (DEBUG if given["debug"] else {}) | small


def _refuse(given: Hparams) -> None:
    """Raise UserError for combinations that the reference refuses, or fails at."""
    if given["do_train"] == given["do_eval"]:
        raise UserError("do_train, do_eval: exactly one of them must be true")
    towers = given["two_tower_generator"] or given["electric_objective"]
    if towers and (given["uniform_generator"] or not given["untied_generator"]):
        other = "uniform_generator=true" if given["uniform_generator"] else "untied_generator=false"
        name = "electric_objective" if given["electric_objective"] else "two_tower_generator"
        raise UserError(f"{name}: is of no use with {other}, at which the reference fails; leave one of them out")
    if not _replaces(given) and (given["uniform_generator"] or towers):
        name = "uniform_generator" if given["uniform_generator"] else "two_tower_generator"
        raise UserError(f"{name}: is of no use with electra_objective=false, which trains one plain network")


def _replaces(given: Hparams) -> bool:
    return given["electra_objective"] or given["electric_objective"]


def _ignored(given: Hparams) -> dict[str, str]:
    """Return the keys that change nothing, and why; those of the objective at their defaults, which are ours too, have
    no reason."""
    _refuse(given)
    of_objective = [
        key for key in PRETRAINING_TABLE.keys if isinstance(key.here, str) and key.here.startswith("objective.")
    ]
    return {key.name: "" for key in of_objective if given[key.name] == key.default} | _without_effect(given)


def _without_effect(given: Hparams) -> dict[str, str]:
    if not _replaces(given):
        unread = ("gen_weight", "disc_weight", *TYING, *SHAPE, *SAMPLING)
        return dict.fromkeys(unread, "with electra_objective=false there is one loss, and nothing is replaced")
    if given["uniform_generator"]:
        names = ("gen_weight", *TYING, *SHAPE, "temperature")
        return dict.fromkeys(names, "a uniform generator learns nothing and has no weights")
    if not given["untied_generator"]:
        return dict.fromkeys(SHAPE, "untied_generator=false makes it the whole discriminator")
    return {}


def _notes(given: Hparams) -> list[str]:
    warmup, steps = given["num_warmup_steps"], given["num_train_steps"]
    lines = [f"num_warmup_steps: {warmup:,} of {steps:,} steps are a share, schedule.warmup_proportion"]
    if warmup > steps:
        reached = _rate(given)["schedule.learning_rate"]
        lines = [
            f"num_warmup_steps: {warmup:,} are more than the {steps:,} steps, so the rate rises towards {reached:g}"
        ]
    if given["model_hparam_overrides"].vocab_size is not None:
        lines.append(f"model_hparam_overrides.vocab_size: {OF_THE_DATA}")
    if given["model_hparam_overrides"].type_vocab_size == 1:
        lines.append("model_hparam_overrides.type_vocab_size: one kind of segment, so rows.kind is windows, not pairs")
    return lines


PRETRAINING_TABLE = Table("pre-training", "pretrain", (
    Key("model_name", str, "", None, RUN_FOLDER),
    Key("data_dir", str, "", None, DATA_FOLDER),
    Key("debug", bool, False, None, "its model is 3 x 144 whatever the overrides say; only --overwrite wipes a run"),
    Key("do_train", bool, True, None, EVALUATION),
    Key("do_eval", bool, False, None, EVALUATION),
    Key("electra_objective", bool, True, _objective),
    Key("electric_objective", bool, False),
    Key("gen_weight", float, 1.0, "objective.generator_weight"),
    Key("disc_weight", float, 50.0, "objective.discriminator_weight"),
    Key("mask_prob", float, 0.15, "objective.masking.prob"),
    Key("learning_rate", float, 5e-4, _rate),
    Key("lr_decay_power", float, 1.0, "schedule.decay_power"),
    Key("weight_decay_rate", float, 0.01, "optimizer.weight_decay"),
    Key("num_warmup_steps", int, 10_000, _warmup),
    Key("iterations_per_loop", int, 200, None, "nothing to set; plan.log_steps is between lines of metrics"),
    Key("save_checkpoints_steps", int, 1000, "plan.checkpoint_steps"),
    Key("keep_checkpoint_max", int | None, 5, _keep),
    Key("num_train_steps", int, 1_000_000, "plan.steps"),
    Key("num_eval_steps", int, 100, _evaluate_rows),
    Key("model_size", Literal["small", "base", "large"], "small", _model),
    Key("model_hparam_overrides", ModelOverrides, ModelOverrides()),
    Key("embedding_size", int | None, None),
    Key("vocab_size", int, 30_522, None, OF_THE_DATA),
    Key("do_lower_case", bool, True, None, OF_THE_DATA),
    Key("uniform_generator", bool, False, _generator),
    Key("two_tower_generator", bool, False),
    Key("untied_generator_embeddings", bool, False, _sharing),
    Key("untied_generator", bool, True),
    Key("generator_layers", float, 1.0, "objective.generator.layers_fraction"),
    Key("generator_hidden_size", float, 0.25, "objective.generator.hidden_fraction"),
    Key("disallow_correct", bool, False, "objective.generator.disallow_correct"),
    Key("temperature", float, 1.0, "objective.generator.temperature"),
    Key("max_seq_length", int, 128, "rows.length"),
    Key("train_batch_size", int, 128, "batch_size"),
    Key("eval_batch_size", int, 128),
    *TPU_KEYS,
    Key("pretrain_tfrecords", str, "", None, DATA_FOLDER),
    Key("vocab_file", str, "", None, OF_THE_DATA),
    Key("model_dir", str, "", None, RUN_FOLDER),
    Key("results_txt", str, "", None, "metrics.jsonl in the run's folder"),
    Key("results_pkl", str, "", None, "metrics.jsonl in the run's folder"),
), _defaults, _ignored, _notes)  # fmt: skip
