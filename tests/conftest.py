"""Fixtures of the whole suite."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

# Toy models run slower on several threads than on one, several times so beside other processes. Set before torch is
# imported, and inherited by the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read at a GPU's first matrix product, after which no test could ask for deterministic ones.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # speed is measured in benchmarks/, not here
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A small data folder, of `tests.toys`."""
    from tests.toys import make_data  # here: tests of the house need no torch

    return make_data(tmp_path_factory.mktemp("data")).path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $BERTSMITH_SHARED_DATA, by default `../shared/data` beside the clone."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERTSMITH_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set BERTSMITH_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def storage_server():
    """An S3 server on the loopback, the same one for all tests of a process."""
    from tests.object_storage import served

    with served() as storage:
        yield storage


@pytest.fixture
def storage(storage_server, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """That server with an empty bucket, without faults; copies of its files are in `tmp_path`/cache."""
    from bertsmith.storage import remote

    monkeypatch.setenv("BERTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01, 0.01))
    storage_server.clear()
    return storage_server


@pytest.fixture
def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the program in this process, which a verb of milliseconds needs no other for: status, stdout, stderr."""
    from bertsmith.__main__ import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bertsmith", *map(str, arguments)])
        for name in ("stdout", "stderr"):  # which the program wraps
            monkeypatch.setattr(sys, name, getattr(sys, name))
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run
