"""A text column of Parquet files."""

from collections.abc import Iterable, Iterator
from contextlib import closing

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.layouts.layout import CorpusFile, CorpusPart, Layout, gather, open_file, parts_of_each

_READ_OPTIONS = {
    "pre_buffer": False,  # a column is read as it is needed, not a whole row group at once
    "buffer_size": 1 << 20,
    "page_checksum_verification": True,
}


def parquet_parts(files: Iterable[CorpusFile], column: str) -> Iterator[CorpusPart]:
    """Return the parts of a text column of Parquet files."""
    return parts_of_each(files, lambda file: gather(file, _cells(file, column)))


def _cells(file: CorpusFile, column: str) -> Iterator[tuple[bytes, int]]:
    """Yield the texts of a column, each with the number of the file's bytes that have been read.

    Raises:
        UserError: there is no such column, or it holds no text.
        UnreadableInput: the file is damaged; the checksums of its pages are compared where it has some.
    """
    import pyarrow as pa  # here: 0.3 s
    from pyarrow import parquet

    try:
        with open_file(file.path) as raw, closing(parquet.ParquetFile(raw, **_READ_OPTIONS)) as table:
            names = table.schema_arrow.names
            if column not in names:
                raise UserError(f"{file.path}: no column {quoted(column, 60)}; set field= to one of {', '.join(names)}")
            done, rows = 0, table.metadata.num_rows
            for batch in table.iter_batches(batch_size=256, columns=[column], use_threads=False):
                cells = batch.column(0).cast(pa.large_binary())
                done += len(cells)
                for cell in cells.to_pylist():
                    yield cell or b"", file.size * done // rows
            if done != rows:  # the library takes a damaged page's header for the end
                raise UnreadableInput(
                    f"{file.path}: {done:,} of its {rows:,} rows can be read, it is damaged; fetch it again"
                )
    except pa.ArrowNotImplementedError:
        raise UserError(
            f"{file.path}: column {quoted(column, 60)} holds no text; set field= to one that does"
        ) from None
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):
            raise  # of the file system, not of what is in the file
        raise UnreadableInput(
            f"{file.path}: not a Parquet file, or a damaged one ({one_line(error)}); fetch it again"
        ) from None


PARQUET = Layout(((".parquet",),), lambda files, recipe: parquet_parts(files, recipe.field), "Parquet files")
