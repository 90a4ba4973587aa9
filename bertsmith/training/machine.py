"""Where and how modules run: device, number format, compilation, padding."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from bertsmith.config.fields import setting, settings
from bertsmith.console.terminal import say
from bertsmith.encoders.registry import compiled_modules
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError, quoted
from bertsmith.memory import keep_freed_memory
from bertsmith.objectives.cross_entropy import VocabularyCrossEntropy
from bertsmith.objectives.objective import Batch
from bertsmith.training.ranks import ALONE, Ranks

TokensOrBatch = TypeVar("TokensOrBatch", Tokens, Batch)

NEARLY_FULL = 0.75
"""Share of a padded batch that is tokens, from which padding costs less than shapes that change (docs/log.md)."""

SLOWER = 3
"""Times, from which a number format that was asked for is warned of."""


@settings
class MachineSettings:
    """Settings of the device."""

    device: str = setting("auto", "auto, cpu, cuda or cuda:N; auto takes a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "format of matrix products; auto is bfloat16 on a GPU that has it, else float32"
    )
    compile: bool | None = setting(
        None,
        "compile the layers; left out: on a GPU, in pre-training. On a GPU steps are recorded as CUDA graphs besides; "
        "false prevents that too",
        identity=False,
    )
    micro_batch_rows: int | None = setting(
        None, "rows run at once; left out: all on a GPU, 4,096 tokens' worth on the CPU; halved when memory runs out",
        ge=1, identity=False,
    )  # fmt: skip
    deterministic: bool = setting(
        False, "bit-for-bit repeatable on a GPU, at some cost (the CPU always is, with the same number of threads)"
    )


@settings
class PretrainMachineSettings(MachineSettings):
    """Settings of the devices of pre-training."""

    shard: bool = setting(
        False,
        "under torchrun: weights, gradients and optimizer state are dealt to the ranks by rows (FSDP2), for what one "
        "GPU cannot hold",
        identity=False,
    )


@dataclass(frozen=True)
class Machine:
    """A device and how modules run on it."""

    device: torch.device
    dtype: torch.dtype
    compile: bool
    micro_batch_rows: int | None
    """Rows run at once, as the settings say; None leaves it to `micro_batch_size`."""
    pad_id: int = 0
    cuda_graphs: bool = True
    """On a GPU, record steps of a shape that comes again."""
    ranks: Ranks = ALONE
    """The processes that train together, and which of them this is."""

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Run without gradients and without compilation: inference's own graphs would take longer to make than they
        save."""
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"), self.autocast():
            yield

    def prepare_model(self, module: nn.Module, is_sharded: bool = False) -> None:
        """Move `module` to the device and compile its parts; where it `is_sharded`, it is on the device.

        Layers are compiled, not the step: one graph serves all layers, and a first step takes seconds, not minutes.
        """
        if not is_sharded:
            module.to(self.device)
        compiled = compiled_modules() + ((VocabularyCrossEntropy,) if self.device.type == "cuda" else ())
        for part in module.modules() if self.compile else ():
            if isinstance(part, compiled) and is_sharded:
                part.forward = torch.compile(part.forward)  # without what gathers its weights before, and sends them
            elif isinstance(part, compiled):
                part.compile()

    def lay_out(self, rows: TokensOrBatch, length: int) -> TokensOrBatch:
        """Return rows as this machine runs them, still on the host: packed on the CPU, elsewhere padded to `length`.

        Of one length, batches of training have the same shapes, which a GPU records. On the CPU rows that nearly fill
        it are padded in bfloat16: oneDNN compiles a product for each shape, for ten times as long as a small one takes.
        """
        if self.device.type == "cpu":
            tokens = rows.tokens if isinstance(rows, Batch) else rows
            is_nearly_full = tokens.num_tokens >= NEARLY_FULL * tokens.num_rows * length
            if self.dtype == torch.float32 or not is_nearly_full:
                return rows
        return rows.padded(length, self.pad_id)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold `module` in evaluation mode; afterwards it is in the mode that it was in."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def choose_machine(
    settings: MachineSettings, pad_id: int = 0, compile_on_gpu: bool = True, ranks: Ranks = ALONE
) -> Machine:
    """Return the machine that `settings` ask for.

    Args:
        compile_on_gpu: what is done where they leave it open. Fine-tuning does without: compiling for all its lengths
            of row takes longer than many a task.
        ranks: of this process; each has joined the others with a GPU of its own, if with any.

    Raises:
        UserError: a device or number format that is not there, or that we do not support.
    """
    device = _device(settings.device, ranks)
    cuda = device.type == "cuda"
    half = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    automatic = torch.bfloat16 if half else torch.float32
    dtype = automatic if settings.dtype == "auto" else getattr(torch, settings.dtype)
    if cuda and dtype == torch.bfloat16 and not half:
        raise UserError("machine.dtype = 'bfloat16': this GPU has none; use float32, or leave it out")
    if settings.deterministic and cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without
        torch.use_deterministic_algorithms(True)
    if cuda:
        torch.set_float32_matmul_precision("high")
    if not cuda:
        keep_freed_memory()
        if dtype == torch.bfloat16 and ranks.rank == 0:
            _warn_of_slow_bfloat16()
    compiles = cuda and compile_on_gpu if settings.compile is None else settings.compile
    return Machine(device, dtype, compiles, settings.micro_batch_rows, pad_id, settings.compile is not False, ranks)


def product_rate(dtype: torch.dtype) -> float:
    """Return the operations a second of this processor in a product of small matrices: the best of four."""
    one, two = torch.ones(128, 256, dtype=dtype), torch.ones(256, 256, dtype=dtype)
    seconds = []
    for _ in range(4):  # what comes first is slower
        start = time.perf_counter()
        torch.mm(one, two)
        seconds.append(time.perf_counter() - start)
    return 2 * one.numel() * len(two) / min(seconds)


@functools.cache
def _warn_of_slow_bfloat16() -> None:
    """Warn, once in a process, where this processor multiplies bfloat16 much more slowly than float32."""
    slower = product_rate(torch.float32) / product_rate(torch.bfloat16)
    if slower >= SLOWER:
        say(
            f"warning: machine.dtype = 'bfloat16': this processor multiplies matrices {slower:.0f} times slower in it "
            f"than in float32; leave it out",
            error=True,
        )


def _device(name: str, ranks: Ranks) -> torch.device:
    if ranks.size > 1 and name.startswith("cuda:"):
        raise UserError(f"device = {quoted(name, 60)}: each of {ranks.size} ranks takes a GPU of its own; use cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and 0 < torch.cuda.device_count() <= ranks.local_rank:
        count = torch.cuda.device_count()
        raise UserError(
            f"LOCAL_RANK={ranks.local_rank}: each rank needs a GPU of its own, and there are {count} here; start "
            f"torchrun with --nproc-per-node {count}"
        )
    device_type = name.partition(":")[0]
    if device_type not in ("cpu", "cuda"):
        raise UserError(f"device = {quoted(name, 60)}: not supported; use auto, cpu, cuda or cuda:N")
    if device_type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device = {quoted(name, 60)}: torch sees no usable GPU; `bertsmith doctor` says why; or use device=cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device = {quoted(name, 60)}: no such device; use auto, cpu, cuda or cuda:N") from None
    if device_type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise UserError(f"device = {quoted(name, 60)}: there are {torch.cuda.device_count()} GPUs, counted from 0")
    return device
