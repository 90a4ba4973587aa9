"""Training on data in object storage is training on the same data here."""

import itertools
import json
import time

import numpy as np
import pytest

from bertsmith.errors import UserError
from bertsmith.text import shards
from bertsmith.text.segments import RowSettings
from bertsmith.text.shards import Data, open_data
from bertsmith.training.batches import RowStream
from bertsmith.training.pretrain import pretrain
from tests.text.layouts import set_part_bytes
from tests.toys import make_data, tiny_recipe

STEPS = ("plan.steps=24", "plan.evaluate_steps=24", "plan.checkpoint_steps=24")  # more than a group of shards


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Data:
    """Data of many shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_TOKENS", 500)
        set_part_bytes(patch, 1000)
        data = make_data(tmp_path_factory.mktemp("data"))
    assert data.num_shards("train") > 12
    return data


@pytest.fixture
def address(storage, local) -> str:
    return storage.upload(local.path, "mine")


def test_losses_and_weights_are_those_of_data_on_disk(local, address, tmp_path, monkeypatch):
    largest = max(path.stat().st_size for path in local.path.glob("*.npy"))
    monkeypatch.setenv("BERTSMITH_CACHE_SIZE", str(14 * largest))  # of a group's twelve files, about
    runs = []
    for data in (local.path, address):
        runs.append(tmp_path / f"run-{len(runs)}")
        pretrain(tiny_recipe(data, *STEPS), runs[-1])
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    one, other = ([{k: v for k, v in line.items() if "loss" in k or k == "step"} for line in log] for log in logs)
    assert one == other and len(one) >= 6
    weights = [run / "checkpoints" / "step-00000024" / "model.safetensors" for run in runs]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    manifest = json.loads((runs[1] / "manifest.json").read_text())
    assert manifest["data"]["path"] == address and manifest["finished"]
    held = sum(path.stat().st_size for path in (tmp_path / "cache" / "shards").iterdir())
    assert 0 < held <= 14 * largest < sum(path.stat().st_size for path in local.path.glob("*.npy"))


def test_rows_of_cut_connections_are_the_same_and_each_shard_is_fetched_once(storage, local, address):
    times = itertools.count()
    storage.fault = lambda method, path: "cut" if path.endswith(".npy") and next(times) % 3 == 0 else None
    data = open_data(address)
    assert data.hash == local.hash and data.address == address
    for split in shards.SPLITS:
        streams = [RowStream(each, split, RowSettings(length=32), seed=3).batches(8) for each in (local, data)]
        for (one, there), (other, here) in itertools.islice(zip(*streams, strict=True), 90):
            assert there == here and np.array_equal(one.ids, other.ids)
    storage.requests.clear()
    again = open_data(address)
    for index in range(again.num_shards("train")):
        again.read("train", index)
    assert not [path for _, path in storage.requests if path.endswith(".npy")], "they are here by now"


def test_a_group_is_fetched_while_the_one_before_is_used(storage, local, address):
    stream = RowStream(open_data(address), "train", RowSettings(length=32), seed=0)
    storage.requests.clear()
    next(stream.batches(1))
    wanted = {shards.shard_file("train", index, part) for index in stream._members(0, 1) for part in shards.ARRAYS}
    for _ in range(500):
        if wanted <= {path.rpartition("/")[2] for _, path in storage.requests}:
            break
        time.sleep(0.01)
    asked = {path.rpartition("/")[2] for _, path in storage.requests if path.endswith(".npy")}
    first = {shards.shard_file("train", index, part) for index in stream._members(0, 0) for part in shards.ARRAYS}
    assert asked == wanted | first


def test_what_is_wrong_there_is_a_line_with_the_address(storage, local, address, tmp_path):
    with pytest.raises(UserError, match=r"^s3://nowhere/x: no such bucket or object .*look at the address$"):
        open_data("s3://nowhere/x")
    with pytest.raises(UserError, match=r"^s3://texts/x: not a finished data folder \(nothing is there\)"):
        open_data("s3://texts/x")
    data = open_data(address)
    storage.remove("mine/train-00003.lines.npy")
    with pytest.raises(UserError, match=r"^s3://texts/mine/train-00003\.lines\.npy: no such bucket or object"):
        data.read("train", 3)
    with pytest.raises(UserError, match=r"^s3://texts/mine/train-00003\.lines\.npy: damaged \(missing\); run `bert"):
        open_data(address)
    content = bytearray((local.path / "train-00003.lines.npy").read_bytes())
    content[-1] ^= 1
    storage.write("mine/train-00003.lines.npy", bytes(content))
    with pytest.raises(UserError, match=r"train-00003\.lines\.npy: is not what manifest\.json says"):
        pretrain(tiny_recipe(address, "plan.steps=400"), tmp_path / "run")
    storage.remove("mine/manifest.json")
    with pytest.raises(UserError, match=r"^s3://texts/mine: not a finished data folder \(it has no manifest\.json\)"):
        open_data(address)


def test_a_cache_that_is_too_small_for_a_group_is_a_line(address, tmp_path, monkeypatch):
    monkeypatch.setenv("BERTSMITH_CACHE_SIZE", "3kB")
    with pytest.raises(UserError, match=r"shards: no room for s3://texts/mine/.*in use, are too few; free some"):
        pretrain(tiny_recipe(address), tmp_path / "run")
