"""A text column of Parquet files, of which the workers read row groups."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.storage.files import reported
from bertsmith.text.compression import OnBroken, UnreadableInput, refuse
from bertsmith.text.layouts import layout

_READ_OPTIONS = {
    "pre_buffer": False,  # a column is read as it is needed, not a whole row group at once
    "buffer_size": 1 << 20,
    "page_checksum_verification": True,
}


@dataclass(frozen=True)
class RowGroups:
    """A part of a corpus: a text column of consecutive row groups of a Parquet file."""

    source: str
    size: int
    groups: range
    column: str

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        size = 0
        try:
            with reported(Path(self.source)):
                for cell in _cells(self.source, self.column, self.groups):
                    if len(cell) > layout.LONGEST_DOCUMENT:
                        broken(layout.long_document(self.source))
                        continue
                    size += len(cell)
                    if size > layout.LONGEST_DOCUMENT:
                        raise UnreadableInput(
                            f"{self.source}: over {layout.LONGEST_DOCUMENT >> 20} MB of text in row groups that are "
                            f"said to have less; write it again with smaller ones"
                        )
                    yield cell
        except UnreadableInput as error:  # what is before it is kept
            broken(error)


def parquet_parts(files: Iterable[layout.CorpusFile], column: str) -> Iterator[layout.CorpusPart]:
    """Return the parts of a text column of Parquet files: whole row groups, of about `PART_BYTES` together. A row group
    that is too large for a part is read here, and cut between documents."""

    def parts_of(file: layout.CorpusFile) -> Iterator[layout.CorpusPart]:
        sizes, rows = _row_groups(file.path, column)
        positions = [file.size * done // max(1, sum(rows)) for done in accumulate(rows, initial=0)]
        for groups in _runs(sizes):
            start, stop = positions[groups.start], positions[groups.stop]
            if sizes[groups.start] <= layout.LONGEST_DOCUMENT:
                yield RowGroups(file.path, stop - start, groups, column)
                continue
            cells = enumerate(_cells(file.path, column, groups), 1)
            num_rows = rows[groups.start]
            texts = ((cell, start + (stop - start) * number // num_rows) for number, cell in cells)
            yield from layout.gather(file, texts, start, stop)

    return layout.parts_of_each(files, parts_of)


def _runs(sizes: Sequence[int]) -> Iterator[range]:
    """Yield ranges of consecutive row groups of these sizes in bytes, of about `PART_BYTES`; one that is too large for
    a part stays alone."""
    first = size = 0
    for number, group_size in enumerate(sizes):
        if group_size > layout.LONGEST_DOCUMENT and number > first:
            yield range(first, number)
            first = number
        size += group_size
        if size >= layout.PART_BYTES or number == len(sizes) - 1:
            yield range(first, number + 1)
            first, size = number + 1, 0


def _row_groups(path: str, column: str) -> tuple[list[int], list[int]]:
    """Return the bytes of a column's values and the number of rows of each row group.

    Raises:
        UserError: there is no such column, or it holds no text.
        UnreadableInput: it is no Parquet file.
    """
    with _opened(path, column) as table:
        import pyarrow as pa

        names = table.schema_arrow.names
        if column not in names:
            raise UserError(f"{path}: no column {quoted(column, 60)}; set field= to one of {', '.join(names)}")
        pa.nulls(0, table.schema_arrow.field(column).type).cast(pa.large_binary())
        index = [table.schema.column(number).path for number in range(len(table.schema))].index(column)
        groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
        return [group.column(index).total_uncompressed_size for group in groups], [group.num_rows for group in groups]


def _cells(path: str, column: str, groups: range) -> Iterator[bytes]:
    """Yield the texts of a column in these row groups.

    Raises:
        UnreadableInput: the file is damaged; the checksums of its pages are compared where it has some.
    """
    with _opened(path, column) as table:
        import pyarrow as pa

        done, rows = 0, sum(table.metadata.row_group(number).num_rows for number in groups)
        options = {"row_groups": list(groups), "columns": [column], "use_threads": False}
        for batch in table.iter_batches(batch_size=256, **options):
            cells = batch.column(0).cast(pa.large_binary())
            done += len(cells)
            for cell in cells.to_pylist():
                yield cell or b""
        if done != rows:  # the library takes a damaged page's header for the end
            raise UnreadableInput(f"{path}: {done:,} of its {rows:,} rows can be read, it is damaged; fetch it again")


@contextmanager
def _opened(path: str, column: str) -> Iterator[Any]:
    """Open a Parquet file, and turn what pyarrow finds wrong with it or with the column into our errors."""
    import pyarrow as pa  # here: 0.3 s
    from pyarrow import parquet

    try:
        with layout.open_file(path) as raw:
            local = os.stat(path) if not layout.is_address(path) else None
            metadata = _metadata(path, *(() if local is None else (local.st_size, local.st_mtime_ns)))
            with closing(parquet.ParquetFile(raw, metadata=metadata, **_READ_OPTIONS)) as table:
                yield table
    except pa.ArrowNotImplementedError:
        raise UserError(f"{path}: column {quoted(column, 60)} holds no text; set field= to one that does") from None
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):
            raise  # of the file system, not of what is in the file
        raise UnreadableInput(
            f"{path}: not a Parquet file, or a damaged one ({one_line(error)}); fetch it again"
        ) from None


@lru_cache(maxsize=4)
def _metadata(path: str, *version: int) -> Any:
    """Return a file's footer, which is read once for all of its parts that a worker reads one after another; `version`
    changes when the file does."""
    from pyarrow import parquet

    with layout.open_file(path) as raw:
        return parquet.read_metadata(raw)


PARQUET = layout.Layout(
    ((".parquet",),),
    lambda files, recipe: parquet_parts(files, recipe.field),
    "Parquet files",
    by_file=lambda files: True,
)
