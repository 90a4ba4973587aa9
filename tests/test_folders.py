"""Whose folder it is: claimed, refused, cleared."""

import pytest

from bertsmith.errors import UserError
from bertsmith.folder_kinds import Kind
from bertsmith.folders import open_run_folder
from bertsmith.manifests import write_manifest
from bertsmith.training.optimizers import OptimizerSettings

KIND = Kind("toy", ("results.json",), ("recipe.toml",), members={"trials": "trial"})
SETTINGS = OptimizerSettings()


def claimed(folder, identity, **options):
    before = open_run_folder(folder, KIND, identity, SETTINGS, **options)
    write_manifest(folder, "toy", {"identity": identity})
    (folder / "trials").mkdir(exist_ok=True)
    return before


def test_the_same_run_goes_on_and_another_is_refused_by_what_differs(tmp_path):
    assert claimed(tmp_path, {"seed": 1}) == {}
    assert claimed(tmp_path, {"seed": 1})["identity"] == {"seed": 1}
    with pytest.raises(UserError, match=r"belongs to another run \(seed: 1 → 2\); choose another --out or --overwrite"):
        claimed(tmp_path, {"seed": 2})
    assert claimed(tmp_path, {"seed": 2}, takes_over=lambda manifest, mine: mine["seed"] > 1)["identity"]["seed"] == 1


def test_what_an_older_manifest_does_not_say_is_the_default(tmp_path):
    claimed(tmp_path, {"seed": 1})
    assert claimed(tmp_path, {"seed": 1, "weight_decay": SETTINGS.weight_decay})
    with pytest.raises(UserError, match="weight_decay: "):
        claimed(tmp_path, {"seed": 1, "weight_decay": 0.5})


def test_overwrite_clears_what_a_run_made_and_nothing_else(tmp_path):
    claimed(tmp_path, {"seed": 1})
    (tmp_path / "trials" / "seed-0").mkdir()
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "recipe.toml").write_text("")
    assert claimed(tmp_path, {"seed": 2}, overwrite=True) == {}
    assert not list((tmp_path / "trials").iterdir()) and (tmp_path / "notes.md").exists()
    write_manifest(tmp_path, "other", {})
    with pytest.raises(UserError, match="a other folder, not a toy one"):
        claimed(tmp_path, {"seed": 2}, overwrite=True)


@pytest.mark.parametrize("name", ["trials", "results.json", "recipe.toml"])
def test_without_a_manifest_what_has_our_names_is_somebodys(tmp_path, name):
    (tmp_path / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=f"has {name}, and no manifest.json to say that we wrote it; move it away"):
            claimed(tmp_path, {}, overwrite=overwrite)
        assert (tmp_path / name).read_text() == "mine"
