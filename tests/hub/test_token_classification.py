"""Tagging heads: what we export is what transformers' …ForTokenClassification answers, and what we read again."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build

VOCAB_SIZE = 60
LENGTHS = [16, 1, 9, 12]
TAGS = ["B-NP", "I-NP", "O"]

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 40}
FAMILIES = {
    "bert": (BertConfig(**SIZES), transformers.BertForTokenClassification),
    "electra": (BertConfig(**SIZES, embedding_size=16), transformers.ElectraForTokenClassification),
    "modernbert": (ModernBertConfig(**SIZES, local_attention=8), transformers.ModernBertForTokenClassification),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer(build([*SPECIAL_TOKENS, "the", "cat", "sat"])).save(folder)
    return folder


def tagger(family: str) -> nn.ModuleDict:
    settings = FAMILIES[family][0]
    model = nn.ModuleDict({
        "encoder": Encoder(settings, VOCAB_SIZE), "head": settings.tagging_head(len(TAGS)),
    })  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15 + ("norm" in name))
    return model.eval()


def export(out, family, tokenizer_folder, **changes):
    model = tagger(family)
    network = Network(
        family=family, settings=FAMILIES[family][0], vocab_size=VOCAB_SIZE, head="tagging",
        weights=model.state_dict(), labels=tuple(TAGS),
    )  # fmt: skip
    write_folder(out, network, Tokenizer.load(tokenizer_folder), card="", **changes)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family, tokenizer_folder, tmp_path):
    ours = export(tmp_path / "out", family, tokenizer_folder)
    theirs, report = FAMILIES[family][1].from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert theirs.config.id2label == dict(enumerate(TAGS))
    rng = np.random.default_rng(0)
    segments = 1 if family == "modernbert" else 2
    ids, segment_ids = rng.integers(1, VOCAB_SIZE, sum(LENGTHS)), rng.integers(segments, size=sum(LENGTHS))
    packed = Tokens.pack(ids, segment_ids, np.array(LENGTHS))
    grids = {
        name: packed.to_padded(flat)
        for name, flat in (
            ("input_ids", packed.ids), ("token_type_ids", packed.segment_ids),
            ("attention_mask", torch.ones_like(packed.ids)),
        )
    }  # fmt: skip
    if family == "modernbert":
        del grids["token_type_ids"]
    with torch.no_grad():
        expected = theirs.eval()(**grids).logits
        assert expected.std() > 0.3  # not a model that says the same everywhere
        for tokens in (packed, packed.padded(20, 0)):
            found = tokens.to_padded(ours["head"](ours["encoder"](tokens)))[:, : max(LENGTHS)]
            real = grids["attention_mask"].bool()
            torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_is_what_is_read(family, tokenizer_folder, tmp_path):
    ours = export(tmp_path / "out", family, tokenizer_folder)
    for folder in (tmp_path / "out", tmp_path / "again"):
        found = read_folder(folder if folder.exists() else _saved_again(family, tmp_path))
        assert (found.family, found.head, found.labels, found.num_labels) == (family, "tagging", tuple(TAGS), 3)
        assert found.weights.keys() == ours.state_dict().keys()
        assert all(torch.equal(found.weights[name], tensor) for name, tensor in ours.state_dict().items())
    assert "problem_type" not in (tmp_path / "out/config.json").read_text()


def _saved_again(family, folder):
    FAMILIES[family][1].from_pretrained(folder / "out").save_pretrained(folder / "again")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / "again" / name).write_bytes((folder / "out" / name).read_bytes())
    return folder / "again"


def test_a_modern_discriminator_has_one_label_and_no_tags(tokenizer_folder, tmp_path):
    export(tmp_path / "out", "modernbert", tokenizer_folder)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    config.id2label = {0: "replaced"}
    transformers.ModernBertForTokenClassification(config).save_pretrained(tmp_path / "discriminator")
    assert read_folder(tmp_path / "discriminator").head == "replaced_tokens"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_onnx_says_it_of_each_token(family, tokenizer_folder, tmp_path):
    import onnxruntime

    export(tmp_path / "out", family, tokenizer_folder, opset=18)  # `write_folder` compares the logits
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx", providers=["CPUExecutionProvider"])
    grids = {value.name: np.ones((2, 5), dtype=np.int64) for value in session.get_inputs()}
    assert session.run(["logits"], grids)[0].shape == (2, 5, len(TAGS))
