"""A file of texts in, a NumPy file of vectors out, a row a text in the file's order; also of texts too many for vectors
of all of them to be in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bertsmith.console.progress import progress_bar
from bertsmith.errors import UserError
from bertsmith.predict.embedding import Embedder
from bertsmith.predict.rows import columns_of_texts, read_lines
from bertsmith.storage.files import atomic_write, ending
from bertsmith.tables.cells import text
from bertsmith.tables.files import read_table
from bertsmith.tasks.custom import ENDINGS

VECTORS_ENDING = ".npy"


def read_texts(file: str, column: str | None = None) -> list[str]:
    """Return the texts of a file: its lines, or of a table (.tsv, .csv, .jsonl, .parquet) the cells of a column, "text"
    where none is named. A blank one is a text too.

    Args:
        file: its path; "-" for standard input.

    Raises:
        UserError: there is no such file or column; a line is not UTF-8; a cell holds no text; it has no texts.
    """
    path = Path(file)
    if ending(path) not in ENDINGS:
        if column is not None:
            raise UserError(f"--column {column}: {file} has a text a line; columns are of {', '.join(ENDINGS)}")
        texts = list(read_lines(file))
        if not texts:
            raise UserError(f"{file}: no text in it")
        return texts
    [name] = columns_of_texts(path, [(column or "text",)], "--column NAME names it")
    return read_table(path, {name: text}, remedy="fix the line").columns[name]


def write_vectors(embedder: Embedder, texts: Sequence[str], out: Path) -> int:
    """Write the vectors of the texts, float32, to the file `out`, and return how many texts were cut. Raises UserError
    where it cannot be written; what was there before then stays."""
    total, done = 0, 0
    shape = (len(texts), embedder.pooler.width)
    with atomic_write(out) as file, progress_bar("embed", len(texts)) as bar:
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(np.dtype("<f4")), "fortran_order": False, "shape": shape}
        )
        for vectors, num_cut in embedder.vectors(texts):
            file.write(np.ascontiguousarray(vectors, "<f4").data)
            total, done = total + num_cut, done + len(vectors)
            bar.update(done, f"{done:,} texts")
    return total
