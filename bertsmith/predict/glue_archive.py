"""What the GLUE server takes: eleven TSV files in a zip archive, named and worded as it has them.

Source: gluebenchmark.com, FAQ, and the sample submission there.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bertsmith.storage.file_types import ZIP_TIMESTAMP
from bertsmith.storage.files import atomic_write
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.published.glue import DIAGNOSTIC, GLUE, MNLI_MISMATCHED, SETS


class Sheet(NamedTuple):
    """One file of a submission."""

    file: str
    examples: str
    """A key of `SETS`: its test split is answered, in the order of the file."""
    task: str
    """A key of `GLUE`: a model of it answers."""

    @property
    def num_rows(self) -> int:
        """The official number."""
        return SETS[self.examples].counts["test"][0]


SHEETS = (
    Sheet("CoLA.tsv", "cola", "cola"),
    Sheet("SST-2.tsv", "sst-2", "sst-2"),
    Sheet("MRPC.tsv", "mrpc", "mrpc"),
    Sheet("STS-B.tsv", "sts-b", "sts-b"),
    Sheet("QQP.tsv", "qqp", "qqp"),
    Sheet("MNLI-m.tsv", "mnli", "mnli"),
    Sheet("MNLI-mm.tsv", MNLI_MISMATCHED, "mnli"),
    Sheet("AX.tsv", DIAGNOSTIC, "mnli"),
    Sheet("QNLI.tsv", "qnli", "qnli"),
    Sheet("RTE.tsv", "rte", "rte"),
    Sheet("WNLI.tsv", "wnli", "wnli"),
)
assert {sheet.task for sheet in SHEETS} == GLUE.keys()


def sheet_text(kind: AnswerKind, answers: Sequence[str | float]) -> str:
    """Return the file's content.

    Args:
        kind: what the answers are.
        answers: labels as words, or numbers, which are clipped to the task's range and written with three decimals.
    """
    lines = [f"{index}\t{kind.submitted(answer)}\n" for index, answer in enumerate(answers)]
    return "index\tprediction\n" + "".join(lines)


def write_submission(out: Path, sheets: Mapping[str, str]) -> None:
    """Write a zip archive of these files' contents by name, whole or not at all.

    Raises:
        UserError: `out` cannot be written; what was there before stays.
    """
    with atomic_write(out) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in sorted(sheets.items()):
            member = zipfile.ZipInfo(name, ZIP_TIMESTAMP)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3  # as on Unix, wherever it is made
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
