"""A trained model → one ONNX file, held to the model itself by onnxruntime before anyone sees it.

Inputs and output have the names that Hugging Face's optimum and transformers.js give them.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError, one_line
from bertsmith.hub.heads import HEADS
from bertsmith.storage.files import atomic_write

OPSETS = range(18, 23)
"""Those that torch's exporter writes without converting, and onnxruntime runs: its Attention of 23 and 24 wants another
mask than torch's exporter gives it (onnxruntime 1.32)."""

DEFAULT_OPSET = 18
"""The oldest, which onnxruntime and onnxruntime-web have known longest."""

TOLERANCE = 1e-4
"""Of logits, as a share of the largest where that is above 1."""

_LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights; protobuf's limit is 2 GiB, the graph included."""


def check_onnx(opset: int) -> None:
    """Raise UserError where no ONNX file of this opset can be written here: better before the work than after it."""
    if opset not in OPSETS:
        raise UserError(
            f"--opset {opset}: an ONNX file of this model can have opset {OPSETS[0]} to {OPSETS[-1]}; "
            f"{DEFAULT_OPSET} is the most widely understood"
        )
    for library in ("onnxscript", "onnxruntime"):
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise UserError(
                f"--onnx needs {library} ({one_line(error)}); run: pip install onnxscript onnxruntime"
            ) from None


def write_onnx(path: Path, model: nn.Module, head: HeadName | None, inputs: tuple[str, ...], opset: int) -> float:
    """Write `model` to `path` and compare the file's answers with the model's.

    Args:
        model: a MaskedTokenModel or a ReplacedTokenModel; or "encoder" and "head", one that fine-tuning makes. float32,
            in evaluation mode.
        inputs: names of its padded inputs, each [N, L] int64 for any N and L: "input_ids", "attention_mask"
            (1 at real tokens), and "token_type_ids" where the model knows segments. The output is "logits":
            [N, L, V], [N, L], [N, L, C] or [N, C]; of a head that answers "start_logits" and "end_logits", [N, L].

    Returns:
        The largest difference between the logits of the file in onnxruntime and those of the model here.

    Raises:
        UserError: the model is too large for one file, or that difference is above `TOLERANCE`.
    """
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if size > _LARGEST_FILE:
        raise UserError(
            f"the weights take {size / 2**30:.1f} GiB, and a file of ONNX holds 2; export without --onnx, then "
            f"`optimum-cli export onnx` that folder"
        )
    graph = _Graph(model, head)
    with atomic_write(path) as file:
        file.write(_trace(graph, inputs, opset))
    return _compare(path, graph, inputs)


@dataclass(frozen=True)
class _PaddedTokens(Tokens):
    """Rows of one length with padding anywhere, as an attention mask has it."""

    mask: Tensor
    """[N, L], true at real tokens."""

    def key_mask(self) -> Tensor:
        return self.mask[:, None, None, :]


class _Graph(nn.Module):
    """Padded batches in, logits out."""

    def __init__(self, model: Any, head: HeadName | None):
        super().__init__()
        self.model: Any = model
        self.head = HEADS[head]
        self.outputs = self.head.output_names

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        num_rows, length = input_ids.shape
        segment_ids = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        tokens = _PaddedTokens(
            ids=input_ids.flatten(),
            segment_ids=segment_ids.flatten(),
            positions=torch.arange(length).repeat(num_rows),
            row_starts=torch.arange(num_rows) * length,
            row_lengths=attention_mask.sum(dim=1),
            max_seqlen=length,
            pad_indices=None,
            has_padding=True,
            mask=attention_mask.bool(),
        )
        logits = self.head.logits(self.model, tokens)
        logits = tokens.to_padded(logits) if self.head.by_token else logits
        return logits if len(self.outputs) == 1 else logits.unbind(dim=-1)


def _trace(graph: _Graph, inputs: tuple[str, ...], opset: int) -> bytes:
    from onnxscript.ir.passes.common import ClearMetadataAndDocStringPass

    # No size is 0 or 1, which torch.export takes for fixed, and no tensor serves twice: it would be one input.
    padded = {name: torch.ones(2, 3, dtype=torch.int64) for name in inputs}
    with _quiet():
        program = torch.onnx.export(
            graph,
            kwargs=padded,
            input_names=inputs,
            output_names=graph.outputs,
            dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in inputs},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        ClearMetadataAndDocStringPass()(program.model)  # each operation's stack, with the paths of this machine
        assert program.model.opset_imports[""] == opset
        return program.model_proto.SerializeToString()


def _compare(file: Path, graph: _Graph, inputs: tuple[str, ...]) -> float:
    """Run rows of several lengths, packed for the model and padded for the file; return the largest difference."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    settings, vocab_size = graph.model.encoder.settings, graph.model.encoder.vocab_size
    longest = min(settings.max_position_embeddings, 128)
    kinds = settings.type_vocab_size if "token_type_ids" in inputs else 1
    rng, worst = np.random.default_rng(0), 0.0
    for lengths in ([1], [longest, 1, longest // 2 + 1], [2, 1, 1, 2]):
        total = sum(lengths)
        tokens = Tokens.pack(rng.integers(vocab_size, size=total), rng.integers(kinds, size=total), np.array(lengths))
        flat = {"input_ids": tokens.ids, "attention_mask": torch.ones(total), "token_type_ids": tokens.segment_ids}
        padded = {name: tokens.to_padded(flat[name].long()).numpy() for name in inputs}
        outputs = [torch.from_numpy(output) for output in session.run(graph.outputs, padded)]
        logits = outputs[0] if len(outputs) == 1 else torch.stack(outputs, dim=-1)
        with torch.no_grad():
            expected = graph.head.logits(graph.model, tokens)
        difference = ((tokens.to_flat(logits) if graph.head.by_token else logits) - expected).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):  # NaN neither
            raise UserError(
                f"{file.name}: onnxruntime's logits are off by {difference:.1e}, which is more than rounding; "
                f"export without --onnx"
            )
        worst = max(worst, difference)
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's remarks on packages that it misses and on its own internals; `_compare` judges the outcome."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
