"""`bertsmith plan`: parameters, operations, memory, time and cost of a pre-training, without doing it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bertsmith.encoders.config import Precision, training_flops
from bertsmith.encoders.encoder import num_parameters
from bertsmith.encoders.initialization import shapes_only
from bertsmith.encoders.reference_flops import PUBLISHED_FLOPS
from bertsmith.errors import UserError
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.planning.footprint import Footprint, StepMemory
from bertsmith.planning.gpus import GPU, find_gpus
from bertsmith.planning.incomplete import load_incomplete
from bertsmith.storage.remote import is_address
from bertsmith.text.shards import Data, open_data
from bertsmith.text.weights import training_shares
from bertsmith.training.dealing import check_batch_sizes
from bertsmith.training.epochs import describe_mix, planned_epochs
from bertsmith.training.recipe import PretrainRecipe, reference_flops_per_token
from bertsmith.training.stages import Stage, steps_of_stages

BERT_VOCAB_SIZE = 30_522

USABLE_MEMORY = 0.9
"""Of a GPU's memory; the rest goes to its driver's context, libraries, and gaps between tensors."""
GPUS_OF_MACHINE = 8
LINK_EFFICIENCY = 0.7
"""Share of a link's bytes a second that a sum over GPUs usually reaches; assumed."""
BYTES_OF_GIGABIT = 1e9 / 8


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
    num_gpus: int = 1
    """That train one run together, eight in a machine."""
    network: float = 12.5e9
    """Bytes a second between two machines, one way."""


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
    """USD, of all GPUs together."""
    reducing: float | None = None
    """Share of the time in which gradients are summed over the GPUs."""


@dataclass(frozen=True)
class StageEstimate:
    """A stage of a plan, its rows taken as full."""

    batch_size: int
    length: int
    steps: int | None
    """None for the last one of a plan in hours."""
    tokens: int | None
    flops_per_token: float


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
    stages: list[StageEstimate]
    """In their order; one where nothing changes."""
    hours: float | None
    steps: int | None
    tokens: int | None
    """Rows taken as full."""
    data_tokens: int | None
    """Training tokens in the data folder; None where there is no folder yet."""
    mix: str | None
    """Of data of several corpora their shares and epochs, in words."""
    flops_per_token: float
    """Matrix products, the backward pass being two forward ones; a mean over the plan, or in hours the last stage's."""
    flops: float | None
    reference_flops_per_token: float | None
    """Operations as google-research/electra counts them; None where it has no count."""
    reference_flops: float | None
    published_flops: dict[str, float]
    """Total operations of the models in the reference's table, as it counts them."""
    memory_on_cpu: Footprint
    utilisation: float
    num_gpus: int
    """That train together in each line of `gpus`."""
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
    data = open_data(path, check=False) if path and (is_address(path) or Path(path).exists()) else None
    vocab_size, vocab_source = _vocabulary(path, data, assumed)
    with shapes_only():  # which ids are special does not matter
        objective = recipe.objective.build(recipe.model, MaskingVocabulary(vocab_size))
    job = _Job(recipe, objective, assumed)
    check_batch_sizes(recipe, assumed.num_gpus)
    memory_on_cpu = job.memory.footprint(Precision(half=recipe.machine.dtype == "bfloat16", cuda=False))
    assert memory_on_cpu is not None, "there is no limit"
    reference, tokens = job.reference_flops_per_token(vocab_size), job.tokens
    return Estimate(
        recipe=what,
        overrides=list(overrides),
        data=path,
        vocab_size=vocab_size,
        vocab_source=vocab_source,
        parameters=_parameters(job.objective),
        stages=job.stages,
        hours=recipe.plan.hours,
        steps=job.steps,
        tokens=tokens,
        data_tokens=data.num_tokens("train") if data else None,
        mix=_mix(data, recipe) if data else None,
        flops_per_token=job.flops_per_token,
        flops=tokens and tokens * job.flops_per_token,
        reference_flops_per_token=reference,
        reference_flops=tokens and reference and tokens * reference,
        published_flops=PUBLISHED_FLOPS,
        memory_on_cpu=memory_on_cpu,
        utilisation=job.utilisation,
        num_gpus=assumed.num_gpus,
        gpus=[job.on(gpu) for gpu in gpus],
    )


def _mix(data: Data, recipe: PretrainRecipe) -> str | None:
    """Describe the shares and epochs of several corpora. Raises UserError where the recipe's weights do not fit."""
    shares = training_shares(data, recipe.weights)
    if not shares:
        return None
    return describe_mix(shares, planned_epochs(data, shares, recipe.all_stages, recipe.plan, recipe.compat))


def _check(assumed: Assumptions) -> None:
    if assumed.utilisation is not None and not 0 < assumed.utilisation <= 1:
        raise UserError(f"--utilisation {assumed.utilisation:g}: a share of the peak, above 0 and at most 1")
    if assumed.price is not None and not 0 <= assumed.price < math.inf:
        raise UserError(f"--price {assumed.price:g}: USD an hour, 0 or more")
    if assumed.num_gpus < 1:
        raise UserError(f"--gpus {assumed.num_gpus}: how many GPUs train together, at least 1")
    if not 0 < assumed.network < math.inf:
        raise UserError(f"--network {assumed.network / BYTES_OF_GIGABIT:g}: gigabits a second, above 0")
    if assumed.vocab_size is not None and assumed.vocab_size < 1:
        raise UserError(f"--vocab-size {assumed.vocab_size}: a number of tokens, at least 1")


def _vocabulary(path: str | None, data: Data | None, assumed: Assumptions) -> tuple[int, str]:
    """Return the vocabulary's size, and where that is from."""
    if assumed.vocab_size is not None:
        return assumed.vocab_size, "as given"
    if data is not None:
        return data.manifest["tokenizer"]["vocab_size"], f"of {path}"
    reason = "no data=FOLDER" if path is None else f"there is no {path}"
    return BERT_VOCAB_SIZE, f"BERT's, assumed: {reason}"


def _parameters(objective: PretrainingObjective) -> dict[str, int]:
    """Count parameters by part, shared ones once."""
    embeddings = num_parameters(objective.encoder.embeddings)
    parts = {name: number for name, part in objective.named_children() if (number := num_parameters(part))}
    parts = {"embeddings": embeddings, "layers": parts.pop("encoder") - embeddings} | parts
    return parts | {"total": num_parameters(objective)}


class _Job:
    """A recipe's training, for estimates on several GPUs."""

    def __init__(self, recipe: PretrainRecipe, objective: PretrainingObjective, assumed: Assumptions):
        self.recipe, self.objective, self.assumed = recipe, objective, assumed
        self.memory = StepMemory(recipe, objective)
        self.utilisation = assumed.utilisation or usual_utilisation(recipe.model.hidden_size)
        self.stages = [self._stage(*found) for found in zip(recipe.all_stages, self._steps(), strict=True)]
        self.flops_per_token = self._mean([stage.flops_per_token for stage in self.stages])

    def _steps(self) -> list[int | None]:
        return steps_of_stages(self.recipe.all_stages, self.recipe.plan)

    def _stage(self, stage: Stage, steps: int | None) -> StageEstimate:
        length = stage.rows.length
        flops = training_flops(self.objective.flops_per_token(length))
        return StageEstimate(stage.batch_size, length, steps, steps and steps * stage.tokens_a_step, flops)

    @property
    def steps(self) -> int | None:
        steps = [stage.steps for stage in self.stages]
        return None if None in steps else sum(number or 0 for number in steps)

    @property
    def tokens(self) -> int | None:
        return None if self.steps is None else sum(stage.tokens or 0 for stage in self.stages)

    def _mean(self, costs: Sequence[float]) -> float:
        """Return the mean of what a token costs in each stage, or in a plan of hours the last one's."""
        if self.tokens is None or len(costs) == 1:
            return costs[-1]
        return sum(cost * (stage.tokens or 0) for cost, stage in zip(costs, self.stages, strict=True)) / self.tokens

    def reference_flops_per_token(self, vocab_size: int) -> float | None:
        """Return the operations as the reference counts them; None where it has no count."""
        costs = [reference_flops_per_token(self.recipe, vocab_size, stage.length) for stage in self.stages]
        counted = [cost for cost in costs if cost is not None]
        return self._mean(counted) if len(counted) == len(costs) else None

    def _tokens_in(self, seconds: float, flops_per_second: float) -> float:
        """Return how many tokens are seen in so much time, stage by stage."""
        tokens = 0.0
        for stage, costs in zip(self.recipe.all_stages, self.stages, strict=True):
            rate = flops_per_second / costs.flops_per_token
            seen = min(max(0.0, stage.end - tokens), seconds * rate)
            tokens, seconds = tokens + seen, seconds - seen / rate
        return tokens

    def on(self, gpu: GPU) -> OnGPU:
        dtype, peak = gpu.peak_flops(self.recipe.machine.dtype)
        price = gpu.price if self.assumed.price is None else self.assumed.price
        precision = Precision(half=dtype == "bfloat16", cuda=True)
        count, limit = self.assumed.num_gpus, USABLE_MEMORY * gpu.memory_bytes
        memory = peak and self.memory.footprint(precision, limit, count)
        if not peak or not memory:
            return OnGPU(gpu.name, dtype, peak, price)
        reducing = self._share_reducing(gpu, peak * self.utilisation)
        speed, tokens = count * peak * self.utilisation * (1 - reducing), self.tokens
        seconds = self.recipe.plan.total if tokens is None else tokens * self.flops_per_token / speed
        seen = self._tokens_in(seconds, speed) if tokens is None else float(tokens)
        cost = count * seconds / 3600 * price
        return OnGPU(gpu.name, dtype, peak, price, memory, seen / seconds, seen, seconds, cost, reducing)

    def _share_reducing(self, gpu: GPU, speed: float) -> float:
        """Return the share of a step, of the last stage, in which gradients are summed over the GPUs: around a ring in
        each machine and around one of machines. As if nothing of it were hidden behind the backward pass, which holds
        where steps are recorded as CUDA graphs."""
        count = self.assumed.num_gpus
        machines = -(-count // GPUS_OF_MACHINE)
        gradients = 4 * self.memory.num_parameters
        within = 2 * (1 - machines / count) * gradients / (LINK_EFFICIENCY * gpu.link_bytes)
        between = 2 * (1 - 1 / machines) * gradients / (LINK_EFFICIENCY * self.assumed.network)
        last = self.recipe.all_stages[-1]
        step = last.batch_size * last.rows.length / count * self.stages[-1].flops_per_token / speed
        return (within + between) / (within + between + step)
