"""Documents for datatrove's steps: out of a corpus, and to and from compressed JSON lines of ours."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import zstandard
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from bertsmith.config.plugins import load_plugin
from bertsmith.errors import UserError
from bertsmith.filtering.tally import Tally, tally_file
from bertsmith.storage.files import allow_open_files, atomic_write, reported
from bertsmith.storage.json_files import read_json
from bertsmith.text.blank_lines import unify_line_ends
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.corpora import Corpus
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.text.part_encoder import note_broken
from bertsmith.text.shares import Share

COMPRESSION_LEVEL = 3


class CorpusReader(PipelineStep):  # type: ignore[misc]
    """A reader of a task's share of a corpus, in whatever layout."""

    type, name = "reader", "corpus"

    def __init__(self, corpus: Corpus, skip_broken: bool, tally: Tally):
        super().__init__()
        self.corpus, self.skip_broken, self.tally = corpus, skip_broken, tally

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        for plugin in self.corpus.recipe.plugins:
            load_plugin(plugin)  # in another process than the command's
        broken: list[str] = []
        for part in self.corpus.parts(Share(rank + 1, world_size)):
            for content in self._contents(part, broken):
                yield from self._document(content, part.source)
        self.tally.broken += broken
        self.tally.skipped.update({"broken archive": len(broken)} if broken else {})

    def _contents(self, part: CorpusPart, broken: list[str]) -> list[bytes]:
        """Return a part's documents: all of them or none, as `prepare` takes them."""
        skipped: Counter[str] = Counter()
        note = partial(note_broken, self.skip_broken, broken)
        try:
            contents = list(part.documents(skipped, note))
        except UnreadableInput as error:
            note(error)
            return []
        self.tally.skipped.update(skipped)
        return contents

    def _document(self, content: bytes, source: str) -> Iterator[Document]:
        """Yield a text as `prepare` would take it, or count why it is none."""
        try:
            text = unify_line_ends(content).decode().strip()
        except UnicodeDecodeError:
            self.tally.skipped["not UTF-8"] += 1
            return
        if not text:
            self.tally.skipped["empty"] += 1
            return
        self.tally.count("read", text)
        yield Document(text=text, id="", metadata={"source": source})


class OpenFiles(PipelineStep):  # type: ignore[misc]
    """A step before one that has many files open at a time."""

    type, name = "setup", "open files"

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        allow_open_files(self.number)
        return data


class KeptReader(PipelineStep):  # type: ignore[misc]
    """A reader of what a task of an earlier stage has kept, by its tally in the folder `tallies`."""

    type, name = "reader", "kept documents"

    def __init__(self, folder: Path, tallies: Path):
        super().__init__()
        self.folder, self.tallies = folder, tallies

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        path, number = self.folder / text_file(rank), 0
        wanted = read_json(self.tallies / tally_file(rank), dict)["documents"].get("kept", 0)
        if wanted or path.exists():
            with reported(path), zstandard.open(path, "rt", encoding="utf-8", newline="\n") as file:
                for line in file:
                    number += 1
                    found = json.loads(line)
                    yield Document(text=found.pop("text"), id="", metadata=found)
        if number != wanted:
            raise UserError(f"{path}: has {number:,} documents, and {wanted:,} were written; --overwrite starts again")


class KeptWriter(PipelineStep):  # type: ignore[misc]
    """A writer of a task's documents, each with the file it is from, and of its tally when it has seen all of them.

    Attributes:
        is_last: whether it writes the result, without the lines that were taken out of each text.
    """

    type, name = "writer", "kept documents"

    def __init__(self, folder: Path, tally: Tally, tallies: Path, is_last: bool):
        super().__init__()
        self.folder, self.tally, self.tallies, self.is_last = folder, tally, tallies, is_last

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        path, documents = self.folder / text_file(rank), self._with_text(data)
        for folder in (self.folder, self.tallies):
            folder.mkdir(parents=True, exist_ok=True)
        first = next(documents, None)
        if first is None:
            path.unlink(missing_ok=True)
        else:
            with atomic_write(path) as file, _lines(file) as lines:
                for document in _with_first(first, documents):
                    self.tally.count("kept", document.text)
                    self.tally.lines.update(document.metadata.get("lines", {}))
                    lines.write(json.dumps(self._fields(document), ensure_ascii=False).encode() + b"\n")
                    yield document
        self.tally.save(self.tallies / tally_file(rank))

    def _fields(self, document: Document) -> dict[str, Any]:
        found = {"text": document.text, "source": document.metadata["source"]}
        if not self.is_last and "lines" in document.metadata:
            found["lines"] = document.metadata["lines"]
        return found

    def _with_text(self, data: Iterable[Document]) -> Iterator[Document]:
        """Yield the documents of which rules have left something."""
        for document in data:
            if document.text:
                yield document
            else:
                self.tally.drop("empty", "", document.metadata["source"])


def text_file(rank: int) -> str:
    """Return the name of the file of a task's documents."""
    return f"text-{rank:05d}.jsonl.zst"


def _lines(file: Any) -> Any:
    return io.BufferedWriter(zstandard.ZstdCompressor(COMPRESSION_LEVEL).stream_writer(file, closefd=False))


def _with_first(first: Document, rest: Iterator[Document]) -> Iterator[Document]:
    yield first
    yield from rest
