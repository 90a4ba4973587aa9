"""Journeys of a tagging task: learnt, scored, graded, resumed, exported, asked; and what is refused."""

import json

import pytest
import torch
import transformers

import bertsmith
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.grade import grade
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.runs import load_trial
from bertsmith.tasks.trial import build_objective
from bertsmith.tasks.trials import schedule as program
from bertsmith.tasks.words.tag_task import measure_tags
from bertsmith.training.pretrain import pretrain
from tests.predict.asking import predictions
from tests.tasks.toy_task import make_model, toy_recipe
from tests.tasks.words.toy_tagging import write_tagging
from tests.toys import WORDS, make_data, tiny_recipe

LAST = "trials/seed-0/predictions-dev.txt"


def recipe_of(model, data, *overrides):
    return toy_recipe(model, data, "custom.kind=tagging", "seeds=1", "epochs=6", *overrides)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return make_model(folder, embedding_size=16), write_tagging(folder)


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    finetune(recipe_of(*toy), out)
    return out


def test_it_is_learnt_and_the_predictions_are_what_the_grader_reads(run, toy):
    results = json.loads((run / "results.json").read_text())
    assert list(results["summary"]) == ["f1", "precision", "recall", "accuracy"]
    metrics = results["trials"][0]["metrics"]
    assert metrics["f1"] > 0.95
    graded = grade("conll2000", run / LAST, None).scores
    assert graded["f1"] == pytest.approx(100 * metrics["f1"])
    assert graded["accuracy"] == pytest.approx(100 * metrics["accuracy"])
    lines = [line.split(" ") for line in (run / LAST).read_text().split("\n")]
    gold = [line.split(" ") for line in (toy[1] / "dev.txt").read_text().split("\n")]
    assert [line[:2] for line in lines if line != [""]] == [line for line in gold if line != [""]]


def test_again_finds_itself_done_and_another_dev_file_is_refused(run, toy, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a finished trial was run again")

    monkeypatch.setattr(program, "run_trial", never)
    finetune(recipe_of(*toy), run)
    data = write_tagging(tmp_path)
    (data / "dev.txt").write_text(f"{WORDS[0]} B-X\n")
    with pytest.raises(UserError, match=r"another run \(data: another one\)"):
        finetune(recipe_of(toy[0], data), run)


def test_plain_tags_have_an_accuracy_alone(toy, tmp_path):
    results = finetune(recipe_of(toy[0], write_tagging(tmp_path, plain=True, ending="conll")), tmp_path / "run")
    assert list(results["summary"]) == ["accuracy"]
    assert results["summary"]["accuracy"]["median"] > 0.95


@pytest.mark.parametrize(("plain", "guess"), [(False, "O"), (True, "NOUN")])
def test_words_that_are_cut_off_count_as_guessed(toy, tmp_path, capsys, plain, guess):
    recipe = recipe_of(toy[0], write_tagging(tmp_path, plain=plain), "sequence_length=6")
    finetune(recipe, tmp_path / "run")
    shown = capsys.readouterr().err
    assert "dev.txt: " in shown and f"words are lost, and count as predicted {guess!r}\n" in shown
    sentences = (tmp_path / "run" / LAST).read_text().strip("\n").split("\n\n")
    lost = [line.split(" ")[2] for sentence in sentences for line in sentence.split("\n")[4:]]
    assert lost and set(lost) == {guess}
    assert f" {len(lost):,} words are lost, and count" in shown


def test_a_word_without_a_piece_is_unknown_and_said(toy, tmp_path, capsys):
    data = write_tagging(tmp_path)
    with open(data / "dev.txt", "a") as file:
        file.write("\u200b O\n")
    finetune(recipe_of(toy[0], data, "epochs=0.1"), tmp_path / "run")
    last = len((data / "dev.txt").read_text().split("\n")) - 1
    assert f"dev.txt, line {last}: the tokenizer makes nothing of '\\u200b', so it is [UNK]; 1 of " in (
        capsys.readouterr().err
    )
    assert (tmp_path / "run" / LAST).read_text().split("\n")[-3].startswith("\u200b O ")


def modern(folder):
    """A pre-training run of a ModernBERT, which is hardly trained."""
    (folder / "text").mkdir()
    overrides = ["model.kind=modern", "model.local_attention=4", "plan.steps=2"]
    pretrain(tiny_recipe(make_data(folder / "text").path, *overrides), folder / "pretrained")
    return folder / "pretrained"


FAMILIES = {
    "bert": (make_model, transformers.BertForTokenClassification),
    "electra": (lambda folder: make_model(folder, embedding_size=16), transformers.ElectraForTokenClassification),
    "modernbert": (modern, transformers.ModernBertForTokenClassification),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_exported_it_answers_in_transformers_as_here(toy, tmp_path, monkeypatch, family):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    make, their_class = FAMILIES[family]
    finetune(recipe_of(make(tmp_path), toy[1]), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    theirs, report = their_class.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert theirs.config.id2label == dict(enumerate(["O", "B-X", "I-X", "B-Y", "I-Y"]))
    assert "token-classification" in (tmp_path / "out/README.md").read_text()
    text = f"{WORDS[0]} {WORDS[10]} {WORDS[40]} {WORDS[20]}"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        found = theirs.eval()(**tokenizer(text, return_tensors="pt")).logits[0, 1:-1].argmax(dim=1)
    assert load_trial(tmp_path / "run").network.family == family
    expected = list(zip(text.split(), [theirs.config.id2label[int(id)] for id in found], strict=True))
    for path in (tmp_path / "run", tmp_path / "out"):
        assert bertsmith.load(path, device="cpu").tag(text) == expected
    start = open_pretrained_encoder(tmp_path / "out")
    assert start.family == family and not any(name.startswith("head.") for name in start.weights)


def test_what_predict_prints(run):
    model = bertsmith.load(run, device="cpu")
    assert model.opened.network.head == "tagging"
    words = [WORDS[0], WORDS[10], WORDS[40]]
    line = predictions(model, [" ".join(words)])[0]
    assert line.parts == [f"{words[0]}/B-X {words[1]}/I-X {words[2]}/O"]
    assert line.content == {"words": words, "tags": ["B-X", "I-X", "O"]}
    assert model.tag(["", " "]) == [[], []] and model.tag(["", words[2]]) == [[], [(words[2], "O")]]
    with pytest.raises(UserError, match=r"1 of 1 texts are longer than the model's 32 tokens"):
        model.tag(" ".join(WORDS[:40]))
    assert len(model.tag(" ".join(WORDS[:40]), truncate=True)) == 30
    with pytest.raises(UserError, match=r"tags words \(`tag`\), so it knows no classes"):
        model.classify("a text")
    with pytest.raises(UserError, match=r"a fine-tuned model, which cannot score texts"):
        model.score("a text")


def test_compat_sums_the_loss_has_segment_1_and_is_not_exported(toy, tmp_path, monkeypatch):
    seen = {}
    real = program.run_trial

    def watch(context, seed, folder):
        seen.update(context=context)
        return real(context, seed, folder)

    monkeypatch.setattr(program, "run_trial", watch)
    finetune(recipe_of(*toy, "compat=true", "epochs=0.2"), tmp_path / "run")
    splits = seen["context"].datasets
    assert set(splits.train.rows.segment_ids) == set(splits.dev["", ""].rows.segment_ids) == {1}
    tagger = bertsmith.load(tmp_path / "run", device="cpu")._finetuned
    assert tagger.segment_id == 1
    objective = build_objective(seen["context"], 0)
    assert objective.compat and objective.head.dropout.p == 0 and not objective.head.output.bias.any()
    with pytest.raises(UserError, match=r"tagged under compat, where every segment id is 1"):
        export_run(tmp_path / "run", tmp_path / "out")


def test_measures():
    gold = [["B-X", "I-X", "O"], ["B-Y"]]
    found = measure_tags(("f1", "precision", "recall", "accuracy"), gold, [["B-X", "O", "O"], ["B-Y"]])
    assert found == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.75}
    assert measure_tags(("accuracy",), [["DT", "NN"]], [["DT", "DT"]]) == {"accuracy": 0.5}
