"""`predict --file` by the file's name: tables by their columns, words a line, and all else a text a line."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import bertsmith
from bertsmith.cli.app import app
from bertsmith.convert.export import export_run
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.errors import UserError
from bertsmith.storage.manifests import write_manifest
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.grade import grade
from tests.evals.toy_models import toy_network, toy_tokenizer, write_network
from tests.predict.test_predictor import refused, run
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.tasks.words.toy_tagging import write_tagging

FIRST = ["ba be bi", 'du "du", du', "", "ca\tce ci"]
SECOND = ["bo bu", "du", "", "ka"]
LAYOUTS = ["tsv", "csv", "jsonl", "parquet"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Fine-tuning runs of single texts, of pairs, of words, and of a GLUE task; an export; a pre-trained model."""
    made = {}
    for name in ("texts", "pairs", "words", "mrpc"):
        folder = tmp_path_factory.mktemp(name)
        data, settings = folder, ["seeds=1", "epochs=0.2"]
        if name == "mrpc":
            write_glue(folder, "mrpc")
            settings += ["task=mrpc", "check_counts=false"]
        elif name == "words":
            data = write_tagging(folder)
            settings.append("custom.kind=tagging")
        else:
            data = write_task(folder, pairs=name == "pairs")
            settings += ["custom.second_text=second"] if name == "pairs" else []
        finetune(toy_recipe(make_model(folder), data, *settings), folder / "run")
        made[name] = folder / "run"
    made["exported"] = export_run(made["texts"], tmp_path_factory.mktemp("out") / "hf")
    folder = tmp_path_factory.mktemp("filler")
    tokenizer = toy_tokenizer(folder)
    made["filler"] = write_network(folder / "model", toy_network(MaskedTokenModel, tokenizer), tokenizer)
    return made


def write_table(folder, layout, columns):
    """The columns behind one that nobody asks for."""
    path = folder / f"new.{layout}"
    number = len(next(iter(columns.values())))
    columns = {"id": [str(row) for row in range(number)]} | columns
    if layout == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return path
    rows = list(zip(*columns.values(), strict=True))
    with open(path, "w", newline="", encoding="utf-8") as file:
        if layout == "jsonl":
            file.writelines(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
        elif layout == "csv":
            csv.writer(file).writerows([list(columns), *rows])
        else:
            file.writelines("\t".join(row) + "\n" for row in [list(columns), *rows])
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_every_layout_are_answered_in_order(tmp_path, runs, layout, monkeypatch):
    monkeypatch.setattr("bertsmith.predict.rows.ROWS_AT_ONCE", 3)
    texts = [*FIRST[:3], "ca ce ci"] if layout == "tsv" else FIRST
    path = write_table(tmp_path, layout, {"sentence": texts})
    model = bertsmith.load(runs["texts"], device="cpu")
    expected = [f"{(a := model.classify(text)).label}\t{a.value:.4f}" if text else "" for text in texts]
    assert run("predict", runs["texts"], "--file", path).splitlines() == expected
    contents = [json.loads(line) for line in run("predict", runs["texts"], "--file", path, "--json").splitlines()]
    assert contents[2] is None and [content["label"] for content in contents if content] == [
        line.partition("\t")[0] for line in expected if line
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_read_from_their_two_columns(tmp_path, runs, layout):
    first = [text.replace("\t", " ") for text in FIRST]
    path = write_table(tmp_path, layout, {"second": SECOND, "sentence": first})  # whatever their order
    model = bertsmith.load(runs["pairs"], device="cpu")
    expected = [model.classify(one, other).value if one else None for one, other in zip(first, SECOND, strict=True)]
    answers = [line.partition("\t")[2] for line in run("predict", runs["pairs"], "--file", path).splitlines()]
    assert answers == [f"{value:.4f}" if value is not None else "" for value in expected]


@pytest.mark.parametrize("columns", [("#1 String", "#2 String"), ("sentence1", "sentence2")])
def test_a_glue_task_reads_its_own_columns_and_the_hubs(tmp_path, runs, columns):
    path = write_table(tmp_path, "tsv", dict(zip(columns, (SECOND[:2], SECOND[:2]), strict=True)))
    assert len(run("predict", runs["mrpc"], "--file", path).splitlines()) == 2


def test_other_models_read_the_column_text_or_the_only_one(tmp_path, runs):
    filled = run("predict", runs["filler"], "--file", write_table(tmp_path, "csv", {"text": ["ba [MASK]"]}))
    assert filled == run("predict", runs["filler"], "--file", "-", stdin="ba [MASK]\n")
    (tmp_path / "only.jsonl").write_text('{"words": "ba be"}\n{"words": "du"}\n')
    assert len(run("predict", runs["exported"], "--file", tmp_path / "only.jsonl").splitlines()) == 2
    tagged = run("predict", runs["words"], "--file", write_table(tmp_path, "tsv", {"text": ["ba be", "du"]}))
    assert [len(line.split()) for line in tagged.splitlines()] == [2, 1]
    (tmp_path / "lists.jsonl").write_text('{"sentence": ["ba", "be"]}\n{"sentence": ["du"]}\n')
    assert run("predict", runs["words"], "--file", tmp_path / "lists.jsonl") == tagged


@pytest.mark.parametrize("layout", ["txt", "csv"])
def test_a_row_without_a_mask_stays_as_it_is(tmp_path, runs, layout, monkeypatch):
    monkeypatch.setattr("bertsmith.predict.rows.ROWS_AT_ONCE", 2)
    texts = ["ba [MASK]", "ba be", "", "du du", "[MASK] du"]
    path = tmp_path / f"new.{layout}"
    lines = ["text", *(text or '""' for text in texts)] if layout == "csv" else texts
    path.write_text("".join(f"{line}\n" for line in lines))
    done = CliRunner().invoke(app, ["predict", str(runs["filler"]), "--file", str(path), "--json"])
    assert done.exit_code == 0 and "2 of 5 rows have no [MASK] and stay as they are" in done.stderr
    contents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [content and len(content["masks"]) for content in contents] == [1, 0, None, 0, 1]
    assert contents[1] == {"text": "ba be", "masks": []}
    assert run("predict", runs["filler"], "ba be", "ba [MASK]").splitlines()[0] == "ba be"
    run("predict", runs["filler"], "--file", path, "--out", tmp_path / "out.jsonl")
    rows = read_out(tmp_path / "out.jsonl")
    assert [row["prediction"] for row in rows][1:4] == ["ba be", None, "du du"] and rows[1]["probability"] == []


def test_words_a_line_are_tagged_as_the_grader_reads_them(tmp_path, runs):
    dev = runs["words"].parent / "tagging" / "dev.txt"
    (tmp_path / "dev.conll").write_text("-DOCSTART- O\n\n" + dev.read_text())
    (tmp_path / "tags.txt").write_text(run("predict", runs["words"], "--file", tmp_path / "dev.conll"))
    found = grade("conll2000", dev, tmp_path / "tags.txt").scores
    trial = json.loads((runs["words"] / "results.json").read_text())["trials"][0]
    assert found["f1"] == pytest.approx(100 * trial["metrics"]["f1"])
    first = json.loads(run("predict", runs["words"], "--file", tmp_path / "dev.conll", "--json").splitlines()[0])
    assert first["words"] == [line.split()[0] for line in dev.read_text().split("\n\n")[0].splitlines()]
    assert len(first["tags"]) == len(first["words"])


def test_words_with_their_tags_under_the_name_of_a_text_are_not_tagged_as_words(tmp_path, runs):
    dev = runs["words"].parent / "tagging" / "dev.txt"
    (tmp_path / "dev.txt").write_text(dev.read_text())
    assert "each line ends in a tag" in refused("predict", runs["words"], "--file", tmp_path / "dev.txt")
    (tmp_path / "dev.txt").write_text("ba be\nbo bi\n")
    assert len(run("predict", runs["words"], "--file", tmp_path / "dev.txt").splitlines()) == 2


@pytest.mark.parametrize("sentences", [["ba", "be"], "ba be", [["ba", 3]]])
def test_a_sentence_of_words_is_a_list_of_them(runs, sentences):
    with pytest.raises(UserError, match="a sentence is a list of words here; `tag` takes texts"):
        bertsmith.load(runs["words"], device="cpu").tag_words(sentences)


def test_a_word_keeps_the_other_spaces_of_unicode(tmp_path, runs):
    (tmp_path / "a.conll").write_text("1\u00a0000\nba\n", encoding="utf-8")
    content = json.loads(run("predict", runs["words"], "--file", tmp_path / "a.conll", "--json"))
    assert content["words"] == ["1\u00a0000", "ba"]


def test_lines_of_other_files_and_of_standard_input_are_texts_and_a_tab_parts_a_pair(tmp_path, runs):
    (tmp_path / "new.txt").write_text("ba\tbe\n")
    answers = run("predict", runs["pairs"], "--file", tmp_path / "new.txt")
    assert answers == run("predict", runs["pairs"], "--file", "-", stdin="ba\tbe\n")


def test_a_table_without_the_columns_says_which_and_how_its_lines_are_read(tmp_path, runs):
    (tmp_path / "new.tsv").write_text("ba be\tbo\nba\tdu\n")
    said = refused("predict", runs["pairs"], "--file", tmp_path / "new.tsv")
    for words in (f"{tmp_path}/new.tsv", "'sentence' and 'second'", "'ba be', 'bo'", "--file - <"):
        assert words in said, words
    said = refused("predict", runs["mrpc"], "--file", tmp_path / "new.tsv")
    assert "'#1 String' and '#2 String' or 'sentence1' and 'sentence2'" in said
    (tmp_path / "empty.csv").write_text("")
    assert "no rows in this file" in refused("predict", runs["texts"], "--file", tmp_path / "empty.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"sentence": "ba"}\n{"sentence": 5}\n', "line 2: sentence is 5; it must be text; fix the line"),
        ("a.jsonl", '{"sentence": "ba"}\n{"other": "ba"}\n', "line 2: no column 'sentence'"),
        ("a.tsv", "id\tsentence\n1\tba\n2\n", "line 3: 1 columns where there should be 2; fix the line"),
        ("a.tsv", "sentence\tsentence\nba\tba\n", "line 1: 2 columns are named 'sentence'"),
        ("a.conll", "ba\n", "tags no words"),
    ],
)
def test_what_cannot_be_answered_is_named_with_its_place(tmp_path, runs, name, content, words):
    (tmp_path / name).write_text(content)
    said = refused("predict", runs["texts"], "--file", tmp_path / name)
    assert words in said and str(tmp_path / name) in said


def test_of_a_glue_run_a_task_is_to_be_named(tmp_path):
    (tmp_path / "glue").mkdir()
    write_manifest(tmp_path / "glue", "glue", {})
    for verb in (["predict", tmp_path / "glue", "ba"], ["export", tmp_path / "glue", tmp_path / "out"]):
        assert f"name one of its tasks, as {tmp_path}/glue/tasks/rte" in refused(*verb)


def test_a_long_text_is_cut_as_in_training_and_said(tmp_path, runs, capfd):
    """The model has seen rows of 32 tokens, [CLS] and [SEP] included."""
    long, short = "ba " * 40, "ba " * 30
    (tmp_path / "a.tsv").write_text(f"sentence\n{long}\n{short}\ndu\n{long}\n")
    first, second, _, last = run("predict", runs["texts"], "--file", tmp_path / "a.tsv").splitlines()
    assert first == second == last
    for arguments in (["--file", tmp_path / "a.tsv"], [long, short, "du", long]):
        done = CliRunner().invoke(app, ["predict", *map(str, [runs["texts"], *arguments])])
        assert "2 of 4 rows were cut to 32 tokens, as in training" in done.stderr
    with pytest.raises(UserError, match="1 of 1 texts are longer than the model's 32 tokens"):
        bertsmith.load(runs["texts"], device="cpu").classify(long)
    (tmp_path / "b.conll").write_text("ba O\n" * 40)
    done = CliRunner().invoke(app, ["predict", str(runs["words"]), "--file", str(tmp_path / "b.conll")])
    assert len(done.stdout.splitlines()) == 41 and "1 of 1 rows were cut to 32 tokens" in done.stderr
    (tmp_path / "long.txt").write_text("[MASK] " + "ba " * 100)
    assert "--truncate" in refused("predict", runs["filler"], "--file", tmp_path / "long.txt")


def test_a_row_is_a_line_however_it_ends(tmp_path, runs):
    lines = ["ba be", "", "du", " ", "ce", ""]
    answers = run("predict", runs["texts"], "--file", "-", stdin="\n".join(lines))
    assert [bool(answer) for answer in answers.splitlines()] == [bool(line.strip()) for line in lines[:-1]]
    for number, end in enumerate(("\n", "\r\n", "\r")):
        (tmp_path / f"{number}.TXT").write_bytes(("\ufeff" + end.join(lines)).encode())
        assert run("predict", runs["texts"], "--file", tmp_path / f"{number}.TXT") == answers
    (tmp_path / "mixed.txt").write_bytes(b"ba be\r\rdu\r\n \nce\n")
    assert run("predict", runs["texts"], "--file", tmp_path / "mixed.txt") == answers


def test_an_ending_in_capitals_is_a_table_too(tmp_path, runs):
    path = write_table(tmp_path, "csv", {"sentence": ["ba", "du"]})
    (tmp_path / "NEW.CSV").write_bytes(path.read_bytes())
    assert run("predict", runs["texts"], "--file", tmp_path / "NEW.CSV") == run(
        "predict", runs["texts"], "--file", path
    )


def read_out(path):
    """The rows of a table that was written, by an independent reader where there is one."""
    if path.suffix.lower() == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    if path.suffix.lower() == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with open(path, newline="", encoding="utf-8") as file:
        quoting = csv.QUOTE_NONE if path.suffix.lower() == ".tsv" else csv.QUOTE_MINIMAL
        return list(csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", quoting=quoting))


@pytest.mark.parametrize("out", [*LAYOUTS, "CSV"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_of_answers_has_the_rows_that_were_given(tmp_path, runs, layout, out):
    texts = ["ba be bi", "", 'du "du", du', "ca ce"]
    path = write_table(tmp_path, layout, {"sentence": texts, "prediction": list("abcd")})
    said = run("predict", runs["texts"], "--file", path, "--out", tmp_path / f"out.{out}")
    assert said == f"wrote {tmp_path}/out.{out}: 4 rows\n"
    rows = read_out(tmp_path / f"out.{out}")
    names = ["row", "id", "sentence", "prediction", "prediction_2", "probability"]
    assert [list(row) for row in rows] == [names] * 4
    assert [str(row["row"]) for row in rows] == list("1234") and [row["id"] for row in rows] == list("0123")
    assert [row["sentence"] for row in rows] == texts and [row["prediction"] for row in rows] == list("abcd")
    model = bertsmith.load(runs["texts"], device="cpu")
    for row, text in zip(rows, texts, strict=True):
        if not text:
            assert not row["prediction_2"] and row["probability"] in (None, "")
            continue
        answer = model.classify(text)
        assert row["prediction_2"] == answer.label and float(row["probability"]) == pytest.approx(answer.value)


def test_tables_of_every_kind_of_answer(tmp_path, runs):
    tagged = write_table(tmp_path, "jsonl", {"sentence": ["ba be", "du"], "text": ["x", "y"]})
    run("predict", runs["words"], "--file", tagged, "--out", tmp_path / "tags.parquet")
    for row in read_out(tmp_path / "tags.parquet"):
        assert row["words"] == row["sentence"].split() and len(row["prediction"]) == len(row["words"])
        assert all(0 < prob <= 1 for prob in row["probability"])
    (tmp_path / "pairs.txt").write_text("ba\tbe\n\ndu\tdu\n")
    run("predict", runs["pairs"], "--file", tmp_path / "pairs.txt", "--out", tmp_path / "pairs.csv")
    rows = read_out(tmp_path / "pairs.csv")
    assert [(row["sentence"], row["second"]) for row in rows] == [("ba", "be"), ("", ""), ("du", "du")]
    assert [bool(row["prediction"]) for row in rows] == [True, False, True]
    run("predict", runs["filler"], "ba [MASK]", "--out", tmp_path / "filled.jsonl")
    [row] = read_out(tmp_path / "filled.jsonl")
    assert row["text"] == "ba [MASK]" and row["prediction"].startswith("ba ") and len(row["probability"]) == 1
    (tmp_path / "a.conll").write_text("ba\nbe\n\ndu\n")
    run("predict", runs["words"], "--file", tmp_path / "a.conll", "--out", tmp_path / "words.tsv")
    assert [json.loads(row["words"]) for row in read_out(tmp_path / "words.tsv")] == [["ba", "be"], ["du"]]


def test_values_keep_their_types_and_other_columns_may_hold_anything(tmp_path, runs):
    objects = [{"sentence": "ba", "n": 1, "more": [1, {"a": None}]}, {"sentence": "be", "n": "x", "time": 1.5}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    for out in LAYOUTS:
        run("predict", runs["texts"], "--file", tmp_path / "in.jsonl", "--out", tmp_path / f"out.{out}")
    rows = read_out(tmp_path / "out.jsonl")
    assert [row["n"] for row in rows] == [1, "x"] and rows[0]["more"] == [1, {"a": None}] and rows[1]["time"] == 1.5
    assert [row["n"] for row in read_out(tmp_path / "out.csv")] == ["1", "x"]
    assert read_out(tmp_path / "out.tsv")[0]["more"] == '[1, {"a": null}]'
    when = pyarrow.array([10**9], pyarrow.timestamp("us"))
    table = pyarrow.table({"sentence": ["ba"], "when": when, "raw": [b"\xff"]})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    run("predict", runs["texts"], "--file", tmp_path / "in.parquet", "--out", tmp_path / "same.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "same.parquet").field("when").type == pyarrow.timestamp("us")
    run("predict", runs["texts"], "--file", tmp_path / "in.parquet", "--out", tmp_path / "text.csv")
    assert read_out(tmp_path / "text.csv")[0]["when"].startswith("1970-01-01 00:16:40")


def test_nothing_is_overwritten_unasked_and_what_a_tsv_cannot_hold_is_said(tmp_path, runs):
    path = write_table(tmp_path, "jsonl", {"sentence": ["ba\tbe"]})
    before = path.read_bytes()
    assert "asked about" in refused("predict", runs["texts"], "--file", path, "--out", path, "--overwrite")
    (tmp_path / "there.csv").write_text("mine")
    assert "--overwrite" in refused("predict", runs["texts"], "--file", path, "--out", tmp_path / "there.csv")
    assert (tmp_path / "there.csv").read_text() == "mine" and path.read_bytes() == before
    run("predict", runs["texts"], "--file", path, "--out", tmp_path / "there.csv", "--overwrite")
    assert read_out(tmp_path / "there.csv")[0]["sentence"] == "ba\tbe"
    assert "row 1 has a tab" in refused("predict", runs["texts"], "--file", path, "--out", tmp_path / "a.tsv")
    assert "ends in .tsv" in refused("predict", runs["texts"], "ba", "--out", tmp_path / "a.xlsx")
    assert "give one of them" in refused("predict", runs["texts"], "ba", "--json", "--out", tmp_path / "a.csv")
    assert not list(tmp_path.glob("a.*"))


def test_a_file_that_is_not_there_or_is_a_folder_is_said(tmp_path, runs):
    assert "no such file" in refused("predict", runs["texts"], "--file", tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "a folder" in refused("predict", runs["texts"], "--file", tmp_path / "folder.csv")


def test_a_mask_in_other_letters_is_told_how_it_is_written(runs):
    done = CliRunner().invoke(app, ["predict", str(runs["filler"]), "ba [mask]", "ba <mask> du", "ba [MASK]", "ba"])
    assert done.exit_code == 0 and "2 of 4 rows have a mask in other letters; it is written [MASK]" in done.stderr
