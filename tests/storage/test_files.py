import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from bertsmith.errors import UserError
from bertsmith.storage.files import (
    TEMPORARY,
    atomic_folder,
    atomic_write,
    locked,
    make_folder,
    open_own,
    own_folder,
    read_text,
    reported,
)
from bertsmith.storage.json_files import finite, read_json, write_json
from bertsmith.storage.manifests import read_manifest, write_manifest
from bertsmith.storage.places import cache_folder


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic_write(path, "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_folder_is_whole_or_as_it_was(tmp_path):
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder") as folder:
        (folder / "new").touch()
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="No space left on device"), atomic_write(tmp_path / "file") as file:
        file.write(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not os.listdir(tmp_path)


def test_the_folder_for_copies_is_said_to_be_replaceable_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("BERTSMITH_CACHE", str(tmp_path / "cache"))
    for path, says in {"cache/data": ", or set BERTSMITH_CACHE to a folder elsewhere", "out": ""}.items():
        with pytest.raises(UserError) as caught, reported(tmp_path / path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert str(caught.value) == f"{tmp_path / path}: No space left on device; free some room{says}"
    with pytest.raises(UserError) as caught, reported(tmp_path / "cache"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))
    assert str(caught.value) == f"{tmp_path}: Permission denied; set BERTSMITH_CACHE to a folder elsewhere"


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch):
    for name in ("BERTSMITH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: Path("~no-such-user").expanduser())
    with pytest.raises(UserError, match="no home folder, where copies would be; set BERTSMITH_CACHE"):
        cache_folder()
    with pytest.raises(UserError, match=r"x: No space left on device; free some room$"), reported(Path("x")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        make_folder(tmp_path / "file" / "folder")


def test_a_folder_that_cannot_be_written_is_named_and_not_what_was_tried_in_it(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(UserError) as caught:
        make_folder(tmp_path)
    assert str(caught.value) == f"{tmp_path}: nothing can be written here (Permission denied)"


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(UserError) as caught, atomic_write(tmp_path / "file", "w") as file:
        file.write("x")
    assert str(caught.value) == f"{tmp_path / 'file'}: Is a directory"


def test_manifests_name_kind_and_format(tmp_path):
    with pytest.raises(UserError, match="not a finished toy folder"):
        read_manifest(tmp_path, "toy")
    write_manifest(tmp_path, "toy", {"x": 1})
    assert read_manifest(tmp_path, "toy")["x"] == 1
    with pytest.raises(UserError, match="a toy folder where a pretrain folder is needed"):
        read_manifest(tmp_path, "pretrain")
    write_manifest(tmp_path, "toy", {"format_version": 99})
    with pytest.raises(UserError, match="format 99"):
        read_manifest(tmp_path, "toy")
    (tmp_path / "manifest.json").write_text("[")
    with pytest.raises(UserError, match=r"manifest.json: damaged \(line 1: not JSON .*\); make the folder again"):
        read_manifest(tmp_path, "toy")


def test_a_manifest_says_which_names_are_ours_and_has_the_shape_of_its_kind(tmp_path):
    write_manifest(tmp_path, "search", {"finished": True, "names": ["more.json"]})
    assert read_manifest(tmp_path, "search")["names"] == ["grid/", "more.json", "results.json"]
    write_manifest(tmp_path, "search", {"finished": "yes"})
    with pytest.raises(UserError, match=r"manifest.json: finished must be true or false, not 'yes'; make the folder"):
        read_manifest(tmp_path, "search")


def _try_lock(folder, answer) -> None:
    try:
        with locked(folder):
            answer.put("locked")
    except UserError as error:
        answer.put(str(error))


def test_a_folder_in_use_is_refused_to_another_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    with locked(tmp_path):
        other = context.Process(target=_try_lock, args=(tmp_path, answer))
        other.start()
        assert "in use by another" in answer.get(timeout=30)
        other.join()
    _try_lock(tmp_path, answer)
    assert answer.get(timeout=30) == "locked"


def test_a_text_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(UserError, match=r"a.txt: no such file"):
        read_text(path)
    path.write_bytes("\ufeffété\r\n".encode())
    assert read_text(path) == "été\r\n"
    path.write_bytes(b"one\ntwo\n\xff\n")
    with pytest.raises(UserError, match=r"a.txt, line 3: not UTF-8"):
        read_text(path)
    with pytest.raises(UserError, match="not a regular file"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1,\n', r"a.json, line 2: not JSON \(Expecting property name"),
        ('{"a": [{"b": 1, "b": 1}]}', r"a.json: 'b' is there 2 times in one object"),
        ("9" * 5000, r"a.json: cannot be read as JSON"),
        ("[" * 100_000, r"a.json: JSON nested deeper than 100 levels"),
        ('{"a": NaN}', r"a.json: cannot be read as JSON \(NaN is no JSON\)"),
        ('{"a": 1e999}', r"a.json: cannot be read as JSON \(the number '1e999' is too large\)"),
        ("3", r"a.json: must hold an object or a list, not 3"),
    ],
)
def test_json_that_is_none(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [1]}')
    assert read_json(path) == {"a": [1]}
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_json(path)


def test_numbers_that_json_lacks_become_none():
    assert finite({"a": float("nan"), "b": float("inf"), "c": 0.5, "d": 3, "e": "nan"}) == {
        "a": None, "b": None, "c": 0.5, "d": 3, "e": "nan"
    }  # fmt: skip


def test_nothing_is_written_through_a_link(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    run = tmp_path / "run"
    run.mkdir()
    for name in (".lock", "metrics.jsonl"):
        (run / name).symlink_to(theirs)
    (run / "results.json").symlink_to(theirs)
    (run / f"results.json{TEMPORARY}").symlink_to(theirs)
    (run / "trials").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"\.lock: a symbolic link"), locked(run):
        pass
    with pytest.raises(UserError, match=r"metrics\.jsonl: a symbolic link"):
        open_own(run / "metrics.jsonl", os.O_WRONLY | os.O_APPEND)
    with pytest.raises(UserError, match=r"trials: a symbolic link"):
        own_folder(run / "trials")
    write_json(run / "results.json", {"ours": 1})
    assert theirs.read_text() == "theirs" and read_json(run / "results.json") == {"ours": 1}
    os.link(theirs, run / "linked")
    with pytest.raises(UserError, match="second name"):
        open_own(run / "linked", os.O_WRONLY | os.O_APPEND)


def test_a_lock_is_opened_without_emptying_it_and_notices_that_its_folder_is_gone(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").write_text("kept")
    with locked(run) as held:
        held.check()
        assert (run / ".lock").read_text() == "kept"
    with pytest.raises(UserError, match="run: was removed, renamed or replaced"), locked(run):
        run.rename(tmp_path / "moved")
        run.mkdir()
        write_json(run / "folder" / "results.json", {})
    assert not list(run.iterdir())


def test_somebodys_partial_file_and_what_is_in_a_replaced_folder_stay(tmp_path):
    (tmp_path / "a.json.partial").write_text("theirs")
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json.partial").read_text() == "theirs"
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("1")
    (tmp_path / "model/notes.md").write_text("theirs")
    with pytest.raises(UserError, match=r"model: holds notes\.md"), atomic_folder(tmp_path / "model", ["weights"]):
        pass
    (tmp_path / "model/notes.md").unlink()
    with atomic_folder(tmp_path / "model", ["weights"]) as folder:
        (folder / "weights").write_text("2")
    assert (tmp_path / "model/weights").read_text() == "2" and len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_a_link_is_replaced_where_it_lies(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "weights").touch()
    assert (tmp_path / "out").is_symlink() and [path.name for path in (tmp_path / "disk").iterdir()] == ["weights"]


def test_a_folder_that_was_copied_by_links_can_be_locked(tmp_path):
    """As `cp -al` makes it: a lock has no content that two names would share."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with locked(tmp_path / "one"):
        pass
    os.link(tmp_path / "one/.lock", tmp_path / "two/.lock")
    with locked(tmp_path / "two"):
        pass
