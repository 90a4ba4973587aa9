"""A corpus reader: the spoken lines of SubRip subtitles (.srt), a film a document.

bertsmith prepare text --plugin examples/subtitles.py layout=subtitles corpus=films vocab=vocab.txt --out data/films
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from bertsmith.text.corpora import LAYOUTS
from bertsmith.text.layouts.layout import Layout, read_documents

NOT_SPOKEN = re.compile(r"\d+|\d\d:\d\d:\d\d,\d{3} --> .*|\s*")
"""A cue's number, its times, and what is between cues."""
MARKS = re.compile(r"</?[ibu]>|\{\\an\d\}")


def read(file: BinaryIO) -> Iterator[str]:
    """Yield the documents of a file, which here is one."""
    lines = (line.strip() for line in file.read().decode("utf-8-sig", errors="replace").splitlines())
    yield "\n".join(MARKS.sub("", line) for line in lines if not NOT_SPOKEN.fullmatch(line))


LAYOUTS.add("subtitles", Layout(((".srt",),), lambda files, recipe: read_documents(files, read)))
