"""Arguments of transformers' run_mlm.py → the text of a recipe, a TOML file.

Source: transformers 5.23, trainer.py, optimization.py, data/data_collator.py (80 % [MASK], 10 % random).
"""

import difflib
import json
from typing import Any

from bertsmith.config.schema import keys_of, kinds_of
from bertsmith.convert.from_run_mlm.arguments import REMARK_OF, TAKEN, Arguments, read_arguments
from bertsmith.convert.recipe_file import Draft, Written
from bertsmith.encoders.registry import EncoderSettings
from bertsmith.errors import UserError, quoted

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_ELECTRA = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "embedding_size": 128}
_MODERN = {"num_hidden_layers": 22, "intermediate_size": 1152}
_ROBERTA = {"kind": "roberta", "max_position_embeddings": 510, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
_DEBERTA = {
    "kind": "deberta", "hidden_size": 1536, "num_hidden_layers": 24, "num_attention_heads": 24,
    "intermediate_size": 6144, "position_biased_input": True, "pos_att_type": [], "share_att_key": False,
    "position_buckets": 0, "norm_rel_ebd": "none",
}  # fmt: skip
_MODEL_TYPES: dict[str, dict[str, Any]] = {
    "bert": {"kind": "classic"} | _BASE, "electra": {"kind": "classic"} | _BASE | _ELECTRA,
    "modernbert": {"kind": "modern"} | _BASE | _MODERN,
    "distilbert": {"kind": "distilbert"} | _BASE | {"num_hidden_layers": 6},
    "deberta-v2": _DEBERTA,
    **{name: _ROBERTA | _BASE | {"model_type": name} for name in ("roberta", "xlm-roberta", "camembert")},
}  # fmt: skip
"""transformers' model type → our `model`: its configuration's defaults."""

_OFFSET = 2
"""By which the positions of a RoBERTa's configuration are more than ours: they begin behind the padding id, 1."""
_OTHER_NAMES = {
    "dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size", "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}  # fmt: skip
"""Of DistilBERT's configuration → ours."""
_SCHEDULES = {
    "linear": "polynomial", "polynomial": "polynomial", "cosine": "cosine", "constant": "constant",
    "constant_with_warmup": "constant", "warmup_stable_decay": "wsd",
}  # fmt: skip
_OPTIMIZERS = {"adafactor": "adafactor"} | dict.fromkeys(
    ("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_hf", "adamw_apex_fused"), "adamw"
)
_EVERY = {
    "logging_steps": "plan.log_steps", "save_steps": "plan.checkpoint_steps", "eval_steps": "plan.evaluate_steps"
}  # fmt: skip
_TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


def recipe_from_run_mlm(text: str) -> Written:
    """Return the recipe for the arguments of run_mlm.py: its command line, or the path of its JSON file.

    Raises:
        UserError: they cannot be read, one is not known, the model is of a kind that is not here, or a value is
            impossible.
    """
    typed, draft = read_arguments(text), Draft()
    given = TAKEN | typed
    _read_model(given, draft)
    _read_rows(given, draft)
    steps = _read_plan(given, draft)
    _read_optimizer(given, draft, steps)
    _read_machine(given, draft)
    for name, value in typed.items():
        if name in REMARK_OF and value is not False:
            draft.note(name, REMARK_OF[name])
    shown = json.dumps(typed)
    try:
        return draft.written(f"transformers, run_mlm.py {shown}")
    except UserError as error:
        raise UserError(f"these arguments are no recipe here: {error}") from None


def _read_model(given: Arguments, draft: Draft) -> None:
    if given["model_name_or_path"] is not None:
        draft.values["init"] = str(given["model_name_or_path"])
        draft.note("model_name_or_path", "a folder on this machine, whose architecture the run takes; hf download "
                   "fetches one")  # fmt: skip
        return
    name = given["model_type"]
    if name is None:
        raise UserError("--model_type or --model_name_or_path is needed: what kind of network, or which model")
    if name not in _MODEL_TYPES:
        raise UserError(
            f"--model_type {quoted(name, 40)}: no such network becomes a recipe; there are {', '.join(_MODEL_TYPES)}"
        )
    draft.values |= {f"model.{key}": value for key, value in _MODEL_TYPES[name].items()}
    if name == "deberta-v2":
        draft.note("model_type", "transformers' defaults, whose attention knows no distances; as published: "
                   "model.pos_att_type=[c2p,p2c] model.share_att_key=true model.position_buckets=256 "
                   "model.norm_rel_ebd=layer_norm model.position_biased_input=false")  # fmt: skip
    if given["config_name"] is not None:
        draft.note("config_name", "its sizes are not read; the recipe has the defaults of the type, and model.… sets "
                   "others")  # fmt: skip
    known = {key.rpartition(".")[2] for key in keys_of(kinds_of(EncoderSettings)[draft.values["model.kind"]])}
    for pair in filter(None, str(given["config_overrides"] or "").split(",")):
        written, _, value = pair.strip().partition("=")
        key = _OTHER_NAMES.get(written, written) if name == "distilbert" else written
        if key == "vocab_size":
            draft.note("config_overrides.vocab_size", REMARK_OF["tokenizer_name"])
        elif key in known:
            draft.values[f"model.{key}"] = _size(key, value, draft.values["model.kind"])
        else:
            near = difflib.get_close_matches(key, known, n=1)
            draft.note(f"config_overrides.{key}", f"not here{f'; model.{near[0]} is nearest' if near else ''}")


def _size(key: str, text: str, kind: str) -> Any:
    """Return the value of a key of the configuration as our `model` of this kind has it."""
    value = _plain(text)
    if kind == "roberta" and key == "max_position_embeddings" and isinstance(value, int):
        return value - _OFFSET
    if key == "pos_att_type":
        return [term.strip() for term in text.lower().split("|")]
    return 0 if key == "position_buckets" and value == -1 else value


def _plain(text: str) -> Any:
    """Return the number, or true or false, that a text is; else the text."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


def _read_rows(given: Arguments, draft: Draft) -> None:
    accumulated = given["gradient_accumulation_steps"]
    positions = draft.values.get("model.max_position_embeddings", 512)
    longest = min(512, positions) if isinstance(positions, int) else 512  # otherwise checking will say so
    draft.values |= {
        "rows.kind": "windows", "rows.length": given["max_seq_length"] or longest, "seed": given["seed"],
        "batch_size": given["per_device_train_batch_size"] * accumulated,
        "objective.kind": "mlm", "objective.masking.prob": given["mlm_probability"],
        "objective.masking.mask_token_prob": 0.8, "objective.masking.random_token_prob": 0.1,
    }  # fmt: skip
    if given["max_seq_length"] is None:
        draft.note(
            "max_seq_length", "there it is what the tokenizer's files say, at most 1,024; here rows.length = 512"
        )
    if accumulated > 1:
        draft.values["machine.micro_batch_rows"] = given["per_device_train_batch_size"]
    draft.note("per_device_train_batch_size", "of one device; batch_size is that of all of them together")
    if given["max_eval_samples"] is not None:
        draft.values["evaluate_rows"] = given["max_eval_samples"]


def _read_plan(given: Arguments, draft: Draft) -> int | None:
    """Add the plan; return its steps, None where they are not known."""
    steps = given["max_steps"] if given["max_steps"] > 0 else None
    if steps is None:
        draft.needed["plan.tokens"] = "1000000000"
        remark = "passes over the data, whose size only its folder knows: give the plan as plan.tokens=N"
        draft.note(
            "num_train_epochs", f"{given['num_train_epochs']:g} {remark} (bertsmith show DATA has those of a pass)"
        )
    else:
        draft.values["plan.steps"] = steps
    every = {
        "logging_steps": "plan.log_steps",
        "save_steps": "plan.checkpoint_steps",
        "eval_steps": "plan.evaluate_steps",
    }
    for name, ours in every.items():
        value = given[name]
        if value is None:
            continue
        if value >= 1:
            draft.values[ours] = int(value)
        elif steps is not None and value > 0:
            draft.values[ours] = max(1, int(value * steps))
        else:
            draft.note(name, f"a share of a plan whose steps are not known; {ours} counts steps")
    draft.values["plan.keep_checkpoints"] = given["save_total_limit"] or 0
    return steps


def _read_optimizer(given: Arguments, draft: Draft, steps: int | None) -> None:
    kind = _OPTIMIZERS.get(given["optim"])
    if kind is None:
        draft.note("optim", f"{quoted(given['optim'], 40)}: no such optimizer here; AdamW takes its place "
                   "(optimizer.kind names others)")  # fmt: skip
    draft.values |= {
        "optimizer.kind": kind or "adamw", "optimizer.weight_decay": given["weight_decay"],
        "optimizer.clip_norm": given["max_grad_norm"], "schedule.learning_rate": given["learning_rate"],
    }  # fmt: skip
    if kind != "adafactor":
        draft.values |= {
            "optimizer.bias_correction": True, "optimizer.beta1": given["adam_beta1"],
            "optimizer.beta2": given["adam_beta2"], "optimizer.epsilon": given["adam_epsilon"],
        }  # fmt: skip
    name = given["lr_scheduler_type"]
    draft.values["schedule.kind"] = _SCHEDULES.get(name, "polynomial")
    warmup = 0.0 if name == "constant" else _share_of(given, "warmup_steps", steps, draft) or given["warmup_ratio"]
    draft.values["schedule.warmup_proportion"] = warmup
    options = _options(given["lr_scheduler_kwargs"])
    if name not in _SCHEDULES:
        draft.note("lr_scheduler_type", f"{quoted(name, 40)}: no such schedule here; a linear one takes its place "
                   "(schedule.kind names others)")  # fmt: skip
    if name == "polynomial":
        draft.values["schedule.decay_power"] = _number(options, "power", 1.0)
    if name == "warmup_stable_decay":
        share = _number(options, "num_decay_steps", 0.0) / (steps or 1)
        draft.values["schedule.decay_proportion"] = min(1.0, share) if steps and share else 0.2
        draft.values["schedule.decay_shape"] = "linear"
        draft.note("lr_scheduler_kwargs.num_decay_steps", "as schedule.decay_proportion, a share of the plan; it falls "
                   "in a straight line to 0")  # fmt: skip
    for option in options:
        draft.note(f"lr_scheduler_kwargs.{option}", "not here")
    if warmup and draft.values["schedule.kind"] in ("polynomial", "cosine"):
        draft.note(
            "lr_scheduler_type", "the decay begins with the warm-up here, and not after it: the two are multiplied"
        )


def _share_of(given: Arguments, name: str, steps: int | None, draft: Draft) -> float:
    """Return a number of steps, or a share where it is below 1, as a share of the plan."""
    value: float = given[name]
    if value < 1:
        return max(0.0, value)
    if steps is None:
        draft.note(name, f"{value:g} steps of a plan whose steps are not known; schedule.warmup_proportion is a share")
        return 0.0
    return min(1.0, value / steps)


def _options(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise UserError(f"--lr_scheduler_kwargs {quoted(value, 60)}: a JSON object is needed") from None
    return dict(value) if isinstance(value, dict) else {}


def _number(options: dict[str, Any], name: str, default: float) -> float:
    """Take a number out of the schedule's options."""
    value = options.pop(name, default)
    if isinstance(value, bool) or not (isinstance(value, int | float) and abs(value) < 1e15):  # nor NaN
        raise UserError(f"--lr_scheduler_kwargs {name} = {quoted(value, 60)}: a number is needed")
    return float(value)


def _read_machine(given: Arguments, draft: Draft) -> None:
    if given["use_cpu"] or given["no_cuda"]:
        draft.values["machine.device"] = "cpu"
    if given["full_determinism"]:
        draft.values["machine.deterministic"] = True
    named = given["report_to"]
    if named is None:
        return
    names = [named] if isinstance(named, str) else list(named)
    names = list(_TRACKERS) if names == ["all"] else [name for name in names if name != "none"]
    draft.values["log"] = [name for name in names if name in _TRACKERS]
    for name in names:
        if name not in _TRACKERS:
            draft.note(f"report_to {name}", f"no such tracker here; there are {', '.join(_TRACKERS)}")
