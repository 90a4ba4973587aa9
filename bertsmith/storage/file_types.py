"""The types of single file that commands write, each known by its content: only such a file is written over."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bertsmith.errors import UserError
from bertsmith.storage.files import read_text, reported
from bertsmith.storage.json_files import json_text, parse_json

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src"
"""The content security policy of every HTML page of ours."""

ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""Of the files in our archives, the oldest that zip has: the same predictions make the same bytes."""


class FileType(NamedTuple):
    """A type of file."""

    title: str
    """In messages."""
    matches: Callable[[Path], bool]
    """Returns whether a file is of this type; raises UserError where it cannot be read as such."""


def _is_page(path: Path) -> bool:
    with reported(path), path.open("rb") as file:
        return PAGE_POLICY.encode() in file.read(4096)


def _is_evaluation(path: Path) -> bool:
    keys = parse_json(read_text(path), str(path), dict).keys()
    return bool(keys) and keys <= {"heldout", "measured", "blimp", "glue", "sts"}


def _is_answers(path: Path) -> bool:
    """Return whether a file is an object of texts, laid out as we write JSON."""
    text = read_text(path)
    answers = parse_json(text, str(path), dict)
    return all(isinstance(answer, str) for answer in answers.values()) and text == json_text(answers)


def _is_submission(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError):
        return False
    return all(member.filename.endswith(".tsv") and member.date_time == ZIP_TIMESTAMP for member in members)


PAGE_FILE = FileType("page", _is_page)
EVALUATION_FILE = FileType("evaluation", _is_evaluation)
ANSWERS_FILE = FileType("file of answers", _is_answers)
SUBMISSION_FILE = FileType("archive for the server", _is_submission)


def check_output(out: Path, expected: FileType) -> None:
    """Check that a file of this type may be written: raises UserError where `out` is a folder, or another file that is
    not empty."""
    if out.is_dir():
        raise UserError(f"{out}: a folder; name a file to write")
    try:
        allowed = not out.exists() or not out.stat().st_size or expected.matches(out)
    except UserError:
        allowed = False
    if not allowed:
        raise UserError(f"{out}: is there already and is no {expected.title} of ours; name another file, or remove it")
