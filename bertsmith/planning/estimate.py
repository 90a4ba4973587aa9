"""`bertsmith plan`: parameters, operations, memory, time and cost of a pre-training, without doing it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from bertsmith.encoders.config import Precision, training_flops
from bertsmith.encoders.encoder import num_parameters
from bertsmith.encoders.initialization import shapes_only
from bertsmith.encoders.reference_flops import PUBLISHED_FLOPS, reference_training_flops
from bertsmith.errors import UserError
from bertsmith.objectives.cross_entropy import chunk_rows
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.planning.gpus import GPU, find_gpus
from bertsmith.planning.incomplete import load_incomplete
from bertsmith.text.shards import open_data
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import micro_batch_size

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


def footprint(
    recipe: PretrainRecipe, objective: PretrainingObjective, precision: Precision, limit: float = math.inf
) -> Footprint | None:
    """Count a step's memory with as many rows at once as training runs: halved until they fit into `limit` bytes, None
    where not even one row does.

    `objective` may be on torch's "meta" device. Rows are taken as full. On the CPU it is 0 to 15 % more than what torch
    allocates; `process` is within 20 % of what the process takes (`benchmarks/footprint.py`).
    """
    length, half = recipe.rows.length, 2 if precision.half else 0
    device = torch.device("cuda" if precision.cuda else "cpu")
    num_rows = micro_batch_size(device, recipe.machine.micro_batch_rows, recipe.batch_size, length)
    tensors = recipe.optimizer_state_shapes(objective).values()
    kept_by_optimizer = sum(tensor.nbytes for tensor in tensors if tensor.ndim)  # single numbers are nothing
    kept = length * objective.activation_bytes_per_token(length, precision)
    table = objective.encoder.embeddings.token.weight  # [V, E]
    score = 2 * precision.size if precision.cuda else 4 + half  # on a GPU its gradient does not take its place
    while num_rows:
        predictions = min(chunk_rows(device), num_rows * recipe.objective.max_predictions(length))
        found = Footprint(
            num_rows,
            state=num_parameters(objective) * (2 * 4 + half) + kept_by_optimizer,
            kept=num_rows * kept,
            passing=predictions * len(table) * score + 4 * table.numel(),
            several=num_rows < recipe.batch_size,
        )
        if found.total <= limit:
            return found
        num_rows //= 2
    return None


BERT_VOCAB_SIZE = 30_522

USABLE_MEMORY = 0.9
"""Of a GPU's memory; the rest goes to its driver's context, libraries, and gaps between tensors."""


class Assumptions(NamedTuple):
    """Assumptions of an estimate."""

    utilisation: float | None = None
    """Share of the data sheet's peak that training reaches, in (0, 1]; None: `usual_utilisation`."""
    gpus: Sequence[str] = ()
    """Names of GPUs; none: all of `GPUS`."""
    price: float | None = None
    """USD an hour, in place of the table's."""
    vocab_size: int | None = None
    """Size of the vocabulary, in place of the data folder's."""


ASSUMPTIONS = Assumptions()


def usual_utilisation(hidden_size: int) -> float:
    """Return the usual utilisation at this width. Narrow layers wait for memory: their arithmetic for each number read
    grows with their width.

    Measured (benchmarks/gpu-*.json): at 256 wide on an H100 0.09 with 128 rows of 128, 0.13 with 1,024; at 768 wide on
    an H200 with 256 rows 0.30 (ELECTRA) and 0.34 (BERT). GPUs with less arithmetic for their memory's speed reach more.
    """
    return min(0.4, 0.1 * hidden_size / 256)


@dataclass(frozen=True)
class OnGPU:
    """The costs of training on one GPU; no rate and no time where not even a row fits or the GPU lacks the format."""

    name: str
    dtype: str
    peak_flops: float | None
    """Operations a second."""
    price: float
    """USD an hour."""
    memory: Footprint | None = None
    tokens_per_second: float | None = None
    tokens: float | None = None
    """Total number."""
    seconds: float | None = None
    cost: float | None = None
    """USD."""


@dataclass(frozen=True)
class Estimate:
    """The costs of a pre-training. With a plan in hours, the number of tokens depends on the GPU, and is None here."""

    recipe: str
    overrides: list[str]
    data: str | None
    """The data folder, if one is named; it need not be there."""
    vocab_size: int
    vocab_source: str
    parameters: dict[str, int]
    """Number of parameters by part, and "total"."""
    batch_size: int
    length: int
    hours: float | None
    steps: int | None
    tokens: int | None
    """Rows taken as full."""
    data_tokens: int | None
    """Training tokens in the data folder; None where there is no folder yet."""
    flops_per_token: float
    """Matrix products, the backward pass being two forward ones."""
    flops: float | None
    reference_flops_per_token: float | None
    """Operations as google-research/electra counts them; None where it has no count."""
    reference_flops: float | None
    published_flops: dict[str, float]
    """Total operations of the models in the reference's table, as it counts them."""
    memory_on_cpu: Footprint
    utilisation: float
    gpus: list[OnGPU]


def estimate(what: str, overrides: Sequence[str] = (), assumed: Assumptions = ASSUMPTIONS) -> Estimate:
    """Estimate what the recipe `what` (a shipped one's name or a file) takes with `overrides`; it needs no data folder.

    Raises:
        UserError: the recipe, a setting or an assumption is impossible.
    """
    _check(assumed)
    gpus = find_gpus(assumed.gpus)
    loaded = load_incomplete("pretrain", what, overrides)
    recipe: PretrainRecipe = loaded.settings
    path = None if loaded.origins["data"] == "needed" else recipe.data
    vocab_size, vocab_source, data_tokens = _vocabulary(path, assumed)
    with shapes_only():  # which ids are special does not matter
        objective = recipe.objective.build(recipe.model, MaskingVocabulary(vocab_size))
    job = _Job(recipe, objective, assumed)
    memory_on_cpu = footprint(recipe, job.objective, Precision(half=False, cuda=False))
    assert memory_on_cpu is not None, "there is no limit"
    reference = _reference_flops_per_token(recipe, vocab_size)
    tokens = job.tokens
    return Estimate(
        recipe=what,
        overrides=list(overrides),
        data=path,
        vocab_size=vocab_size,
        vocab_source=vocab_source,
        parameters=_parameters(job.objective),
        batch_size=recipe.batch_size,
        length=recipe.rows.length,
        hours=recipe.plan.hours,
        steps=job.steps,
        tokens=tokens,
        data_tokens=data_tokens,
        flops_per_token=job.flops_per_token,
        flops=tokens and tokens * job.flops_per_token,
        reference_flops_per_token=reference,
        reference_flops=tokens and reference and tokens * reference,
        published_flops=PUBLISHED_FLOPS,
        memory_on_cpu=memory_on_cpu,
        utilisation=job.utilisation,
        gpus=[job.on(gpu) for gpu in gpus],
    )


def _check(assumed: Assumptions) -> None:
    if assumed.utilisation is not None and not 0 < assumed.utilisation <= 1:
        raise UserError(f"--utilisation {assumed.utilisation:g}: a share of the peak, above 0 and at most 1")
    if assumed.price is not None and not 0 <= assumed.price < math.inf:
        raise UserError(f"--price {assumed.price:g}: USD an hour, 0 or more")
    if assumed.vocab_size is not None and assumed.vocab_size < 1:
        raise UserError(f"--vocab-size {assumed.vocab_size}: a number of tokens, at least 1")


def _vocabulary(path: str | None, assumed: Assumptions) -> tuple[int, str, int | None]:
    """Return the vocabulary's size, where that is from, and the training tokens in the data folder, if there is one."""
    data = open_data(path, check=False) if path and Path(path).exists() else None
    tokens = data.num_tokens("train") if data else None
    if assumed.vocab_size is not None:
        return assumed.vocab_size, "as given", tokens
    if data is not None:
        return data.manifest["tokenizer"]["vocab_size"], f"of {path}", tokens
    reason = "no data=FOLDER" if path is None else f"there is no {path}"
    return BERT_VOCAB_SIZE, f"BERT's, assumed: {reason}", None


def _parameters(objective: PretrainingObjective) -> dict[str, int]:
    """Count parameters by part, shared ones once."""
    embeddings = num_parameters(objective.encoder.embeddings)
    parts = {name: number for name, part in objective.named_children() if (number := num_parameters(part))}
    parts = {"embeddings": embeddings, "layers": parts.pop("encoder") - embeddings} | parts
    return parts | {"total": num_parameters(objective)}


def _reference_flops_per_token(recipe: PretrainRecipe, vocab_size: int) -> float | None:
    model, length = recipe.model, recipe.rows.length
    if not model.in_reference:
        return None
    passes = recipe.objective.reference_passes(model, length, vocab_size)
    return None if passes is None else reference_training_flops(sum(part.flops() for part in passes)) / length


class _Job:
    """A recipe's training, for estimates on several GPUs."""

    def __init__(self, recipe: PretrainRecipe, objective: PretrainingObjective, assumed: Assumptions):
        self.recipe, self.objective, self.assumed = recipe, objective, assumed
        self.flops_per_token = training_flops(objective.flops_per_token(recipe.rows.length))
        self.utilisation = assumed.utilisation or usual_utilisation(recipe.model.hidden_size)

    @property
    def steps(self) -> int | None:
        plan = self.recipe.plan
        return math.ceil(plan.tokens / self._tokens_a_step) if plan.tokens else plan.steps

    @property
    def tokens(self) -> int | None:
        return None if self.steps is None else self.steps * self._tokens_a_step

    @property
    def _tokens_a_step(self) -> int:
        return self.recipe.batch_size * self.recipe.rows.length

    def on(self, gpu: GPU) -> OnGPU:
        dtype, peak = gpu.peak_flops(self.recipe.machine.dtype)
        price = gpu.price if self.assumed.price is None else self.assumed.price
        precision = Precision(half=dtype == "bfloat16", cuda=True)
        memory = peak and footprint(self.recipe, self.objective, precision, USABLE_MEMORY * gpu.memory_bytes)
        if not peak or not memory:
            return OnGPU(gpu.name, dtype, peak, price)
        rate = peak * self.utilisation / self.flops_per_token
        seconds = self.recipe.plan.total if self.tokens is None else self.tokens / rate
        return OnGPU(gpu.name, dtype, peak, price, memory, rate, rate * seconds, seconds, seconds / 3600 * price)
