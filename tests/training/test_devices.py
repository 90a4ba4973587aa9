"""Training on a device is a plain loop in float32 on the CPU: with every optimizer, an average, and a branch.

Each test runs on the CPU, and on a GPU where there is one: compiled, and recorded as CUDA graphs from the third
step on. Masked tokens; what a generator fills in is drawn, and draws differ between devices.
"""

import shutil
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from bertsmith.objectives.objective import denominators_of
from bertsmith.text.shards import open_data
from bertsmith.training import checkpoints
from bertsmith.training import pretrain as pretrain_file
from bertsmith.training.batches import RowStream, masked_batches
from bertsmith.training.optimizers.optimizer import build_optimizer, set_learning_rate
from bertsmith.training.pretrain import build_collator, initial_objective, pretrain
from bertsmith.training.recipe import PretrainRecipe
from tests.toys import DEVICES, tiny_recipe

BASE = (
    "model.hidden_dropout_prob=0.0", "model.attention_probs_dropout_prob=0.0", "plan.keep_checkpoints=0",
    "machine.dtype=float32", "machine.deterministic=true", "average_decay=0.7",
)  # fmt: skip
CONSTANT = ("schedule.kind=constant", "schedule.warmup_proportion=0.0")
MUON = ("optimizer.kind=muon", "optimizer.momentum_steps=6")
OPTIMIZERS = {"adamw": ("optimizer.kind=adamw",), "muon": MUON, "normuon": (*MUON, "optimizer.neuron_beta=0.9")}
TOLERANCE = {"cpu": 1e-3, "cuda": 0.05}
"""Of the way that the weights went; a GPU's products are in TF32, and Muon's there in bfloat16."""


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch) -> Iterator[str]:
    """A device; on a GPU, training on it has to have been recorded."""
    runners, was_deterministic = [], torch.are_deterministic_algorithms_enabled()
    runner = pretrain_file.Runner
    monkeypatch.setattr(pretrain_file, "Runner", lambda *given: runners.append(runner(*given)) or runners[-1])
    yield request.param
    torch.use_deterministic_algorithms(was_deterministic)
    if request.param == "cuda":
        assert runners and all(runner.cuda_graphs.recordings for runner in runners), "no step was recorded"


def by_hand(recipe: PretrainRecipe, rates: Sequence[float]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return weights and their average after a step at each of these rates: whole batches, no compilation or graphs."""
    data = open_data(recipe.data)
    objective = initial_objective(recipe, data.tokenizer).train()
    optimizer = build_optimizer(objective, recipe.optimizer)
    weights = dict(objective.named_parameters())
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    stream = RowStream(data, "train", recipe.rows, recipe.seed, recipe.compat)
    batches = masked_batches(stream, build_collator(recipe, data.tokenizer), recipe.batch_size)
    for step, (rate, (batch, _)) in enumerate(zip(rates, batches, strict=False)):
        objective.zero_grad()
        objective.total(objective.losses(batch), denominators_of(objective, batch)).backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), recipe.optimizer.clip_norm)
        set_learning_rate(optimizer, rate)
        optimizer.step()
        kept = min(recipe.average_decay, (1 + step) / (10 + step))
        average = {name: kept * average[name] + (1 - kept) * weight.detach() for name, weight in weights.items()}
    return {name: weight.detach() for name, weight in weights.items()}, average


def way(found: dict[str, Tensor], expected: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """Return the distance of two ends over the length of the way to the one that is expected."""
    far = sum(float((found[name] - end).square().sum()) for name, end in expected.items())
    return (far / sum(float((end - start[name]).square().sum()) for name, end in expected.items())) ** 0.5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_goes_where_a_plain_loop_goes(data, tmp_path, device, optimizer):
    recipe = tiny_recipe(data, *BASE, *OPTIMIZERS[optimizer], *CONSTANT, f"machine.device={device}")
    pretrain(recipe, tmp_path / "run")
    found = checkpoints.read(tmp_path / "run/checkpoints/step-00000012")
    start, _ = by_hand(recipe, [])
    weights, average = by_hand(recipe, [5e-3] * 12)
    within = TOLERANCE[device]
    assert way(found.model, weights, start) < within
    assert way({name: found.optimizer[f"{name}.average"] for name in average}, average, start) < within
    assert way(average, weights, start) > 2 * within, "else an average that is none would pass"


def test_a_branch_goes_where_a_plain_loop_goes(data, tmp_path, device):
    given = (*BASE, *OPTIMIZERS["muon"], f"machine.device={device}")
    stable = tiny_recipe(data, *given, *CONSTANT)
    pretrain(stable, tmp_path / "stable")
    falling = ("schedule.kind=wsd", "schedule.decay_shape=linear", "schedule.warmup_proportion=0.0")
    pretrain(
        tiny_recipe(data, *given, *falling, f"branch={tmp_path / 'stable'}@8", "plan.steps=16"), tmp_path / "branch"
    )
    found = checkpoints.read(tmp_path / "branch/checkpoints/step-00000016")
    start, _ = by_hand(stable, [])
    weights, average = by_hand(stable, [5e-3] * 8 + [5e-3 * (1 - step / 8) for step in range(8)])
    within = TOLERANCE[device]
    assert way(found.model, weights, start) < within
    assert way({name: found.optimizer[f"{name}.average"] for name in average}, average, start) < within


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_a_run_ends_with_the_same_bits(data, tmp_path, device, optimizer):
    recipe = tiny_recipe(data, *BASE, *OPTIMIZERS[optimizer], f"machine.device={device}")
    pretrain(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for step in (8, 12):
        shutil.rmtree(tmp_path / f"resumed/checkpoints/step-{step:08d}")
    pretrain(recipe, tmp_path / "resumed")
    one, two = (checkpoints.read(tmp_path / run / "checkpoints/step-00000012") for run in ("whole", "resumed"))
    tensors, others = ({**found.model, **found.optimizer} for found in (one, two))
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
