"""Layouts of a corpus's files, and parts of a corpus: files in, parts out; a part in, documents out.

A part is a few megabytes of text: what one worker reads at a time, and what is read again after a crash. How files are
cut into parts depends only on the files, so documents come in the same order for any number of workers. What can only
be read forwards (the archive of archives, compressed JSON lines) is read where the parts are listed; ranges of text
files and of JSON lines, row groups of Parquet, and archives inside the archive are read by the worker of the part.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from bertsmith.storage.files import reported
from bertsmith.storage.remote import RangeReader, is_address, read_remote
from bertsmith.text.compression import OnBroken, UnreadableInput, refuse

PART_BYTES = 4 << 20  # of text, about: 80 ms of work. Archives inside OpenWebText's have 2 to 3 MB of text
LONGEST_DOCUMENT = 128 << 20
"""Bytes; the rest of a longer text file becomes another document, because a document takes up to 6 times its size in
memory while it is encoded."""


class CorpusFile(NamedTuple):
    """A file of a corpus."""

    path: str  # local, or a URL
    size: int  # in bytes, as stored


class CorpusPart(Protocol):
    """A part of a corpus that one worker reads at a time; it can be pickled."""

    @property
    def source(self) -> str:
        """The file it is from, for messages."""

    @property
    def size(self) -> int:
        """Its share of the bytes of the corpus's files."""

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        """Return the part's documents in order; unreadable ones are counted in `skipped` by their reason, and `broken`
        is called with an error for each file or member that is broken or too large.

        Raises:
            UnreadableInput: the file is truncated, corrupt or hostile, and all of the part is lost.
            UserError: the file cannot be read.
        """


class Layout(NamedTuple):
    """A way in which the files of a corpus are laid out."""

    suffixes: tuple[tuple[str, ...], ...]  # file names end in these; of several groups the first one with files counts
    parts: Callable[[Sequence[CorpusFile], Any], Iterator[CorpusPart]]
    """Returns all parts of the files in order, given the `CorpusRecipe`; the same ones at each call."""
    description: str = ""
    """Shown with the setting `layout`."""
    by_file: Callable[[Sequence[CorpusFile]], bool] = lambda files: False
    """Returns whether the parts of these files are those of each, one after another; other machines' files need not be
    read then, where several share a corpus."""


@dataclass(frozen=True)
class DocumentsPart:
    """A part whose documents were read when it was listed."""

    source: str
    size: int
    contents: tuple[bytes, ...]
    skipped: Counter[str] = field(default_factory=Counter)  # skipped between them, by reason

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        skipped.update(self.skipped)
        return iter(self.contents)


@dataclass(frozen=True)
class BrokenPart:
    """A part in the place of what is broken in a file, or of all that follows it."""

    source: str
    size: int
    reason: str

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        broken(UnreadableInput(self.reason))
        return iter(())


class PartBuilder:
    """A collector of documents, which makes parts of them."""

    def __init__(self, source: str, start: int = 0):
        """With `start`, the number of the file's bytes that are other parts'."""
        self.source = source
        self.skipped: Counter[str] = Counter()
        self.faults: list[UnreadableInput] = []
        self._contents: list[bytes] = []
        self._size, self._start = 0, start

    def add(self, content: bytes, position: int) -> Iterator[CorpusPart]:
        """Take in a document, and yield a part where there are enough. `position` is the number of the file's bytes
        that have been read."""
        if len(content) > LONGEST_DOCUMENT:
            self.faults.append(long_document(self.source))
        else:
            self._contents.append(content)
            self._size += len(content)
        if self._size >= PART_BYTES or self.faults:
            yield from self.parts(position)

    def parts(self, position: int) -> Iterator[CorpusPart]:
        """Yield the collected documents as a part, then the faults between them."""
        if self._contents or self.skipped:
            yield DocumentsPart(self.source, position - self._start, tuple(self._contents), Counter(self.skipped))
        yield from (BrokenPart(self.source, 0, str(fault)) for fault in self.faults)
        self.skipped.clear()
        self.faults.clear()
        self._contents, self._size, self._start = [], 0, position


def parts_of_each(
    files: Iterable[CorpusFile], parts_of: Callable[[CorpusFile], Iterator[CorpusPart]]
) -> Iterator[CorpusPart]:
    """Yield the parts of all files; a file that proves broken ends with a `BrokenPart` part."""
    for file in files:
        try:
            with reported(Path(file.path)):
                yield from parts_of(file)
        except UnreadableInput as error:
            yield BrokenPart(file.path, 0, str(error))


def gather(
    file: CorpusFile, documents: Iterable[tuple[bytes, int]], start: int = 0, stop: int | None = None
) -> Iterator[CorpusPart]:
    """Yield parts of a file's documents, each given with the number of the file's bytes that have been read; documents
    before damage are kept. They are those between `start` and `stop`, by default of the whole file."""
    builder, position = PartBuilder(file.path, start), start
    try:
        for content, position in documents:
            yield from builder.add(content, position)
    except UnreadableInput:
        yield from builder.parts(position)
        raise
    yield from builder.parts(file.size if stop is None else stop)


def read_documents(files: Iterable[CorpusFile], read: Callable[[BinaryIO], Iterator[str]]) -> Iterator[CorpusPart]:
    """Return parts of the documents that `read` yields from each opened file, for layouts of your own."""

    def documents(file: CorpusFile) -> Iterator[tuple[bytes, int]]:
        with open_file(file.path) as opened:
            for text in read(opened):
                yield text.encode(), opened.tell()

    return parts_of_each(files, lambda file: gather(file, documents(file)))


def open_file(path: str, size: int | None = None, at_once: bool = False) -> BinaryIO:
    """Open a file for reading, local or of a URL, with its size in bytes where that is known; `at_once` fetches one
    behind a URL whole."""
    if not is_address(path):
        return open(path, "rb")
    return cast(BinaryIO, RangeReader(path, size, at_once))


def read_range(path: str, start: int, stop: int) -> bytes:
    """Return a file's bytes from `start` to `stop`, or to its end; of a URL no others are fetched."""
    if is_address(path):
        return read_remote(path, start, stop)
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(stop - start)


def long_document(source: str) -> UnreadableInput:
    """Return the error of a document that is too long."""
    return UnreadableInput(f"{source}: a document of over {LONGEST_DOCUMENT >> 20} MB; cut it")


def among_texts(source: str, archive_format: str) -> UnreadableInput:
    """Return the error of an archive where a text is expected."""
    return UnreadableInput(f"{source}: {archive_format} among texts; unpack it, or take it out")
