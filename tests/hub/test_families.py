"""Each family held to transformers' class with the same random weights: logits, one step's gradients, files."""

import json

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.hub.heads import HEADS
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.hub.network import Network
from bertsmith.hub.registry import FAMILIES as READ
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build
from bertsmith.training.models import open_model
from tests.families import FAMILIES, check_gradients, scrambled

VOCAB_SIZE, NUM_LABELS = 100, 3
LENGTHS = [7, 1, 19, 12]
SHAPES = [(name, shape) for name, family in FAMILIES.items() for shape in family.shapes]
QUICK = [(name, shape) for name, shape in SHAPES if shape is FAMILIES[name].shapes[-1]]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(build([*SPECIAL_TOKENS, "the", "cat", "sat"]))


def random_rows(lengths: list[int], vocab_size: int) -> Tokens:
    """Rows of unequal lengths, of two segments each, without padding's id."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, vocab_size, sum(lengths))
    return Tokens.pack(ids, rng.integers(0, 2, sum(lengths)), np.array(lengths))


def as_theirs(tokens: Tokens, settings: EncoderConfig) -> dict[str, Tensor]:
    """The same rows, padded, as the tokenizers of such a model give them."""
    mask = torch.ones(tokens.num_tokens, dtype=torch.int64)
    padded = {"input_ids": tokens.ids, "attention_mask": mask, "token_type_ids": tokens.segment_ids}
    return {name: tokens.to_padded(padded[name]) for name in READ[settings.family()].inputs_of(settings)}


def network_of(name: str, settings: EncoderConfig, head: str | None, vocab_size: int = VOCAB_SIZE) -> Network:
    labels = tuple("abc") if HEADS[head].has_labels else ()
    return Network(family=name, settings=settings, vocab_size=vocab_size, head=head, labels=labels)


def written(folder, network, model, tokenizer):
    weights = model.state_dict()
    write_folder(folder, Network(**vars(network) | {"weights": weights}), tokenizer, card="")
    return folder


def load_theirs(folder) -> nn.Module:
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not any(report.values()), report
    return model.eval()


def logits_of(model: nn.Module, inputs: dict[str, Tensor], by_token: bool) -> Tensor:
    """Their logits of real tokens, as ours lie: [T, …], or by row."""
    output = model(**inputs)
    answers = hasattr(output, "start_logits")
    logits = torch.stack([output.start_logits, output.end_logits], dim=-1) if answers else output.logits
    return logits[inputs["attention_mask"].bool()] if by_token else logits


def check(name, settings, head, tokenizer, folder, *, lengths=LENGTHS, vocab_size=VOCAB_SIZE, floor=1e-2, within=1e-4):
    """Compare logits, packed and padded, and gradients of one family, shape and head."""
    network, tokens = network_of(name, settings, head, vocab_size), random_rows(lengths, vocab_size)
    ours: nn.Module = scrambled(HEADS[head].build(network, NUM_LABELS))
    theirs = load_theirs(written(folder / "out", network, ours, tokenizer))
    found = HEADS[head].logits(ours, tokens)
    expected = logits_of(theirs, as_theirs(tokens, settings), HEADS[head].by_token).view(found.shape)
    assert expected.std() > 0.1  # not a model that says the same everywhere
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    padded = tokens.padded(max(lengths), pad_id=0)
    real = HEADS[head].logits(ours, padded)
    real = real[padded.valid_mask()] if HEADS[head].by_token else real
    torch.testing.assert_close(real, expected, rtol=0, atol=1e-4)
    check_gradients(ours, theirs, found, expected, folder, floor, within)


def cases(shapes, heads=tuple(head for head in HEADS if head is not None)):
    """Each shape with each head that its family has classes for, as a test's parameters."""
    return [
        pytest.param(name, shape, head, id=f"{name}-{head}")
        for name, shape in shapes
        for head in heads
        if (name, head) != ("bert", "replaced_tokens")
    ]


@pytest.mark.parametrize(("name", "settings", "head"), cases(QUICK))
def test_logits_and_gradients_are_those_of_transformers(name, settings, head, tokenizer, tmp_path):
    check(name, settings, head, tokenizer, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings", "head"), cases(SHAPES))
def test_so_are_those_of_every_shape_and_head(name, settings, head, tokenizer, tmp_path):
    check(name, settings, head, tokenizer, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["masked_tokens", "classification"])
@pytest.mark.parametrize("name", FAMILIES)
def test_so_are_those_of_the_base_shape(name, head, tokenizer, tmp_path):
    check(name, FAMILIES[name].base, head, tokenizer, tmp_path, lengths=[130, 9, 64], vocab_size=1000)


@pytest.mark.parametrize(("name", "settings", "head"), cases(QUICK, (*HEADS,)))
def test_what_is_written_is_what_is_read_and_written_again_the_same_bytes(name, settings, head, tokenizer, tmp_path):
    network = network_of(name, settings, head)
    ours = scrambled(HEADS[head].build(network, NUM_LABELS))
    first = written(tmp_path / "first", network, ours, tokenizer)
    read = read_folder(first)
    assert (read.family, read.head, read.concluded) == (name, head, ())
    assert read.settings.sizes() == settings.sizes() and read.settings.family() == name
    assert read.weights.keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, read.weights[key]) for key, tensor in ours.state_dict().items())
    write_folder(tmp_path / "second", read, tokenizer, card="")
    assert (first / "model.safetensors").read_bytes() == (tmp_path / "second/model.safetensors").read_bytes()


@pytest.mark.parametrize("pad_id", [0, 1, 3])
def test_roberta_positions_begin_behind_paddings_id(pad_id, tmp_path):
    """Whatever id the vocabulary has for padding, and whatever id the folder that comes in had."""
    tokens = [token for token in SPECIAL_TOKENS if token != "[PAD]"]
    tokenizer = Tokenizer(build([*tokens[:pad_id], "[PAD]", *tokens[pad_id:], "the", "cat"]))
    assert tokenizer.pad_id == pad_id
    network = network_of("roberta", FAMILIES["roberta"].shapes[0], "masked_tokens")
    ours = scrambled(HEADS["masked_tokens"].build(network, 0))
    theirs = load_theirs(written(tmp_path / "out", network, ours, tokenizer))
    assert theirs.config.pad_token_id == pad_id and theirs.config.max_position_embeddings == 40 + pad_id + 1
    rows = random_rows([40, 3], VOCAB_SIZE)
    rows = rows.with_ids(rows.ids.clamp(min=5))
    inputs = as_theirs(rows, network.settings)
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, pad_id)
    with torch.no_grad():
        expected = logits_of(theirs, inputs, by_token=True)
        torch.testing.assert_close(HEADS["masked_tokens"].logits(ours, rows), expected, rtol=0, atol=1e-4)
    assert read_folder(tmp_path / "out").settings.max_position_embeddings == 40


def test_a_roberta_whose_padding_is_another_token_of_its_tokenizer(tmp_path, capsys):
    """As transformers' default, 1, beside a vocabulary in the order of its tutorials: [CLS] is 1, and has padding's
    position by transformers, so that every row would be another here."""
    tokens = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "the", "cat"]
    network = network_of("roberta", FAMILIES["roberta"].shapes[0], "masked_tokens")
    ours = HEADS["masked_tokens"].build(network, 0)
    folder = written(tmp_path, network, ours, Tokenizer(build(tokens)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 1}))
    ids = torch.tensor([[1, 5, 6, 2]])
    places = transformers.RobertaModel.from_pretrained(folder).embeddings.create_position_ids_from_input_ids(ids, 1)
    assert places.tolist() == [[1, 2, 3, 4]]  # not 2, 3, 4, 5
    with pytest.raises(UserError, match=r"pad_token_id = 1 is '\[CLS\]' in its tokenizer, whose padding is '\[PAD\]'"):
        open_model(folder)
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 0}))
    open_model(folder)
    assert "pad_token_id = 0 is '[UNK]' in its tokenizer" in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps(config))
    open_model(folder)
    assert "pad_token_id" not in capsys.readouterr().err


@pytest.mark.parametrize("pad_id", [-1, 41, True, "1", None])
def test_a_padding_id_that_leaves_no_positions_is_refused(pad_id, tokenizer, tmp_path):
    network = network_of("roberta", FAMILIES["roberta"].shapes[0], "masked_tokens")
    folder = written(tmp_path, network, HEADS["masked_tokens"].build(network, 0), tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": pad_id}))
    with pytest.raises(UserError, match=r"pad_token_id = .*; positions begin behind it"):
        read_folder(folder)


def test_two_values_of_one_setting_are_refused(tokenizer, tmp_path):
    network = network_of("distilbert", FAMILIES["distilbert"].shapes[0], "masked_tokens")
    folder = written(tmp_path, network, HEADS["masked_tokens"].build(network, 0), tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    with pytest.raises(UserError, match="num_attention_heads = 4 where n_heads = 1"):
        read_folder(folder)


def test_embeddings_of_another_width_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"embedding_size 32 .*generator\.sharing=nothing"):
        FAMILIES["roberta"].shapes[0].__class__(hidden_size=64, embedding_size=32)


def test_the_published_modernberts_config_is_read(tokenizer, tmp_path):
    """Keys and values of the published base model, which transformers 4.47 wrote, at a small depth and width."""
    published = {
        "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 50281, "classifier_activation": "gelu",
        "classifier_bias": False, "classifier_dropout": 0.0, "classifier_pooling": "mean", "cls_token_id": 50281,
        "decoder_bias": True, "deterministic_flash_attn": False, "embedding_dropout": 0.0, "eos_token_id": 50282,
        "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "gradient_checkpointing": False,
        "hidden_activation": "gelu", "initializer_cutoff_factor": 2.0, "initializer_range": 0.02,
        "layer_norm_eps": 1e-05, "local_attention": 128, "local_rope_theta": 10000.0,
        "max_position_embeddings": 8192, "mlp_bias": False, "mlp_dropout": 0.0, "model_type": "modernbert",
        "norm_bias": False, "norm_eps": 1e-05, "pad_token_id": 50283, "position_embedding_type": "absolute",
        "sep_token_id": 50282, "tie_word_embeddings": True, "torch_dtype": "float32",
        "transformers_version": "4.47.0.dev0", "vocab_size": 50368,
    }  # fmt: skip
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    theirs = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**published | sizes))
    scrambled(theirs).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(published | sizes | {"architectures": ["ModernBertForMaskedLM"]}))
    read = read_folder(tmp_path)
    assert (read.vocab_size, read.head, read.settings.pools_mean) == (50368, "masked_tokens", True)
    tokens = random_rows([9, 4], 50368)
    with torch.no_grad():
        expected = logits_of(theirs, as_theirs(tokens, read.settings), by_token=True)
        torch.testing.assert_close(HEADS["masked_tokens"].logits(read.build(), tokens), expected, rtol=0, atol=1e-4)
