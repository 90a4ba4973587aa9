"""Journeys of an ELECTRA run: trained, resumed, exported as two networks, fine-tuned, exported again."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

import bertsmith
from bertsmith.convert.export import export_run
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.hub.huggingface import read_folder
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training import checkpoints
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import load_run
from bertsmith.training.pretrain import initial_objective, pretrain
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.schedules import Plan
from bertsmith.training.staged_rows import build_collator
from tests.tasks.toy_task import toy_recipe, write_task
from tests.toys import packed_rows, tiny_recipe

KINDS = {
    "classic": (),
    "modern": ("model.kind=modern", "model.local_attention=4"),
}
CLASSES = {
    "classic": (transformers.ElectraForPreTraining, transformers.ElectraForMaskedLM),
    "modern": (transformers.ModernBertForTokenClassification, transformers.ModernBertForMaskedLM),
}
SHARINGS = ("embeddings", "gradient_disentangled", "nothing", "everything")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def electra(data, *overrides: str) -> PretrainRecipe:
    is_uniform = "objective.generator.kind=uniform" in overrides  # a generator without sizes
    size = [] if is_uniform else ["objective.generator.hidden_fraction=0.5"]
    return tiny_recipe(data, "objective.kind=rtd", *size, "model.embedding_size=16", *overrides)


def test_every_measure_is_logged_in_training_and_on_held_out_text(data, tmp_path):
    pretrain(electra(data), tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    named = {"mlm_loss", "mlm_accuracy", "sampled_accuracy", "rtd_loss", "rtd_accuracy", "rtd_precision", "rtd_recall",
             "rtd_auc", "replaced_share"}  # fmt: skip
    assert all(named <= line.keys() for line in lines)
    assert {line["split"] for line in lines} == {"train", "heldout"}
    assert all("mlm_perplexity" in line for line in lines if line["split"] == "heldout")


@pytest.mark.parametrize("sharing", SHARINGS)
def test_resumed_it_ends_bit_for_bit_the_same(data, tmp_path, sharing):
    recipe = electra(data, "plan.keep_checkpoints=0", f"objective.generator.sharing={sharing}")
    pretrain(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for later in sorted((tmp_path / "resumed" / "checkpoints").iterdir())[1:]:
        shutil.rmtree(later)
    pretrain(recipe, tmp_path / "resumed")
    ends = [checkpoints.load_newest(tmp_path / run) for run in ("whole", "resumed")]
    assert [end.state.step for end in ends] == [12, 12]
    assert all(torch.equal(ends[0].model[name], tensor) for name, tensor in ends[1].model.items())


@pytest.mark.parametrize("kind", ["classic", "modern"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_both_networks_answer_in_transformers_as_they_do_here(data, tmp_path, sharing, kind):
    sharing = f"objective.generator.sharing={sharing}"
    recipe = electra(data, sharing, "model.initializer_range=0.3", "plan.steps=2", *KINDS[kind])
    pretrain(recipe, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["discriminator", "generator"]
    found, tokenizer = load_run(tmp_path / "run"), Tokenizer.load(tmp_path / "run")
    model = initial_objective(recipe, tokenizer).eval()
    model.load_state_dict(found.weights)

    finder_class, filler_class = CLASSES[kind]
    finder = finder_class.from_pretrained(tmp_path / "out" / "discriminator").eval()
    filler = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out" / "generator").eval()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out" / "discriminator")
    assert type(filler) is filler_class
    assert theirs.model_max_length == 32
    tokens = build_collator(recipe, tokenizer)(packed_rows(_rows(tokenizer)), np.random.default_rng(0)).tokens
    with torch.no_grad():
        given = tokens.ids, torch.ones_like(tokens.ids)
        grid = dict(zip(("input_ids", "attention_mask"), map(tokens.to_padded, given), strict=True))
        if kind == "classic":
            grid["token_type_ids"] = tokens.to_padded(tokens.segment_ids)
        judged = tokens.to_flat(finder(**grid).logits.flatten(1).view(*grid["input_ids"].shape))
        torch.testing.assert_close(judged, model.logits(tokens), rtol=0, atol=1e-4)
        vectors = model.generator.vectors(tokens, torch.arange(tokens.num_tokens), model.encoder)
        scores = vectors @ model.generator.table(model.encoder).T + model.generator.head.bias
        torch.testing.assert_close(tokens.to_flat(filler(**grid).logits), scores, rtol=0, atol=1e-4)


def _rows(tokenizer: Tokenizer) -> Tokens:
    rng, lengths = np.random.default_rng(1), np.array([32, 5, 17])
    ids = rng.integers(6, tokenizer.vocab_size, lengths.sum())
    return Tokens.pack(ids, rng.integers(0, 2, lengths.sum()), lengths)


@pytest.mark.parametrize("width", ["narrow", "even"])
def test_a_discriminator_is_fine_tuned_under_electras_classes(data, tmp_path, width):
    """Also where its embeddings are as wide as its layers, as ELECTRA-base's are."""
    size = {"narrow": "model.embedding_size=8", "even": "model.embedding_size=16"}[width]
    pretrain(electra(data, size), tmp_path / "run")
    task = write_task(tmp_path)
    export_run(tmp_path / "run", tmp_path / "exported")
    for name, model in (("run", tmp_path / "run"), ("folder", tmp_path / "exported" / "discriminator")):
        tuned, out = tmp_path / f"{name}-tuned", tmp_path / f"{name}-out"
        finetune(toy_recipe(model, task, "seeds=1", "epochs=1"), tuned)
        export_run(tuned, out)
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out)
        assert type(theirs) is transformers.ElectraForSequenceClassification
    exported = tmp_path / "exported" / "discriminator"
    ours, again = open_pretrained_encoder(tmp_path / "run"), open_pretrained_encoder(exported)
    assert all(torch.equal(ours.weights[name], tensor) for name, tensor in again.weights.items())


@pytest.mark.slow
def test_an_exported_discriminator_is_read_with_its_head(data, tmp_path, capsys):
    pretrain(electra(data), tmp_path / "run")
    capsys.readouterr()
    export_run(tmp_path / "run", tmp_path / "out", opset=18)
    said = capsys.readouterr().err.splitlines()
    for part, line in zip(("discriminator", "generator"), said, strict=True):
        assert line.startswith(f"{tmp_path / 'out' / part / 'model.onnx'}: onnxruntime's logits are within ")
        assert (tmp_path / "out" / part / "model.onnx").is_file()
        assert "`model.onnx`" in (tmp_path / "out" / part / "README.md").read_text()
    read = read_folder(tmp_path / "out" / "discriminator")
    assert (read.head, read.family, read.dropped) == ("replaced_tokens", "electra", {})


def test_a_uniform_generator_is_not_exported(data, tmp_path):
    pretrain(electra(data, "objective.generator.kind=uniform"), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["discriminator"]


def test_no_earlier_model_stays_to_be_opened_instead(data, tmp_path):
    uniform = electra(data, "objective.generator.kind=uniform")
    for name, recipe in (("bert", tiny_recipe(data)), ("electra", electra(data)), ("uniform", uniform)):
        pretrain(replace(recipe, plan=Plan(steps=1)), tmp_path / name)
    finetune(toy_recipe(tmp_path / "bert", write_task(tmp_path), "seeds=1", "epochs=1"), tmp_path / "tuned")
    export_run(tmp_path / "bert", tmp_path / "one")
    export_run(tmp_path / "electra", tmp_path / "two")
    for run, out, stays in (
        ("electra", "one", "one/config"),
        ("uniform", "one", "one/config"),
        ("uniform", "two", "two/generator/config"),
        ("bert", "two", "two/discriminator/config"),
        ("tuned", "two", "two/discriminator/config"),
    ):
        before = sorted(path for path in (tmp_path / out).rglob("*"))
        with pytest.raises(UserError, match=rf"holds another model \(.*/{stays}\.json\), which would stay"):
            export_run(tmp_path / run, tmp_path / out)
        assert sorted(path for path in (tmp_path / out).rglob("*")) == before
    export_run(tmp_path / "electra", tmp_path / "two")
    with pytest.raises(
        UserError, match=r"electra: holds checkpoints, which is no part of a model; name another folder"
    ):
        export_run(tmp_path / "electra", tmp_path / "electra")
    (tmp_path / "two" / "generator" / "notes.txt").write_text("mine")
    before = (tmp_path / "two" / "discriminator").stat().st_ino
    with pytest.raises(UserError, match=r"generator: holds notes\.txt"):
        export_run(tmp_path / "electra", tmp_path / "two")
    assert (tmp_path / "two" / "discriminator").stat().st_ino == before, "refused before the first is written"


def test_another_objective_is_another_run(data, tmp_path):
    pretrain(tiny_recipe(data), tmp_path)
    with pytest.raises(UserError, match=r"objective\.kind"):
        pretrain(electra(data), tmp_path)


def test_electric_trains_resumes_and_exports_its_discriminator(data, tmp_path):
    recipe = electra(data, "objective.kind=electric", "plan.keep_checkpoints=0")
    assert recipe.objective.generator.kind == "two_towers"
    pretrain(recipe, tmp_path / "run")
    named = {"cloze_loss", "cloze_accuracy", "sampled_accuracy", "rtd_loss", "rtd_auc"}
    assert all(named <= line.keys() for line in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    shutil.copytree(tmp_path / "run", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step-00000012")
    pretrain(recipe, tmp_path / "resumed")
    ends = [checkpoints.load_newest(tmp_path / run) for run in ("run", "resumed")]
    assert all(torch.equal(ends[0].model[name], tensor) for name, tensor in ends[1].model.items())
    export_run(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["discriminator"]
    read = read_folder(tmp_path / "out" / "discriminator")
    assert all(torch.equal(ends[0].model[name], tensor) for name, tensor in read.weights.items())
    sentences = ["ba be bi.", "bo bu"]
    scores = [bertsmith.load(path).score(sentences) for path in (tmp_path / "run", tmp_path / "out")]
    objective = initial_objective(recipe, Tokenizer.load(tmp_path / "run")).eval()
    objective.load_state_dict(ends[0].model)
    ids = [transformers.AutoTokenizer.from_pretrained(tmp_path / "out" / "discriminator")(text)["input_ids"]
           for text in sentences]  # fmt: skip
    for row, *found in zip(ids, *scores, strict=True):
        energy = (
            objective.logits(Tokens.pack(np.array(row), np.zeros(len(row)), np.array([len(row)])))[1:-1].sum().item()
        )
        assert found == [pytest.approx(-energy, abs=1e-4)] * 2  # one pass, without the generator


@pytest.mark.parametrize("objective", ["mlm", "rtd"])
def test_a_modern_encoder_is_fine_tuned_under_its_own_classes(data, tmp_path, objective):
    recipe = electra(data, f"objective.kind={objective}", *KINDS["modern"]) if objective == "rtd" else tiny_recipe(
        data, *KINDS["modern"]
    )  # fmt: skip
    pretrain(recipe, tmp_path / "run")
    finetune(toy_recipe(tmp_path / "run", write_task(tmp_path), "seeds=1", "epochs=1"), tmp_path / "tuned")
    export_run(tmp_path / "tuned", tmp_path / "out")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert type(theirs) is transformers.ModernBertForSequenceClassification
    encoded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(["ba be", "bo bi ba"], padding=True,
                                                                           return_tensors="pt")  # fmt: skip
    with torch.no_grad():
        probabilities = theirs(**encoded).logits.softmax(dim=1)
    ours = bertsmith.load(tmp_path / "tuned").classify(["ba be", "bo bi ba"])
    for answer, row in zip(ours, probabilities, strict=True):
        assert max(answer.probs.values()) == pytest.approx(row.max().item(), abs=1e-5)
