"""An objective, run on a machine: this rank's share of a batch, forward and backward in micro-batches that fit into
its memory, and on a GPU recorded as CUDA graphs."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bertsmith.errors import UserError
from bertsmith.objectives.objective import (
    NO_LOSSES,
    Batch,
    Losses,
    Objective,
    PretrainingObjective,
    PretrainingSettings,
    denominators_of,
    sum_losses,
)
from bertsmith.training.cuda_graphs import CudaGraphRunner, Denominators
from bertsmith.training.machine import Machine, evaluating
from bertsmith.training.optimizers.optimizer import clip_gradients
from bertsmith.training.ranks import ALONE, Ranks, noticing_lost_ranks
from bertsmith.training.reducer import GradientReducer
from bertsmith.training.sharding import Sharding

CPU_MICRO_BATCH_TOKENS = 4096
"""On the CPU larger micro-batches only fall out of the caches."""


class PreparedBatch(NamedTuple):
    """A batch as it is run: in micro-batches, laid out for the machine, for a GPU in memory that it can copy from."""

    batch: Batch
    length: int
    """Length of the padded rows."""
    denominators: dict[str, float]
    """Denominators of the losses, over the whole batch."""
    micro_batches: list[Batch]


Trained = TypeVar("Trained", bound=Objective, covariant=True)


class Runner(Generic[Trained]):
    """An objective on a machine, with the state that running it needs.

    Attributes:
        micro_batch_rows: rows run at once, of which memory that runs out leaves half; None leaves it to
            `micro_batch_size`.
        sharding: where the weights are dealt to the ranks, this rank's rows of them.
        reducer: where each rank has all weights, what sums their gradients.
        cuda_graphs: on a GPU, the recorded passes of `objective`, if it is not sharded.
    """

    def __init__(self, objective: Trained, machine: Machine, shard: bool = False):
        """Move `objective` to the machine's device with the first rank's weights, and with `shard` deal these to the
        ranks.

        Raises:
            UserError: as `Sharding`.
        """
        machine.ranks.give_weights(objective)
        self.sharding = Sharding(objective, machine) if shard else None
        machine.prepare_model(objective, is_sharded=shard)
        self.objective, self.machine = objective, machine
        self.micro_batch_rows = machine.micro_batch_rows
        self.ranks = machine.ranks
        self.reducer = None if shard or self.ranks.store is None else GradientReducer(objective, self.ranks)
        records = machine.device.type == "cuda" and machine.cuda_graphs and not shard
        self.cuda_graphs = CudaGraphRunner(objective, self._add_gradients) if records else None

    @property
    def weights(self) -> nn.Module:
        """The module whose parameters the optimizer moves: of a sharded objective this rank's pieces."""
        return self.objective if self.sharding is None else self.sharding.pieces

    @property
    def dealt(self) -> Ranks:
        """The ranks to which the rows of `weights` are dealt."""
        return ALONE if self.sharding is None else self.ranks

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Have in `objective`, where it is sharded, a copy with all weights whole, which runs forward on this rank
        alone. All ranks begin this together."""
        if self.sharding is None:
            yield
            return
        sharded, rows = self.objective, self.micro_batch_rows
        self.objective = self.sharding.whole_copy()  # type: ignore[assignment]  # a copy is of the same class
        try:
            yield
        finally:
            self.objective, self.micro_batch_rows = sharded, rows  # of which one rank's memory may have left fewer

    def micro_batches(self, batch: Batch, length: int) -> list[Batch]:
        """Cut `batch` and put its parts on the device, laid out as `Machine.lay_out` does."""
        return [part.to(self.machine.device) for part in self._micro_batches(batch, length)]

    def _micro_batches(self, batch: Batch, length: int) -> list[Batch]:
        """Cut and lay out `batch`, still on the host."""
        parts = batch.split(self._rows_at_once(batch, length))
        return [self.machine.lay_out(part, length) for part in parts]

    def _rows_at_once(self, batch: Batch, length: int) -> int:
        return micro_batch_size(self.machine.device, self.micro_batch_rows, batch.tokens.num_rows, length)

    def prepare(self, batch: Batch, length: int) -> PreparedBatch:
        """Do what the host has to do before `gradients`, which it can while the device is busy with another batch."""
        parts = self._micro_batches(self._share(batch), length)
        if self.machine.device.type == "cuda":
            parts = [part.pinned() for part in parts]
        return PreparedBatch(batch, length, denominators_of(self.objective, batch), parts)

    def gradients(self, prepared: PreparedBatch) -> Losses:
        """Run this rank's share of a batch forward and backward in micro-batches; the gradients of the whole batch are
        left on the parameters, in place of any. Returns the losses of the share.

        When memory runs out, on whichever rank, the micro-batch is halved and the same rows and masks run again.

        Raises:
            UserError: a single row does not fit; or of a sharded objective, whose ranks cannot turn back in the middle
                of a pass, this rank's memory runs out.
            RankLost: another rank has ended.
        """
        if self.sharding is not None:
            return self._sharded_gradients(prepared, self.sharding)
        while True:
            losses = _if_it_fits(partial(self._gradients, prepared))
            if self.reducer is not None:
                self.reducer.finish()
            if not self.ranks.any(losses is None) and losses is not None:
                return losses
            self._make_room(prepared.micro_batches[0].tokens.num_rows)
            prepared = self.prepare(prepared.batch, prepared.length)

    def _sharded_gradients(self, prepared: PreparedBatch, sharding: Sharding) -> Losses:
        with noticing_lost_ranks():
            losses = _if_it_fits(partial(self._gradients, prepared))
        if losses is None:
            rows = prepared.micro_batches[0].tokens.num_rows
            remedy = f"machine.micro_batch_rows={rows // 2}" if rows > 1 else "shorter rows, or more ranks"
            raise UserError(f"out of memory with {rows} rows at once; the run goes on from its last checkpoint with "
                            f"{remedy}")  # fmt: skip
        sharding.take_gradients()
        return losses

    def clip_gradients(self, clip_norm: float) -> Tensor:
        """Scale the gradients of all weights; see there."""
        return clip_gradients(self.weights, clip_norm, self.dealt)

    def losses(self, batch: Batch, length: int) -> Losses:
        """Run `batch` forward only, in micro-batches too, whatever the ranks; as `gradients` when memory runs out."""
        while (losses := _if_it_fits(partial(self._losses, batch, length))) is None:
            self._make_room(self._rows_at_once(batch, length))
        return losses

    def _losses(self, batch: Batch, length: int) -> Losses:
        with self.machine.inference():
            return sum_losses(self.objective.losses(part) for part in self.micro_batches(batch, length))

    def _gradients(self, prepared: PreparedBatch) -> Losses:
        if self.cuda_graphs is None:
            self._give_up_gradients()
            run: Callable[[Batch, dict[str, float]], Losses] = self._add_gradients
        else:
            self.cuda_graphs.zero_gradients()
            run = self.cuda_graphs.run
        losses, last = NO_LOSSES, len(prepared.micro_batches) - 1
        for number, part in enumerate(prepared.micro_batches):
            if number == last and self.reducer is not None and self.cuda_graphs is None:
                self.reducer.overlap()
            losses += run(part, prepared.denominators)
        return losses

    def _give_up_gradients(self) -> None:
        self.objective.zero_grad(set_to_none=True)
        if self.sharding is not None:
            self.sharding.pieces.zero_grad(set_to_none=True)

    def _share(self, batch: Batch) -> Batch:
        """Return this rank's rows of a batch."""
        rows = self.ranks.share(batch.tokens.num_rows)
        return batch.rows(rows.start, rows.stop)

    def _add_gradients(self, part: Batch, denominators: Denominators) -> Losses:
        with self.machine.autocast():
            losses = self.objective.losses(part.to(self.machine.device))
            scalar = self.objective.total(losses, denominators)
        scalar.backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def forget_shapes(self) -> None:
        """Give up what was recorded and compiled for batches whose shape does not come again, and the memory that it
        holds; how many rows run at once is chosen anew."""
        self._give_up_gradients()
        self.micro_batch_rows = self.machine.micro_batch_rows
        if self.cuda_graphs is not None:
            self.cuda_graphs.forget()
        if self.machine.compile:
            torch.compiler.reset()  # else it takes the sizes for numbers that vary, and its graphs are slower
        if self.machine.device.type == "cuda":
            torch.cuda.empty_cache()

    def _make_room(self, rows: int) -> None:
        """Give up what is recorded, which holds its memory between steps; or else run half as many rows at once."""
        self._give_up_gradients()
        if self.cuda_graphs is not None and self.cuda_graphs.recordings:
            self.cuda_graphs.forget()
        elif rows == 1:
            raise UserError("out of memory with a single row; use a smaller model, shorter rows or a larger machine")
        else:
            self.micro_batch_rows = rows // 2
            if self.machine.compile:
                torch.compiler.reset()  # else it takes the rows for a number that varies, and its graphs are slower
        if self.machine.device.type == "cuda":
            torch.cuda.empty_cache()


def micro_batch_size(device: torch.device, limit: int | None, num_rows: int, length: int) -> int:
    """Return the rows of a micro-batch, of a batch of `num_rows` of `length` tokens: `limit`, or on a GPU all. On the
    CPU they are as even as can be, since a last small one runs at less than full speed."""
    if limit is not None:
        return min(limit, num_rows)
    if device.type != "cpu":
        return num_rows
    max_rows = max(1, CPU_MICRO_BATCH_TOKENS // length)
    return -(-num_rows // -(-num_rows // max_rows))


def _if_it_fits(run: Callable[[], Losses]) -> Losses | None:
    """Return what `run` returns, or None where memory runs out; by then nothing holds the failed run's tensors, as a
    caught exception would."""
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


def held_out_losses(runner: Runner[PretrainingObjective], batches: Sequence[Batch], length: int) -> dict[str, float]:
    """Return the means over all `batches`, which the ranks deal among themselves, with `…_perplexity` for a loss in
    nats a token."""
    ranks = runner.ranks
    shares = [(batch, ranks.share(batch.tokens.num_rows)) for batch in batches]
    own = [batch.rows(rows.start, rows.stop) for batch, rows in shares if rows.start < rows.stop]
    with evaluating(runner.objective):  # a rank without a row runs one for the losses' names
        losses = sum_losses(runner.losses(batch, length) for batch in own or [batches[0].rows(0, 1)])
    means = losses_of_all_ranks(losses, ranks, counts=bool(own)).means()
    return with_perplexities(means, runner.objective.settings)


def with_perplexities(means: dict[str, float], settings: PretrainingSettings) -> dict[str, float]:
    """Return means with the perplexity of each loss that has one."""
    perplexities = {
        name.replace("_loss", "_perplexity"): math.exp(min(mean, 100.0))
        for name, mean in means.items()
        if name in settings.perplexities
    }
    return means | perplexities


def losses_of_all_ranks(losses: Losses, ranks: Ranks, counts: bool = True) -> Losses:
    """Return the losses of all ranks added up; every rank has the same names. Without `counts` this rank's are left
    out."""
    if ranks.size == 1:
        return losses
    names = sorted(losses.sums)
    own = [float(part[name]) if counts else 0.0 for part in (losses.sums, losses.counts) for name in names]
    added = ranks.add_up(own)
    sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in zip(names, added, strict=False)}
    return Losses(sums, dict(zip(names, added[len(names) :], strict=True)))
