"""BLiMP: of two sentences that differ in their grammar alone, does the model find the right one likelier?

Zero-shot and without labels: 67 paradigms of 1,000 pairs, a file each, in 12 phenomena. Chance is one half.

Source: Warstadt et al. 2020, BLiMP, arXiv 1912.00582; the files of github.com/alexwarstadt/blimp, data/.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.console.progress import progress_bar
from bertsmith.errors import UserError
from bertsmith.evals.likelihood import LikelihoodModel, preferred, standard_error
from bertsmith.randomness import derived_rng
from bertsmith.storage.files import LINE_END, ending, read_text, reported
from bertsmith.storage.json_files import json_value
from bertsmith.text.shards import open_data
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine, choose_machine
from bertsmith.training.ranks import ALONE, Ranks
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.train_logger import Probe

PAIRS_AT_ONCE = 1000
"""Pairs scored between two updates of the progress bar."""

_FIELDS = ("sentence_good", "sentence_bad", "UID", "linguistics_term")

_PHENOMENA = {"s-selection": "argument_structure"}
"""Phenomenon in two of the files → the paper's."""


class Paradigm(NamedTuple):
    """The pairs of sentences of one of BLiMP's files."""

    name: str
    phenomenon: str
    pairs: list[tuple[str, str]]
    """The right sentence and the wrong one."""


@dataclass(frozen=True)
class Accuracy:
    """The share of pairs whose right sentence is the likelier one; equals count one half."""

    accuracy: float
    standard_error: float
    pairs: int


@dataclass(frozen=True)
class BlimpScores:
    """Accuracies on BLiMP: of a phenomenon, and overall, the mean over the paradigms."""

    overall: Accuracy
    phenomena: dict[str, Accuracy]
    paradigms: dict[str, Accuracy]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file or for other programs."""
        return asdict(self)


def read_blimp(folder: Path, pairs: int) -> list[Paradigm]:
    """Return the paradigms in `folder`, by name, with `pairs` pairs of each (or all there are), the same whenever
    asked: a smaller sample is part of a larger one.

    Raises:
        UserError: no such folder, no .jsonl file in it, or a line that is not a pair.
    """
    with reported(folder):
        there = folder.iterdir() if folder.is_dir() else ()
        files = sorted(path for path in there if ending(path) == ".jsonl" and path.is_file())
    if not files:
        raise UserError(f"{folder}: no .jsonl file; blimp=… names BLiMP's folder of 67 (github.com/alexwarstadt/blimp)")
    return [_read(file, pairs) for file in files]


def score_blimp(
    network: LikelihoodModel,
    paradigms: Sequence[Paradigm],
    tokenizer: Tokenizer,
    machine: Machine,
    watch: Callable[[int], None] = lambda done: None,
) -> BlimpScores:
    """Score every pair, which the ranks of `machine` deal among themselves; `watch` is called now and then with the
    number of pairs done.

    Raises:
        UserError: a sentence is longer than the model.
    """
    all_texts = [pair for paradigm in paradigms for pair in paradigm.pairs]
    texts = all_texts[machine.ranks.deal]
    won = np.zeros(len(texts))
    for start in range(0, len(texts), PAIRS_AT_ONCE):
        batch = texts[start : start + PAIRS_AT_ONCE]
        ids = tokenizer.encode_each([sentence for pair in batch for sentence in pair])
        _check_length(ids, network.encoder.settings.max_position_embeddings)
        pairs = list(zip(ids[::2], ids[1::2], strict=True))
        won[start : start + len(batch)] = preferred(network, pairs, tokenizer, machine)
        watch(min(len(all_texts), (start + len(batch)) * machine.ranks.size))
    of_all = np.zeros(len(all_texts))
    of_all[machine.ranks.deal] = won
    return collect(paradigms, np.array(machine.ranks.add_up(of_all.tolist())))


def collect(paradigms: Sequence[Paradigm], won: np.ndarray) -> BlimpScores:
    """Return accuracies from 1, 0 or one half for each pair, in the order of the paradigms."""
    ends = np.cumsum([len(paradigm.pairs) for paradigm in paradigms])
    accuracies: dict[str, Accuracy] = {}
    for paradigm, part in zip(paradigms, np.split(won, ends[:-1]), strict=True):
        share = float(part.mean())
        accuracies[paradigm.name] = Accuracy(share, standard_error(share, len(part)), len(part))
    phenomena: dict[str, list[Accuracy]] = {}
    for paradigm in sorted(paradigms, key=lambda paradigm: paradigm.phenomenon):
        phenomena.setdefault(paradigm.phenomenon, []).append(accuracies[paradigm.name])
    return BlimpScores(
        _mean(list(accuracies.values())), {name: _mean(group) for name, group in phenomena.items()}, accuracies
    )


def blimp_of(network: LikelihoodModel, folder: Path, pairs: int, tokenizer: Tokenizer, machine: Machine) -> BlimpScores:
    """Read BLiMP and score it, with a progress bar."""
    paradigms = read_blimp(folder, pairs)
    total = sum(len(paradigm.pairs) for paradigm in paradigms)
    with progress_bar("blimp", total) as bar:
        return score_blimp(network, paradigms, tokenizer, machine, lambda done: bar.update(done, f"{done:,} pairs"))


def blimp_probes(recipe: PretrainRecipe, ranks: Ranks = ALONE) -> list[Probe]:
    """Return the probe that a recipe's `blimp` asks for, if it does: the measure `blimp`, overall accuracy on a sample,
    in the float32 of `bertsmith evaluate` whatever the recipe's `machine.dtype`.

    Raises:
        UserError: as `read_blimp`; a sentence is longer than the model; the recipe's data cannot be read.
    """
    if recipe.blimp is None:
        return []
    paradigms = read_blimp(Path(recipe.blimp), recipe.blimp_pairs)
    tokenizer = open_data(recipe.data, check=False).tokenizer
    texts = [sentence for paradigm in paradigms for pair in paradigm.pairs for sentence in pair]
    _check_length(tokenizer.encode_each(texts), recipe.model.max_position_embeddings)
    ranks.check_same({"blimp": [[paradigm.name, len(paradigm.pairs)] for paradigm in paradigms]})
    machine = choose_machine(recipe.machine, tokenizer.pad_id, ranks=ranks)

    def probe(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
        return {"blimp": score_blimp(objective, paradigms, tokenizer, machine).overall.accuracy}

    return [probe]


def _read(file: Path, pairs: int) -> Paradigm:
    lines = enumerate(LINE_END.split(read_text(file)), start=1)
    rows = [_pair(line, f"{file}, line {number}") for number, line in lines if line.strip()]
    if len({(name, phenomenon) for _, name, phenomenon in rows}) != 1:
        raise UserError(f"{file}: not one paradigm (UID, linguistics_term) but {len({row[1:] for row in rows})}")
    _, name, phenomenon = rows[0]
    chosen = derived_rng(0, f"blimp {name}").permutation(len(rows))[:pairs]
    return Paradigm(name, _PHENOMENA.get(phenomenon, phenomenon), [rows[number][0] for number in chosen])


def _pair(line: str, where: str) -> tuple[tuple[str, str], str, str]:
    try:
        row = json_value(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); fetch the file again") from None
    values: list[Any] = [row.get(field) if isinstance(row, dict) else None for field in _FIELDS]
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise UserError(f"{where}: needs the texts {', '.join(_FIELDS)}; fetch the file again")
    good, bad, name, phenomenon = values
    return (good, bad), name, phenomenon


def _check_length(sentences: Sequence[Sequence[int]], max_length: int) -> None:
    longest = max(map(len, sentences)) + 2
    if longest > max_length:
        raise UserError(
            f"blimp: a sentence of {longest} tokens, and the model has {max_length} positions; use a longer one"
        )


def _mean(parts: Sequence[Accuracy]) -> Accuracy:
    error = math.sqrt(sum(part.standard_error**2 for part in parts)) / len(parts)
    return Accuracy(sum(part.accuracy for part in parts) / len(parts), error, sum(part.pairs for part in parts))
