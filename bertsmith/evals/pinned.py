"""The pinned loss: a masked-token loss that is measured alike for every run, so that recipes can be compared.

A run's own held-out loss follows its masks, rows and seed. Here nothing does: rows are plain windows of held-out
documents, spread evenly over the text; 15 % of a row's tokens are replaced, all by [MASK], and which ones follows from
a hash of the row's ids alone.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.evals.blimp import blimp_probes
from bertsmith.evals.rows import batches, flat_indices, scoring_mode, to_device, with_special_tokens
from bertsmith.storage.results import flat_names
from bertsmith.text.segments import RowSettings, rows_of
from bertsmith.text.shards import Data, open_data
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine, choose_machine
from bertsmith.training.ranks import ALONE, Ranks
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.train_logger import Probe

LENGTH = 128
"""Longest row in tokens; shorter where a model is."""
ROWS = 512
"""Held-out rows; all there are, if fewer. About 9,000 predictions."""
SHARE = 0.15
"""Of a row's tokens that are masked."""
CHUNK = 128  # predictions whose scores over the vocabulary exist at a time: training's own memory is not exceeded


def pinned_rows(data: Data, longest: int) -> list[np.ndarray]:
    """Return `ROWS` held-out rows of at most `LENGTH` or `longest` tokens, [CLS] and [SEP] included."""
    settings = RowSettings(kind="windows", length=min(LENGTH, longest))
    no_draws = np.random.default_rng(0)  # windows are not drawn
    shards = [data.read("heldout", index) for index in range(data.num_shards("heldout"))]
    spans = [rows_of(shard, settings, no_draws) for shard in shards]
    total = sum(map(len, spans))
    chosen = np.arange(min(ROWS, total)) * total // max(1, min(ROWS, total))
    first, rows = 0, []
    for shard, windows in zip(shards, spans, strict=True):
        for row in chosen[(chosen >= first) & (chosen < first + len(windows))] - first:
            rows.append(with_special_tokens(shard.tokens[windows.starts[row] : windows.ends[row]], data.tokenizer))
        first += len(windows)
    return rows


def masked_columns(row: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Return which tokens of a row, [CLS] and [SEP] included, are masked: 15 % of them, at least 1, in order."""
    special = tokenizer.control_ids
    candidates = np.flatnonzero(~np.isin(row, special))
    seed = int.from_bytes(hashlib.sha256(row.astype("<i8").tobytes()).digest()[:16], "little")
    keys = np.random.Generator(np.random.PCG64(seed)).random(len(candidates))
    wanted = min(len(candidates), max(1, round(SHARE * len(row))))
    return np.sort(candidates[np.argsort(keys)[:wanted]])


def pinned_loss(
    network: MaskedTokenModel, data: Data, machine: Machine, rows: list[np.ndarray] | None = None
) -> dict[str, float]:
    """Return the mean loss as `pinned_loss`, in nats a masked token, and as `pinned_bits_per_byte`, by the tokens and
    bytes of the data's text: two vocabularies can be compared by it. In float32; nothing where nothing was held out.
    The ranks of `machine` deal the rows among themselves.

    Args:
        rows: those of `pinned_rows`, where they are known already.
    """
    rows = (rows or pinned_rows(data, network.encoder.settings.max_position_embeddings))[machine.ranks.deal]
    columns = [masked_columns(row, data.tokenizer) for row in rows]
    total = count = 0.0
    with scoring_mode(network, machine):
        for chosen in batches(np.array([len(row) for row in rows], dtype=np.int64), machine):
            row = np.repeat(np.arange(len(chosen)), [len(columns[number]) for number in chosen])  # [M]
            column = np.concatenate([columns[number] for number in chosen])
            original = [rows[number] for number in chosen]
            masked = [ids.copy() for ids in original]
            for ids, number in zip(masked, chosen, strict=True):
                ids[columns[number]] = data.tokenizer.mask_id
            tokens = to_device(masked, machine)
            labels = np.concatenate([ids[columns[number]] for ids, number in zip(original, chosen, strict=True)])
            vectors = network.vectors(tokens, flat_indices(tokens, row, column))  # [M, E]
            expected = torch.from_numpy(labels).to(vectors.device)
            for part, targets in zip(torch.split(vectors, CHUNK), torch.split(expected, CHUNK), strict=True):
                scores = F.linear(part, network.table, network.head.bias).float()
                total += float(F.cross_entropy(scores, targets, reduction="sum"))
            count += len(labels)
    total, count = machine.ranks.add_up([total, count])
    if not count:
        return {}
    counts = data.manifest.get("counts", {})
    bits = total / count / math.log(2) * counts.get("tokens", 0) / counts.get("bytes", 1)
    return {"pinned_loss": total / count} | ({"pinned_bits_per_byte": bits} if bits else {})


class PinnedText(NamedTuple):
    """Held-out text that is measured."""

    corpus: str  # its name; "" for all text
    data: Data
    rows: list[np.ndarray]


def pinned_texts(data: Data, encoder: EncoderConfig) -> list[PinnedText]:
    """Return the rows of all held-out text, and where there are several corpora those of each, as many."""
    parts = [("", data), *((name, own) for name, own in data.corpora.items() if own.num_tokens("heldout"))]
    return [PinnedText(name, own, pinned_rows(own, encoder.max_position_embeddings)) for name, own in parts]


def pinned_losses(network: MaskedTokenModel, texts: Sequence[PinnedText], machine: Machine) -> dict[str, float]:
    """Return `pinned_loss` of all text, and that of each corpus as CORPUS.NAME."""
    return flat_names({text.corpus: pinned_loss(network, text.data, machine, text.rows) for text in texts})


def pinned_probe(recipe: PretrainRecipe, ranks: Ranks = ALONE) -> Probe:
    """Return the probe that measures the pinned loss at each evaluation, of objectives that predict masked tokens.

    Raises:
        UserError: the recipe's data cannot be read.
    """
    data = open_data(recipe.data, check=False)
    machine = choose_machine(recipe.machine, data.tokenizer.pad_id, ranks=ranks)
    texts = pinned_texts(data, recipe.model)

    def probe(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
        return pinned_losses(objective, texts, machine) if isinstance(objective, MaskedTokenModel) else {}

    return probe


def probes_of(recipe: PretrainRecipe, ranks: Ranks = ALONE) -> list[Probe]:
    """Return the pinned loss, and BLiMP where the recipe asks for it, shared out among the ranks.

    Raises:
        UserError: as `pinned_probe` and `blimp_probes`.
    """
    return [pinned_probe(recipe, ranks), *blimp_probes(recipe, ranks)]
