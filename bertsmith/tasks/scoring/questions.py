"""Files of questions: SQuAD's and MRQA's gold answers, predicted texts, no-answer odds."""

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from bertsmith.errors import UserError
from bertsmith.files import reported
from bertsmith.json_files import read_json

GZIP = b"\x1f\x8b"

NAMES = {list: "list", dict: "object", str: "text", int: "whole number"}


def read_squad(path: Path, answerable: bool) -> dict[str, list[str]]:
    """Gold answers by question id, in the file's order; SQuAD's layout, 1.1 or 2.0.

    Args:
        answerable: whether each question has to have an answer.

    Raises:
        UserError: the file is missing, not JSON or laid out otherwise; an id is there twice; there is no question, or
            one without an answer where each has to have one.
    """
    gold: dict[str, list[str]] = {}
    for _, question, where in questions_of(path):
        answers = [
            part_of(answer, "text", str, f"{where}: an answer") for answer in part_of(question, "answers", list, where)
        ]
        if answerable and not answers:
            raise UserError(f"{where} has no answer; questions without one are of squad-v2.0")
        _add(gold, question["id"], answers, path)
    return _some(gold, path)


def questions_of(path: Path) -> Iterator[tuple[Any, Any, str]]:
    """For each question of a file in SQuAD's layout: its paragraph, itself, which has an id, and how to call it.

    Raises:
        UserError: the file is missing, not JSON or laid out otherwise.
    """
    for number, article in enumerate(part_of(read_json(path), "data", list, f"{path}: SQuAD's layout")):
        for place, paragraph in enumerate(part_of(article, "paragraphs", list, f"{path}: data[{number}]")):
            where = f"{path}: data[{number}].paragraphs[{place}]"
            for question in part_of(paragraph, "qas", list, where):
                id = part_of(question, "id", str, f"{where}: a question")
                yield paragraph, question, f"{path}: question {id!r}"


def read_mrqa(path: Path) -> dict[str, list[str]]:
    """Gold answers by question id, in the file's order; MRQA 2019's JSON lines, compressed by gzip or not.

    The answers are `answers`, as in the official script; where a question has none of these, the texts of its
    `detected_answers`.

    Raises:
        UserError: the file is missing or damaged; a line is not JSON or laid out otherwise; an id is there twice; a
            question has no answer.
    """
    gold: dict[str, list[str]] = {}
    for _, question, where in mrqa_questions_of(path):
        _add(gold, question["qid"], mrqa_answers(question, where), path)
    return _some(gold, path)


def mrqa_questions_of(path: Path) -> Iterator[tuple[Any, Any, str]]:
    """For each question of a file of MRQA's JSON lines: its line's object, itself, which has a qid, and how to call it.

    Raises:
        UserError: the file is missing or damaged; a line is not JSON or laid out otherwise.
    """
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{where}: not JSON; MRQA's files have an object a line") from None
        if isinstance(content, dict) and "header" in content:
            if number == 1:
                continue
            raise UserError(f"{where}: a header, which only line 1 can be; take the line out")
        for question in part_of(content, "qas", list, where):
            id = part_of(question, "qid", str, f"{where}: a question")
            yield content, question, f"{where}: question {id!r}"


def mrqa_answers(question: dict[str, Any], where: str) -> list[str]:
    """Its gold answers, at least one; see `read_mrqa`."""
    if "answers" in question:
        answers = part_of(question, "answers", list, where)
        if not all(isinstance(answer, str) for answer in answers):
            raise UserError(f"{where}: its answers are not all texts; see MRQA's description of the layout")
    else:
        detected = part_of(question, "detected_answers", list, where)
        answers = [part_of(answer, "text", str, f"{where}: a detected answer") for answer in detected]
    if not answers:
        raise UserError(f"{where} has no answer; take it out, it cannot be scored")
    return answers


def read_predicted_texts(path: Path) -> dict[str, str]:
    """A text by question id: one JSON object.

    Raises:
        UserError: the file is missing or not such an object; an id is there twice; a prediction is no text.
    """
    return _read_mapping(path, "text", lambda value: isinstance(value, str))


def read_null_odds(path: Path) -> dict[str, float]:
    """How likely each question has no answer, by its id: one JSON object, in the file's order.

    Raises:
        UserError: the file is missing or not such an object; an id is there twice; a value is no finite number.
    """

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf

    return _read_mapping(path, "finite number", is_number)


def _read_mapping(path: Path, what: str, fits: Callable[[Any], bool]) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; it has to give a {what} for each question id")
    for id, value in content.items():
        if not fits(value):
            raise UserError(f"{path}: the value of {id!r} is {json.dumps(value):.60}; it must be a {what}")
    return content


def part_of(holder: Any, name: str, kind: type, where: str) -> Any:
    """What a JSON object says under `name`. Raises UserError where it is none, or the value is not of this kind."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, kind):
        raise UserError(f"{where} has no {NAMES[kind]} {name!r}; is this the task's file?")
    return value


def _add(gold: dict[str, list[str]], id: str, answers: list[str], path: Path) -> None:
    if id in gold:
        raise UserError(f"{path}: question {id!r} is there twice; leave one of them")
    gold[id] = answers


def _some(gold: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    if not gold:
        raise UserError(f"{path}: no questions in this file")
    return gold


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    with reported(path), open(path, "rb") as file:
        unpacked: IO[bytes] = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
        number = 0
        try:
            for number, line in enumerate(unpacked, start=1):
                if line.strip():
                    yield number, line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number}: not UTF-8; convert the file") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}, after line {number}: damaged ({error}); fetch it again") from None
