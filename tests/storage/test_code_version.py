"""Which code is running: git's files, read; a hash of the package's."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bertsmith.storage.code_version import PACKAGE, code_version

COMMIT, OTHER = "a1" * 20, "b2" * 20


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "clone/bertsmith"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n")
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit_of(package: Path) -> str | None:
    return code_version.__wrapped__(package).commit


def test_git_says_which_commit_it_is(package):
    git = package.parent / ".git"
    assert commit_of(package) is None
    write(git / "HEAD", f"{COMMIT}\n")
    assert commit_of(package) == COMMIT, "detached"
    write(git / "HEAD", "ref: refs/heads/main\n")
    assert commit_of(package) is None, "before the first commit"
    write(
        git / "packed-refs",
        f"# pack-refs with: peeled\n{OTHER} refs/heads/mainly\n{COMMIT} refs/heads/main\n^{OTHER}\n",
    )
    assert commit_of(package) == COMMIT
    write(git / "refs/heads/main", f"{OTHER}\n")
    assert commit_of(package) == OTHER, "the loose one is newer"
    write(git / "refs/heads/main", "../../etc/passwd\n")
    assert commit_of(package) is None


def test_a_further_worktree_has_its_commit_in_the_first(package, tmp_path):
    own = tmp_path / "main/.git/worktrees/mine"
    write(package.parent / ".git", f"gitdir: {own}\n")
    assert commit_of(package) is None
    write(own / "HEAD", "ref: refs/heads/mine\n")
    write(own / "commondir", "../..\n")
    write(tmp_path / "main/.git/refs/heads/mine", f"{COMMIT}\n")
    assert commit_of(package) == COMMIT


def test_the_hash_changes_with_names_and_contents_of_code_alone(package, tmp_path):
    def sha256() -> str:
        return code_version.__wrapped__(package).sha256

    first = sha256()
    write(package / "notes.txt", "x")
    assert sha256() == first
    write(package / "recipes/b.toml", "y = 1\n")
    second = sha256()
    (package / "a.py").rename(package / "c.py")
    third = sha256()
    write(package / "c.py", "x = 2\n")
    assert len({first, second, third, sha256()}) == 4
    shutil.copytree(package, tmp_path / "elsewhere/bertsmith")
    assert code_version.__wrapped__(tmp_path / "elsewhere/bertsmith").sha256 == sha256()


@pytest.mark.skipif(not (PACKAGE.parent / ".git").exists() or not shutil.which("git"), reason="no git checkout")
def test_git_itself_agrees():
    asked = subprocess.run(["git", "-C", str(PACKAGE), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert code_version().commit == asked.stdout.strip()


def test_doctor_prints_it():
    from bertsmith.planning.doctor import doctor

    assert any(line.startswith("code: ") and line.endswith(code_version().sha256) for line in doctor()[0])
