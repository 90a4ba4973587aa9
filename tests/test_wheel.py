"""The wheel: installed away from the clone, the program, its recipes and the Python API are all there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "bertsmith", source / "bertsmith", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=folder)
    return next(folder.glob("bertsmith-*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An environment that holds the wheel alone; what it needs is found where the tests find it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    library = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    (library / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {
        str(path.relative_to(ROOT)) for path in (ROOT / "bertsmith").rglob("*") if path.suffix in (".py", ".toml")
    }
    assert wanted <= names
    assert {name.partition("/")[0] for name in names if not name.endswith("/")} == {
        "bertsmith", f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
    }  # fmt: skip


def test_the_program_and_its_recipes_work_outside_the_clone(python, tmp_path):
    program = python.with_name("bertsmith")
    place = run(python, "-c", "import bertsmith; print(bertsmith.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(python.parents[1])
    assert "quickstart" in run(program, "--help", cwd=tmp_path)
    assert "bert-small-owt" in run(program, "show", cwd=tmp_path)
    assert "plan.steps" in run(program, "show", "bert-small-owt", cwd=tmp_path)
    assert "plan.tokens" in run(program, "show", "fast-tiny", cwd=tmp_path)
    assert "parameters" in run(program, "plan", "bert-tiny", cwd=tmp_path)
