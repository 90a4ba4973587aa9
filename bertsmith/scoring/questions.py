"""Files of questions: SQuAD's and MRQA's gold answers, predicted texts, no-answer odds."""

import codecs
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.scoring.malformed import Malformed
from bertsmith.storage.files import reported
from bertsmith.storage.json_files import MAX_JSON_BYTES, json_value, read_json

GZIP = b"\x1f\x8b"

JSON_TYPE_NAMES = {list: "list", dict: "object", str: "text"}


def read_squad(path: Path, answerable: bool, malformed: Malformed | None = None) -> dict[str, list[str]]:
    """Return gold answers by question id, in the file's order; SQuAD's layout, 1.1 or 2.0. One of white space alone is
    none.

    Raises:
        UserError: the file is missing, not JSON or laid out otherwise; an id is there twice; there is no question, or
            one without an answer where each has to be `answerable`.
    """

    def answers_of(paragraph: Any, question: Any, where: str) -> list[str]:
        given = part_of(question, "answers", list, where)
        answers = [part_of(answer, "text", str, f"{where}: an answer") for answer in given]
        answers = [answer for answer in answers if answer.strip()]
        if answerable and not answers:
            raise UserError(f"{where} has no answer; questions without one are of squad-v2.0")
        return answers

    malformed = malformed or Malformed()
    return _gold(path, questions_of(path, malformed), answers_of, malformed)


def _gold(
    path: Path,
    questions: Iterable[tuple[Any, Any, str, str]],
    answers_of: Callable[[Any, Any, str], list[str]],
    malformed: Malformed,
) -> dict[str, list[str]]:
    """Return the answers by id of the questions that are not left out."""
    gold: dict[str, list[str]] = {}

    def add(holder: Any, question: Any, id: str, where: str) -> None:
        if malformed.skip:  # as fine-tuning reads them; to be graded they need neither
            for owner, name in ((holder, "context"), (question, "question")):
                if name in owner:
                    part_of(owner, name, str, where)
        answers = answers_of(holder, question, where)
        if id in gold:
            raise UserError(f"{path}: question {quoted(id)} is there twice; leave one of them")
        gold[id] = answers

    for asked in questions:
        malformed.read_or_skip(add, *asked)
    if not gold:
        left_out = f" ({malformed.note()[0]})" if malformed.count else ""
        raise UserError(f"{path}: no questions in this file{left_out}")
    return gold


def questions_of(path: Path, malformed: Malformed) -> Iterator[tuple[Any, Any, str, str]]:
    """Yield for each question of a file in SQuAD's layout: its paragraph, itself, its id, and how to call it. Raises
    UserError where the file is missing, not JSON or laid out otherwise."""
    for number, article in enumerate(part_of(read_json(path), "data", list, f"{path}: SQuAD's layout")):
        paragraphs = malformed.read_or_skip(part_of, article, "paragraphs", list, f"{path}: data[{number}]")
        for place, paragraph in enumerate(paragraphs or ()):
            where = f"{path}: data[{number}].paragraphs[{place}]"
            for question in malformed.read_or_skip(part_of, paragraph, "qas", list, where) or ():
                id = malformed.read_or_skip(id_of, question, "id", f"{where}: a question")
                if id is not None:
                    yield paragraph, question, id, f"{path}: question {quoted(id)}"


def read_mrqa(path: Path, malformed: Malformed | None = None) -> dict[str, list[str]]:
    """Return gold answers by question id, in the file's order; MRQA 2019's JSON lines, compressed by gzip or not.

    The answers are `answers`, as in the official script; where a question has none of these, the texts of its
    `detected_answers`. One of white space alone is none.

    Raises:
        UserError: the file is missing or damaged; a line is not JSON or laid out otherwise; an id is there twice; a
            question has no answer.
    """
    malformed = malformed or Malformed()
    return _gold(path, mrqa_questions_of(path, malformed), lambda _, *asked: mrqa_answers(*asked), malformed)


def mrqa_questions_of(path: Path, malformed: Malformed) -> Iterator[tuple[Any, Any, str, str]]:
    """Yield for each question of a file of MRQA's JSON lines: its line's object, itself, its id, and how to call it.
    Raises UserError where the file is missing or damaged; a line is not JSON or laid out otherwise."""
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        content = malformed.read_or_skip(_mrqa_line, line, where, number == 1) or {"qas": ()}
        for question in content["qas"]:
            id = malformed.read_or_skip(id_of, question, "qid", f"{where}: a question")
            if id is not None:
                yield content, question, id, f"{where}: question {quoted(id)}"


def _mrqa_line(line: bytes, where: str, is_first: bool) -> dict[str, Any]:
    """Return the object of a line with its list "qas"; an empty one of a header."""
    try:
        content = json_value(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"{where}: not UTF-8; convert the file") from None
    except ValueError as error:
        reason = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: {reason}; MRQA's files have an object a line") from None
    if isinstance(content, dict) and "header" in content:
        if not is_first:
            raise UserError(f"{where}: a header, which only line 1 can be; take the line out")
        return {}
    part_of(content, "qas", list, where)
    return content


def mrqa_answers(question: dict[str, Any], where: str) -> list[str]:
    """Return a question's gold answers, at least one; see `read_mrqa`."""
    if "answers" in question:
        answers = part_of(question, "answers", list, where)
        if not all(isinstance(answer, str) for answer in answers):
            raise UserError(f"{where}: its answers are not all texts; see MRQA's description of the layout")
    else:
        detected = part_of(question, "detected_answers", list, where)
        answers = [part_of(answer, "text", str, f"{where}: a detected answer") for answer in detected]
    answers = [answer for answer in answers if answer.strip()]
    if not answers:
        raise UserError(f"{where} has no answer; take it out, it cannot be scored")
    return answers


def read_predicted_texts(path: Path) -> dict[str, str]:
    """Return a text by question id, from one JSON object. Raises UserError where the file is missing or not such an
    object; an id is there twice; a prediction is no text."""
    return _read_mapping(path, "text", lambda value: isinstance(value, str))


def read_null_odds(path: Path) -> dict[str, float]:
    """Return how likely each question has no answer, by its id, from one JSON object, in the file's order. Raises
    UserError where the file is missing or not such an object; an id is there twice; a value is no finite number."""

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf

    return _read_mapping(path, "finite number", is_number)


def _read_mapping(path: Path, what: str, fits: Callable[[Any], bool]) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; it has to give a {what} for each question id")
    for id, value in content.items():
        if not fits(value):
            raise UserError(f"{path}: the value of {quoted(id)} is {json.dumps(value):.60}; it must be a {what}")
    return content


def part_of(holder: Any, name: str, type: Any, where: str) -> Any:
    """Return the value of a JSON object under `name`. Raises UserError where there is none of this type."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, type):
        raise UserError(f"{where} has no {JSON_TYPE_NAMES[type]} {name!r}; is this the task's file?")
    return value


def id_of(question: Any, name: str, where: str) -> str:
    """Return a question's id as text: of a whole number, 10 or 10.0, its digits. Raises UserError where it is none."""
    value = question.get(name) if isinstance(question, dict) else None
    number = _whole(value)
    if isinstance(value, str) or number is None:
        return part_of(question, name, str, where)
    return str(number)


def place_of(answer: Any, where: str) -> int:
    """Return the character that an answer of SQuAD's layout begins with. Raises UserError where it has none."""
    value = answer.get("answer_start") if isinstance(answer, dict) else None
    number = _whole(value)
    if number is None:
        raise UserError(f"{where}: answer_start is {quoted(value, 60)}; it must be a whole number, in characters")
    return number


def is_impossible(question: dict[str, Any], where: str) -> bool | None:
    """Return what SQuAD 2.0 says of a question, be it in JSON's booleans, 0 and 1, or "true" and "false"; None where it
    says nothing. Raises UserError where it is something else."""
    value = question.get("is_impossible")
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    if value is None:
        return None
    if isinstance(value, list | dict) or str(value).strip().lower() not in known:
        raise UserError(f"{where}: is_impossible is {quoted(value, 60)}; it must be true or false")
    return known[str(value).strip().lower()]


def paired_ids(gold: Mapping[str, Any], others: Iterable[str]) -> dict[str, str]:
    """Return, for ids that are none of `gold` but the same whole number as one, that one: {"10.0": "10"}."""
    numbers = {_digits(id): id for id in gold}
    unknown = [id for id in others if id not in gold]
    return {id: numbers[_digits(id)] for id in unknown if _digits(id) in numbers}


def _digits(id: str) -> str:
    digits, _, zeros = id.partition(".")
    return digits if digits.isascii() and digits.isdigit() and not zeros.strip("0") else id


def _whole(value: Any) -> int | None:
    """Return a whole number, be it written 10, 10.0 or "10"; None where it is none."""
    if isinstance(value, str):
        return int(value) if len(value) < 20 and value.strip().isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield lines that are not blank, with their numbers from 1; they end with a line feed, a carriage return, or
    both."""
    with reported(path):
        if not path.is_file():
            raise UserError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        with open(path, "rb") as file:
            unpacked: Any = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
            number = 0
            try:
                while line := unpacked.readline(MAX_JSON_BYTES + 1):
                    if len(line) > MAX_JSON_BYTES:
                        number += 1
                        raise UserError(
                            f"{path}, line {number}: longer than {MAX_JSON_BYTES:,} bytes; is it JSON lines?"
                        )
                    for part in line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
                        number += 1
                        if part.removeprefix(codecs.BOM_UTF8).strip():
                            yield number, part
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise UserError(f"{path}, after line {number}: damaged ({one_line(error)}); fetch it again") from None
