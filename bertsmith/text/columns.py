"""A text column of a Parquet file in, its cells out."""

from collections.abc import Iterator
from contextlib import closing

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.text.compression import BrokenArchive
from bertsmith.text.text_files import CorpusFile, open_file

_HOW = {
    "pre_buffer": False,  # a column is read as it is needed, not a whole row group at once
    "buffer_size": 1 << 20,
    "page_checksum_verification": True,
}


def cells(file: CorpusFile, column: str) -> Iterator[tuple[bytes, int]]:
    """Yield the texts of a column, each with the number of the file's bytes that are after it.

    Raises:
        UserError: there is no such column, or it holds no text.
        BrokenArchive: the file is damaged; the checksums of its pages are looked at where it has some.
    """
    import pyarrow as pa  # here: 0.3 s
    from pyarrow import parquet

    try:
        with open_file(file.path) as raw, closing(parquet.ParquetFile(raw, **_HOW)) as table:
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
                raise BrokenArchive(
                    f"{file.path}: {done:,} of its {rows:,} rows can be read, it is damaged; fetch it again"
                )
    except pa.ArrowNotImplementedError:
        raise UserError(
            f"{file.path}: column {quoted(column, 60)} holds no text; set field= to one that does"
        ) from None
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):
            raise  # of the file system, not of what is in the file
        raise BrokenArchive(
            f"{file.path}: not a Parquet file, or a damaged one ({one_line(error)}); fetch it again"
        ) from None
