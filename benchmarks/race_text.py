"""The shared text of the race's second rung."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.shared_text import CORPORA, texts_of
from benchmarks.trials import shared_data

BOOKS, LONGEST_BOOK = 150, 400_000
"""Of the shared books: how many, and the letters of the longest that is taken."""


def web_and_books() -> Iterator[tuple[str, str]]:
    """Yield pairs (source, text): the shared web text, and after it books, about a quarter of the whole."""
    yield from (("web", text) for text in texts_of(shared_data() / CORPORA["openwebtext"], "openwebtext"))
    yield from (("books", text) for text in books(shared_data()))


def books(data: Path) -> Iterator[str]:
    """Yield the first `BOOKS` of the shared ones, in the folder `data`, that are not too long."""
    texts = texts_of(data / CORPORA["jsonl"], "jsonl")
    yield from islice((text for text in texts if len(text) <= LONGEST_BOOK), BOOKS)
