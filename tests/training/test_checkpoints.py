import shutil

import pytest
import torch
from torch import nn

from bertsmith.errors import UserError
from bertsmith.training import checkpoints
from bertsmith.training.loop import State
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.optimizer import build_optimizer, set_learning_rate


def trained(steps: int):
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    optimizer = build_optimizer(module, AdamWSettings())
    set_learning_rate(optimizer, 0.1)
    for _ in range(steps):
        module(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return module, optimizer


def test_a_checkpoint_gives_back_weights_optimizer_and_state(tmp_path):
    module, optimizer = trained(3)
    state = State(step=3, tokens=100, seconds=1.5, position=(0, 1, 7), skipped=1)
    checkpoints.save(tmp_path, state, module, optimizer)
    other, other_optimizer = trained(0)
    assert checkpoints.restore(checkpoints.load_newest(tmp_path), other, other_optimizer) == state
    for stepper, net in ((optimizer, module), (other_optimizer, other)):
        set_learning_rate(stepper, 0.1)
        net(torch.ones(2, 4)).square().sum().backward()
        stepper.step()
    assert torch.equal(module.weight, other.weight)


def test_only_the_newest_are_kept(tmp_path):
    module, optimizer = trained(1)
    for step in (1, 2, 30, 4):
        checkpoints.save(tmp_path, State(step=step), module, optimizer, keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000030"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_one_is_reported_and_the_one_before_used(tmp_path, name, capsys):
    module, optimizer = trained(1)
    for step in (1, 2):
        checkpoints.save(tmp_path, State(step=step), module, optimizer)
    damaged = tmp_path / "checkpoints" / "step-00000002" / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    assert checkpoints.load_newest(tmp_path).state.step == 1
    assert "step-00000002" in capsys.readouterr().err
    (tmp_path / "checkpoints" / "step-00000001" / name).unlink()
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        checkpoints.load_newest(tmp_path)


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / "step-00000009.bertsmith-partial").mkdir(parents=True)
    assert checkpoints.load_newest(tmp_path) is None
    checkpoints.remove_partial(tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_model_is_read_without_its_optimizer_which_may_be_gone(tmp_path, capsys):
    module, optimizer = trained(1)
    path = checkpoints.save(tmp_path, State(step=1), module, optimizer)
    (path / checkpoints.OPTIMIZER_FILE).unlink()
    found = checkpoints.load_newest(tmp_path, to_resume=False)
    assert torch.equal(found.model["weight"], module.weight) and not found.optimizer and not capsys.readouterr().err
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        checkpoints.load_newest(tmp_path)


def test_a_copy_under_another_name_is_left_alone(tmp_path):
    module, optimizer = trained(1)
    first = checkpoints.save(tmp_path, State(step=1), module, optimizer)
    best = shutil.copytree(first, first.with_name(f"{first.name}-best"))
    for step in (2, 3, 4):
        checkpoints.save(tmp_path, State(step=step), module, optimizer, keep=1)
    assert best.is_dir() and not first.exists()
    assert checkpoints.load_newest(tmp_path).state.step == 4
