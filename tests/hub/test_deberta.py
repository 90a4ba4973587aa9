"""DeBERTa's encoder held to transformers' classes: logits, gradients, folders written and read."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.hub.heads import HEADS
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build
from tests.families import check_gradients

VOCAB_SIZE = 100
LENGTHS = [23, 1, 40, 7]
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 64}
SHAPES = {
    "v3": DebertaConfig(**SMALL, num_attention_heads=4, position_buckets=12),
    "v2": DebertaConfig(
        **SMALL, num_attention_heads=2, position_buckets=8, max_relative_positions=32, conv_kernel_size=3,
        conv_act="gelu", conv_groups=2, intermediate_size=100, embedding_size=24,
    ),
    "small bench": DebertaConfig(
        hidden_size=48, num_hidden_layers=3, max_position_embeddings=40, embedding_size=16, type_vocab_size=2,
        share_att_key=False, position_buckets=0, norm_rel_ebd="none", layer_norm_eps=1e-3,
    ),
    "positions, one score": DebertaConfig(
        **SMALL, num_attention_heads=2, position_biased_input=True, pos_att_type=("p2c",), share_att_key=False,
        position_buckets=9, max_relative_positions=50, type_vocab_size=1, conv_kernel_size=5,
    ),
    "the other score": DebertaConfig(
        **SMALL, num_attention_heads=8, pos_att_type=("c2p",), position_buckets=0, max_relative_positions=10,
    ),
    "no distances": DebertaConfig(**SMALL, pos_att_type=(), position_biased_input=True, norm_rel_ebd="none"),
}  # fmt: skip
BASE = {
    "xsmall": (DebertaConfig(), [300, 2, 512]),
    "base": (DebertaConfig(hidden_size=768), [129, 7]),
    "v2-xlarge, few layers": (
        DebertaConfig(hidden_size=1536, num_hidden_layers=2, conv_kernel_size=3, conv_act="gelu"), [140, 7],
    ),
}  # fmt: skip
CLASSES = {
    "masked_tokens": (transformers.DebertaV2ForMaskedLM, 0),
    "replaced_tokens": (transformers.DebertaV2ForTokenClassification, 0),
    "classification": (transformers.DebertaV2ForSequenceClassification, 3),
    "tagging": (transformers.DebertaV2ForTokenClassification, 5),
    "answering": (transformers.DebertaV2ForQuestionAnswering, 0),
    None: (transformers.DebertaV2Model, 0),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def rows_of(lengths: list[int]) -> tuple[Tokens, dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    segments = rng.integers(0, 2, sum(lengths))
    tokens = Tokens.pack(rng.integers(1, VOCAB_SIZE, sum(lengths)), segments, np.array(lengths))
    mask = torch.arange(max(lengths)) < tokens.row_lengths[:, None]
    grid = torch.zeros(mask.shape, dtype=torch.int64)
    return tokens, {"input_ids": grid.masked_scatter(mask, tokens.ids), "attention_mask": mask.long(),
                    "token_type_ids": grid.masked_scatter(mask, tokens.segment_ids)}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer(build([*SPECIAL_TOKENS, "the", "cat", "sat"]))


def scrambled(settings: DebertaConfig, head: str | None, std: float = 0.15) -> nn.Module:
    network = Network(family="deberta-v2", settings=settings, vocab_size=VOCAB_SIZE, head=head)
    model = HEADS[head].build(network, CLASSES[head][1])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + ("norm" in name))
    return model.eval()


def logits_of(model: nn.Module, head: str | None, tokens: Tokens) -> Tensor:
    logits = model["encoder"](tokens) if head is None else HEADS[head].logits(model, tokens)
    return logits[:, None] if head == "replaced_tokens" else logits


def export(out, model, settings, head, tokenizer):
    labels = tuple("abcde"[: CLASSES[head][1]])
    network = Network(
        family="deberta-v2", settings=settings, vocab_size=VOCAB_SIZE, head=head, weights=model.state_dict(),
        labels=labels,
    )  # fmt: skip
    write_folder(out, network, tokenizer, card="")
    return out


def load_theirs(folder, head):
    model, report = CLASSES[head][0].from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def their_logits(model: nn.Module, head: str | None, grid: dict[str, Tensor]) -> Tensor:
    output = model(**grid)
    if head == "classification":
        return output.logits
    if head == "answering":
        padded = torch.stack([output.start_logits, output.end_logits], dim=-1)
    else:
        padded = output.last_hidden_state if head is None else output.logits
    return padded[grid["attention_mask"].bool()]


def check_parity(settings, head, lengths, tokenizer, folder, std=0.15, gradients_within=1e-4):
    tokens, grid = rows_of(lengths)
    if not settings.type_vocab_size:
        del grid["token_type_ids"]
    elif settings.type_vocab_size == 1:
        tokens, grid["token_type_ids"] = (
            Tokens.pack(tokens.ids.numpy(), np.zeros(sum(lengths)), np.array(lengths)),
            torch.zeros_like(grid["input_ids"]),
        )
    ours = scrambled(settings, head, std)
    theirs = load_theirs(export(folder / "out", ours, settings, head, tokenizer), head)
    expected, found = their_logits(theirs, head, grid), logits_of(ours, head, tokens)
    assert expected.std() > 0.1  # not a model that says the same everywhere
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    # The biases of keys have none but by rounding: a softmax does not change with what all its scores have.
    check_gradients(ours, theirs, found, expected, folder, 1.0, gradients_within)


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_masked_tokens_logits_and_gradients_are_those_of_transformers(settings, tokenizer, tmp_path):
    check_parity(settings, "masked_tokens", LENGTHS, tokenizer, tmp_path)


@pytest.mark.parametrize("head", [head for head in CLASSES if head != "masked_tokens"])
def test_the_other_heads_logits_and_gradients_are_too(head, tokenizer, tmp_path):
    check_parity(SHAPES["v3"], head, LENGTHS, tokenizer, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("shape", BASE)
def test_the_published_shapes_are_too(shape, tokenizer, tmp_path):
    settings, lengths = BASE[shape]
    # The vectors of distances gather rounding from all pairs of tokens: in float32 either side is 1.3e-4 from its own
    # float64, in which the two agree to 3e-8.
    check_parity(settings, "masked_tokens", lengths, tokenizer, tmp_path, std=0.05, gradients_within=1e-3)


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_padding_changes_nothing(settings):
    tokens, _ = rows_of(LENGTHS)
    if settings.type_vocab_size == 1:
        tokens = Tokens.pack(tokens.ids.numpy(), np.zeros(sum(LENGTHS)), np.array(LENGTHS))
    ours = scrambled(settings, "masked_tokens")
    length = settings.max_position_embeddings
    padded_tokens = tokens.padded(length, pad_id=0)
    padded = logits_of(ours, "masked_tokens", padded_tokens)
    torch.testing.assert_close(
        padded[padded_tokens.valid_mask()], logits_of(ours, "masked_tokens", tokens), rtol=0, atol=1e-4
    )
    padded.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


@pytest.mark.parametrize("head", CLASSES)
@pytest.mark.parametrize("shape", ["v3", "v2", "small bench"])
def test_what_is_written_is_what_is_read(shape, head, tokenizer, tmp_path):
    ours, settings = scrambled(SHAPES[shape], head), SHAPES[shape]
    folder = export(tmp_path / "out", ours, settings, head, tokenizer)
    load_theirs(folder, head).save_pretrained(tmp_path / "theirs")
    for path in (folder, tmp_path / "theirs"):
        read = read_folder(path)
        assert (read.family, read.head, read.settings.sizes()) == ("deberta-v2", head, settings.sizes())
        assert read.weights.keys() == ours.state_dict().keys()
        assert all(torch.equal(tensor, read.weights[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(("buckets", "longest"), [(256, 512), (12, 64), (9, 50), (8, 32), (2, 64), (64, 512), (0, 20)])
def test_buckets_are_those_of_transformers(buckets, longest):
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    length = 512 if longest == 512 else 64
    settings = DebertaConfig(
        hidden_size=8, max_position_embeddings=length, position_buckets=buckets, max_relative_positions=longest
    )
    distances = torch.arange(length) - (length - 1)  # from the first query to each key, backwards
    row = torch.zeros(1, length, 1)
    expected = build_relative_position(row, row, buckets or -1, longest)[0]
    module = settings.build_distances()
    assert torch.equal(module.buckets(distances).flip(0), expected[0])
    assert torch.equal(module.buckets(-distances).flip(0), expected[:, 0])
    # Which vector a distance has, for rows of any length: transformers' index.
    for rows in (1, 5, length // 4, length):
        tokens = Tokens.pack(np.ones(rows), np.zeros(rows), np.array([rows]))
        vectors, index = module(tokens)
        span = module.span
        places = (expected[:rows, 0] + span).clamp(0, 2 * span - 1)
        table = module.norm(module.table.weight)
        torch.testing.assert_close(vectors[index[rows : 2 * rows]], table[places])


def test_the_tokenizer_gives_segments_where_there_are_some(tokenizer, tmp_path):
    for shape, inputs in (("v3", {"input_ids", "attention_mask"}),
                          ("small bench", {"input_ids", "attention_mask", "token_type_ids"})):  # fmt: skip
        settings = SHAPES[shape]
        folder = export(tmp_path / shape, scrambled(settings, "masked_tokens"), settings, "masked_tokens", tokenizer)
        encoded = transformers.AutoTokenizer.from_pretrained(folder)("the cat", return_tensors="pt")
        assert set(encoded) == inputs
        assert load_theirs(folder, "masked_tokens")(**encoded).logits.shape == (1, 4, VOCAB_SIZE)


def test_the_published_folders_of_v3_are_read(tokenizer, tmp_path):
    """They name no class, have a generator's head and a discriminator's beside the encoder, and texts for lists."""
    settings = SHAPES["v3"]
    model = scrambled(settings, None)
    folder = export(tmp_path / "out", model, settings, None, tokenizer)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key in ("architectures", "embedding_size", "legacy", "conv_kernel_size", "conv_act", "conv_groups"):
        del config[key]
    path.write_text(json.dumps(config | {"pos_att_type": "p2c|c2p", "norm_rel_ebd": "layer_norm"}))
    tensors = load_file(folder / "model.safetensors")
    width, few = settings.hidden_size, torch.ones(9)
    more = {
        "lm_predictions.lm_head.dense.weight": torch.ones(width, width), "lm_predictions.lm_head.bias": few,
        "mask_predictions.classifier.weight": torch.ones(1, width), "mask_predictions.LayerNorm.bias": few * 2,
        "deberta.embeddings.position_embeddings.weight": torch.ones(64, width),
    }  # fmt: skip
    save_file(tensors | more, folder / "model.safetensors")
    read = read_folder(folder)
    assert read.head is None and set(read.settings.pos_att_type) == {"c2p", "p2c"}
    assert set(read.dropped.values()) == {"masked-token head", "replaced-token head", "positions of a mask decoder"}
    assert all(torch.equal(tensor, read.weights[name]) for name, tensor in model.state_dict().items())


def test_the_other_names_of_the_masked_token_head_are_read(tokenizer, tmp_path):
    """transformers' class with legacy = false computes the same with them."""
    settings = SHAPES["v3"]
    ours = scrambled(settings, "masked_tokens")
    folder = export(tmp_path / "out", ours, settings, "masked_tokens", tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"legacy": False}))
    tensors = load_file(folder / "model.safetensors")
    names = {name: name.replace("cls.predictions.transform.", "lm_predictions.lm_head.") for name in tensors}
    names["cls.predictions.bias"] = "lm_predictions.lm_head.bias"
    save_file({names[name]: tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    tokens, grid = rows_of(LENGTHS)
    theirs = load_theirs(folder, "masked_tokens")
    read = read_folder(folder).build()
    assert isinstance(read, MaskedTokenModel)
    del grid["token_type_ids"]
    torch.testing.assert_close(
        logits_of(read, "masked_tokens", tokens), their_logits(theirs, "masked_tokens", grid), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act = 'gelu_new'"),
        ({"pos_att_type": None}, "relative_attention = True with pos_att_type = None"),
        ({"relative_attention": False}, "relative_attention = False with pos_att_type"),
        ({"pos_att_type": ["p2p"]}, "pos_att_type"),
        ({"attention_head_size": 32}, "attention_head_size = 32; bertsmith's encoder has 16"),
        ({"conv_kernel_size": 4}, "conv_kernel_size = 4 has no middle"),
        ({"position_buckets": "many"}, "position_buckets"),
        ({"model_type": "deberta"}, "model_type = 'deberta', a family that is not read"),
    ],
)
def test_what_is_no_deberta_of_ours_is_refused(change, message, tokenizer, tmp_path):
    settings = SHAPES["v3"]
    folder = export(tmp_path / "out", scrambled(settings, "masked_tokens"), settings, "masked_tokens", tokenizer)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        read_folder(folder)
