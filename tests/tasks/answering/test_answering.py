"""Journeys of a task of questions: learnt, scored as the official script does, and what is refused or left out."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from safetensors.torch import load_file

from bertsmith.convert.export import export_run
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.tasks.answering.answering import JointAnswering
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.grade import grade
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.training.pretrain import pretrain
from tests.tasks.answering.toy_questions import Asked, ask, columns, mrqa, squad, write_questions
from tests.tasks.toy_task import make_model, toy_recipe
from tests.toys import make_data, tiny_recipe

TASKS = {"squad-v1.1": "squad-v1.1", "squad-v2.0": "squad-v2.0", "newsqa": "mrqa", "custom": "custom"}
"""Task → layout of its files."""


def recipe_of(model, data, task, *overrides):
    given = " ".join(map(str, (task, *overrides)))
    kind = ["custom.kind=answering"] if task == "custom" or "'custom'" in given else []
    asks = "custom.kind=classification" not in given or "squad" in given
    length = ["answering.question_length=8"] if asks else []
    return toy_recipe(model, data, f"task={task}", *kind, "seeds=1", "epochs=6", *length, *overrides)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {task: write_questions(folder, layout) for task, layout in TASKS.items()}


def task_of(model, data, task, *overrides):
    return load_task(recipe_of(model, data, task, *overrides).settings)


@pytest.mark.parametrize(
    ("task", "joint"),
    [("squad-v1.1", True), ("squad-v1.1", False), ("squad-v2.0", True), ("squad-v2.0", False), ("newsqa", True)],
)
def test_it_is_learnt_and_graded_as_the_official_script_does(model, data, tmp_path, task, joint):
    recipe = recipe_of(model, data[task], task, f"answering.joint={str(joint).lower()}")
    results = finetune(recipe, tmp_path / "run")
    trial = tmp_path / "run/trials/seed-0"
    found = json.loads((trial / "eval.json").read_text())
    metrics = results["trials"][0]["metrics"]
    assert metrics == {name: found[name] / 100 for name in metrics}
    [gold] = [path for path in data[task].rglob("*") if path.is_file() and "dev" in str(path.relative_to(data[task]))]
    odds = trial / "null_odds.json"
    threshold = -2.75 if joint else 0.0
    graded = grade(
        TASKS[task], gold, trial / "preds.json", odds if odds.exists() else None, null_threshold=threshold
    ).scores
    assert graded == found | {"unanswered": 0, "unknown": 0} | ({} if odds.exists() else {"total": 60})
    assert odds.exists() == (task == "squad-v2.0")
    if odds.exists():
        assert list(metrics) == ["best_f1", "best_exact", "f1", "exact"]
        assert found["NoAns_f1"] > 90 and found["HasAns_f1"] > 40, "of the script's own thresholds"
    else:
        assert list(metrics) == ["exact_match", "f1"] and metrics["f1"] > 0.8
    weights = load_file(trial / "model.safetensors")
    if not joint:
        assert weights["head.output.weight"].shape == (2, 32)
        assert {name for name in weights if name.startswith("head.")} == {"head.output.weight", "head.output.bias"}


def test_ones_own_is_learnt_like_the_same_questions_in_squads_layout(model, data, tmp_path):
    [own, same] = [
        finetune(recipe_of(model, data[task], task, "epochs=1"), tmp_path / task)["summary"]
        for task in ("custom", "squad-v1.1")
    ]
    assert own == same


def test_again_finds_itself_done_and_other_questions_are_refused(model, data, tmp_path):
    path = data["squad-v1.1"]
    first = finetune(recipe_of(model, path, "squad-v1.1", "epochs=0.1"), tmp_path / "run")
    named = (f"answering.train={path}/train-v1.1.json", f"answering.dev={path}/dev-v1.1.json")
    assert finetune(recipe_of(model, "nowhere", "squad-v1.1", "epochs=0.1", *named), tmp_path / "run") == first
    other = tmp_path / "dev.json"
    other.write_text(squad(ask(5, 9)))
    with pytest.raises(UserError, match=r"another run \(data: another one\)"):
        finetune(recipe_of(model, path, "squad-v1.1", "epochs=0.1", f"answering.dev={other}"), tmp_path / "run")


def test_an_unusable_dev_question_counts_in_the_score(model, data, tmp_path):
    asked = ask(3, 5)
    asked[0].question = " "
    asked[1].context = asked[1].question = ""
    dev = tmp_path / "dev.json"
    dev.write_text(squad(asked))
    recipe = recipe_of(model, data["squad-v1.1"], "squad-v1.1", "epochs=0.1", f"answering.dev={dev}")
    finetune(recipe, tmp_path / "run")
    predicted = json.loads((tmp_path / "run/trials/seed-0/preds.json").read_text())
    assert list(predicted) == ["q0", "q1", "q2"]
    assert predicted["q0"] and predicted["q0"] in asked[0].context and predicted["q1"] == ""


def test_what_is_left_out_of_training_is_shown_with_its_first_question(model, data, tmp_path, capsys):
    asked = ask(30, 3)
    asked[4].question, asked[5].question = "", f"{asked[5].question} {asked[5].question}"
    asked[7].start += 1
    asked[8].start += 1
    train = tmp_path / "train.json"
    train.write_text(squad(asked))
    given = (model, data["squad-v1.1"], "squad-v1.1", f"answering.train={train}")
    assert task_of(*given).num_examples == {"train": 27, "dev": 60}
    shown = capsys.readouterr().err
    assert f"1 empty questions, left out; the first: {train}: question 'q4'\n" in shown
    assert f"2 answers that do not stand at their offset, left out; the first: {train}: question 'q7'; " in shown
    assert "answering.nearest=true takes their nearest occurrences\n" in shown
    assert task_of(*given, "answering.nearest=true").num_examples["train"] == 29
    assert "offset" not in capsys.readouterr().err
    task = task_of(*given, "sequence_length=6", "answering.question_length=1")
    task.encode(open_pretrained_encoder(model))
    shown = capsys.readouterr().err
    assert "questions have their answer whole in no window" in shown
    assert f"{train}: 1 of 27 questions were cut to 1 tokens (answering.question_length)\n" in shown


def test_names_of_files(model, data, tmp_path):
    for name, content in (("squadv1/train.json", squad(ask(3, 0))), ("squadv1/dev.json", squad(ask(2, 0))),
                          ("searchqa/train.jsonl", mrqa(ask(3, 0))), ("dev.jsonl", mrqa(ask(2, 0)))):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    for task in ("squad-v1.1", "searchqa"):
        assert task_of(model, tmp_path, task).num_examples == {"train": 3, "dev": 2}
    with pytest.raises(UserError, match=r"no train file in it, under none of the names train-v2.0.json, train.json"):
        task_of(model, tmp_path, "squad-v2.0")
    (tmp_path / "searchqa/dev.jsonl").write_text("")
    with pytest.raises(UserError, match=r"both dev.jsonl and searchqa/dev.jsonl; name the one .* answering.dev="):
        task_of(model, tmp_path, "searchqa")
    with pytest.raises(UserError, match=r"question 'q0' has no answer; questions without one are of squad-v2.0"):
        task_of(model, data["squad-v2.0"], "squad-v1.1", f"answering.train={data['squad-v2.0']}/train-v2.0.json")


@pytest.mark.parametrize(
    ("task", "names", "content"),
    [
        ("squad-v1.1", ("Train.JSON", "Dev-V1.1.json"), squad),
        ("squad-v1.1", ("squadv1/TRAIN.json", "DEV.JSON"), squad),
        ("searchqa", ("Train.JSONL", "dev.JsonL"), mrqa), ("newsqa", ("train/newsqa.JSONL", "dev/NewsQA.jsonl"), mrqa),
        ("custom", ("Train.TSV", "DEV.tsv"), columns),
    ],
)  # fmt: skip
def test_names_of_files_in_capitals_are_the_same(model, tmp_path, task, names, content):
    for name, number in zip(names, (3, 2), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content(ask(number, 0)))
    assert task_of(model, tmp_path, task).num_examples == {"train": 3, "dev": 2}
    path = tmp_path / names[0]
    path.with_name(path.name.swapcase()).write_text("")
    with pytest.raises(UserError, match=r"both "):
        task_of(model, tmp_path, task)


def test_an_id_that_is_there_twice_can_be_left_out(model, tmp_path, capsys):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.csv").write_text(
            "question,context,answer,id\nw0,w1 w2,w1,1\nw0,w1 w2,w2,1.0\nw0,w3,w3,2\n"
        )
    with pytest.raises(
        UserError, match=r"train.csv, line 3: question '1' is there twice; .*skip_malformed=true leaves"
    ):
        task_of(model, tmp_path, "custom", "custom.id=id")
    found = task_of(model, tmp_path, "custom", "custom.id=id", "skip_malformed=true").data.train
    assert found.ids == ["1", "2"] and found.answers == [[(0, "w1")], [(0, "w3")]]
    assert "1 malformed lines, left out; the first: " in capsys.readouterr().err


def test_a_model_of_short_rows_is_refused_with_what_to_do(data, tmp_path):
    (tmp_path / "text").mkdir()
    pretrain(tiny_recipe(make_data(tmp_path / "text").path, "plan.steps=2"), tmp_path / "short")
    export_run(tmp_path / "short", tmp_path / "exported")
    for path in (tmp_path / "short", tmp_path / "exported"):
        start = open_pretrained_encoder(path)
        given = (path, data["squad-v1.1"], "squad-v1.1", "sequence_length=40")
        with pytest.raises(UserError, match=r"no row of more than 32 .*= 40; first `bertsmith pretrain ") as refused:
            task_of(*given).check(start)
        assert f"pretrain continue init={path} rows.length=40 data=… --out …" in str(refused.value)
        task_of(*given, "answering.force_length=true").check(start)
        task_of(*given, "sequence_length=32").check(start)


def test_rows_without_room_behind_questions_are_refused(model, data):
    given = (model, data["squad-v1.1"], "squad-v1.1")
    with pytest.raises(UserError, match="sequence_length = 32 has no room behind questions of 29 tokens"):
        task_of(*given, "answering.question_length=29").check(open_pretrained_encoder(model))


def test_compat_sums_the_loss(model, data):
    start = open_pretrained_encoder(model)
    for compat, joint in (("true", "true"), ("true", "false"), ("false", "true")):
        task = task_of(model, data["squad-v1.1"], "squad-v1.1", f"compat={compat}", f"answering.joint={joint}")
        objective = task.objective(start, Encoder(start.settings, start.vocab_size))
        assert objective.compat == (compat == "true") and isinstance(objective, JointAnswering) == (joint == "true")


def modern(folder):
    """A pre-training run of a ModernBERT, which is hardly trained."""
    (folder / "text").mkdir()
    overrides = ["model.kind=modern", "model.local_attention=4", "plan.steps=2"]
    pretrain(tiny_recipe(make_data(folder / "text").path, *overrides), folder / "pretrained")
    return folder / "pretrained"


@pytest.mark.parametrize("joint", ["true", "false"])
def test_a_modern_encoder_answers_as_well(data, tmp_path, joint):
    recipe = recipe_of(modern(tmp_path), data["squad-v1.1"], "squad-v1.1", f"answering.joint={joint}", "epochs=0.1")
    assert 0 <= finetune(recipe, tmp_path / "run")["summary"]["f1"]["median"] <= 1


def write_own(folder, asked: list[Asked], **columns_of):
    rows = [{"question": one.question, "context": one.context, "answer": one.answer, "at": one.start, "id": one.id}
            for one in asked]  # fmt: skip
    for split in ("train", "dev"):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row | columns_of)}\n" for row in rows))
    return folder


def test_ones_own_columns(model, tmp_path):
    path = write_own(tmp_path, ask(6, 0))
    task = task_of(model, path, "custom", "custom.start=at", "custom.id=id")
    assert task.data.train.ids == ["q0", "q1", "q2", "q3", "q4", "q5"]
    assert [answers[0][0] for answers in task.data.train.answers] == [one.start for one in ask(6, 0)]
    assert task_of(model, path, "custom").data.dev.ids == ["1", "2", "3", "4", "5", "6"]
    none = write_own(tmp_path, ask(6, 0, none=True))
    with pytest.raises(UserError, match=r"train.jsonl, line 1: answer is empty; custom.unanswerable=true"):
        task_of(model, none, "custom")
    task = task_of(model, none, "custom", "custom.unanswerable=true")
    start = open_pretrained_encoder(model)
    assert task.metrics[0] == "best_f1" and task.data.train.answers[0] == []
    write_own(tmp_path, ask(2, 0), answer=None)
    assert task_of(model, tmp_path, "custom", "custom.unanswerable=true").data.dev.answers == [[], []]
    assert isinstance(task.objective(start, Encoder(start.settings, start.vocab_size)), JointAnswering)


@pytest.mark.parametrize(
    ("changed", "overrides", "says"),
    [
        ({"answer": "zebra"}, [], r"train.jsonl, line 1: the answer 'zebra' is not in its context"),
        ({"at": "x"}, ["custom.start=at"], r"line 1: at is 'x'; it must be a whole number"),
        ({"at": 0.5}, ["custom.start=at"], r"line 1: at is 0.5; it must be a whole number"),
        ({"at": float("inf")}, ["custom.start=at"], r"line 1: at is inf; it must be a whole number"),
        ({"id": 7}, ["custom.id=id"], r"train.jsonl, line 2: question '7' is there twice"),
        ({}, ["custom.question=q"], r"line 1: no column 'q'; there are .*; custom.question=… names it"),
    ],
)
def test_what_is_wrong_with_ones_own_is_named(model, tmp_path, changed, overrides, says):
    with pytest.raises(UserError, match=says):
        task_of(model, write_own(tmp_path, ask(3, 0), **changed), "custom", *overrides)


def test_line_ends_inside_a_context_count_as_the_characters_that_they_are(model, tmp_path):
    for split in ("train", "dev"):
        rows = 'question,context,answer,at\r\nw1,"w2\r\nw3 w4",w4,7\r\nw1,w2 w3,w3,3\r\n'
        (tmp_path / f"{split}.csv").write_bytes(rows.encode("utf-8-sig"))
    train = task_of(model, tmp_path, "custom", "custom.start=at").data.train
    assert train.contexts == ["w2\r\nw3 w4", "w2 w3"]
    assert train.answers == [[(7, "w4")], [(3, "w3")]]


def test_lines_without_a_usable_answer_are_left_out_where_that_is_wanted_and_counted(model, tmp_path, capsys):
    path, asked = write_own(tmp_path, ask(3, 0)), ask(3, 0)
    unusable = ['{"question": 7}', json.dumps({"question": "w0", "context": "w1 w2", "answer": "zebra"})]
    with (path / "train.jsonl").open("a") as file:
        file.write("".join(f"{line}\n" for line in unusable))
    assert task_of(model, path, "custom", "skip_malformed=true").num_examples == {"train": len(asked), "dev": 3}
    shown = capsys.readouterr().err
    train = path / "train.jsonl"
    assert f"{train}: 1 malformed lines left out; the first is line 4: no columns 'context', 'answer'; " in shown
    reason = "lines whose answer is not in their context"
    assert f"1 {reason}, left out; the first: {train}, line 5: question '5'\n" in shown


def test_one_column_file_serves_a_spreadsheet(model, tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text(columns(ask(4, 0)))
    assert task_of(model, tmp_path, "custom").num_examples == {"train": 4, "dev": 4}


def test_what_is_held_out_for_early_stopping_is_about_other_contexts(model, tmp_path):
    """Rows of one context need not stand together."""
    contexts = ask(8, 0)
    path = write_own(tmp_path, [contexts[number % 8] for number in range(40)], id=None)
    task = task_of(model, path, "custom", "early_stopping.share=0.25")
    splits = task.encode(open_pretrained_encoder(model))
    assert splits.num_held_out == 10 and len(splits.held_out["", ""].questions.contexts) == 2
    assert len(splits.train.questions) == 30 and len(splits.train.questions.contexts) == 6
    assert not set(splits.train.questions.contexts) & set(splits.held_out["", ""].questions.contexts)


def test_one_context_alone_cannot_be_held_out_which_is_said_before_there_is_a_folder(model, tmp_path):
    path = write_own(tmp_path, ask(1, 0) * 9, id=None)
    with pytest.raises(UserError, match=r"of 1 training contexts that holds out \d and leaves"):
        finetune(recipe_of(model, path, "custom", "early_stopping.share=0.25"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ending", ["jsonl", "CSV", "parquet"])
def test_what_pandas_makes_of_places_ids_and_missing_answers(model, tmp_path, ending):
    """A column of whole numbers in which one is missing is one of floats; a missing text is NaN."""
    rows = [
        {"question": "w0", "context": "w1 w2 w1", "answer": "w1", "at": 6.0, "id": 10.0},
        {"question": "w0", "context": "financial w2", "answer": None, "at": None, "id": 11.0},
        {"question": "w0", "context": "w1 w2", "answer": "w2", "at": None, "id": 12.0},
    ]
    for split in ("train", "dev"):
        path = tmp_path / f"{split}.{ending}"
        if ending == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif ending == "jsonl":
            text = "".join(f"{json.dumps(row)}\n" for row in rows)
            path.write_text(text.replace('"at": null', '"at": NaN').replace('"answer": null', '"answer": NaN'))
        else:
            cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
            path.write_bytes("\r\n".join(",".join(line) for line in [list(rows[0]), *cells]).encode())
    overrides = ("custom.start=at", "custom.id=id", "custom.unanswerable=true")
    found = task_of(model, tmp_path, "custom", *overrides).data.train
    assert found.ids == ["10", "11", "12"] and found.answers == [[(6, "w1")], [], [(3, "w2")]]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"answer": "nan", "context": "financial"}, "answer is 'nan', as a missing value is written"),
        ({"answer": " "}, "answer is empty"), ({"answer": ["w1"]}, "must be text"), ({"answer": "['w1']"}, "a list"),
        ({"at": True}, "at is True; it must be a whole number"), ({"id": None}, "id is None; it must be an id"),
        ({"id": float("nan")}, "id is nan"), ({"context": "b'w1 w2'"}, "bytes"), ({"at": 10**30}, "whole number"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_used_are_left_out_where_that_is_wanted(model, tmp_path, changed, says):
    good = [{"question": "w0", "context": "w1 w2", "answer": "w1", "at": 0, "id": number} for number in range(2)]
    for split in ("train", "dev"):
        lines = [json.dumps(row) for row in [good[0] | {"id": 7} | changed, *good]]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    overrides = ("custom.start=at", "custom.id=id")
    with pytest.raises(UserError, match=rf"train.jsonl, line 1: .*{says}.*; fix the line, or set skip_malformed=true"):
        task_of(model, tmp_path, "custom", *overrides)
    found = task_of(model, tmp_path, "custom", *overrides, "skip_malformed=true").data.train
    assert found.ids == ["0", "1"] and "1 malformed lines left out" in found.notes[0]
