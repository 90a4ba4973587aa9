"""Data, optimizer, schedule and the rest of a YAML file of ModernBERT's → ours.

Source: AnswerDotAI/ModernBERT, main.py, src/scheduler.py, src/sequence_packer.py; MosaicML Composer, DecoupledAdamW.
"""

from bertsmith.convert.from_modernbert.durations import Clock, Duration, parse_duration
from bertsmith.convert.from_modernbert.yaml_file import YamlSettings
from bertsmith.convert.recipe_file import Draft
from bertsmith.errors import UserError, quoted

_OF_THE_DATA = "of the text; data=... names a folder made by bertsmith prepare"
_RUN_FOLDER = "--out names the run's folder"
_RESUMES = "the same command goes on with a run; init=MODEL begins with a model's weights, and optimizer and plan anew"
_HELD_OUT = "held-out rows are measured as the run masks its own; pinned_loss beside them always with 15 %"
_SHOWN = "a run shows its progress and keeps metrics.jsonl"

_REMARKS = {
    "data_local": _OF_THE_DATA, "data_remote": _OF_THE_DATA, "pretrain_data_local": _OF_THE_DATA,
    "pretrain_data_remote": _OF_THE_DATA, "tokenizer_name": _OF_THE_DATA, "train_loader.dataset": _OF_THE_DATA,
    "run_name": _RUN_FOLDER, "save_folder": _RUN_FOLDER, "pretrain_run_name": _RUN_FOLDER,
    "context_extension_run_name": _RUN_FOLDER, "save_overwrite": _RUN_FOLDER,
    "load_path": _RESUMES, "autoresume": _RESUMES, "reset_time": _RESUMES, "restart_override": _RESUMES,
    "load_weights_only": _RESUMES,
    "init_from_checkpoint": "no layers are tiled from a smaller model; init=MODEL takes one of the same shape",
    "eval_loader": _HELD_OUT, "global_eval_batch_size": _HELD_OUT, "device_eval_batch_size": _HELD_OUT,
    "device_eval_microbatch_size": _HELD_OUT,
    "train_loader.batch_size_warmup_min_size": "a batch does not grow step by step; stages=[{tokens=…, batch_size=…}] "
    "puts stages of smaller batches before",
    "train_loader.batch_size_warmup_tokens": "see batch_size_warmup_min_size",
    "fsdp_config": "machine.shard=true under torchrun deals weights to GPUs",
    "compile_config": "layers are compiled on a GPU (machine.compile)",
    "progress_bar": _SHOWN, "log_to_console": _SHOWN, "callbacks": _SHOWN, "python_log_level": _SHOWN,
    "algorithms": "no such algorithm here",
    "optimizer.log_grad_norm": "metrics.jsonl has the norm of each logged step",
}  # fmt: skip
"""Beginning of keys that have no counterpart → why; one line for all keys below it."""

_NOTHING_TO_SET = (
    "train_loader.name", "train_loader.drop_last", "train_loader.num_workers", "train_loader.sequence_packing",
    "count_padding_tokens", "device",
)  # fmt: skip


def read_training(given: YamlSettings, draft: Draft) -> None:
    """Add all but the network to the draft, and a line for each setting without a counterpart. Raises UserError where a
    value cannot be read, or there is no length of training."""
    clock = _read_rows(given, draft)
    rate = _read_optimizer(given, draft)
    _read_schedule(given, draft, clock, rate)
    _read_machine(given, draft, clock)
    for key in _NOTHING_TO_SET:
        given.values.pop(key, None)
    for beginning, remark in _REMARKS.items():
        named = [key for key in given.below(beginning) if given.values.pop(key) not in (None, "", {}, False)]
        if named:
            draft.note(named[0] if named == [beginning] else beginning, remark)
    for key, value in given.values.items():
        draft.note(key, f"{quoted(value, 60)}: not known here")
    given.values = {}


def _read_rows(given: YamlSettings, draft: Draft) -> Clock:
    """Add rows, masks and the plan; return what turns units of time into each other."""
    length = given.number("train_loader.dataset.max_seq_len", given.number("max_seq_len", 128))
    batch_size = given.number("global_train_batch_size")
    share = given.number("train_loader.dataset.mlm_probability", given.number("mlm_probability", 0.15))
    if batch_size is None:
        raise UserError(f"{given.path}: has no global_train_batch_size, rows a step")
    draft.values |= {
        "rows.kind": "windows", "rows.length": length, "batch_size": batch_size, "seed": given.number("seed", 17),
        "objective.kind": "mlm", "objective.masking.prob": share, "objective.masking.mask_token_prob": 0.8,
        "objective.masking.random_token_prob": 0.1,
    }  # fmt: skip
    if length > 8192:
        draft.values["model.max_position_embeddings"] = length
    total = parse_duration(given.take("max_duration", ""), f"{given.path}: max_duration")
    clock = Clock(int(batch_size), int(length), total)
    if total.unit == "tok":
        draft.values["plan.tokens"] = int(total.number)
    elif (steps := clock.steps(total)) is not None and total.unit != "dur":
        draft.values["plan.steps"] = steps
    else:
        draft.needed["plan.tokens"] = "1000000000"
        draft.note("max_duration", f"{total.number:g} passes over the data, whose size only its folder knows: give the "
                   "plan as plan.tokens=N (bertsmith show DATA has the tokens of a pass) or plan.steps=N")  # fmt: skip
    every = {"eval_interval": "plan.evaluate_steps", "save_interval": "plan.checkpoint_steps",
             "console_log_interval": "plan.log_steps"}  # fmt: skip
    for key, ours in every.items():
        steps = _steps(given, clock, key)
        if steps:
            draft.values[ours] = steps
        elif steps is not None:
            draft.note(key, f"counts passes over the data; {ours} counts steps, and is the default")
    return clock


def _steps(given: YamlSettings, clock: Clock, key: str) -> int | None:
    """Return the steps of an interval, 0 where they are not known; None where the file has none."""
    value = given.take(key)
    return None if value is None else clock.steps(parse_duration(value, f"{given.path}: {key}")) or 0


def _read_optimizer(given: YamlSettings, draft: Draft) -> float:
    """Add the optimizer; return the highest learning rate."""
    name, rate = given.take("optimizer.name", "decoupled_adamw"), given.number("optimizer.lr")
    if rate is None or rate <= 0:
        raise UserError(f"{given.path}: optimizer.lr: the highest learning rate is needed")
    decay = given.number("optimizer.weight_decay", 0.0)
    betas = given.take("optimizer.betas", [0.9, 0.999])
    if not (isinstance(betas, list) and len(betas) == 2 and all(isinstance(beta, float | int) for beta in betas)):
        raise UserError(f"{given.path}: optimizer.betas = {quoted(betas, 60)}: two numbers are needed")
    clips = given.take("algorithms.gradient_clipping.clipping_type", "norm") == "norm"
    clip_norm = given.number("algorithms.gradient_clipping.clipping_threshold", 0.0)
    if name not in ("decoupled_adamw", "adamw"):
        draft.note("optimizer.name", f"{quoted(name, 40)}: AdamW takes its place, and clip_norm = 1 its bound on each "
                   "weight's step")  # fmt: skip
        clip_norm = clip_norm or 1.0
    if not clips:
        draft.note("algorithms.gradient_clipping.clipping_type", "gradients are clipped by their norm here")
    is_decoupled = name != "adamw" and name != "stableadamw"
    draft.values |= {
        "optimizer.kind": "adamw", "optimizer.bias_correction": True, "optimizer.beta1": float(betas[0]),
        "optimizer.beta2": float(betas[1]), "optimizer.epsilon": float(given.number("optimizer.eps", 1e-8)),
        "optimizer.weight_decay": round(decay / rate, 12) if is_decoupled else float(decay),
        "optimizer.clip_norm": float(clip_norm),
    }  # fmt: skip
    if is_decoupled and decay:
        remark = f"{decay:g} of a weight at the highest rate; here it is times the rate, so {decay:g} / {rate:g}"
        draft.note("optimizer.weight_decay", remark)
    if given.take("optimizer.filter_bias_norm_wd") is False:
        draft.note("optimizer.filter_bias_norm_wd", "biases and norms are spared of the decay here")
    _read_average(given, draft)
    return float(rate)


def _read_average(given: YamlSettings, draft: Draft) -> None:
    smoothing = given.number("algorithms.ema.smoothing")
    half_life = given.take("algorithms.ema.half_life")
    if smoothing is None and half_life is not None:
        duration = parse_duration(half_life, f"{given.path}: algorithms.ema.half_life")
        smoothing = 0.5 ** (1 / duration.number) if duration.unit == "ba" and duration.number > 0 else None
    if smoothing is not None:
        draft.values["average_decay"] = float(smoothing)


def _read_schedule(given: YamlSettings, draft: Draft, clock: Clock, rate: float) -> None:
    name, values = given.take("scheduler.name", "constant_with_warmup"), draft.values
    values |= {
        "schedule.learning_rate": rate,
        "schedule.warmup_proportion": _share(given, draft, clock, "t_warmup") or 0.0,
    }
    decay = _share(given, draft, clock, "t_decay")
    whole = _share(given, draft, clock, "t_max")
    match name:
        case "linear_decay_with_warmup":
            values["schedule.kind"] = "polynomial"
        case "cosine_with_warmup":
            values["schedule.kind"] = "cosine"
        case "constant_with_warmup":
            values["schedule.kind"] = "constant"
        case "warmup_stable_decay":
            decay = 0.1 if decay is None else decay
            values |= {"schedule.kind": "wsd", "schedule.decay_proportion": decay, "schedule.decay_shape": "linear"}
            if not decay:  # of no length, it is none
                del values["schedule.decay_proportion"], values["schedule.decay_shape"]
                values["schedule.kind"] = "constant"
        case "one_minus_sqrt":
            is_all = decay is None or decay >= 1
            values["schedule.kind"] = "one_minus_sqrt" if is_all else "wsd"
            if not is_all:
                values |= {"schedule.decay_proportion": decay, "schedule.decay_shape": "one_minus_sqrt"}
        case _:
            values["schedule.kind"] = "constant"
            remark = "no such schedule here; the rate stays as it is after its warm-up (schedule.kind names others)"
            draft.note("scheduler.name", f"{quoted(name, 40)}: {remark}")
    warmup, last = values["schedule.warmup_proportion"], values.get("schedule.decay_proportion", 0.0)
    if warmup + last > 1:
        raise UserError(
            f"{given.path}: scheduler.t_warmup and scheduler.t_decay (without one 10%) are {warmup:.1%} and {last:.1%} "
            f"of max_duration, together more than all of it; make one of them shorter"
        )
    if whole is not None and whole != 1:
        draft.note("scheduler.t_max", "a schedule ends with the plan here")
    final = given.number("scheduler.alpha_f", 0.0)
    if final and values["schedule.kind"] != "constant":
        draft.note("scheduler.alpha_f", f"{final:g}: the rate falls to 0 here, not to a share of the highest one")
    if values["schedule.kind"] in ("polynomial", "cosine") and values["schedule.warmup_proportion"]:
        draft.note("scheduler.name", "the decay begins with the warm-up here, and not after it: the two are multiplied")


def _share(given: YamlSettings, draft: Draft, clock: Clock, key: str) -> float | None:
    """Return a time of the schedule as a share of the plan; None where the file has none, or it cannot be told."""
    value = given.take(f"scheduler.{key}")
    if value is None:
        return None
    duration: Duration = parse_duration(value, f"{given.path}: scheduler.{key}")
    share = 0.0 if duration.number == 0 else clock.share(duration)
    if share is None:
        draft.note(f"scheduler.{key}", "a share of a plan whose length is not known; 0 is put in its place")
        return 0.0
    return min(1.0, share)


def _read_machine(given: YamlSettings, draft: Draft, clock: Clock) -> None:
    kept = given.number("save_num_checkpoints_to_keep", -1)
    draft.values["plan.keep_checkpoints"] = 0 if kept < 0 else max(1, kept)
    draft.values.setdefault("plan.checkpoint_steps", 1000)
    rows = given.take("device_train_microbatch_size", "auto")
    if isinstance(rows, int) and not isinstance(rows, bool):
        draft.values["machine.micro_batch_rows"] = rows
    precision = given.take("precision", "amp_bf16")
    if precision == "fp32":
        draft.values["machine.dtype"] = "float32"
    elif precision != "amp_bf16":
        draft.note("precision", f"{quoted(precision, 40)}: machine.dtype is bfloat16 on a GPU that has it, or float32")
    batches, rows = (
        given.number("eval_subset_num_batches", -1),
        given.number("global_eval_batch_size", clock.batch_size),
    )
    if batches > 0:
        draft.values["evaluate_rows"] = batches * rows
    trackers = sorted({key.split(".")[1] for key in given.below("loggers") if "." in key})
    for key in given.below("loggers"):
        del given.values[key]
    known = [name for name in trackers if name in ("wandb", "mlflow", "tensorboard")]
    if known:
        draft.values["log"] = known
        draft.note("loggers", "each is told by its own variables where to, as WANDB_PROJECT (docs/commands.md)")
    for name in sorted(set(trackers) - set(known)):
        draft.note(f"loggers.{name}", "no such tracker here")
