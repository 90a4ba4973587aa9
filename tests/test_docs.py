"""The pages: links lead somewhere, commands parse, and what is generated from the code is up to date."""

import re
import runpy
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest

from bertsmith.cli.app import app
from bertsmith.cli.usage import settings_classes
from bertsmith.config.loading import apply_overrides, load
from bertsmith.text.merging import MergeSettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "records/README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path):
    for link in LINK.findall(without_code(page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_the_readme_is_short_and_the_index_names_every_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80
    index = (ROOT / "docs/README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"docs/README.md does not name {page.name}"


def test_the_glossary_is_short_and_names_classes_that_there_are():
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("## Glossary")[2].partition("\n## ")[0]
    nouns = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)
    sources = "\n".join(path.read_text() for path in (ROOT / "bertsmith").rglob("*.py"))
    assert 15 < len(nouns) <= 25
    for noun in nouns:
        assert noun[0] != "`" or re.search(rf"^(class )?{noun.strip('`')}\b", sources, re.MULTILINE), noun


def test_the_page_of_settings_is_what_the_code_says():
    program = runpy.run_path(str(ROOT / "docs/make_settings.py"))
    assert (ROOT / "docs/settings.md").read_text() == program["page"](), "run `python docs/make_settings.py`"


def commands() -> list[str]:
    """Return what follows `bertsmith` in the pages for users: in blocks of shell lines, and in cells of tables."""
    names = ("commands", "scale", "filtering", "docker", "own-tasks")
    pages = [ROOT / "README.md", *(ROOT / f"docs/{name}.md" for name in names)]
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    text = re.sub(r"\$SLURM_\w+", "1", text)
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    in_blocks = re.findall(r"^(?:docker run .* )?bertsmith +([a-z][^…\n]*)$", blocks, re.MULTILINE)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    in_tables = [command for row in rows for command in re.findall(r"`bertsmith ([^`…]*?)`", row)]
    assert len(in_blocks) > 20 and len(in_tables) > 10
    return in_blocks + in_tables


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_pages_is_one(command: str):
    """Each `bertsmith VERB …` line parses: the verb exists, and its recipe and settings do."""
    verb, *words = shlex.split(command, comments=True)
    verbs = {entry.name or entry.callback.__name__ for entry in app.registered_commands}
    assert verb in verbs
    if (verb, *words[:1]) == ("prepare", "merge"):
        apply_overrides(MergeSettings, {}, [word for word in words[1:] if "=" in word])
    elif verb in ("tokenizer", "filter", "prepare", "pretrain", "finetune"):
        folder = "prepare" if verb == "tokenizer" else verb
        load(settings_classes(verb)[0], folder, words[0], [word for word in words[1:] if "=" in word])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path):
    """As `training/loop.py` or `docs/log.md`; a dated entry of the log names what there was then."""
    ours = {path.relative_to(folder).parts[0] for folder in (ROOT, ROOT / "bertsmith") for path in folder.iterdir()}
    for name in re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|md|toml|json))", page.read_text()):
        is_pattern = any(part.isupper() for part in name.replace(".", "/").split("/"))
        if name.split("/")[0] in ours and not is_pattern and page.name not in ("log.md", "CHANGELOG.md"):
            assert (ROOT / name).exists() or (ROOT / "bertsmith" / name).exists(), f"{page.name} names {name}"
