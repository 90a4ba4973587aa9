"""Our count in the reference's way, against the numbers that its own file printed."""

import pytest

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.reference_flops import PUBLISHED_FLOPS, Pass, reference_training_flops


def size(hidden_size: int, num_hidden_layers: int, embedding_size: int | None = None) -> BertConfig:
    return BertConfig(hidden_size=hidden_size, num_hidden_layers=num_hidden_layers, embedding_size=embedding_size)


def electra(discriminator: BertConfig, generator: BertConfig, length: int = 512) -> tuple[Pass, ...]:
    return Pass(discriminator, length, discriminates=True), Pass(generator, length)


LARGE = electra(size(1024, 24), size(256, 24, 1024))
MODELS = {
    "gpt": ((Pass(size(768, 12), vocab_size=40_000, predicted=1.0),), 128, 960_800),
    "bert_small": ((Pass(size(256, 12, 128), length=128),), 128, 1_450_000),
    "bert_base": ((Pass(size(768, 12)),), 256, 1_000_000),
    "bert_large": ((Pass(size(1024, 24)),), 256, 1_000_000),
    "electra_small": (electra(size(256, 12, 128), size(64, 12, 128), 128), 128, 1_000_000),
    "electra_base": (electra(size(768, 12), size(256, 12, 768)), 256, 766_000),
    "electra_400k": (LARGE, 2048, 400_000),
    "electra_1.75M": (LARGE, 2048, 1_750_000),
    "roberta": ((Pass(size(1024, 24), vocab_size=50_265),), 8000, 500_000),
    "albert": ((Pass(size(4096, 12, 128), vocab_size=30_000),), 4096, 1_500_000),
}
"""Passes, batch size and steps of the encoders in its table."""


@pytest.mark.parametrize("name", MODELS)
def test_an_encoder_has_the_count_of_the_reference(name):
    passes, batch_size, steps = MODELS[name]
    flops = reference_training_flops(sum(part.flops() for part in passes)) * batch_size * steps
    assert flops == pytest.approx(PUBLISHED_FLOPS[name], rel=1e-9)
