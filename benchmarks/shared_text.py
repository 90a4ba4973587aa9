"""The shared corpora as texts, read as `bertsmith prepare` reads them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bertsmith.text.corpora import CorpusRecipe, open_corpus

CORPORA = {"openwebtext": "corpora/openwebtext.tar.xz", "jsonl": "corpora/books.jsonl.zst"}
"""Layout → path in the shared data: web text, and books."""


def texts_of(corpus: Path, layout: str) -> Iterator[str]:
    """Yield the documents of a corpus that are UTF-8; say at the end how many were left out, and why."""
    skipped: Counter[str] = Counter()
    for part in open_corpus(CorpusRecipe(corpus=str(corpus), layout=layout)).parts():
        for document in part.documents(skipped):
            try:
                text = document.decode()
            except UnicodeDecodeError:
                skipped["not UTF-8"] += 1
                continue
            yield text
    if skipped:
        print(f"{corpus}: skipped {dict(skipped)}")
