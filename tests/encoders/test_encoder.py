"""The encoder's laws: rows do not touch, padding does nothing, the initial weights and the sizes are the reference's.

That its vectors are Hugging Face's, weight for weight, is tested in tests/hub/test_huggingface.py.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from bertsmith.encoders.bert import BertClassificationHead, BertConfig, ElectraClassificationHead, MaskedTokenHead
from bertsmith.encoders.config import EncoderConfig, check_length
from bertsmith.encoders.encoder import Encoder, num_parameters
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens

VOCAB_SIZE = 50
LENGTHS = [5, 1, 9, 3]
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 16}
BERT, ELECTRA = BertConfig(**SMALL), BertConfig(**SMALL, embedding_size=24)
SHAPES = pytest.mark.parametrize("settings", [BERT, ELECTRA], ids=["bert", "electra"])


@pytest.fixture
def tokens() -> Tokens:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB_SIZE, sum(LENGTHS))
    return Tokens.pack(ids, rng.integers(0, 2, len(ids)), np.array(LENGTHS))


def encoder(settings: EncoderConfig) -> Encoder:
    torch.manual_seed(0)
    return Encoder(settings, VOCAB_SIZE).double().eval()


@SHAPES
def test_packed_rows_are_each_row_alone(settings, tokens):
    model = encoder(settings)
    together = model(tokens).split(LENGTHS)
    for row, vectors in enumerate(together):
        torch.testing.assert_close(model(tokens.rows(row, row + 1)), vectors)


@SHAPES
def test_padded_rows_are_packed_rows(settings, tokens):
    model = encoder(settings)
    padded = tokens.padded(16, pad_id=0)
    real = padded.key_mask().flatten()
    torch.testing.assert_close(model(padded)[real], model(tokens))
    torch.testing.assert_close(model.first_of_rows(padded), model.first_of_rows(tokens))
    torch.testing.assert_close(model.mean_of_rows(padded), model.mean_of_rows(tokens))


def test_gradients_of_packed_and_padded_rows_are_the_sum_over_rows_alone(tokens):
    model = encoder(ELECTRA)
    upstream = torch.randn(tokens.num_tokens, 64, dtype=torch.float64)
    padded = tokens.padded(16, pad_id=0)
    (model(tokens) * upstream).sum().backward()
    packed_gradients = [parameter.grad for parameter in model.parameters()]

    model.zero_grad()
    (model(padded)[padded.key_mask().flatten()] * upstream).sum().backward()
    padded_gradients = [parameter.grad for parameter in model.parameters()]

    model.zero_grad()
    for row, piece in enumerate(upstream.split(LENGTHS)):
        (model(tokens.rows(row, row + 1)) * piece).sum().backward()
    alone = [parameter.grad for parameter in model.parameters()]
    torch.testing.assert_close(packed_gradients, alone)
    torch.testing.assert_close(padded_gradients, alone)


def test_the_first_of_each_row(tokens):
    model = encoder(BERT)
    firsts = [0, 5, 6, 15]
    torch.testing.assert_close(model.first_of_rows(tokens), model(tokens)[firsts])
    rows = model(tokens).split(tokens.row_lengths.tolist())
    torch.testing.assert_close(model.mean_of_rows(tokens), torch.stack([row.mean(dim=0) for row in rows]))


def test_what_a_token_is_made_of(tokens):
    """Ids, segments and positions all count."""
    model = encoder(BERT)
    before = model(tokens)
    other_segments = Tokens.pack(tokens.ids.numpy(), 1 - tokens.segment_ids.numpy(), np.array(LENGTHS))
    assert not torch.allclose(model(other_segments), before)
    backwards = Tokens.pack(tokens.ids[:5].flip(0).numpy(), np.zeros(5), np.array([5]))
    forwards = Tokens.pack(tokens.ids[:5].numpy(), np.zeros(5), np.array([5]))
    assert not torch.allclose(model(backwards).flip(0), model(forwards))


def test_dropout_is_for_training(tokens):
    model = encoder(BERT)
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))
    silent = Encoder(BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), VOCAB_SIZE)
    assert torch.equal(silent(tokens), silent(tokens))


# The reference's sizes and initial weights.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (BertConfig(embedding_size=128), 13_483_008),
        (BertConfig(hidden_size=768), 108_891_648),
        (BertConfig(hidden_size=1024, num_hidden_layers=24), 334_092_288),
    ],
    ids=["small", "base", "large"],
)
def test_the_number_of_parameters_is_the_references(settings, expected):
    with torch.device("meta"):
        assert num_parameters(Encoder(settings, 30_522)) == expected


def test_shared_parameters_count_once():
    table = nn.Embedding(4, 3)
    assert num_parameters(nn.ModuleList([table, table])) == 12


def test_defaults_follow_the_hidden_size():
    assert (BertConfig().heads, BertConfig().feed_forward, BertConfig().embedding) == (4, 1024, 256)
    assert BertConfig(hidden_size=32).heads == 1
    assert BertConfig(hidden_size=128, num_attention_heads=8).head_size == 16
    with pytest.raises(ValueError, match="hidden_size 100 is no multiple of num_attention_heads 3"):
        BertConfig(hidden_size=100, num_attention_heads=3)


HEADS = {
    "tokens": lambda settings: MaskedTokenHead(settings, VOCAB_SIZE),
    "bert": lambda settings: BertClassificationHead(settings, 3),
    "electra": lambda settings: ElectraClassificationHead(settings, 3),
    "plain": lambda settings: PlainClassificationHead(settings, 3),
}


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_initial_weights_are_normal_and_cut_at_two_sigma(std):
    settings = BertConfig(**SMALL, embedding_size=24, initializer_range=std)
    torch.manual_seed(0)
    heads = {name: make(settings) for name, make in HEADS.items()}
    model = nn.ModuleDict({"encoder": Encoder(settings, VOCAB_SIZE), **heads})
    glorot = {"encoder.projection.weight": (24, 64), "plain.output.weight": (64, 3)}
    drawn = []
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert torch.count_nonzero(parameter) == 0, name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif name in glorot:
            bound = math.sqrt(6 / sum(glorot.pop(name)))
            assert 0.9 * bound < parameter.abs().max() <= bound, name
            assert abs(parameter.std() / (bound / math.sqrt(3)) - 1) < 0.1, name
        else:
            assert parameter.abs().max() <= 2 * std, name
            if parameter.numel() > 1000:
                assert abs(parameter.std() / (0.8796 * std) - 1) < 0.05, name
            drawn.append(parameter.detach().flatten())
    assert not glorot
    # A normal distribution cut at 2 σ has the standard deviation .8796 σ, and no mean.
    drawn = torch.cat(drawn)
    assert abs(drawn.std() / (0.8796 * std) - 1) < 0.01
    assert abs(drawn.mean()) < 3.29 * 0.8796 * std / len(drawn) ** 0.5


def test_the_plain_head_is_one_dense_layer():
    head = PlainClassificationHead(BERT, 3).eval()
    first = torch.randn(4, 64)
    assert torch.equal(head(first), first @ head.output.weight.T + head.output.bias)
    head.train()
    assert not torch.equal(head(first), head(first))


def test_rows_beyond_the_positions_are_refused():
    check_length(BERT, "rows.length", 16)
    with pytest.raises(ValueError, match=r"rows\.length = 17 is beyond the model's 16 positions"):
        check_length(BERT, "rows.length", 17)


def test_under_autocast_what_layers_add_to_is_not_rounded():
    """And all layers then see one format, so that one compiled graph serves them."""
    encoder, seen = Encoder(ELECTRA, VOCAB_SIZE), []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(Tokens.pack(np.ones(sum(LENGTHS)), np.zeros(sum(LENGTHS)), np.array(LENGTHS)))
    assert seen == [torch.float32] * 2
