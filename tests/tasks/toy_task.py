"""A tiny random model as a Hugging Face folder, and tasks that single words decide."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from bertsmith.config.loading import Loaded, load
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.hub.huggingface import write_folder
from bertsmith.hub.network import Network
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.toys import WORDS, write_vocabulary


def make_model(folder: Path, encoder: EncoderConfig | None = None, **settings) -> Path:
    """A classifier of three classes, which fine-tuning takes the encoder of; default a BERT of width 32, one layer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
             "initializer_range": 0.2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip
    encoder = encoder or BertConfig(**(sizes | settings))
    family = encoder.family()
    head = encoder.classification_head(3, family)
    tokenizer = Tokenizer.load(write_vocabulary(folder))
    parts = nn.ModuleDict({"encoder": Encoder(encoder, tokenizer.vocab_size), "head": head})
    network = Network(
        family=family, settings=encoder, vocab_size=tokenizer.vocab_size, head="classification",
        weights=parts.state_dict(), labels=("a", "b", "c"),
    )  # fmt: skip
    write_folder(folder / "model", network, tokenizer, card="toy")
    return folder / "model"


def write_task(folder: Path, *, pairs: bool = False, numbers: bool = False) -> Path:
    """Two to six words, of one ten words for one answer and of another ten for the other; 200 to train, 60 for dev."""
    rng = np.random.default_rng(0)
    path = folder / "task"
    path.mkdir()
    for split, size in (("train", 200), ("dev", 60)):
        lines = ["sentence\tsecond\tlabel" if pairs else "sentence\tlabel"]
        for number in range(size):
            words = rng.choice(WORDS[10:20] if number % 2 else WORDS[:10], size=rng.integers(2, 7))
            answer = f"{1.5 + number % 2}" if numbers else ("without", "with")[number % 2]
            second = [f"{WORDS[50]} {WORDS[51]}"] if pairs else []
            lines.append("\t".join([" ".join(words), *second, answer]))
        (path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return path


def toy_recipe(model: Path, data: Path, *overrides: str) -> Loaded:
    base = [
        f"model={model}", f"data={data}", "seeds=2", "epochs=5", "batch_size=8", "sequence_length=32",
        "layerwise_lr_decay=1", "schedule.learning_rate=3e-3", "machine.device=cpu",
    ]  # fmt: skip
    return load(FinetuneRecipe, "finetune", "custom", [*base, *overrides])
