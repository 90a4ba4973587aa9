"""Tiny models with random weights, large enough that their answers differ, as Hugging Face folders."""

from pathlib import Path

import torch

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.hub.huggingface import write_folder
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine, MachineSettings, choose_machine
from tests.toys import write_vocabulary

SETTINGS = BertConfig(
    hidden_size=32, embedding_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24,
    initializer_range=0.3, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
)  # fmt: skip


def toy_tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(write_vocabulary(folder))


def cpu() -> Machine:
    return choose_machine(MachineSettings(device="cpu"))


def toy_network(kind: type, tokenizer: Tokenizer, **arguments) -> MaskedTokenModel | ReplacedTokenModel:
    torch.manual_seed(0)
    return kind(SETTINGS, tokenizer.vocab_size, **arguments).eval()


def write_network(folder: Path, network: MaskedTokenModel | ReplacedTokenModel, tokenizer: Tokenizer) -> Path:
    trained = Network(
        family="electra",
        settings=SETTINGS,
        vocab_size=tokenizer.vocab_size,
        head="masked_tokens" if isinstance(network, MaskedTokenModel) else "replaced_tokens",
        weights=network.state_dict(),
        is_energy_head=getattr(network, "is_energy_head", False),
    )
    write_folder(folder, trained, tokenizer, card="toy")
    return folder
