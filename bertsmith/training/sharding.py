"""An objective whose weights, gradients and optimizer state are dealt to ranks by rows: torch's FSDP2.

Each layer's weights are gathered before it runs, forward and backward, and given up after it; those of the embeddings,
heads and whatever else is in no layer for as long as a pass lasts, since tables are used outside of their module too.
Gradients are summed over the ranks, since losses are divided by what the whole batch counts. Weights are gathered in
float32, and what autocast rounds is what it rounds without sharding: rotary angles, norms and sums stay as they are.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bertsmith.encoders.encoder import TransformerStack
from bertsmith.errors import UserError
from bertsmith.training.machine import Machine
from bertsmith.training.optimizers.optimizer import Dealt

Copied = TypeVar("Copied", bound=nn.Module)


class Sharding:
    """The rows of a sharded objective's weights that this rank has.

    Attributes:
        pieces: a copy of the objective whose parameters are these rows, in the same memory, for an optimizer to move.
        dealt: the ranks, and how many rows each weight has on all of them together.
    """

    def __init__(self, objective: nn.Module, machine: Machine):
        """Shard `objective`, and move it to the machine's device layer by layer.

        Raises:
            UserError: it has something that cannot be dealt by rows.
        """
        _check(objective)
        self.dealt = Dealt(machine.ranks, {name: len(weight) for name, weight in objective.named_parameters()})
        self._shapes = _copy(objective, lambda name, weight: torch.empty_like(weight, device="meta"))
        _shard(objective, machine)
        self._sharded: dict[str, Any] = dict(objective.named_parameters())
        with torch.no_grad():
            self.pieces = _copy(self._shapes, lambda name, weight: self._sharded[name].to_local())

    def take_gradients(self) -> None:
        """Give the pieces the gradients that a backward pass has left on the objective."""
        for name, piece in self.pieces.named_parameters():
            gradient = self._sharded[name].grad
            piece.grad = None if gradient is None else gradient.to_local()

    @torch.no_grad()
    def whole_copy(self) -> nn.Module:
        """Return a copy of the objective that has all weights whole, and no other rank to wait for. All ranks call this
        together.

        Raises:
            RankLost: another rank has ended.
        """
        pieces, (ranks, num_rows) = dict(self.pieces.named_parameters()), self.dealt
        return _copy(self._shapes, lambda name, weight: ranks.whole(pieces[name], num_rows[name]))


def _check(objective: nn.Module) -> None:
    weights: Mapping[str, Tensor] = dict(objective.named_parameters())
    strangers = [name for name in objective.state_dict() if name not in weights]
    strangers += [name for name, weight in weights.items() if not weight.ndim]
    if strangers:
        raise UserError(f"machine.shard: {strangers[0]} of the objective has no rows to deal; leave machine.shard out")


def _copy(module: Copied, new: Callable[[str, Tensor], Tensor]) -> Copied:
    """Return a copy of a module with a `new` tensor for each parameter, of its name and itself; buffers are shared."""
    known: dict[int, Any] = {id(buffer): buffer for buffer in module.buffers()}
    for name, weight in module.named_parameters():
        known[id(weight)] = nn.Parameter(new(name, weight), weight.requires_grad)
    return copy.deepcopy(module, known)


def _shard(objective: nn.Module, machine: Machine) -> None:
    from torch.distributed.device_mesh import init_device_mesh  # here: it takes as long to import as half of torch
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(machine.device.type, (machine.ranks.size,))
    for stack in objective.modules():
        for layer in stack.layers if isinstance(stack, TransformerStack) else ():
            fully_shard(layer, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    for part in objective.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(objective, "losses")
