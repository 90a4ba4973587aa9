"""Copies of remote files: of the right content, no more than there is room for, fetched once for all who want them."""

import errno
import hashlib
import mmap
import os
import subprocess
import sys
import threading

import pytest

from bertsmith.errors import UserError
from bertsmith.storage import file_cache
from bertsmith.storage.file_cache import FileCache, cache_size


class Source:
    """Files of 1,000 bytes to fetch, by number."""

    def __init__(self):
        self.fetched: list[int] = []

    def content(self, number: int) -> bytes:
        return bytes([number]) * 1000

    def open(self, cache: FileCache, number: int):
        content = self.content(number)

        def fetch(start: int, stop: int) -> bytes:
            self.fetched.append(number)
            return content[start:stop]

        return cache.open(hashlib.sha256(content).hexdigest(), 1000, fetch, f"s3://b/{number}")

    def use(self, cache: FileCache, number: int) -> None:
        with self.open(cache, number) as file:
            assert file.read() == self.content(number)


@pytest.fixture
def source() -> Source:
    return Source()


def size_of(cache: FileCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def test_the_oldest_used_makes_room(tmp_path, source):
    cache = FileCache(tmp_path / "cache", 3000)
    for number in (1, 2, 3, 1, 4):  # 2 is the oldest when 4 comes
        source.use(cache, number)
        assert size_of(cache) <= 3000
    source.use(cache, 1)
    source.use(cache, 3)
    assert source.fetched == [1, 2, 3, 4]
    source.use(cache, 2)
    assert source.fetched == [1, 2, 3, 4, 2]


def test_what_is_open_or_mapped_stays_and_too_little_room_is_one_line(tmp_path, source):
    cache, other = FileCache(tmp_path, 2000), FileCache(tmp_path, 2000)
    with source.open(cache, 1) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    source.use(other, 2)
    source.use(other, 3)  # takes the room of 2, which nobody uses
    with source.open(cache, 4), pytest.raises(UserError) as caught:
        source.use(other, 5)
    assert str(caught.value).count("\n") == 0
    assert "no room for s3://b/5 (0.0 MB)" in str(caught.value) and "BERTSMITH_CACHE_SIZE" in str(caught.value)
    assert source.fetched == [1, 2, 3, 4]
    mapped.close()
    source.use(other, 5)
    assert source.fetched == [1, 2, 3, 4, 5] and size_of(cache) == 2000


def test_a_full_disk_takes_the_room_of_others_and_is_one_line_where_there_are_none(tmp_path, source, monkeypatch):
    allocate, free = file_cache._allocate, 2000

    def limited(file, size: int) -> None:
        if sum(path.stat().st_size for path in tmp_path.iterdir()) + size > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(file, size)

    monkeypatch.setattr(file_cache, "_allocate", limited)
    cache = FileCache(tmp_path, 10**9)
    for number in (1, 2, 3):
        source.use(cache, number)
    assert size_of(cache) == 2000
    with source.open(cache, 2), source.open(cache, 3), pytest.raises(UserError) as caught:
        source.use(cache, 4)
    assert "No space left on device; free some, or set BERTSMITH_CACHE " in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith("partial")) == []


@pytest.mark.parametrize("fails", ["mkdir", "fetch", "lock"])
def test_a_full_disk_is_one_line_wherever_it_is_met(tmp_path, source, monkeypatch, fails):
    """Also where room that was taken before is none: a quota, a file system that takes it as it is written."""
    monkeypatch.setenv("BERTSMITH_CACHE", str(tmp_path / "cache"))
    cache = FileCache(tmp_path / "cache" / "shards", 10**6) if fails != "mkdir" else None

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(*{"mkdir": ("pathlib.Path.mkdir", fail), "fetch": ("os.fsync", fail)}.get(
        fails, (file_cache, "open_own", fail)
    ))  # fmt: skip
    with pytest.raises(UserError) as caught:
        source.use(cache or FileCache(tmp_path / "cache" / "shards", 10**6), 1)
    remedy = "Disk quota exceeded; free some room, or set BERTSMITH_CACHE to a folder elsewhere"
    assert str(caught.value) == f"{tmp_path / 'cache' / 'shards'}: {remedy}"


def test_many_who_want_a_file_fetch_it_once(tmp_path, source):
    threads = [threading.Thread(target=source.use, args=(FileCache(tmp_path, 10**6), 7)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.fetched == [7]


PROCESS = """
import hashlib, os, random, sys
from pathlib import Path
from bertsmith.storage.file_cache import FileCache, in_turn

cache, log, most = FileCache(Path(sys.argv[1]), int(sys.argv[2])), os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND), 0
numbers = random.Random(int(sys.argv[4])).sample(range(1, 21), 20)
for number in numbers:
    content = bytes([number]) * 1000

    def fetch(start, stop):
        os.write(log, bytes([number]))
        return content[start:stop]

    with cache.open(hashlib.sha256(content).hexdigest(), 1000, fetch, "it") as file:
        assert file.read() == content
        with in_turn(cache.folder):
            most = max(most, sum(path.stat().st_size for path in cache.folder.iterdir()))
print(most)
"""


@pytest.mark.parametrize("max_bytes", [10**6, 5000])
def test_processes_share_copies_and_their_bound(tmp_path, max_bytes):
    (tmp_path / "log").touch()
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "cache"), str(max_bytes), str(tmp_path / "log")]
    begun = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(3)]
    most = [int(process.communicate()[0]) for process in begun]
    assert [process.returncode for process in begun] == [0, 0, 0]
    fetched = (tmp_path / "log").read_bytes()
    if max_bytes == 10**6:
        assert sorted(fetched) == list(range(1, 21)), "each once"
    else:
        assert set(fetched) == set(range(1, 21)) and max(most) <= max_bytes


def test_a_damaged_copy_is_fetched_again_and_a_damaged_source_refused(tmp_path, source):
    source.use(FileCache(tmp_path, 10**6), 1)
    [path] = [path for path in tmp_path.iterdir() if path.name != ".lock"]
    path.write_bytes(b"\1" * 999 + b"\2")
    source.use(FileCache(tmp_path, 10**6), 1)
    assert source.fetched == [1, 1]
    with pytest.raises(UserError, match=r"^s3://b/x: is not what manifest\.json says"):
        FileCache(tmp_path, 10**6).open("0" * 64, 4, lambda start, stop: b"text", "s3://b/x")
    assert sorted(found.name for found in tmp_path.iterdir()) == [".lock", path.name]


def test_what_a_killed_process_left_is_replaced_and_its_room_taken(tmp_path, source):
    left = [tmp_path / f"{hashlib.sha256(source.content(number)).hexdigest()}.bertsmith-partial" for number in (1, 2)]
    for path in left:
        path.write_bytes(b"x" * 900)
    cache = FileCache(tmp_path, 1000)
    source.use(cache, 1)
    assert size_of(cache) == 1000 and not any(path.exists() for path in left)


def test_sizes_are_read_with_their_units(monkeypatch):
    for text, expected in {"500MB": 5 * 10**8, "1.5TB": 15 * 10**11, "20 G": 2 * 10**10, "": 2 * 10**10}.items():
        monkeypatch.setenv("BERTSMITH_CACHE_SIZE", text)
        assert cache_size() == expected
    for text in ("much", "-1", "1e9", "5 MiB"):
        monkeypatch.setenv("BERTSMITH_CACHE_SIZE", text)
        with pytest.raises(UserError, match="a size is wanted"):
            cache_size()
