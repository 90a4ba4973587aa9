"""A fine-tuned answerer, used: asked, exported and asked elsewhere, and its answers to a file of questions."""

import json
import shutil

import pytest
import torch
import transformers
from typer.testing import CliRunner

import bertsmith
from bertsmith.cli.answers import print_predictions
from bertsmith.cli.app import app
from bertsmith.cli.arguments import what_next
from bertsmith.config.loading import apply_overrides
from bertsmith.console.shell import command
from bertsmith.convert.export import export_run
from bertsmith.convert.importing import ImportSettings, import_model
from bertsmith.errors import UserError
from bertsmith.predict.pipelines import answer_line
from bertsmith.predict.submit import AnswerFileSettings, write_answers
from bertsmith.tasks.answering.answerer import SpanAnswer
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.grade import grade
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.runs import load_trial
from bertsmith.training.pretrain import pretrain
from tests.predict.asking import predictions
from tests.tasks.answering.test_answering import modern, recipe_of
from tests.tasks.answering.toy_questions import ask, squad, write_questions
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, write_task
from tests.toys import WORDS, make_data, tiny_recipe


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
    assert model.opened.network.head == "answering"
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
    line = predictions(model, [f"{one.question}\t{one.context}"])[0]
    assert line.content.keys() == {"text", "start", "score", "null_odds"}
    assert line.parts == [f"{line.content['text'] or '-'}\t{line.content['score']:.4f}"]
    broken = answer_line(SpanAnswer("in\tMay\nor June", 3, -1.0, None))
    assert broken.parts == ["in May or June\t-1.0000"] and broken.content["text"] == "in\tMay\nor June"
    with pytest.raises(UserError, match="0 tabs; a line is a question, a tab, and its context"):
        predictions(model, ["a question"])
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
    with pytest.raises(UserError, match=r"`bertsmith predict RUN --file dev.csv` answers its rows"):
        options = apply_overrides(AnswerFileSettings, {}, ["data=dev.csv"]).settings
        write_answers(runs / "run-squad-v1.1", runs / "out.json", options)


FAMILIES = {
    "bert": (lambda folder: make_model(folder), transformers.BertForQuestionAnswering),
    "electra": (lambda folder: make_model(folder, embedding_size=16), transformers.ElectraForQuestionAnswering),
    "modernbert": (modern, transformers.ModernBertForQuestionAnswering),
}


@pytest.mark.parametrize(
    ("family", "opset"),
    [*((family, None) for family in FAMILIES), pytest.param("bert", 18, marks=pytest.mark.slow)],
)
def test_exported_it_answers_in_transformers_as_here(tmp_path, monkeypatch, family, opset):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    make, their_class = FAMILIES[family]
    model, data = make(tmp_path), write_questions(tmp_path, "squad-v1.1")
    finetune(recipe_of(model, data, "squad-v1.1", "answering.joint=false", "epochs=1"), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out", opset=opset)
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
        inside[0] = True  # [CLS], where no answer is
        both = [
            some[0].masked_fill(~inside, -torch.inf).softmax(0) for some in (logits.start_logits, logits.end_logits)
        ]
        assert answer.prob == pytest.approx(float(both[0][first] * both[1][last]), rel=1e-3)
    with pytest.raises(UserError, match="a fine-tuned model; name the model that it was fine-tuned from"):
        import_model(tmp_path / "out", tmp_path / "imported", apply_overrides(ImportSettings, {}, []).settings)
    start = open_pretrained_encoder(tmp_path / "out")
    assert start.family == family and not any(name.startswith("head.") for name in start.weights)


def test_a_joint_head_is_not_exported(runs, tmp_path):
    with pytest.raises(UserError, match=r"no Hugging Face class is like its joint head; .* answering.joint=false"):
        export_run(runs / "run-squad-v2.0", tmp_path / "out")


def options(*overrides):
    return apply_overrides(AnswerFileSettings, {}, ["machine.device=cpu", *overrides]).settings


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
    predicted = bertsmith.load(run, device="cpu").answer(
        [one.question for one in asked], [one.context for one in asked]
    )
    assert [answer.text for answer in predicted] == list(texts.values()) and 0 < num_none < 60
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
    with pytest.raises(UserError, match=r"null_threshold: .* learnt that each question has an answer; leave it out"):
        write_answers(runs / "run-squad-v1.1", out, options(f"data={file}", "null_threshold=0"))
    with pytest.raises(UserError, match=r"test.tsv: not SQuAD's layout or MRQA's; `bertsmith predict RUN"):
        write_answers(run, out, options(f"data={tmp_path}/test.tsv"))
    with pytest.raises(UserError, match=r"no run of `bertsmith finetune`; one that was fine-tuned on questions"):
        write_answers(runs / "model", out, options(f"data={file}"))


def test_mrqas_files_are_answered_too(runs, tmp_path):
    data = write_questions(tmp_path, "mrqa") / "dev/NewsQA.jsonl.gz"
    said = write_answers(runs / "run-squad-v1.1", tmp_path / "out.json", options(f"data={data}"))
    assert said.endswith("seed 0") and grade("mrqa", data, tmp_path / "out.json").scores["f1"] > 80


@pytest.fixture(scope="module")
def several(runs, tmp_path_factory):
    """A run of SQuAD 2.0, with a joint head, beside RTE."""
    folder = tmp_path_factory.mktemp("several")
    data = [write_glue(folder, "rte"), write_questions(folder, "squad-v2.0")]
    recipe = recipe_of(
        runs / "model", data[0], "several", "several.tasks=['squad-v2.0','rte']", "check_counts=false",
        f"several.folders={{'squad-v2.0'='{data[1]}'}}",
    )  # fmt: skip
    finetune(recipe, folder / "run")
    return folder


def test_a_threshold_of_the_recipe_is_what_is_asked_by(runs, tmp_path):
    recipe = recipe_of(runs / "model", runs / "squad-v2.0", "squad-v2.0", "answering.null_threshold=-1e9", "epochs=0.1")
    finetune(recipe, tmp_path / "run")
    one = ask(1, 7)[0]
    assert bertsmith.load(tmp_path / "run", device="cpu").answer(one.question, one.context).text == ""


def test_where_dev_was_best_served_by_no_answer_none_is_given(runs, tmp_path, capsys):
    run = shutil.copytree(runs / "run-squad-v2.0", tmp_path / "run")
    path, one = run / "trials/seed-0/eval.json", ask(1, 7)[0]
    scores = json.loads(path.read_text())
    path.write_text(json.dumps(scores | {"best_f1_thresh": 1e9}))
    assert bertsmith.load(run, device="cpu").answer(one.question, one.context).text
    nothing = 100 * scores["NoAns_total"] / scores["total"]
    path.write_text(json.dumps(scores | {"best_f1": nothing, "best_f1_thresh": 0.0}))
    assert bertsmith.load(run, device="cpu").answer(one.question, one.context).text == ""
    assert "did best on dev by giving no answer at all" in capsys.readouterr().err


def test_of_a_run_of_several_tasks_the_questions_are_asked_and_handed_in_by_name(several, tmp_path):
    run, file, out = several / "run", several / "squad-v2.0/dev-v2.0.json", tmp_path / "out.json"
    trial = run / "trials/seed-0/squad-v2.0"
    assert {path.name for path in trial.iterdir()} == {"preds.json", "null_odds.json", "eval.json"}
    submit = ["submit", str(run), str(out), f"data={file}", "machine.device=cpu", "--task", "squad-v2.0"]
    done = CliRunner().invoke(app, submit, catch_exceptions=False)
    assert done.stdout.splitlines()[-1] == f"wrote {out}"
    best = json.loads((trial / "eval.json").read_text())["best_f1"]
    assert grade("squad-v2.0", file, out).scores["f1"] == pytest.approx(best)
    one = ask(1, 7)[0]
    answer = bertsmith.load(run, device="cpu", task="squad-v2.0").answer(one.question, one.context)
    assert answer.null_odds is not None
    assert command("bertsmith", *what_next(run, tmp_path / "hf")) == f"bertsmith export {run} {tmp_path}/hf --task rte"


def test_what_cannot_be_handed_in_is_said(several, tmp_path):
    run, file = several / "run", several / "squad-v2.0/dev-v2.0.json"
    with pytest.raises(UserError, match=r"learnt several tasks; name one with --task .*: squad-v2.0, rte$"):
        write_answers(run, tmp_path / "out.json", options(f"data={file}"))
    with pytest.raises(UserError, match="fine-tuned on rte, which has no questions; of GLUE"):
        write_answers(run, tmp_path / "out.json", options(f"data={file}"), "rte")
    for arguments, says in (
        (["out.json", "--fill"], "--fill: only for GLUE's archive"),
        (["out.zip", "--task", "rte"], "--task rte: of use with OUT.json and questions alone"),
    ):
        with pytest.raises(UserError, match=says):
            CliRunner().invoke(app, ["submit", str(run), *arguments], catch_exceptions=False)


def test_the_longest_row_that_was_seen_stays_known(tmp_path, capsys):
    (tmp_path / "text").mkdir()
    pretrain(tiny_recipe(make_data(tmp_path / "text").path, "plan.steps=2"), tmp_path / "pretrained")

    def exported(name, data, task, *overrides, of=None):
        asks = "squad" in " ".join((task, *overrides)) or "custom.kind=classification" not in overrides
        base = ("epochs=0.1", *(("answering.joint=false", "answering.force_length=true") if asks else ()))
        run, out = tmp_path / name, tmp_path / f"{name}-hf"
        finetune(recipe_of(tmp_path / "pretrained", data, task, *base, *overrides), run)
        trial = load_trial(run, task=of)
        export_run(run, out, task=of)
        config = json.loads((out / "config.json").read_text())
        assert trial.network.trained_length == config["trained_length"] == open_pretrained_encoder(out).trained_length
        return trial.network.trained_length

    task, questions = write_task(tmp_path), write_questions(tmp_path, "squad-v1.1")
    assert exported("texts", task, "custom", "custom.kind=classification", "sequence_length=24") == 32
    assert exported("wide", task, "custom", "custom.kind=classification", "sequence_length=40") == 40
    said = capsys.readouterr().err
    assert (
        said.count("has seen no row of more than 32 tokens; what lies behind them in one of 40 (sequence_length)") == 1
    )
    assert exported("short", questions, "squad-v1.1", "sequence_length=24") == 32
    assert exported("long", questions, "squad-v1.1", "sequence_length=40") == 40
    both = ("several.tasks=['squad-v1.1','custom']", "custom.kind=classification", f"several.folders.custom={task}")
    assert exported("several", questions, "several", *both, "sequence_length=40", of="custom") == 40
    own, glue = write_questions(tmp_path, "custom"), write_glue(tmp_path / "glue", "rte")
    both = ("several.tasks=['rte','custom']", f"several.folders.rte={glue}", "check_counts=false")
    assert exported("own", own, "several", *both, "sequence_length=40", of="rte") == 40


@pytest.mark.parametrize(("run", "may_have_none"), [("run-squad-v1.1", False), ("run-squad-v2.0", True)])
def test_answers_are_written_in_a_table(runs, tmp_path, run, may_have_none):
    asked = [*ask(6, 7), *ask(2, 8, none=True)]
    rows = [{"question": one.question, "context": one.context, "id": one.id} for one in asked]
    rows.insert(3, {"question": " ", "context": asked[0].context, "id": "blank"})
    (tmp_path / "new.JSONL").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = [
        "predict",
        str(runs / run),
        "--file",
        str(tmp_path / "new.JSONL"),
        "--out",
        str(tmp_path / "out.jsonl"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert found[3]["prediction"] is None
    model = bertsmith.load(runs / run, device="cpu")
    for row in found[:3] + found[4:]:
        answer = model.answer(row["question"], row["context"])
        assert (row["prediction"], row["start"]) == (answer.text, answer.start)
        assert row["probability"] == pytest.approx(answer.prob, abs=1e-5) or not answer.text
        assert row["probability"] is None or 0 < row["probability"] <= 1
        assert ("null_odds" in row) == may_have_none
