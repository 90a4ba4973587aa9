"""Small things that several tests need: a vocabulary, a data folder, a recipe."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bertsmith.config.loading import load
from bertsmith.encoders.tokens import Tokens
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.segments import PackedRows
from bertsmith.text.shards import Data
from bertsmith.training.recipe import PretrainRecipe

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ("cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda]))
"""Parameters of a test that runs here, and on a GPU where there is one."""

WORDS = [f"{first}{second}" for first in "bcdfghjklm" for second in ("a", "e", "i", "o", "u", "ay", "ow", "um")]


def write_vocabulary(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]) + "\n")
    return path


def write_corpus(folder: Path, documents: int = 300, seed: int = 0) -> Path:
    """Documents in which every word is followed by a fixed other one half of the time: something can be learnt."""
    rng = np.random.default_rng(seed)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(documents):
        lines = []
        for _ in range(int(rng.integers(2, 8))):
            word, line = int(rng.integers(len(WORDS))), []
            for _ in range(int(rng.integers(4, 20))):
                line.append(WORDS[word])
                word = (word * 7 + 3) % len(WORDS) if rng.random() < 0.5 else int(rng.integers(len(WORDS)))
            lines.append(" ".join(line) + " .")
        (corpus / f"{number:04d}.txt").write_text("\n".join(lines))
    return corpus


def make_data(folder: Path, documents: int = 300) -> Data:
    recipe = load(
        PrepareRecipe,
        "prepare",
        "text",
        [
            f"corpus={write_corpus(folder, documents)}", f"vocab={write_vocabulary(folder)}", "workers=1",
            "heldout_fraction=0.1",
        ],
    ).settings  # fmt: skip
    return prepare(recipe, folder / "data")


def tiny_recipe(data: Path, *overrides: str) -> PretrainRecipe:
    """Of 12 steps, unless `overrides` say otherwise."""
    if not any(text.startswith(("plan.steps", "plan.tokens", "plan.hours")) for text in overrides):
        overrides = (*overrides, "plan.steps=12")
    base = [
        f"data={data}", "model.hidden_size=16", "model.num_hidden_layers=2", "model.num_attention_heads=2",
        "model.max_position_embeddings=64", "rows.length=32", "batch_size=8", "plan.log_steps=4",
        "plan.evaluate_steps=6", "plan.checkpoint_steps=4", "evaluate_rows=16", "log=[]",
        "schedule.learning_rate=5e-3",
    ]  # fmt: skip
    return load(PretrainRecipe, "pretrain", "bert-tiny", [*base, *overrides]).settings


def packed_rows(tokens: Tokens) -> PackedRows:
    """Return packed rows as a collator takes them."""
    return PackedRows(tokens.ids.numpy(), tokens.segment_ids.numpy(), tokens.row_lengths.numpy())


def random_tokens(lengths: list[int], vocab_size: int, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    return Tokens.pack(rng.integers(5, vocab_size, total), rng.integers(0, 2, total), np.array(lengths))
