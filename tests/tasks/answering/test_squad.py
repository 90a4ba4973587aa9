"""SQuAD's files, and what is wrong with them."""

import json

import pytest

from bertsmith.errors import UserError
from bertsmith.tasks.published.squad import read_questions

CONTEXT = "The cat sat on the mat. The dog sat on the cat."


def write(path, *questions, context=CONTEXT):
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]}))
    return path


def question(id="1", text="Who sat?", answers=((4, "cat"),), **more):
    return {"id": id, "question": text, "answers": [{"answer_start": at, "text": t} for at, t in answers], **more}


def test_questions_share_their_context(tmp_path):
    found = read_questions(write(tmp_path / "a.json", question(), question("2")), training=True)
    assert found.contexts == [CONTEXT] and found.context_of == [0, 0] and found.context(1) == CONTEXT
    assert found.answers == [[(4, "cat")], [(4, "cat")]] and not found.left_out


def test_an_answer_elsewhere_is_counted_or_looked_for(tmp_path):
    path = write(tmp_path / "a.json", question(answers=((40, "cat"),)), question("2"))
    left = read_questions(path, training=True)
    assert left.ids == ["2"]
    assert left.left_out == {
        "answers that do not stand at their offset": 1, "questions none of whose answers can be found": 1
    }  # fmt: skip
    assert read_questions(path, training=True, nearest=True).answers[0] == [(43, "cat")]
    assert read_questions(path, training=False).answers[0] == [(40, "cat")]


def test_questions_without_answers_are_kept_and_empty_ones_are_counted(tmp_path):
    impossible = question("2", answers=(), is_impossible=True)
    path = write(tmp_path / "a.json", question(text=" "), impossible, question("3", answers=()))
    found = read_questions(path, training=True)
    assert found.ids == ["2", "3"] and found.answers == [[], []]
    assert found.left_out == {"empty questions": 1}


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        ([question(), question()], "question '1' is there twice"),
        ([question(text="")], r"no questions to use in this file \(1 empty questions\)"),
        ([{"id": "1", "answers": []}], "has no text 'question'"),
        ([{"question": "a"}], r"data\[0\].paragraphs\[0\]: a question has no text 'id'"),
        ([], r"no questions to use in this file \(it has none\)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, questions, says):
    with pytest.raises(UserError, match=says):
        read_questions(write(tmp_path / "a.json", *questions), training=True)


@pytest.mark.parametrize(
    ("start", "text", "found"),
    [
        (4, "cat ", (4, "cat")),
        (3, " cat", (4, "cat")),
        (3, "cat", (4, "cat")),
        (4, " cat", (4, "cat")),
        (0, "The\u00a0 cat", (0, "The cat")),
        ("4", "cat", (4, "cat")),
        (4.0, "cat", (4, "cat")),
        (3, "dog", None),
        (5, "cat", None),
        (-44, "cat", None),
    ],
)
def test_an_answer_stands_where_it_does_but_for_white_space(tmp_path, start, text, found):
    path = write(tmp_path / "a.json", question(answers=((start, text),)), question("2"))
    assert read_questions(path, training=True).answers == ([[found]] if found else []) + [[(4, "cat")]]


@pytest.mark.parametrize("start", [None, "four", 4.5, True, [4], "", "-4"])
def test_a_place_that_is_none_is_refused(tmp_path, start):
    with pytest.raises(UserError, match=r"question '1': an answer: answer_start is .*; it must be a whole number"):
        read_questions(write(tmp_path / "a.json", question(answers=((start, "cat"),))), training=False)


def test_an_answer_of_white_space_is_none_and_one_given_twice_is_one_place(tmp_path):
    path = write(
        tmp_path / "a.json",
        question(answers=((3, " "), (4, "cat"), (4, "cat"))),
        question(" 2", answers=((7, "\u00a0"),)),
        question(3, answers=((7, ""),), is_impossible="true"),
        question(4.0, answers=((7, " "),), is_impossible=0),
        question("5", answers=((4, "cat"),), is_impossible="TRUE"),
    )
    found = read_questions(path, training=True)
    assert dict(zip(found.ids, found.answers, strict=True)) == {"1": [(4, "cat")] * 2, " 2": [], "3": [], "5": []}
    assert found.left_out == {"questions that are said to have an answer and have none": 1}
    asked = read_questions(path, training=False)
    assert asked.gold() == {"1": ["cat", "cat"], " 2": [], "3": [], "4": [], "5": ["cat"]}
    with pytest.raises(UserError, match="question ' 2' has no answer"):
        read_questions(path, training=False, answerable=True)


def test_whatever_makes_a_question_unusable_is_left_out_where_that_is_wanted(tmp_path):
    usable = question("1", answers=((4, "cat"),))
    odd = [{"id": [1], "question": "Who?", "answers": []}, "no question", question("2") | {"question": 7}]
    path = write(tmp_path / "a.json", usable, question("1"), *odd, question("3"))
    content = json.loads(path.read_text())
    paragraph = content["data"][0]["paragraphs"][0]
    content["data"] += [{"title": "none"}, {"paragraphs": [{"context": 5, "qas": [question("4")]}, {"context": "x"}]}]
    path.write_text(json.dumps(content))
    assert paragraph["qas"][0] == usable
    for training in (True, False):
        found = read_questions(path, training=training, skip_malformed=True)
        assert found.ids == ["1", "3"] and found.left_out == {"malformed questions": 7}
        assert f"the first: {path}: question '1' is there twice" in found.notes[0]
        with pytest.raises(
            UserError, match=r"question '1' is there twice; .* \(skip_malformed=true leaves such questions"
        ):
            read_questions(path, training=training)


def test_malformed_questions_are_left_out_where_that_is_wanted(tmp_path):
    path = write(
        tmp_path / "a.json",
        question(answers=(("four", "cat"),)),
        question("2", is_impossible="perhaps"),
        question("3"),
        question("4", answers=()),
        {"id": "5", "question": "Who?", "answers": None},
    )
    for training in (True, False):
        found = read_questions(path, training=training, answerable=True, skip_malformed=True)
        assert found.ids == ["3"] and found.left_out == {"malformed questions": 4}
        assert "4 malformed questions, left out; the first:" in found.notes[0]
        with pytest.raises(UserError, match=r"answer_start is 'four'; .* \(skip_malformed=true leaves such"):
            read_questions(path, training=training)
