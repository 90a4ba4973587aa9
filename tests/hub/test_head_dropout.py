"""Dropout in heads: what a folder says of it is what is fine-tuned with, as in transformers' class, and is exported."""

import pytest
import transformers

from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.initial import load_pretraining
from tests.hub.foreign import save, tensors_of, write

FAMILIES = {
    "bert": ("Bert", "classifier_dropout", "dropout"),
    "electra": ("Electra", "classifier_dropout", "classifier.dropout"),
    "roberta": ("Roberta", "classifier_dropout", "classifier.dropout"),
    "xlm-roberta": ("XLMRoberta", "classifier_dropout", "classifier.dropout"),
    "camembert": ("Camembert", "classifier_dropout", "classifier.dropout"),
    "distilbert": ("DistilBert", "seq_classif_dropout", "dropout"),
    "deberta-v2": ("DebertaV2", "cls_dropout", "dropout"),
    "modernbert": ("ModernBert", "classifier_dropout", "drop"),
}  # fmt: skip
"""Model type → beginning of its classes' names, its key in config.json, and where a classifier has the dropout."""


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("value", [0.4, 0.0, None, ...])
@pytest.mark.parametrize("head", ["Sequence", "Token"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_transformers_own_and_goes_out_again(family, head, value, tmp_path):
    prefix, key, place = FAMILIES[family]
    place = place.removeprefix("classifier.") if head == "Token" else place
    if value is None and family in ("distilbert", "modernbert"):
        pytest.skip("theirs takes no null")
    cls = getattr(transformers, f"{prefix}For{head}Classification")
    folder = save(tmp_path / "in", cls.__name__, family, num_labels=3)
    hidden = "dropout" if family == "distilbert" else "hidden_dropout_prob"
    write(folder, tensors_of(folder), **{hidden: 0.25, key: value})
    expected = cls.from_pretrained(folder).get_submodule(place).p
    read = read_folder(folder)
    assert read.build()["head"].dropout.p == expected and not read.concluded
    write_folder(tmp_path / "out", read, Tokenizer.load(folder), card="")
    assert cls.from_pretrained(tmp_path / "out").get_submodule(place).p == expected
    recipe = load_pretraining("continue", [f"init={folder}", "data=d", "plan.steps=1", "rows.length=16"]).settings
    assert recipe.model.classifier_dropout == read.settings.classifier_dropout


@pytest.mark.parametrize(("family", "key"), [("distilbert", "qa_dropout"), ("deberta-v2", "pooler_dropout")])
def test_what_is_not_kept_is_said(family, key, tmp_path):
    folder = save(tmp_path, f"{FAMILIES[family][0]}ForQuestionAnswering", family)
    assert not read_folder(folder).concluded
    write(folder, tensors_of(folder), **{key: 0.5})
    [line] = read_folder(folder).concluded
    assert line.startswith(f"{key} = 0.5: ") and line.endswith("here")
