"""Where and how a batch is run: device, number format, compilation, micro-batches."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.encoder import Embeddings
from bertsmith.encoders.heads import MaskedTokenHead, ModernHead, ReplacedTokenHead
from bertsmith.encoders.layers import Layer
from bertsmith.encoders.modern import ModernLayer
from bertsmith.errors import UserError, quoted
from bertsmith.memory import keep_freed_memory
from bertsmith.objectives.cross_entropy import VocabularyCrossEntropy
from bertsmith.objectives.objective import Batch, Losses, Objective, sum_losses
from bertsmith.training.recorder import Counts, Recorder

_COMPILED = (Layer, ModernLayer, MaskedTokenHead, ReplacedTokenHead, ModernHead, Embeddings)
_COMPILED_ON_A_GPU = (*_COMPILED, VocabularyCrossEntropy)

CPU_MICRO_BATCH_TOKENS = 4096
"""On the CPU larger micro-batches only fall out of the caches."""


@settings
class MachineSettings:
    """What to run on."""

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


class Prepared(NamedTuple):
    """A batch as it is run: in micro-batches, and for a GPU padded and in memory that it can copy from."""

    batch: Batch
    length: int
    """Of the padded rows."""
    counts: dict[str, float]
    """What losses are divided by."""
    parts: list[Batch]


@dataclass
class Machine:
    """A device and how a batch is put on it. `micro_batch_rows` falls when memory runs out."""

    device: torch.device
    dtype: torch.dtype
    compile: bool
    micro_batch_rows: int | None
    pad_id: int = 0
    record: bool = True
    """On a GPU, steps of a shape that comes again."""
    recorder: Recorder | None = None
    """Of the objective that was placed last."""

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Neither gradients nor compilation: graphs of its own would take longer to make than they save."""
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"), self.autocast():
            yield

    def place(self, module: nn.Module) -> None:
        """Move `module` to the device and compile its parts.

        Layers are compiled, not the step: one graph serves all layers, and a first step takes seconds, not minutes.
        """
        module.to(self.device)
        on_gpu = self.device.type == "cuda"
        for part in module.modules() if self.compile else ():
            if isinstance(part, _COMPILED_ON_A_GPU if on_gpu else _COMPILED):
                part.compile()
        self.recorder = Recorder(module, partial(self._add_gradients, module)) if on_gpu and self.record else None

    def micro_batches(self, batch: Batch, length: int) -> list[Batch]:
        """Cut `batch` and, off the CPU, pad its rows to `length`, so that shapes never change."""
        return [part.to(self.device) for part in self._parts(batch, length)]

    def _parts(self, batch: Batch, length: int) -> list[Batch]:
        """The same, still on the host."""
        parts = batch.split(self.rows_at_once(batch.tokens.num_rows, length))
        return list(parts) if self.device.type == "cpu" else [part.padded(length, self.pad_id) for part in parts]

    def prepare(self, objective: Objective, batch: Batch, length: int) -> Prepared:
        """What the host has to do before `gradients`, which it can while the device is busy with another batch."""
        parts = self._parts(batch, length)
        if self.device.type == "cuda":
            parts = [part.pinned() for part in parts]
        return Prepared(batch, length, objective.counts(batch), parts)

    def gradients(self, objective: Objective, prepared: Prepared) -> Losses:
        """Run a batch forward and backward in micro-batches; gradients are left on the parameters, in place of any.

        When memory runs out the micro-batch is halved and the same rows and masks run again.

        Raises:
            UserError: a single row does not fit.
        """
        while (losses := _if_it_fits(partial(self._gradients, objective, prepared))) is None:
            self._make_room(objective, prepared.parts[0].tokens.num_rows)
            prepared = self.prepare(objective, prepared.batch, prepared.length)
        return losses

    def losses(self, objective: Objective, batch: Batch, length: int) -> Losses:
        """Run `batch` forward only, in micro-batches too; as `gradients` when memory runs out."""
        while (losses := _if_it_fits(partial(self._losses, objective, batch, length))) is None:
            self._make_room(objective, self.rows_at_once(batch.tokens.num_rows, length))
        return losses

    def _losses(self, objective: Objective, batch: Batch, length: int) -> Losses:
        with self.inference():
            return sum_losses(objective.losses(part) for part in self.micro_batches(batch, length))

    def _gradients(self, objective: Objective, prepared: Prepared) -> Losses:
        if self.recorder is None:
            objective.zero_grad(set_to_none=True)
            run = partial(self._add_gradients, objective)
        else:
            self.recorder.zero_gradients()
            run = self.recorder.run
        return sum_losses(run(part, prepared.counts) for part in prepared.parts)

    def _add_gradients(self, objective: Objective, part: Batch, counts: Counts) -> Losses:
        with self.autocast():
            losses = objective.losses(part.to(self.device))
            scalar = objective.total(losses, counts)
        scalar.backward()
        return losses.detach()

    def rows_at_once(self, num_rows: int, length: int) -> int:
        """Rows of a micro-batch, of a batch of `num_rows`; on the CPU as even as can be, since a last small one runs
        at less than full speed."""
        if self.micro_batch_rows is not None:
            return min(self.micro_batch_rows, num_rows)
        if self.device.type != "cpu":
            return num_rows
        most = max(1, CPU_MICRO_BATCH_TOKENS // length)
        return -(-num_rows // -(-num_rows // most))

    def _make_room(self, objective: nn.Module, rows: int) -> None:
        """Give up what is recorded, which holds its memory between steps; or else run half as many rows at once."""
        objective.zero_grad(set_to_none=True)
        if self.recorder is not None and self.recorder.recordings:
            self.recorder.forget()
        elif rows == 1:
            raise UserError("out of memory with a single row; use a smaller model, shorter rows or a larger machine")
        else:
            self.micro_batch_rows = rows // 2
            if self.compile:
                torch.compiler.reset()  # else it takes the rows for a number that varies, and its graphs are slower
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def choose_machine(settings: MachineSettings, pad_id: int = 0, compile_on_gpu: bool = True) -> Machine:
    """The machine that `settings` ask for.

    Args:
        compile_on_gpu: what is done where they leave it open. Fine-tuning does without: compiling for all its lengths
            of row takes longer than many a task.

    Raises:
        UserError: a device or number format that is not there, or that we do not support.
    """
    device = _device(settings.device)
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
    compiles = cuda and compile_on_gpu if settings.compile is None else settings.compile
    return Machine(device, dtype, compiles, settings.micro_batch_rows, pad_id, record=settings.compile is not False)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UserError(f"device = {quoted(name, 60)}: not supported; use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device = {quoted(name, 60)}: torch sees no usable GPU; `bertsmith doctor` says why; or use device=cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device = {quoted(name, 60)}: no such device; use auto, cpu, cuda or cuda:N") from None
    if kind == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise UserError(f"device = {quoted(name, 60)}: there are {torch.cuda.device_count()} GPUs, counted from 0")
    return device


def _if_it_fits(run: Callable[[], Losses]) -> Losses | None:
    """What `run` returns; None where memory runs out. By then nothing holds the failed run's tensors, as a caught
    exception would."""
    try:
        return run()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
    return None


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    says = str(error)  # torch's words on the CPU, and cuBLAS's
    return "can't allocate memory" in says or "CUBLAS_STATUS_ALLOC_FAILED" in says
