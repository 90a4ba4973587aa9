"""A corpus and a data folder behind gs://, by gcsfs and a server on the loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bertsmith.errors import UserError
from bertsmith.text import shards
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import ARRAYS, open_data, shard_file
from tests.text import layouts
from tests.text.layouts import make_documents
from tests.training.ranks_at_work import free_port

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    remedy = "no server of object storage here; pip install 'bertsmith[dev]'"
    pytest.importorskip("gcsfs", reason=remedy)
    server = pytest.importorskip("gcp_storage_emulator.server", reason=remedy)
    port = free_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    monkeypatch.setenv(
        "NO_GCE_CHECK", "true"
    )  # of Google's library: it looks for a server of credentials, for a minute
    monkeypatch.setenv("BERTSMITH_CACHE", str(tmp_path / "cache"))
    serving = server.create_server("127.0.0.1", port, in_memory=True, default_bucket="texts")
    serving.start()
    yield "gs://texts"
    serving.stop()


def test_from_google_to_google_the_bytes_are_those_of_disk(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import fsspec

    layouts.set_part_bytes(monkeypatch, 2000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)
    path, vocab = layouts.write_jsonl(tmp_path / "corpus", make_documents(60)), layouts.write_vocabulary(tmp_path)
    fsspec.filesystem("gs").put(str(tmp_path / "corpus"), f"{bucket}/corpus", recursive=True)

    def recipe(corpus: str | Path) -> PrepareRecipe:
        return PrepareRecipe(corpus=str(corpus), layout="jsonl", vocab=str(vocab), workers=1, heldout_fraction=0.2)

    expected = prepare(recipe(path), tmp_path / "data")
    found = prepare(recipe(f"{bucket}/corpus"), f"{bucket}/data")
    assert found.manifest["files"] == expected.manifest["files"] and expected.num_shards("train") > 1
    again = open_data(f"{bucket}/data")
    for index in range(expected.num_shards("train")):
        assert (again.read("train", index).tokens == expected.read("train", index).tokens).all()
    fsspec.filesystem("gs").rm(f"{bucket}/data/{shard_file('train', 0, ARRAYS[0])}")
    with pytest.raises(UserError, match=r"gs://texts/data/train-00000\.tokens\.npy: damaged"):
        open_data(f"{bucket}/data")
    with pytest.raises(UserError, match="gs://nobody/data: no such bucket or object"):
        open_data("gs://nobody/data")
