"""The shared text of the race's second rung."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import zstandard

from benchmarks.trials import shared_data

BOOKS, LONGEST_BOOK = 150, 400_000
"""Of the shared books: how many, and the letters of the longest that is taken."""


def web_and_books() -> Iterator[tuple[str, str]]:
    """Yield pairs (source, text): the shared web text, and after it books, about a quarter of the whole."""
    corpora = shared_data() / "corpora"
    yield from (("web", text) for text in web_texts(corpora / "openwebtext.tar.xz"))
    yield from (("books", text) for text in books(corpora / "books.jsonl.zst"))


def web_texts(archive: Path) -> Iterator[str]:
    from bertsmith.text.layouts.layout import CorpusFile
    from bertsmith.text.layouts.openwebtext import archive_parts

    for part in archive_parts([CorpusFile(str(archive), archive.stat().st_size)]):
        for document in part.documents(Counter()):
            yield document.decode("utf-8")


def books(packed: Path) -> Iterator[str]:
    """Yield the first `BOOKS` of those that are not too long."""
    with open(packed, "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
        texts = (json.loads(line)["text"] for line in lines)
        yield from islice((text for text in texts if len(text) <= LONGEST_BOOK), BOOKS)
