"""Gold files, predictions and odds as they are, and what is said of those that are not."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.scoring.questions import (
    is_impossible,
    paired_ids,
    read_mrqa,
    read_null_odds,
    read_predicted_texts,
    read_squad,
)

HEADER = {"header": {"dataset": "NewsQA", "split": "dev"}}


def squad(*questions):
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": list(questions)}]}]}


def question(id, *answers):
    return {"id": id, "question": "q", "answers": [{"text": text, "answer_start": 0} for text in answers]}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_squad(tmp_path):
    path = write(tmp_path / "dev.json", squad(question("1", "x", "y"), question("2")))
    assert read_squad(path, answerable=False) == {"1": ["x", "y"], "2": []}
    with pytest.raises(UserError, match=r"dev.json: question '2' has no answer; .*squad-v2.0"):
        read_squad(path, answerable=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n 1", r"dev.json, line 2: not JSON"),
        ("[]", r"dev.json: SQuAD's layout has no list 'data'"),
        ({"data": [{"title": "t"}]}, r"data\[0\] has no list 'paragraphs'"),
        ({"data": [{"paragraphs": [{"context": "c"}]}]}, r"data\[0\].paragraphs\[0\] has no list 'qas'"),
        (squad({"question": "q"}), r"paragraphs\[0\]: a question has no text 'id'"),
        (squad({"id": "7"}), r"question '7' has no list 'answers'"),
        (squad({"id": "7", "answers": ["x"]}), r"question '7': an answer has no text 'text'"),
        (squad(question("1", "x"), question("1", "x")), r"question '1' is there twice"),
        (squad(), r"no questions"),
        ("[" * 100_000, r"dev.json: (cannot be read as JSON|JSON nested deeper)"),
        ('{"data": [], "data": []}', r"'data' is there 2 times"),
    ],
)
def test_squad_laid_out_otherwise(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_squad(write(tmp_path / "dev.json", content), answerable=False)


def mrqa_lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_mrqa(tmp_path, compressed, header):
    """With and without compression, whatever the file is called; the header line may be missing."""
    detected = [{"text": "cow", "char_spans": [[0, 2]]}]
    first = {"context": "c", "qas": [{"qid": "1", "answers": ["cat", "Cat"], "detected_answers": detected}]}
    second = {"context": "c", "qas": [{"qid": "2", "detected_answers": detected}]}
    text = mrqa_lines(*[HEADER] * header, first, second)
    path = tmp_path / "dev.jsonl"
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    assert read_mrqa(path) == {"1": ["cat", "Cat"], "2": ["cow"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mrqa_lines(HEADER) + "{\n", r"dev.jsonl, line 2: not JSON"),
        (mrqa_lines({"qas": [{"qid": "1", "answers": ["x"]}]}, HEADER), r"dev.jsonl, line 2: a header"),
        (mrqa_lines(HEADER, {"context": "c"}), r"dev.jsonl, line 2 has no list 'qas'"),
        (mrqa_lines({"qas": [{"answers": ["x"]}]}), r"line 1: a question has no text 'qid'"),
        (mrqa_lines({"qas": [{"qid": "5", "answers": []}]}), r"line 1: question '5' has no answer"),
        (mrqa_lines({"qas": [{"qid": "5", "answers": [1]}]}), r"line 1: question '5': its answers are not all texts"),
        (mrqa_lines({"qas": [{"qid": "5"}]}), r"question '5' has no list 'detected_answers'"),
        (mrqa_lines(*[{"qas": [{"qid": "5", "answers": ["x"]}]}] * 2), r"question '5' is there twice"),
        (mrqa_lines(HEADER), r"no questions"),
    ],
)
def test_mrqa_laid_out_otherwise(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_mrqa(write(tmp_path / "dev.jsonl", content))


def test_mrqa_damaged(tmp_path):
    path = tmp_path / "dev.jsonl.gz"
    with pytest.raises(UserError, match=r"dev.jsonl.gz: no such file"):
        read_mrqa(path)
    whole = gzip.compress(mrqa_lines(*({"qas": [], "context": str(n)} for n in range(999))).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"dev.jsonl.gz, after line \d+: damaged"):
        read_mrqa(path)
    path.write_bytes(b'{"qas": []}\n\xff\n')
    with pytest.raises(UserError, match=r"dev.jsonl.gz, line 2: not UTF-8"):
        read_mrqa(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": "x",\n', r"p.json, line \d: not JSON"),
        ('["x"]', r"p.json: not a JSON object; it has to give a text for each question id"),
        ('{"1": "x", "2": null}', r"the value of '2' is null; it must be a text"),
        ('{"1": "x", "2": "y", "1": "z"}', r"p.json: '1' is there 2 times"),
    ],
)
def test_predictions_of_another_kind(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_predicted_texts(write(tmp_path / "p.json", content))


def test_predictions_and_odds(tmp_path):
    assert read_predicted_texts(write(tmp_path / "p.json", '\ufeff{"1": "é", "2": ""}')) == {"1": "é", "2": ""}
    assert read_null_odds(write(tmp_path / "o.json", {"2": -2.75, "1": 3})) == {"2": -2.75, "1": 3}
    for value in ('"x"', "NaN", "Infinity", "true", "null", "1e999"):
        with pytest.raises(UserError, match=r"o.json: (the value of '2' is .*; it must be a finite number|.* as JSON)"):
            read_null_odds(write(tmp_path / "o.json", f'{{"1": 0.5, "2": {value}}}'))


@pytest.mark.parametrize(
    ("id", "read"), [(7, "7"), (7.0, "7"), (-7, "-7"), ("7.0", "7.0"), (" x", " x"), (2**60, str(2**60))]
)
def test_ids_that_are_numbers(tmp_path, id, read):
    assert read_squad(write(tmp_path / "dev.json", squad(question(id, "x"))), answerable=True) == {read: ["x"]}
    lines = mrqa_lines({"context": "c", "qas": [{"qid": id, "answers": ["x"]}]})
    assert read_mrqa(write(tmp_path / "dev.jsonl", lines)) == {read: ["x"]}


@pytest.mark.parametrize("id", [None, True, 7.5, [7], {}])
def test_ids_that_are_none(tmp_path, id):
    with pytest.raises(UserError, match=r"paragraphs\[0\]: a question has no text 'id'"):
        read_squad(write(tmp_path / "dev.json", squad(question(id, "x"))), answerable=True)


def test_a_number_and_its_text_are_one_id(tmp_path):
    with pytest.raises(UserError, match="question '7' is there twice"):
        read_squad(write(tmp_path / "dev.json", squad(question("7", "x"), question(7.0, "x"))), answerable=True)


def test_ids_are_paired_by_their_number():
    assert paired_ids({"10": 0, "a.0": 0, "8.0": 0, "3": 0}, ["10.0", "a", "8", "3", "4.0", "10.5"]) == {
        "10.0": "10",
        "8": "8.0",
    }


def test_an_answer_of_white_space_is_none(tmp_path):
    path = write(tmp_path / "dev.json", squad(question("1", " ", "x"), question("2", " \u00a0\n"), question("3", "")))
    assert read_squad(path, answerable=False) == {"1": ["x"], "2": [], "3": []}
    with pytest.raises(UserError, match="question '2' has no answer"):
        read_squad(path, answerable=True)
    blank = {"context": "c", "qas": [{"qid": "1", "answers": ["\t"]}]}
    with pytest.raises(UserError, match="line 1: question '1' has no answer"):
        read_mrqa(write(tmp_path / "dev.jsonl", mrqa_lines(blank)))


@pytest.mark.parametrize(
    ("value", "read"),
    [(True, True), (False, False), ("true", True), ("False", False), (1, True), (0, False), (0.0, False), (None, None)],
)
def test_what_is_said_of_a_question_without_an_answer(value, read):
    assert is_impossible({"is_impossible": value}, "here") is read


@pytest.mark.parametrize("value", ["", "no", 2, -1, [], [False], {}])
def test_what_says_neither(value):
    with pytest.raises(UserError, match=r"here: is_impossible is .*; it must be true or false"):
        is_impossible({"is_impossible": value}, "here")


KEYS = ("data", "paragraphs", "qas", "id", "qid", "answers", "detected_answers", "text", "header")
CONTENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(CONTENTS, st.binary(max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path, content, noise):
    for written in (json.dumps(content).encode(), noise, gzip.compress(b"{}")[:-4] + noise):
        (tmp_path / "file").write_bytes(written)
        for read in (lambda path: read_squad(path, True), read_mrqa, read_predicted_texts, read_null_odds):
            try:
                assert isinstance(read(tmp_path / "file"), dict)
            except UserError as error:
                assert str(tmp_path / "file") in str(error)
                assert len(str(error).splitlines()) == 1
