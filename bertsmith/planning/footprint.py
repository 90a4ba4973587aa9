"""The memory of a training step and of a process that trains, counted before anything is trained."""

import math
from dataclasses import dataclass, field

import torch

from bertsmith.encoders.config import Precision
from bertsmith.encoders.encoder import num_parameters
from bertsmith.objectives.cross_entropy import chunk_rows
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import micro_batch_size
from bertsmith.training.stages import Stage

PROCESS_BYTES = 416e6
"""Memory of a process that has imported all that training needs: mostly torch, and what it loads at its first use."""
FRAGMENTATION, FRAGMENTATION_OF_SEVERAL = 1.4, 2.2
"""The heap's size for a micro-batch's tensors, over the bytes that they hold, where a step is one micro-batch and where
it is several: sizes differ from one to the next, and gradients lie between them."""
PROCESS_GROWTH = 1.18
"""The factor by which a process outgrows its first steps before it gives freed memory back (`memory.Surplus`), and a
little for what two threads take more than one."""


@dataclass(frozen=True)
class Footprint:
    """Tensors at a step's peak, in bytes."""

    num_rows: int
    """Rows run at once."""
    state: float
    """Weights and gradients in float32, and what the optimizer keeps; in half precision a copy of the weights too."""
    kept: float
    """Activations for the backward pass; compilation may save some of them."""
    passing: float
    """Transient tensors: the most scores over the vocabulary at a time, and the gradient for its table."""
    several: bool = False
    """Whether a step is of several micro-batches."""
    total: float = field(init=False)
    process: float = field(init=False)
    """The most memory of a process that trains on the CPU."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.state + self.kept + self.passing)
        transient = (FRAGMENTATION_OF_SEVERAL if self.several else FRAGMENTATION) * (self.kept + self.passing)
        object.__setattr__(self, "process", PROCESS_GROWTH * (PROCESS_BYTES + self.state + transient))


class StepMemory:
    """Counts the memory of a recipe's steps on different devices; `objective` may be on torch's "meta" device."""

    def __init__(self, recipe: PretrainRecipe, objective: PretrainingObjective):
        self.recipe, self.objective = recipe, objective
        self.num_parameters = num_parameters(objective)
        tensors = recipe.optimizer_state_shapes(objective).values()
        self.optimizer_bytes = sum(tensor.nbytes for tensor in tensors if tensor.ndim)  # single numbers are nothing

    def footprint(self, precision: Precision, limit: float = math.inf, num_ranks: int = 1) -> Footprint | None:
        """Count a step's memory with as many rows at once as training runs: halved until they fit into `limit` bytes,
        None where not even one row does. Of several stages it is that of the one that takes the most, of several ranks
        one's.

        Rows are taken as full. On the CPU it is 0 to 15 % more than what torch allocates; `process` is within 20 % of
        what the process takes (`benchmarks/footprint.py`).
        """
        largest: Footprint | None = None
        for stage in self.recipe.all_stages:
            share = stage._replace(batch_size=stage.batch_size // num_ranks)
            sent = 4 * self.num_parameters if num_ranks > 1 else 0  # a copy of the gradients, for the other ranks
            found = self._of_stage(share, precision, limit, sent)
            if found is None:
                return None
            taken = found.total if precision.cuda else found.process
            if largest is None or taken > (largest.total if precision.cuda else largest.process):
                largest = found
        return largest

    def _of_stage(self, stage: Stage, precision: Precision, limit: float, sent: int) -> Footprint | None:
        length, half = stage.rows.length, 2 if precision.half else 0
        device = torch.device("cuda" if precision.cuda else "cpu")
        num_rows = micro_batch_size(device, self.recipe.machine.micro_batch_rows, stage.batch_size, length)
        kept = length * self.objective.activation_bytes_per_token(length, precision)
        table = self.objective.encoder.embeddings.token.weight  # [V, E]
        score = 2 * precision.size if precision.cuda else 4 + half  # on a GPU its gradient does not take its place
        while num_rows:
            predictions = min(chunk_rows(device), num_rows * self.recipe.objective.max_predictions(length))
            found = Footprint(
                num_rows,
                state=self.num_parameters * (2 * 4 + half) + self.optimizer_bytes + sent,
                kept=num_rows * kept,
                passing=predictions * len(table) * score + 4 * table.numel(),
                several=num_rows < stage.batch_size,
            )
            if found.total <= limit:
                return found
            num_rows //= 2
        return None
