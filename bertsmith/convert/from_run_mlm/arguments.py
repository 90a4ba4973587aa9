"""The arguments of transformers' run_mlm.py, as its command line or a JSON file has them.

Source: transformers 5.23, training_args.py; examples/pytorch/language-modeling/run_mlm.py, versions 4 and 5.
"""

import difflib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.storage.json_files import read_json

TAKEN: dict[str, Any] = {
    "model_name_or_path": None, "model_type": None, "config_overrides": None, "config_name": None,
    "max_seq_length": None, "mlm_probability": 0.15, "max_eval_samples": None,
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3.0, "max_steps": -1,
    "learning_rate": 5e-5, "lr_scheduler_type": "linear", "lr_scheduler_kwargs": None, "warmup_steps": 0.0,
    "warmup_ratio": 0.0, "optim": "adamw_torch", "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999,
    "adam_epsilon": 1e-8, "max_grad_norm": 1.0, "seed": 42, "logging_steps": 500.0, "eval_steps": None,
    "save_steps": 500.0, "save_total_limit": None, "report_to": None, "use_cpu": False, "no_cuda": False,
    "full_determinism": False,
}  # fmt: skip
"""Argument that has a counterpart → its default."""

_OF_THE_DATA = "of the text; data=... names a folder made by bertsmith prepare"
_OF_THE_MODEL = "init=MODEL names a folder on this machine; nothing is fetched (hf download fetches)"
_RUN_FOLDER = "--out names the run's folder, which the same command goes on with and --overwrite begins anew"
_PADDING = "how rows are laid out depends on the machine: packed on the CPU, of one length on a GPU"
_EVALUATION = "held-out rows are measured every plan.evaluate_steps; to evaluate only: bertsmith evaluate RUN"
_SHOWN = "a run shows its progress and keeps metrics.jsonl"
_HUB = "bertsmith export RUN OUT writes a folder, and hf upload sends it"
_NUMBERS = "machine.dtype is bfloat16 on a GPU that has it, else float32; weights are always float32"
_SAVED = "checkpoints are written every plan.checkpoint_steps and at the end, and begin where they were"
_ONE_PROCESS = "rows are made in the process itself, ahead of their use"
_RANKS = "torchrun --nproc-per-node N -m bertsmith pretrain trains on several GPUs; machine.shard deals weights to them"
_COMPILED = "layers are compiled on a GPU (machine.compile)"
_NOT_HERE = "not here"

_REMARKS: dict[str, tuple[str, ...]] = {
    _OF_THE_DATA: (
        "dataset_name", "dataset_config_name", "train_file", "validation_file", "tokenizer_name", "use_fast_tokenizer",
        "overwrite_cache", "preprocessing_num_workers", "streaming", "max_train_samples",
    ),
    "bertsmith prepare holds out heldout_fraction of the text": ("validation_split_percentage",),
    "a row is a run of a document (rows.kind=windows); documents=blank_lines or a file each, of bertsmith prepare, say "
    "what a document is": ("line_by_line",),
    _OF_THE_MODEL: (
        "cache_dir", "model_revision", "token", "use_auth_token", "trust_remote_code", "low_cpu_mem_usage", "dtype",
        "torch_dtype",
    ),
    _RUN_FOLDER: ("output_dir", "overwrite_output_dir", "run_name", "resume_from_checkpoint"),
    _PADDING: ("pad_to_max_length", "group_by_length", "length_column_name", "train_sampling_strategy"),
    _EVALUATION: (
        "do_train", "do_eval", "do_predict", "eval_strategy", "evaluation_strategy", "eval_delay", "eval_on_start",
        "per_device_eval_batch_size", "prediction_loss_only", "eval_do_concat_batches", "eval_use_gather_object",
        "eval_accumulation_steps", "include_for_metrics", "batch_eval_metrics", "include_inputs_for_metrics",
        "metric_for_best_model", "greater_is_better", "load_best_model_at_end",
    ),
    _SHOWN: (
        "logging_strategy", "logging_first_step", "logging_dir", "log_on_each_node", "logging_nan_inf_filter",
        "log_level", "log_level_replica", "disable_tqdm", "include_num_input_tokens_seen",
        "include_tokens_per_second", "skip_memory_metrics", "debug", "project", "trackio_space_id",
        "trackio_bucket_id", "trackio_static_space_id",
    ),
    _HUB: (
        "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push",
        "hub_revision", "push_to_hub_model_id", "push_to_hub_organization", "push_to_hub_token",
    ),
    _NUMBERS: ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32", "fp16_opt_level", "half_precision_backend",
              "fp16_backend"),
    _SAVED: ("save_strategy", "save_only_model", "save_on_each_node", "save_safetensors", "enable_jit_checkpoint",
            "ignore_data_skip", "restore_callback_states_from_checkpoint"),
    _ONE_PROCESS: (
        "dataloader_drop_last", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers",
        "dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataloader_in_order",
        "remove_unused_columns", "label_names", "data_seed",
    ),
    _RANKS: (
        "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend",
        "ddp_timeout", "fsdp", "fsdp_config", "fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap", "deepspeed",
        "local_rank", "accelerator_config", "parallelism_config", "average_tokens_across_devices",
        "split_batches", "dispatch_batches",
    ),
    _COMPILED: ("torch_compile", "torch_compile_backend", "torch_compile_mode", "jit_mode_eval", "use_ipex",
               "torchdynamo"),
    "memory that runs out halves the rows run at once (machine.micro_batch_rows)": (
        "auto_find_batch_size", "gradient_checkpointing", "gradient_checkpointing_kwargs", "activation_checkpointing",
        "activation_checkpointing_kwargs", "torch_empty_cache_steps", "use_liger_kernel", "liger_kernel_config",
    ),
    _NOT_HERE: ("label_smoothing_factor", "neftune_noise_alpha", "optim_args", "optim_target_modules", "use_cache",
               "use_mps_device"),
}  # fmt: skip
"""Why there is no counterpart → the arguments without one."""

REMARK_OF = {name: remark for remark, names in _REMARKS.items() for name in names}
_ALIASES = {f"per_gpu_{name}_batch_size": f"per_device_{name}_batch_size" for name in ("train", "eval")}

Arguments = dict[str, Any]
"""Typed arguments: of those with a counterpart values of its type, of the others as they were written."""


def read_arguments(text: str) -> Arguments:
    """Return the arguments in `text`: a command line, whose first words may be `python run_mlm.py`, or the path of a
    file of JSON, which ends in .json. Raises UserError where they cannot be read, or one is not known."""
    words = _words(text)
    is_file = len(words) == 1 and words[0].endswith(".json")
    given = read_json(Path(words[0]), dict) if is_file else dict(_pairs(words))
    typed: Arguments = {}
    for written, value in given.items():
        if value is None:
            continue
        name = _ALIASES.get(written, written)
        if name in TAKEN:
            typed[name] = _as_typed(name, value)
        elif name in REMARK_OF:
            typed[name] = value
        else:
            near = difflib.get_close_matches(written, [*TAKEN, *REMARK_OF], n=1)
            hint = f"did you mean --{near[0]}?" if near else "leave it out"
            raise UserError(f"--{written}: run_mlm.py has no such argument; {hint}")
    return typed


def _words(text: str) -> list[str]:
    """Return the words after those of what starts the script, as torchrun with arguments of its own, and the script."""
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        raise UserError(f"--from-run-mlm: {one_line(error)}; put the command line between quotes as it was") from None
    script = next((number for number, word in enumerate(words) if word.endswith(".py")), None)
    if script is not None and not words[0].startswith("--"):
        if words[script].endswith("run_mlm_no_trainer.py"):
            raise UserError(
                "run_mlm_no_trainer.py: a program with arguments and defaults of its own, which are not read; give "
                "those that run_mlm.py would take"
            )
        return words[script + 1 :]
    first = next((number for number, word in enumerate(words) if word.startswith("--")), len(words) - 1)
    return words[max(0, first) :]


def _pairs(words: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield names and values, as transformers' HfArgumentParser reads them: a flag without a value is true, and
    --no_NAME makes NAME false."""
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("--"):
            raise UserError(f"{quoted(word, 60)}: a value without an argument before it; write --NAME VALUE")
        name, has_value, value = word[2:].partition("=")
        name = name.replace("-", "_")
        values = [value] if has_value else []
        while place < len(words) and not words[place].startswith("--") and not has_value:
            values.append(words[place])
            place += 1
        if not values:
            is_off = name.startswith("no_") and name not in TAKEN and name not in REMARK_OF
            yield (name.removeprefix("no_"), False) if is_off else (name, True)
        else:
            yield name, values[0] if len(values) == 1 else values


def _as_typed(name: str, value: Any) -> Any:
    """Return a value of the type of the argument's default; text where that is None, or several of report_to."""
    default = TAKEN[name]
    whole = name in ("max_seq_length", "max_eval_samples", "save_total_limit") or type(default) is int
    if isinstance(default, bool):
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() in known:
            return known[str(value).lower()]
        raise UserError(f"--{name} {quoted(value, 60)}: true or false is needed")
    if whole or isinstance(default, float) or name == "eval_steps":
        try:
            number = float(value)
            if number != number or abs(number) > 1e15 or (whole and not number.is_integer()) or isinstance(value, bool):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"--{name} {quoted(value, 60)}: a {'whole ' * whole}number is needed") from None
        return int(number) if whole else number
    if name == "lr_scheduler_kwargs":
        return value
    texts = value if name == "report_to" and isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"--{name} {quoted(value, 60)}: a text is needed")
    return value
