"""Whose folder it is: claimed, refused, cleared."""

import pytest

from bertsmith.config.loading import defaults
from bertsmith.errors import UserError
from bertsmith.storage.folders import clear, differences, number_of, open_run_folder
from bertsmith.storage.manifests import FOLDER_TYPES, TOKENIZER, FolderType, write_manifest
from bertsmith.tokenizers.tokenizer import TOKENIZER_FILES
from bertsmith.training.optimizers.adamw import AdamWSettings

KIND = FolderType("toy", ("results.json",), ("recipe.toml",), members={"trials": "trial"})
SETTINGS = AdamWSettings()


def claimed(folder, identity, **options):
    before = open_run_folder(folder, KIND, identity, defaults(SETTINGS), **options)
    write_manifest(folder, "toy", {"identity": identity})
    (folder / "trials").mkdir(exist_ok=True)
    return before


def test_the_same_run_goes_on_and_another_is_refused_by_what_differs(tmp_path):
    assert claimed(tmp_path, {"seed": 1}) == {}
    assert claimed(tmp_path, {"seed": 1})["identity"] == {"seed": 1}
    with pytest.raises(UserError, match=r"belongs to another run \(seed: 1 → 2\); choose another --out or --overwrite"):
        claimed(tmp_path, {"seed": 2})
    assert claimed(tmp_path, {"seed": 2}, may_extend=lambda manifest, mine: mine["seed"] > 1)["identity"]["seed"] == 1


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


def test_what_somebody_put_among_checkpoints_and_trials_stays(tmp_path):
    kind = FOLDER_TYPES["finetune"]
    for seed in (0, 1):
        trial = tmp_path / "trials" / f"seed-{seed}"
        trial.mkdir(parents=True)
        for name in ("results.json", "model.safetensors", "notes.md"):
            (trial / name).write_text(name)
    write_manifest(tmp_path / "trials/seed-0", "trial", {"files": {"model.safetensors": "", "../../keep.txt": ""}})
    for name in ("keep.txt", "trials/seed-1.partial", "trials/seed-7.old", "results.json.partial"):
        (tmp_path / name).write_text("theirs")
    (tmp_path / "trials/seed-01").mkdir()
    (tmp_path / "results.json").write_text("{}")
    write_manifest(
        tmp_path, "finetune", {"task": "rte", "metrics": [], "finished": True, "names": ["/etc/hosts", "a/../b"]}
    )
    clear(tmp_path, kind)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "keep.txt", "results.json.partial", "trials/seed-7.old", "trials/seed-0/notes.md", "trials/seed-1/notes.md"
    }  # fmt: skip
    assert (tmp_path / "trials/seed-01").is_dir()


def test_clearing_follows_no_link(tmp_path):
    (tmp_path / "theirs/seed-0").mkdir(parents=True)
    (tmp_path / "theirs/seed-0/results.json").write_text("theirs")
    run = tmp_path / "run"
    run.mkdir()
    (run / "trials").symlink_to(tmp_path / "theirs")
    (run / "results.json").symlink_to(tmp_path / "theirs/seed-0/results.json")
    write_manifest(run, "finetune", {"task": "rte", "metrics": [], "finished": True})
    clear(run, FOLDER_TYPES["finetune"])
    assert (tmp_path / "theirs/seed-0/results.json").read_text() == "theirs"
    assert not list(run.iterdir())


def test_a_damaged_manifest_says_nothing_of_whose_the_folder_is(tmp_path):
    (tmp_path / "results.json").write_text("theirs")
    (tmp_path / "manifest.json").write_bytes(bytes(100))
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"manifest.json: damaged \(line 1: not JSON(.|\n)*choose another --out"):
            open_run_folder(tmp_path, FOLDER_TYPES["finetune"], {}, {}, overwrite)
    assert (tmp_path / "results.json").read_text() == "theirs"


@pytest.mark.parametrize(
    ("name", "number"),
    [("step-00000012", 12), ("step-100000000", 100_000_000), ("step-12", None), ("step-0000001٣", None)],
)
def test_numbers_in_names_are_those_that_we_give(name, number):
    assert number_of(name, "step-", 8) == number


def test_our_tokenizer_files_are_known_by_name():
    assert set(TOKENIZER) == set(TOKENIZER_FILES)


def test_what_differs_from_another_run_is_counted_where_it_is_not_named(tmp_path):
    keys = [f"key{number}" for number in range(6)]
    write_manifest(
        tmp_path, "finetune", {"task": "rte", "metrics": [], "finished": True, "identity": dict.fromkeys(keys, 1)}
    )
    with pytest.raises(UserError, match=r"another run \(key0: 1 → 2; .*key3: 1 → 2; and 2 more\)"):
        open_run_folder(tmp_path, FOLDER_TYPES["finetune"], dict.fromkeys(keys, 2), {})


def test_shares_that_differ_are_named_each(tmp_path):
    before = {f"a_corpus_{number}": 1 / 3 for number in range(3)}
    assert differences({"weights": before}, {"weights": before | {"a_corpus_1": 2 / 3}}) == [
        "weights.a_corpus_1: 0.333333 → 0.666667"
    ]
    assert differences({"rate": 0.25}, {"rate": 0.250000001}) == ["rate: 0.25 → 0.250000001"]
    assert differences({"weights": {}}, {"weights": {"a": 1}}) == ["weights: {} → None", "weights.a: None → 1"]
