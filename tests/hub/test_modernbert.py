"""The modern encoder held to transformers' ModernBERT: logits, gradients, folders written and read."""

import json

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder, MaskedTokenModel, ReplacedTokenModel
from bertsmith.encoders.modernbert import ModernBertClassificationHead, ModernBertConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build
from tests.families import check_gradients

VOCAB_SIZE = 64
LENGTHS = [23, 1, 40, 7]
SHAPES = {
    "local and global": ModernBertConfig(hidden_size=64, num_hidden_layers=4, local_attention=8),
    "wide windows": ModernBertConfig(hidden_size=64, num_hidden_layers=2, local_attention=128),
    "other numbers": ModernBertConfig(
        hidden_size=96, num_hidden_layers=5, num_attention_heads=4, intermediate_size=100, local_attention=2,
        global_attn_every_n_layers=2, global_rope_theta=500.0, local_rope_theta=50.0, norm_eps=1e-3,
        max_position_embeddings=64,
    ),
    "mean of the row": ModernBertConfig(
        hidden_size=64, num_hidden_layers=3, local_attention=8, classifier_pooling="mean"
    ),
}  # fmt: skip


class MaskedTokens(MaskedTokenModel):
    def forward(self, tokens: Tokens) -> Tensor:
        return self.scores(tokens, torch.arange(tokens.num_tokens))


class ReplacedTokens(ReplacedTokenModel):
    def forward(self, tokens: Tokens) -> Tensor:
        return self.logits(tokens)[:, None]


class Classifier(nn.Module):
    def __init__(self, settings: ModernBertConfig, vocab_size: int):
        super().__init__()
        self.encoder = Encoder(settings, vocab_size)
        self.head = ModernBertClassificationHead(settings, 3, dropout_prob=0.0)

    def forward(self, tokens: Tokens) -> Tensor:
        return self.head(self.encoder.pooled(tokens))


HEADS = {
    "masked_tokens": (MaskedTokens, transformers.ModernBertForMaskedLM, None),
    "replaced_tokens": (ReplacedTokens, transformers.ModernBertForTokenClassification, None),
    "classification": (Classifier, transformers.ModernBertForSequenceClassification, ["a", "b", "c"]),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def rows() -> tuple[Tokens, dict[str, Tensor]]:
    ids = np.random.default_rng(0).integers(1, VOCAB_SIZE, sum(LENGTHS))
    tokens = Tokens.pack(ids, np.zeros(sum(LENGTHS)), np.array(LENGTHS))
    mask = torch.arange(max(LENGTHS)) < tokens.row_lengths[:, None]
    grid = torch.zeros(mask.shape, dtype=torch.int64).masked_scatter(mask, tokens.ids)
    return tokens, {"input_ids": grid, "attention_mask": mask.long()}


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer(build([*SPECIAL_TOKENS, "the", "cat", "sat"])).save(folder)
    return folder


def scrambled(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15 + ("norm" in name))
    return model.eval()


def export(out, model, head, tokenizer_folder):
    settings, weights = model.encoder.settings.fold_projection(model.state_dict())
    network = Network(
        family="modernbert", settings=settings, vocab_size=VOCAB_SIZE, head=head, weights=weights,
        labels=tuple(HEADS[head][2] or ()),
    )  # fmt: skip
    write_folder(out, network, Tokenizer.load(tokenizer_folder), card="")
    return out


def load_theirs(folder, head):
    model, report = HEADS[head][1].from_pretrained(folder, output_loading_info=True, attn_implementation="sdpa")
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_logits_and_gradients_are_those_of_transformers(settings, head, rows, tokenizer_folder, tmp_path):
    tokens, grid = rows
    ours = scrambled(HEADS[head][0](settings, VOCAB_SIZE))
    folder = export(tmp_path / "out", ours, head, tokenizer_folder)
    theirs = load_theirs(folder, head)
    expected = theirs(**grid).logits
    if head != "classification":
        expected = expected[grid["attention_mask"].bool()]
    found = ours(tokens)
    assert expected.std() > 0.3  # not a model that says the same everywhere
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    check_gradients(ours, theirs, found, expected, tmp_path, floor=0.0)


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_padding_changes_nothing(settings, rows):
    tokens, _ = rows
    ours = scrambled(MaskedTokens(settings, VOCAB_SIZE))
    padded = ours(tokens.padded(48, pad_id=0))
    real = padded.view(len(LENGTHS), 48, -1)[torch.arange(48) < tokens.row_lengths[:, None]]
    torch.testing.assert_close(real, ours(tokens), rtol=0, atol=1e-4)
    padded.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


def test_a_projected_table_is_folded_into_the_same_function(rows, tokenizer_folder, tmp_path):
    tokens, grid = rows
    settings = ModernBertConfig(hidden_size=64, embedding_size=24, num_hidden_layers=3, local_attention=8)
    ours = scrambled(MaskedTokens(settings, VOCAB_SIZE))
    theirs = load_theirs(export(tmp_path / "out", ours, "masked_tokens", tokenizer_folder), "masked_tokens")
    assert theirs.config.hidden_size == theirs.get_input_embeddings().weight.shape[1] == 64
    with torch.no_grad():
        expected = theirs(**grid).logits[grid["attention_mask"].bool()]
        torch.testing.assert_close(ours(tokens), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_written_is_what_is_read(head, tokenizer_folder, tmp_path):
    settings = SHAPES["other numbers"]
    ours = scrambled(HEADS[head][0](settings, VOCAB_SIZE))
    folder = export(tmp_path / "out", ours, head, tokenizer_folder)
    load_theirs(folder, head).save_pretrained(tmp_path / "theirs")  # transformers 5 describes the layers one by one
    assert "layer_types" in json.loads((tmp_path / "theirs" / "config.json").read_text())
    for path in (folder, tmp_path / "theirs"):
        read = read_folder(path)
        assert (read.family, read.head, read.settings) == ("modernbert", head, settings)
        assert read.weights.keys() == ours.state_dict().keys()
        assert all(torch.equal(tensor, read.weights[name]) for name, tensor in ours.state_dict().items())


def test_the_tokenizer_gives_no_segments(tokenizer_folder, tmp_path):
    ours = scrambled(MaskedTokens(SHAPES["wide windows"], VOCAB_SIZE))
    folder = export(tmp_path / "out", ours, "masked_tokens", tokenizer_folder)
    encoded = transformers.AutoTokenizer.from_pretrained(folder)("the cat", return_tensors="pt")
    assert set(encoded) == {"input_ids", "attention_mask"}
    assert load_theirs(folder, "masked_tokens")(**encoded).logits.shape == (1, 4, VOCAB_SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm_bias": True}, "norm_bias = True; bertsmith's encoder knows only False"),
        ({"hidden_activation": "silu"}, "hidden_activation = 'silu'"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types = .*at regular intervals"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1e4}}},
            "rope_type = 'yarn'; bertsmith's encoder knows only 'default'",
        ),
    ],
)
def test_what_is_no_modernbert_of_ours_is_refused(change, message, tokenizer_folder, tmp_path):
    ours = MaskedTokens(SHAPES["wide windows"], VOCAB_SIZE)
    path = export(tmp_path / "out", ours, "masked_tokens", tokenizer_folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path / "out")


@pytest.mark.parametrize("head", HEADS)
def test_a_key_counts_for_the_heads_that_read_it(head, tokenizer_folder, tmp_path):
    ours = HEADS[head][0](SHAPES["wide windows"], VOCAB_SIZE)
    path = export(tmp_path / "out", ours, head, tokenizer_folder) / "config.json"
    written = json.loads(path.read_text())
    for key, value, readers in (
        ("decoder_bias", False, {"masked_tokens"}),
        ("classifier_activation", "silu", set(HEADS)),
    ):
        path.write_text(json.dumps(written | {key: value}))
        if head in readers:
            with pytest.raises(UserError, match=rf"{key} = {value!r}"):
                read_folder(tmp_path / "out")
        else:
            assert read_folder(tmp_path / "out").head == head


@pytest.mark.parametrize("head", HEADS)
def test_what_classes_are_read_from_is_the_folders_own(head, tokenizer_folder, tmp_path):
    """The published models say that they pool by the mean, though as they are pre-trained nothing is pooled."""
    ours = HEADS[head][0](SHAPES["mean of the row"], VOCAB_SIZE)
    path = export(tmp_path / "out", ours, head, tokenizer_folder) / "config.json"
    written = json.loads(path.read_text())
    assert written["classifier_pooling"] == "mean"
    assert read_folder(tmp_path / "out").settings.classifier_pooling == "mean"
    del written["classifier_pooling"]
    path.write_text(json.dumps(written))
    assert read_folder(tmp_path / "out").settings.classifier_pooling == "cls"  # transformers' default
    path.write_text(json.dumps(written | {"classifier_pooling": "max"}))
    with pytest.raises(UserError, match="classifier_pooling"):
        read_folder(tmp_path / "out")
