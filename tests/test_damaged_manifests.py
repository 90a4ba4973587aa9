"""Folders of ours whose manifest a power cut or an editor has damaged: every verb says that it is the manifest."""

import pytest
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.storage.manifests import write_manifest

VERBS = {
    "export": ["export", "FOLDER", "out"],
    "submit, GLUE": ["submit", "FOLDER", "out.zip"],
    "submit, questions": ["submit", "FOLDER", "out.json", "data=asked.json"],
    "show": ["show", "FOLDER"],
    "report": ["report", "FOLDER", "--out", "out.html"],
    "predict": ["predict", "FOLDER", "a [MASK]"],
    "score": ["score", "FOLDER", "texts.txt"],
    "evaluate": ["evaluate", "FOLDER"],
    "finetune, its model": ["finetune", "cola", "model=FOLDER", "data=glue", "--out", "out"],
    "search": ["search", "cola", "model=FOLDER", "data=glue", "--out", "out"],
    "pretrain, its data": ["pretrain", "bert-tiny", "data=FOLDER", "--out", "out"],
    "pretrain, its init": ["pretrain", "continue", "init=FOLDER", "data=FOLDER", "--out", "out"],
    "prepare, its folder": ["prepare", "text", "corpus=texts.txt", "vocab=vocab.txt", "--out", "FOLDER"],
    "prepare, anew": ["prepare", "text", "corpus=texts.txt", "vocab=vocab.txt", "--overwrite", "--out", "FOLDER"],
    "tokenizer": ["tokenizer", "text", "corpus=texts.txt", "--out", "FOLDER"],
    "quickstart": ["quickstart", "--out", "FOLDER"],
}


@pytest.mark.parametrize("verb", list(VERBS))
@pytest.mark.parametrize("damage", ["zeros", "nothing", "cut", "a list"])
def test_the_manifest_is_named(damage, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("ba be\n")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ba", "be"]) + "\n")
    (tmp_path / "asked.json").write_text('{"data": []}')
    folder = tmp_path / "folder"
    folder.mkdir()
    write_manifest(folder, "pretrain", {"finished": True})
    path = folder / "manifest.json"
    whole = path.read_bytes()
    path.write_bytes({"zeros": bytes(len(whole)), "nothing": b"", "cut": whole[:-40], "a list": b"[]"}[damage])
    before = path.read_bytes()
    words = [word.replace("FOLDER", "folder") for word in VERBS[verb]]
    result = CliRunner().invoke(app, words)
    said = str(result.exception) if result.exception else result.output
    assert "folder/manifest.json: damaged (" in said and len(said.splitlines()) <= 2, said
    assert path.read_bytes() == before and {entry.name for entry in folder.iterdir()} <= {"manifest.json", ".lock"}


@pytest.mark.parametrize("verb", ["export", "submit, GLUE", "show", "report", "predict", "pretrain, its data"])
def test_a_manifest_of_somebody_elses_is_none_of_ours(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "manifest.json").write_text('{"name": "an app", "kind": {"a": 1}}')
    result = CliRunner().invoke(app, [word.replace("FOLDER", "folder") for word in VERBS[verb]])
    said = str(result.exception)
    assert "damaged" not in said and type(result.exception).__name__ == "UserError" and "folder" in said, said
