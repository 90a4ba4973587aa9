"""Export and import that are killed anywhere and run again end with the same bytes, and leave nothing beside them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bertsmith.convert.export import export_run
from bertsmith.convert.importing import ImportSettings, import_model
from bertsmith.training.pretrain import pretrain
from tests.toys import make_data, tiny_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pretrain(tiny_recipe(make_data(folder).path, "plan.steps=2"), folder / "run")
    return folder / "run"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def killed_at(moment: int, work: Callable[[], object]) -> bool:
    """Do the work in a process of its own that is killed when it opens a file to write, syncs or renames for the
    `moment`th time, before that; returns whether it came so far."""
    child = os.fork()
    if child == 0:
        left = [moment]

        def dying(function: Callable) -> Callable:
            def call(*arguments, **named):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)

            return call

        os.fsync, os.mkdir, os.open = dying(os.fsync), dying(os.mkdir), dying(os.open)
        os.replace, os.rename, os.rmdir, os.unlink = map(dying, (os.replace, os.rename, os.rmdir, os.unlink))
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb", ["export", "import"])
def test_killed_anywhere_and_run_again_the_bytes_are_the_same(verb, kills, run, tmp_path):
    export_run(run, tmp_path / "exported")
    work = {
        "export": lambda out: export_run(run, out),
        "import": lambda out: import_model(tmp_path / "exported", out, ImportSettings()),
    }[verb]
    work(tmp_path / "whole" / "out")
    work(tmp_path / "twice" / "out")
    expected = content(tmp_path / "whole" / "out")
    assert content(tmp_path / "twice" / "out") == expected
    deaths, moment = 0, 1
    for number in range(kills):
        place = tmp_path / f"killed-{number}"
        place.mkdir()
        died = killed_at(moment, lambda place=place: work(place / "out"))
        deaths += died
        moment = moment + 1 if died else 1
        if (place / "out").exists():
            assert content(place / "out") == expected, "whole or absent"
        work(place / "out")
        assert content(place / "out") == expected
        assert [path.name for path in place.iterdir()] == ["out"], "nothing is left over"
    assert deaths >= kills // 2
