"""A fine-tuned answerer, used: asked, exported and asked elsewhere, and its answers to a file of questions."""

import json

import pytest
import torch
import transformers

import bertsmith
from bertsmith.answers import predictions
from bertsmith.config import lay_over
from bertsmith.errors import UserError
from bertsmith.export import export_run
from bertsmith.file_answers import print_predictions
from bertsmith.grade import grade
from bertsmith.tasks.answering.answer_file import AnswerFileSettings, write_answers
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.starting_point import open_starting_point
from tests.tasks.answering.test_answering import modern, recipe_of
from tests.tasks.answering.toy_questions import ask, squad, write_questions
from tests.tasks.toy_task import make_model
from tests.toys import WORDS


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of SQuAD 1.1 with a plain head, of 2.0 with a joint one."""
    folder = tmp_path_factory.mktemp("runs")
    model = make_model(folder)
    for task, joint in (("squad-v1.1", "false"), ("squad-v2.0", "true")):
        recipe = recipe_of(model, write_questions(folder, task), task, f"answering.joint={joint}")
        finetune(recipe, folder / f"run-{task}")
    return folder


def test_it_answers_with_a_stretch_of_the_context(runs):
    model, asked = bertsmith.load(runs / "run-squad-v1.1", device="cpu"), ask(50, 7)
    assert model.answers_questions and not model.classifies
    found = model.answer([one.question for one in asked], [one.context for one in asked])
    assert sum(answer.text == one.answer for answer, one in zip(found, asked, strict=True)) > 40
    for answer, one in zip(found, asked, strict=True):
        assert one.context[answer.start :].startswith(answer.text) and answer.null_odds is None
    alone = model.answer(asked[0].question, asked[0].context)
    assert alone.text == found[0].text and alone.score == pytest.approx(found[0].score, abs=1e-4)
    assert model.answer(asked[0].question, "").text == ""


def test_a_context_longer_than_the_model_is_read_in_windows(runs):
    model, asked = bertsmith.load(runs / "run-squad-v1.1", device="cpu"), ask(20, 7)
    filler = " ".join(WORDS[10:20] * 6)
    contexts = [f"{filler} {one.context} {filler}" for one in asked]
    found = model.answer([one.question for one in asked], contexts)
    for answer, context in zip(found, contexts, strict=True):
        assert context[answer.start :].startswith(answer.text)
    right = [answer.text in one.answer for answer, one in zip(found, asked, strict=True)]
    assert sum(right) > 15 and all(answer.start > 100 for answer in found)


def test_what_predict_prints_and_what_cannot_be_asked(runs):
    model, one = bertsmith.load(runs / "run-squad-v2.0", device="cpu"), ask(2, 7, none=True)[1]
    line = predictions(model, [f"{one.question}\t{one.context}"], 5, False)[0]
    assert line.content.keys() == {"text", "start", "score", "null_odds"}
    assert line.parts == [f"{line.content['text'] or '-'}\t{line.content['score']:.4f}"]
    with pytest.raises(UserError, match="0 tabs; a line is a question, a tab, and its context"):
        predictions(model, ["a question"], 5, False)
    with pytest.raises(UserError, match="9 tokens, and the model was fine-tuned on 8; shorten it"):
        model.answer(" ".join(WORDS[:9]), one.context)
    assert model.answer(" ".join(WORDS[:9]), one.context, truncate=True).score is not None
    with pytest.raises(UserError, match="2 questions and 1 contexts"):
        model.answer([one.question] * 2, [one.context])
    with pytest.raises(UserError, match="question 2 of 2 has no text"):
        model.answer([one.question, " "], [one.context] * 2)
    with pytest.raises(UserError, match=r"answers questions \(`answer`\), so it knows no classes"):
        model.classify("a text")
    with pytest.raises(UserError, match="a fine-tuned model, which cannot score texts"):
        model.score("a text")


def test_a_file_in_squads_layout_is_sent_to_the_verb_that_answers_it(runs):
    model = bertsmith.load(runs / "run-squad-v1.1", device="cpu")
    with pytest.raises(UserError, match=r"`bertsmith submit .*run-squad-v1.1 OUT.json data=dev.json` answers that"):
        print_predictions(model, [], "dev.json", 5, False, False)
    with pytest.raises(UserError, match=r"`bertsmith predict .*run-squad-v1.1 --file dev.csv` answers it"):
        options = lay_over(AnswerFileSettings, {}, ["data=dev.csv"]).settings
        write_answers(runs / "run-squad-v1.1", runs / "out.json", options)


FAMILIES = {
    "bert": (lambda folder: make_model(folder), transformers.BertForQuestionAnswering),
    "electra": (lambda folder: make_model(folder, embedding_size=16), transformers.ElectraForQuestionAnswering),
    "modernbert": (modern, transformers.ModernBertForQuestionAnswering),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_exported_it_answers_in_transformers_as_here(tmp_path, monkeypatch, family):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    make, their_class = FAMILIES[family]
    model, data = make(tmp_path), write_questions(tmp_path, "squad-v1.1")
    finetune(recipe_of(model, data, "squad-v1.1", "answering.joint=false", "epochs=1"), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out", opset=18 if family == "bert" else None)
    theirs, report = their_class.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "question-answering" in card
    assert "this seed (0)" in card and "median of" not in card, "of one seed its scores once"
    here = bertsmith.load(tmp_path / "run", device="cpu")
    again = bertsmith.load(tmp_path / "out", device="cpu")
    for one in ask(5, 3):
        given = tokenizer(one.question, one.context, return_tensors="pt", return_offsets_mapping=True)
        offsets = given.pop("offset_mapping")[0]
        with torch.no_grad():
            logits = theirs.eval()(**given)
        answer = here.answer(one.question, one.context)
        assert again.answer(one.question, one.context) == answer
        inside = torch.tensor([part == 1 for part in given.sequence_ids(0)])
        scores = logits.start_logits[0][:, None] + logits.end_logits[0]
        scores = scores.masked_fill(~(inside[:, None] & inside).triu(), -torch.inf)
        first, last = divmod(int(scores.argmax()), len(inside))
        assert one.context[offsets[first, 0] : offsets[last, 1]] == answer.text
        assert answer.score == pytest.approx(float(scores.max()), abs=1e-4)
    start = open_starting_point(tmp_path / "out")
    assert start.family == family and not any(name.startswith("head.") for name in start.weights)


def test_a_joint_head_is_not_exported(runs, tmp_path):
    with pytest.raises(UserError, match=r"no Hugging Face class is like its joint head; .* answering.joint=false"):
        export_run(runs / "run-squad-v2.0", tmp_path / "out")


def options(*overrides):
    return lay_over(AnswerFileSettings, {}, ["machine.device=cpu", *overrides]).settings


def test_a_file_of_questions_is_answered_for_the_server(runs, tmp_path):
    asked, file, out = ask(60, 5, none=True), tmp_path / "test.json", tmp_path / "answers.json"
    file.write_text(squad(asked))
    run = runs / "run-squad-v2.0"
    said = write_answers(run, out, options(f"data={file}"))
    texts = json.loads(out.read_text())
    assert list(texts) == [one.id for one in asked]
    num_none = sum(not text for text in texts.values())
    assert f"60 questions answered by {run}, seed 0, {num_none} without an answer (null odds above" in said
    assert grade("squad-v2.0", file, out).scores["exact"] > 45
    write_answers(run, out, options(f"data={file}", "null_threshold=1e9"))
    assert all(json.loads(out.read_text()).values())
    blind = json.loads(file.read_text())
    for paragraph in blind["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["answers"]
    file.write_text(json.dumps(blind))
    write_answers(run, out, options(f"data={file}"))
    assert json.loads(out.read_text()) == texts
    with pytest.raises(UserError, match=r"name a file that ends in \.json"):
        write_answers(run, tmp_path / "answers.zip", options(f"data={file}"))
    with pytest.raises(UserError, match="no such file"):
        write_answers(run, out, options(f"data={tmp_path}/none.json"))
