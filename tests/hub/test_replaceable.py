"""Only what an export wrote is written over."""

import pytest
import torch
import transformers

from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.errors import UserError
from bertsmith.hub.replaceable import check_replaceable
from bertsmith.storage.manifests import write_manifest
from tests.evals.toy_models import toy_network, toy_tokenizer, write_network


@pytest.fixture
def ours(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tokenizer = toy_tokenizer(tmp_path)
    return write_network(tmp_path / "ours", toy_network(MaskedTokenModel, tokenizer), tokenizer)


def test_what_an_export_wrote_and_what_is_empty_may_go(ours, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (ours, tmp_path / "empty", tmp_path / "none"):
        check_replaceable(out)


def test_a_model_of_the_same_names_may_not(ours, tmp_path):
    """Also one that was an export, and was trained on and saved by transformers."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(ours)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    for out in (tmp_path / "theirs", ours):
        model.save_pretrained(out)
        with pytest.raises(UserError, match=rf"{out.name}: holds model\.safetensors, and no sign that an export"):
            check_replaceable(out)


@pytest.mark.parametrize("name", ["vocab.txt", "config.json", "model.safetensors", "notes.txt"])
def test_a_file_alone_may_not(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name}"):
        check_replaceable(tmp_path)
    with pytest.raises(UserError, match="a file; name a folder"):
        check_replaceable(tmp_path / name)


@pytest.mark.parametrize("kind", ["data", "pretrain", "finetune"])
def test_another_folder_of_ours_is_called_by_its_kind(tmp_path, kind):
    write_manifest(tmp_path, kind, {})
    (tmp_path / ".lock").touch()
    with pytest.raises(UserError, match=rf"^{tmp_path}: a {kind} folder; name another folder to export to$"):
        check_replaceable(tmp_path)


def test_a_file_is_named_before_a_hidden_one_and_nothing_is_to_be_removed(tmp_path):
    for name in (".lock", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"holds notes\.txt, .*; name another folder$"):
        check_replaceable(tmp_path)
