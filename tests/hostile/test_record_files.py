"""Files of an entry of the record: no damage and no forgery passes, and none ends otherwise than in lines."""

import json
import shutil
from pathlib import Path

import pytest
from attack import attack, few_and_many
from mutation import mutated, mutated_json

from bertsmith.records.folder import check_entry, find_sources, read_entry, write_entry
from bertsmith.storage.files import sha256_file
from tests.records.toy_record import make_runs, rehash

pytestmark = pytest.mark.slow

NAMES = [
    "entry.json", "run/manifest.json", "run/checkpoints/step-00000012/manifest.json",
    "run/checkpoints/step-00000012/state.json", "data/manifest.json", "reference/manifest.json",
    "reference/results.json", "reference/tasks/rte/manifest.json",
    "reference/tasks/rte/trials/seed-0/manifest.json", "reference/tasks/rte/trials/seed-1/results.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """An entry, and a copy of it to compare with."""
    folder = tmp_path_factory.mktemp("record")
    runs = make_runs(tmp_path_factory.mktemp("runs"), "rte", seeds=2)
    write_entry(find_sources([runs / "run", runs / "reference"]), folder / "entry")
    shutil.copytree(folder / "entry", folder / "known")
    return folder


def check_damaged(folder: Path) -> None:
    """Whatever has changed in a file is reported."""
    entry, known = folder / "entry", folder / "known"
    names = [path.relative_to(known) for path in known.rglob("*") if path.is_file()]
    same = all(sha256_file(entry / name) == sha256_file(known / name) for name in names)
    assert bool(check_entry(entry)) is not same


def check_forged(folder: Path) -> None:
    """Where all hashes were made to fit, what passes is what follows from the files."""
    entry = folder / "entry"
    rehash(entry)
    if not check_entry(entry):
        found, known = read_entry(entry), read_entry(folder / "known")
        for key in ("averages", "eligible", "parameters", "flops", "hours", "tokens", "machines"):
            assert found[key] == known[key]


@few_and_many
@pytest.mark.parametrize("name", NAMES)
def test_json(original: Path, name: str, examples: int, tmp_path: Path):
    content = (original / "entry" / name).read_bytes()
    attack(mutated(content), examples // 4, original, f"entry/{name}", check_damaged, tmp_path)
    attack(mutated_json(json.loads(content)), examples // 2, original, f"entry/{name}", check_forged, tmp_path)


@few_and_many
@pytest.mark.parametrize("name", ["run/recipe.toml", "run/metrics.jsonl"])
def test_text(original: Path, name: str, examples: int, tmp_path: Path):
    content = (original / "entry" / name).read_bytes()
    attack(mutated(content), examples // 4, original, f"entry/{name}", check_damaged, tmp_path)
    attack(mutated(content), examples // 2, original, f"entry/{name}", check_forged, tmp_path)


@few_and_many
def test_manifest(original: Path, examples: int, tmp_path: Path):
    content = (original / "entry/manifest.json").read_bytes()
    attack(mutated_json(json.loads(content)), examples, original, "entry/manifest.json", check_entry_in, tmp_path)


def check_entry_in(folder: Path) -> None:
    check_entry(folder / "entry")
