"""Tokens' vectors → one vector a text, as sentence-transformers makes it: Pooling, then Normalize and Dense.

Source: sentence-transformers 6.2, sentence_transformer/modules/pooling.py, base/modules/dense.py and normalize.py.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError, quoted
from bertsmith.hub.replaceable import DENSE, MODULES, POOLING, WEIGHTS
from bertsmith.hub.sentence import SentenceModules
from bertsmith.hub.sentence_checks import pooling_modes

PoolingName = Literal["own", "mean", "cls"]
"""own: as the files of sentence-transformers in the model's folder say; mean: that of all tokens' vectors, [CLS]'s and
[SEP]'s among them; cls: the vector of [CLS]."""

_TINY = 1e-9  # a count is at least that
_USUAL_ACTIVATION = "torch.nn.modules.activation.Tanh"


class Normalize(nn.Module):
    """Vectors of length 1."""

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


class Pooler(nn.Module):
    """One vector a row of tokens."""

    def __init__(
        self, hidden_size: int, modes: Sequence[str], steps: Sequence[nn.Module] = (), include_prompt: bool = True
    ):
        """Build the steps.

        Args:
            hidden_size: D, width of the tokens' vectors.
            modes: names of sentence-transformers' ways of pooling, whose vectors are put beside each other.
            steps: what is done with them, one after the other.
            include_prompt: whether a prompt's tokens are pooled too.
        """
        super().__init__()
        self.hidden_size, self.modes, self.include_prompt = hidden_size, tuple(modes), include_prompt
        self.steps = nn.ModuleList(steps)
        widths = [step.out_features for step in self.steps.modules() if isinstance(step, nn.Linear)]
        self.width: int = widths[-1] if widths else hidden_size * len(self.modes)

    @property
    def description(self) -> str:
        """For people, as "mean pooling, Normalize"."""
        steps = ["Normalize" if isinstance(step, Normalize) else "Dense" for step in self.steps]
        return ", ".join([f"{' and '.join(self.modes)} pooling", *steps])

    def forward(self, flat: Tensor, tokens: Tokens, prompt_length: int = 0) -> Tensor:
        """Pool vectors [T, D] of `tokens` → [N, width]; each row begins with `prompt_length` tokens of a prompt, [CLS]
        included."""
        padded = tokens.to_padded(flat)  # [N, L, D]
        column = torch.arange(tokens.max_seqlen, device=flat.device)
        skipped = 0 if self.include_prompt else prompt_length
        mask = (column < tokens.row_lengths[:, None]) & (column >= skipped)  # [N, L]
        vectors = torch.cat([_MODES[mode](padded, mask[..., None]) for mode in self.modes], dim=1)
        for step in self.steps:
            vectors = step(vectors)
        return vectors

    def normalized(self, wanted: bool | None) -> "Pooler":
        """Return the same with vectors of length 1, or without Normalize as its last step; None changes nothing."""
        steps = list(self.steps)
        is_last = bool(steps) and isinstance(steps[-1], Normalize)
        if wanted is None or wanted == is_last:
            return self
        steps = [*steps, Normalize()] if wanted else steps[:-1]
        return Pooler(self.hidden_size, self.modes, steps, self.include_prompt)


def pooler_of(modules: SentenceModules, hidden_size: int) -> Pooler:
    """Return what sentence-transformers does with vectors of `hidden_size`. Raises UserError where the activation of a
    Dense is not one that torch has."""
    config = modules.contents[POOLING]
    modes = pooling_modes(config, hidden_size, POOLING)
    steps: list[nn.Module] = []
    for entry in modules.contents[MODULES][2:]:
        name = f"{entry['path']}/config.json"
        is_dense = DENSE.fullmatch(name) is not None
        steps.append(_dense(modules, name) if is_dense else Normalize())
    return Pooler(hidden_size, modes, steps, config.get("include_prompt", True))


def _dense(modules: SentenceModules, name: str) -> nn.Module:
    config, weights = modules.contents[name], modules.weights[name.replace("config.json", WEIGHTS)]
    linear = nn.Linear(config["in_features"], config["out_features"], "linear.bias" in weights, device="meta")
    state = {key.removeprefix("linear."): tensor.to(torch.float32) for key, tensor in weights.items()}
    linear.load_state_dict(state, assign=True)
    return nn.Sequential(
        linear, _activation(config.get("activation_function", "torch.nn.modules.activation.Tanh"), name)
    )


def _activation(path: str | None, where: str) -> nn.Module:
    """Return the module of this path, which `sentence_checks.check_dense` has held to torch's own."""
    if path is None:
        return nn.Identity()
    cls: Any = getattr(nn, path.rpartition(".")[2], None)
    try:
        assert isinstance(cls, type) and issubclass(cls, nn.Module)
        return cls()
    except (AssertionError, TypeError):  # no such class, or one that is no activation
        raise UserError(
            f"{where}: activation_function = {quoted(path, 80)}: torch has no such activation; choose pooling=mean or "
            f"cls"
        ) from None


def _first(padded: Tensor, mask: Tensor) -> Tensor:
    first = mask.to(torch.int64).argmax(dim=1, keepdim=True)  # [N, 1, 1]
    return padded.gather(1, first.expand(-1, -1, padded.shape[2])).squeeze(1)


def _last(padded: Tensor, mask: Tensor) -> Tensor:
    numbers = torch.arange(padded.shape[1], device=padded.device)[None, :, None]
    last = (numbers * mask).amax(dim=1, keepdim=True)
    return _kept(padded, mask).gather(1, last.expand(-1, -1, padded.shape[2])).squeeze(1)


def _sum(padded: Tensor, mask: Tensor) -> Tensor:
    return _kept(padded, mask).sum(dim=1)


def _count(mask: Tensor) -> Tensor:
    return mask.sum(dim=1).clamp(min=_TINY)


def _weighted(padded: Tensor, mask: Tensor) -> Tensor:
    weights = torch.arange(1, padded.shape[1] + 1, device=padded.device)[None, :, None] * mask
    return (_kept(padded, mask) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=_TINY)


def _kept(padded: Tensor, mask: Tensor) -> Tensor:
    return padded.masked_fill(~mask, 0.0)


_MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": lambda padded, mask: padded.masked_fill(~mask, -torch.inf).amax(dim=1),
    "mean": lambda padded, mask: _sum(padded, mask) / _count(mask),
    "mean_sqrt_len_tokens": lambda padded, mask: _sum(padded, mask) / _count(mask).sqrt(),
    "weightedmean": _weighted,
    "lasttoken": _last,
}
"""Name → function of vectors [N, L, D] and a mask [N, L, 1] to [N, D]."""
