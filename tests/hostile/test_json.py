"""Any JSON file: read with the value that the standard library finds, or refused."""

import json
from pathlib import Path

from attack import attack, example, few_and_many
from mutation import mutated, mutated_json

from bertsmith.storage.json_files import read_json

CONTENT = {"kind": "run", "sizes": [1, 2, 3.5], "names": {"é": None, "b": True}, "text": "line\nline"}


def read(folder: Path) -> None:
    value = read_json(folder / "file.json", dict)
    assert value == json.loads((folder / "file.json").read_text(encoding="utf-8-sig"))


@few_and_many
def test_bytes(examples: int, tmp_path: Path):
    content = json.dumps(CONTENT, ensure_ascii=False).encode()
    original = example(tmp_path, {"file.json": content})
    attack(mutated(content), examples, original, "file.json", read, tmp_path)


@few_and_many
def test_structure(examples: int, tmp_path: Path):
    original = example(tmp_path, {"file.json": json.dumps(CONTENT)})
    attack(mutated_json(CONTENT), examples, original, "file.json", read, tmp_path)
