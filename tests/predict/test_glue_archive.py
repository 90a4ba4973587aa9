"""The server's files: names, numbers of rows, words; the archive, whole, and the same bytes each time."""

import zipfile

import pytest

from bertsmith.errors import UserError
from bertsmith.predict.submit import SERVER_FILES, file_text, write_submission
from bertsmith.tasks.published.glue import GLUE

OFFICIAL = {
    "AX.tsv": 1104, "CoLA.tsv": 1063, "MNLI-m.tsv": 9796, "MNLI-mm.tsv": 9847, "MRPC.tsv": 1725, "QNLI.tsv": 5463,
    "QQP.tsv": 390965, "RTE.tsv": 3000, "SST-2.tsv": 1821, "STS-B.tsv": 1379, "WNLI.tsv": 146,
}  # fmt: skip
WORDS = {"mnli": {"entailment", "neutral", "contradiction"}, "qnli": {"entailment", "not_entailment"},
         "rte": {"entailment", "not_entailment"}, "sts-b": set()}  # fmt: skip


def test_the_eleven_files():
    assert {sheet.name: sheet.num_rows for sheet in SERVER_FILES} == OFFICIAL
    for name, row in GLUE.items():
        assert set(row.spec.labels) == WORDS.get(name, {"0", "1"})


def test_words_and_numbers():
    assert file_text(GLUE["rte"].spec.answers, ["entailment", "not_entailment"]) == (
        "index\tprediction\n0\tentailment\n1\tnot_entailment\n"
    )
    assert (
        file_text(GLUE["sts-b"].spec.answers, [-0.2, 2.71828, 5.01])
        == "index\tprediction\n0\t0.000\n1\t2.718\n2\t5.000\n"
    )


def test_the_archive_is_the_same_each_time_and_keeps_what_was_there(tmp_path, monkeypatch):
    sheets = {"RTE.tsv": "b\n" * 1000, "AX.tsv": "a\n"}
    for name in ("one.zip", "two.zip"):
        write_submission(tmp_path / name, dict(sorted(sheets.items(), reverse=name == "two.zip")))
    content = (tmp_path / "one.zip").read_bytes()
    assert content == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["AX.tsv", "RTE.tsv"] and archive.testzip() is None
        assert archive.read("RTE.tsv").decode() == sheets["RTE.tsv"]
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(UserError, match=r"one.zip: No space left"):
        write_submission(tmp_path / "one.zip", sheets)
    assert (tmp_path / "one.zip").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]
