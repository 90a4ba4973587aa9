"""STS-B, zero-shot: how well the cosine of two texts' vectors follows people's judgement of how alike they are."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.errors import FilesNotFound, UserError
from bertsmith.predict.embedding import Embedder
from bertsmith.tasks.metrics import measure
from bertsmith.tasks.published.glue import GLUE, read_split
from bertsmith.tasks.texts.examples import Examples

STS = "sts-b"
CORRELATIONS = ("spearman", "pearson")


class StsScores(NamedTuple):
    """Correlations of cosines with people's scores; 0 where all cosines are the same."""

    spearman: float
    pearson: float
    pairs: int
    pooling: str
    """How vectors were made, in words."""
    num_cut: int
    """Texts that were longer than the model."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file or for other programs."""
        return self._asdict()


def read_sts(folder: Path) -> Examples:
    """Return STS-B's dev set.

    Args:
        folder: of GLUE's tasks, or STS-B's in it.

    Raises:
        UserError: there is no such folder or file; a line is malformed.
    """
    is_inner = folder.name.lower() in {name.lower() for name in GLUE[STS].folders}
    try:
        return read_split(STS, folder.parent if is_inner else folder, "dev", check_counts=False)
    except FilesNotFound as error:
        reason = str(error).partition(";")[0]
        raise UserError(f"{reason}; sts=… names the folder of GLUE's tasks, or STS-B's in it") from None


def score_sts(embedder: Embedder, pairs: Examples) -> StsScores:
    """Return the correlations of the cosines with the pairs' scores."""
    assert pairs.second is not None and pairs.targets is not None
    vectors, num_cut = embedder.embed([*pairs.first, *pairs.second])
    first, second = np.split(_of_length_1(vectors.astype(np.float64)), 2)
    cosines = (first * second).sum(axis=1)
    scores = measure(CORRELATIONS, cosines, pairs.targets)
    return StsScores(**scores, pairs=pairs.num_examples, pooling=embedder.description, num_cut=num_cut)


def _of_length_1(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)
