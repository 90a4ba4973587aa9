"""Labels that hold escape sequences, markup, formulas or line ends, or are long: from the file to everything shown."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertsmith.cli.app import app
from tests.tasks.toy_task import make_model
from tests.toys import WORDS

ODD = [
    "\x1b[31mred\x07",
    '=HYPERLINK("x")',
    "two\nlines",
    "<b onclick=x>bold</b>",
    "\u202ereversed",
    "long " * 90 + "end",
]
NAMES = ["[31mred", '=HYPERLINK("x")', "two lines", "<b onclick=x>bold</b>", "reversed", "long " * 90 + "end"]
"""As they are called: without what does not show, on one line."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    make_model(folder)
    (folder / "task").mkdir()
    for split, times in (("train", 12), ("dev", 3)):
        with (folder / f"task/{split}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [(f"{WORDS[10 * place]} {WORDS[10 * place + 1]}", label) for place, label in enumerate(ODD)]
            csv.writer(file).writerows([("sentence", "label"), *rows * times])
    return folder


def run(*words: object) -> str:
    """What the program prints, on both streams."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert not RAW.search(done.output), repr(done.output)
    return done.output


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found, self.tags = "", set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags |= {(tag, name) for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.found += data


def test_from_the_file_to_the_page(folder):
    settings = [f"model={folder / 'model'}", f"data={folder / 'task'}", "seeds=1", "epochs=15", "batch_size=8",
                "sequence_length=32", "layerwise_lr_decay=1", "schedule.learning_rate=3e-3",
                "machine.device=cpu"]  # fmt: skip
    shown = run("finetune", "custom", *settings, "--out", folder / "run")
    assert "6 classes in 72 examples" in shown and all(f"{name[:29]}" in shown for name in NAMES)
    assert max(map(len, shown.split("\n"))) < 600
    manifest = json.loads((folder / "run/manifest.json").read_text())
    assert sorted(manifest["labels"]) == sorted(NAMES)
    lines = (folder / "run/trials/seed-0/predictions-dev.tsv").read_text().split("\n")
    cells = [line.split("\t") for line in lines[1:-1]]
    assert len(cells) == 18 and [cell[2] for cell in cells] == NAMES * 3
    assert [cell[1] for cell in cells] == NAMES * 3, "each label is one word's"
    run("predict", folder / "run", *(f"{WORDS[10 * place]} {WORDS[10 * place + 1]}" for place in range(6)))
    told = run("predict", folder / "run", "--file", folder / "task/dev.csv", "--json")
    assert [json.loads(line)["label"] for line in told.splitlines()] == NAMES * 3
    for ending in ("csv", "jsonl"):
        run("predict", folder / "run", "--file", folder / "task/dev.csv", "--out", folder / f"out.{ending}")
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == NAMES * 3 and [row["label"] for row in rows] == ODD * 3
    found = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in found] == NAMES * 3 and [row["label"] for row in found] == ODD * 3
    run("show", folder / "run")
    run("report", folder / "run", "--out", folder / "page.html")
    page = Texts()
    page.feed((folder / "page.html").read_text())
    assert ("b", "onclick") not in page.tags
    run("export", folder / "run", folder / "exported")
    assert sorted(json.loads((folder / "exported/config.json").read_text())["id2label"].values()) == sorted(NAMES)
    done = CliRunner().invoke(app, ["grade", "rte", str(folder / "task/dev.csv"), str(folder / "out.csv")])
    assert done.exit_code != 0 and not RAW.search(f"{done.output}{done.exception}")
