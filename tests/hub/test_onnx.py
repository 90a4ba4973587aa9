"""The ONNX file of an export, run by onnxruntime, held to transformers on the same folder."""

import copy
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from torch import nn

from bertsmith.convert.export import export_run
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.errors import UserError
from bertsmith.hub import onnx
from bertsmith.hub.onnx import OPSETS, write_onnx
from bertsmith.hub.registry import FAMILIES
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build
from tests.hub.test_huggingface import (
    VOCAB_SIZE,
    Classifier,
    MaskedTokens,
    ReplacedTokens,
    export,
    load_theirs,
    scrambled,
)

BERT = BertConfig(hidden_size=64, num_attention_heads=2, num_hidden_layers=1, max_position_embeddings=24)
ELECTRA = BertConfig(
    hidden_size=64, embedding_size=24, num_attention_heads=4, num_hidden_layers=1, max_position_embeddings=24
)
MODERN = ModernBertConfig(hidden_size=64, num_hidden_layers=2, local_attention=4, max_position_embeddings=24)
MEAN = ModernBertConfig(
    hidden_size=64, num_hidden_layers=2, local_attention=4, max_position_embeddings=24, classifier_pooling="mean"
)
DEBERTA = DebertaConfig(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=24, position_buckets=8,
    type_vocab_size=2, conv_kernel_size=3,
)  # fmt: skip
REPLACED = {"family": "electra", "head": "replaced_tokens"}
NETWORKS = {
    "bert masked": (18, MaskedTokens(BERT), {}, transformers.AutoModelForMaskedLM),
    "bert classes": (19, Classifier(BERT, 3), {}, transformers.AutoModelForSequenceClassification),
    "electra masked": (20, MaskedTokens(ELECTRA), {}, transformers.AutoModelForMaskedLM),
    "electra replaced": (21, ReplacedTokens(ELECTRA), REPLACED, transformers.AutoModelForPreTraining),
    "electra regression": (22, Classifier(ELECTRA, 1), {}, transformers.AutoModelForSequenceClassification),
    "modern masked": (18, MaskedTokens(MODERN), {}, transformers.AutoModelForMaskedLM),
    "deberta masked": (20, MaskedTokens(DEBERTA), {}, transformers.AutoModelForMaskedLM),
    "modern classes of the mean": (19, Classifier(MEAN, 3), {}, transformers.AutoModelForSequenceClassification),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer(build([*SPECIAL_TOKENS, "the", "cat", "sat"])).save(folder)
    return folder


def grids(num_rows: int, length: int) -> dict[str, np.ndarray]:
    """Rows whose padding lies anywhere, which an attention mask allows; each has a token."""
    rng = np.random.default_rng(length)
    shape = (num_rows, length)
    mask = rng.random(shape) < 0.7
    mask[:, 0] |= ~mask.any(axis=1)
    return {
        "input_ids": rng.integers(1, VOCAB_SIZE, shape),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": rng.integers(0, 2, shape),
    }


QUICK = ("modern masked",)
"""Of the networks those that `make test` exports, three seconds each; other tests here export a BERT."""
CASES = [
    pytest.param(*case, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, case in NETWORKS.items()
]


@pytest.mark.parametrize(("opset", "ours", "changes", "auto_class"), CASES)
def test_logits_are_those_of_transformers(opset, ours, changes, auto_class, tokenizer_folder, tmp_path, capfd):
    folder = export(tmp_path / "out", scrambled(ours), tokenizer_folder, opset=opset, **changes)
    assert capfd.readouterr() == ("", "")  # torch's exporter is talkative
    assert str(Path(onnx.__file__).parents[2]).encode() not in (folder / "model.onnx").read_bytes()  # so is its file
    theirs, session = load_theirs(auto_class, folder), onnxruntime.InferenceSession(folder / "model.onnx")
    assert [given.name for given in session.get_inputs()] == list(FAMILIES[theirs.config.model_type].inputs)
    assert {(given.type, *given.shape) for given in session.get_inputs()} == {("tensor(int64)", "batch", "sequence")}
    assert [answer.name for answer in session.get_outputs()] == ["logits"]
    answers = []
    for shape in ((1, 1), (3, 24), (2, 3), (7, 1), (1, 11)):
        given = {
            name: grid for name, grid in grids(*shape).items() if name in FAMILIES[theirs.config.model_type].inputs
        }
        with torch.no_grad():
            expected = theirs(**{name: torch.from_numpy(grid) for name, grid in given.items()}).logits
        found = torch.from_numpy(session.run(["logits"], given)[0])
        assert found.shape == expected.shape
        real = given["attention_mask"].astype(bool) if "Classification" not in auto_class.__name__ else ...
        torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)
        answers.append(expected.flatten())
    assert torch.cat(answers).std() > 0.1  # not a model that says the same everywhere


@pytest.mark.slow
def test_a_model_without_segments_is_not_given_them(tmp_path):
    model = scrambled(MaskedTokens(BERT))
    assert write_onnx(tmp_path / "model.onnx", model, "masked_tokens", ("input_ids", "attention_mask"), 18) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [given.name for given in session.get_inputs()] == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("opset", [-1, 9, OPSETS[0] - 1, OPSETS[-1] + 1])
def test_an_opset_that_cannot_hold_the_model_is_refused_first(opset, tmp_path):
    with pytest.raises(UserError, match=rf"--opset {opset}: .* can have opset 18 to 22") as caught:
        export_run(tmp_path / "no run", tmp_path / "out", opset)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["onnxscript", "onnxruntime"])
def test_a_missing_library_is_named(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"--onnx needs {library} .*pip install onnxscript onnxruntime"):
        export_run(tmp_path / "no run", tmp_path / "out", 18)


@pytest.mark.slow
def test_a_file_that_answers_differently_is_not_left_behind(tokenizer_folder, tmp_path, monkeypatch):
    ours = scrambled(MaskedTokens(BERT))
    out = export(tmp_path / "out", ours, tokenizer_folder)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    trace = onnx._trace

    def other(graph: nn.Module, *arguments) -> bytes:
        """As if one weight were written wrongly."""
        changed = copy.deepcopy(graph)
        changed.model.encoder.layers[0].attention.dense.bias.data[3] += 0.01
        return trace(changed, *arguments)

    monkeypatch.setattr(onnx, "_trace", other)
    with pytest.raises(UserError, match=r"model\.onnx: .* off by .*export without --onnx"):
        export(out, ours, tokenizer_folder, opset=18)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_model_too_large_for_one_file_is_refused(tokenizer_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_LARGEST_FILE", 10_000)
    with pytest.raises(UserError, match=r"a file of ONNX holds 2; export without --onnx"):
        export(tmp_path / "out", MaskedTokens(BERT), tokenizer_folder, opset=18)
    assert list(tmp_path.iterdir()) == []
