"""The archive of the GLUE server: eleven TSV files in a zip archive, with its names and its words for labels.

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


class ServerFile(NamedTuple):
    """One file of a submission."""

    name: str
    examples: str
    """A key of `SETS`: its test split is answered, in the order of the file."""
    task: str
    """A key of `GLUE`: a model of it answers."""

    @property
    def num_rows(self) -> int:
        """The official number."""
        return SETS[self.examples].counts["test"][0]


SERVER_FILES = (
    ServerFile("CoLA.tsv", "cola", "cola"),
    ServerFile("SST-2.tsv", "sst-2", "sst-2"),
    ServerFile("MRPC.tsv", "mrpc", "mrpc"),
    ServerFile("STS-B.tsv", "sts-b", "sts-b"),
    ServerFile("QQP.tsv", "qqp", "qqp"),
    ServerFile("MNLI-m.tsv", "mnli", "mnli"),
    ServerFile("MNLI-mm.tsv", MNLI_MISMATCHED, "mnli"),
    ServerFile("AX.tsv", DIAGNOSTIC, "mnli"),
    ServerFile("QNLI.tsv", "qnli", "qnli"),
    ServerFile("RTE.tsv", "rte", "rte"),
    ServerFile("WNLI.tsv", "wnli", "wnli"),
)
assert {file.task for file in SERVER_FILES} == GLUE.keys()


def file_text(kind: AnswerKind, answers: Sequence[str | float]) -> str:
    """Return the content of a file with these answers: labels as words, or numbers, which are clipped to the task's
    range and written with three decimals."""
    lines = [f"{index}\t{kind.submitted(answer)}\n" for index, answer in enumerate(answers)]
    return "index\tprediction\n" + "".join(lines)


def write_submission(out: Path, contents: Mapping[str, str]) -> None:
    """Write a zip archive of these files' contents by name. Raises UserError where `out` cannot be written; a file that
    was there before is then as it was."""
    with atomic_write(out) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in sorted(contents.items()):
            member = zipfile.ZipInfo(name, ZIP_TIMESTAMP)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3  # as on Unix, wherever it is made
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
