"""MRQA's files to learn from, and what is wrong with them."""

import gzip
import json

import pytest

from bertsmith.errors import UserError
from bertsmith.tasks.published.mrqa import read_mrqa_questions

CONTEXT = "[TLE] Cats [PAR] The cat sat on the mat. The dog sat."


def write(path, *questions, **line):
    lines = [{"header": {}}, {"context": CONTEXT, "qas": list(questions)} | line]
    content = "".join(f"{json.dumps(one)}\n" for one in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def question(id="1", text="Who sat?", answers=(("cat", (21, 23)),), **more):
    detected = [{"text": text, "char_spans": [list(span), [0, 0]]} for text, span in answers]
    return {"qid": id, "question": text, "detected_answers": detected, **more}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_answers_are_where_they_were_found_first(tmp_path, name):
    path = write(tmp_path / name, question(answers=[("cat", (21, 23)), ("dog", (45, 47))]))
    found = read_mrqa_questions(path, training=True)
    assert found.answers == [[(21, "cat"), (45, "dog")]] and found.contexts == [CONTEXT] and not found.left_out


def test_a_differing_case_is_the_contexts_another_place_is_left_out_or_looked_for(tmp_path):
    questions = question(answers=[("THE  CAT", (17, 23))]), question("2", answers=[("dog", (21, 23))])
    path = write(tmp_path / "a.jsonl", *questions)
    found = read_mrqa_questions(path, training=True)
    assert found.ids == ["1"] and found.answers == [[(17, "The cat")]]
    assert found.left_out["answers that do not stand at their offset"] == 1
    assert read_mrqa_questions(path, training=True, nearest=True).answers[1] == [(45, "dog")]


def test_of_dev_all_questions_are_kept_with_the_answers_that_the_script_counts(tmp_path):
    path = write(tmp_path / "a.jsonl", question(text="") | {"answers": ["a", "b"]})
    assert read_mrqa_questions(path, training=False).gold() == {"1": ["a", "b"]}


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        ([question(), question()], "line 2: question '1' is there twice"),
        ([question(answers=())], "line 2: question '1' has no detected answer; take it out"),
        ([{"qid": "1", "question": "a"}], "line 2: question '1' has no list 'detected_answers'"),
        ([question() | {"detected_answers": [{"text": "a", "char_spans": []}]}], "has no place in its 'char_spans'"),
        ([question() | {"detected_answers": [{"text": "a", "char_spans": [[1]]}]}], "has no place in its"),
        ([question(answers=[("x", (0, 0))])], r"no questions to use in this file \(1 answers that do not stand"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, questions, says):
    with pytest.raises(UserError, match=says):
        read_mrqa_questions(write(tmp_path / "a.jsonl", *questions), training=True)


def test_whatever_makes_a_line_unusable_is_left_out_where_that_is_wanted(tmp_path):
    path = write(tmp_path / "a.jsonl", question(), question(), question("2") | {"question": None}, question("3"))
    odd = [b"not json", b"[]", b'{"qas": 1, "context": "a"}', b'{"header": {}}', b'{"qas": [], "context": "\xff"}']
    path.write_bytes(path.read_bytes() + b"\n".join(odd) + b"\n")
    for training in (True, False):
        found = read_mrqa_questions(path, training=training, skip_malformed=True)
        assert found.ids == ["1", "3"] and found.left_out == {"malformed questions": 7}
        with pytest.raises(UserError, match=r"question '1' is there twice; .* \(skip_malformed=true leaves such"):
            read_mrqa_questions(path, training=training)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_line_ends_do_not_matter(tmp_path, end, packed):
    path = write(tmp_path / "a.jsonl", question(), question("2"))
    content = path.read_bytes().replace(b"\n", end.encode()) + end.encode() * 2
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_mrqa_questions(path, training=True)
    assert found.ids == ["1", "2"] and found.answers[0] == found.answers[1] != []
    path.write_bytes(content + b"no json")
    with pytest.raises(UserError, match=r"a.jsonl, line 5: not JSON"):
        read_mrqa_questions(path, training=True)


def test_malformed_questions_are_left_out_where_that_is_wanted(tmp_path):
    path = write(tmp_path / "a.jsonl", question(), question("2", answers=()), question("3", answers=((" ", (3, 3)),)))
    found = read_mrqa_questions(path, training=True, skip_malformed=True)
    assert found.ids == ["1"] and found.left_out == {"malformed questions": 2}
    with pytest.raises(UserError, match=r"'2' has no detected answer; .* \(skip_malformed=true leaves such"):
        read_mrqa_questions(path, training=True)
