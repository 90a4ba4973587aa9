"""Files behind addresses (s3://…, gs://…), through fsspec: listed, read in ranges, written whole.

An object of such a storage is there whole or not at all, as a file that is renamed. What may pass (a dropped
connection, a server that is busy) is tried again; all other faults are a line that names the address.
"""

import glob
import io
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from bertsmith.errors import UserError, one_line

Called = TypeVar("Called")

WAITS = (0.2, 1.0, 4.0)
"""Seconds before a call is made again; the libraries below try several times by themselves."""

FIRST_WINDOW, LAST_WINDOW = 1 << 16, 1 << 23
"""Bytes that are fetched at once: twice as many each time, as long as a file is read forwards."""

_MAY_PASS = re.compile("Connection|Timeout|HTTPClient|Payload|IncompleteRead|Disconnected|HttpError|RetryError")
"""In the names of errors of the libraries (botocore, aiohttp, gcsfs) that are none of the operating system's."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}


def is_address(place: str | Path) -> bool:
    """Return whether this is an address, and no local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(place)) is not None


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn whatever a storage's library raises about `address` into a UserError of a line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{address}: {_reason(address, error)}") from error


def retried(address: str, call: Callable[[], Called]) -> Called:
    """Return what `call` returns, and call it again, after waiting, where it fails for what may pass. Raises UserError
    as `remote_errors`."""
    with remote_errors(address):
        for wait in WAITS:
            try:
                return call()
            except Exception as error:
                if not _may_pass(error):
                    raise
            time.sleep(wait)
        return call()


def find_remote(address: str) -> list[tuple[str, int]]:
    """Return the addresses of the objects at or below an address, or of those that a glob matches, in order, with their
    sizes in bytes; hidden ones are left out. Raises UserError where it cannot be listed."""
    with remote_errors(address):
        system, path = _opened(address)
        found = _found(system, path)
        return sorted(
            (system.unstrip_protocol(name), size) for name, size in found if "/." not in name.removeprefix(path)
        )


def list_files(address: str) -> dict[str, int]:
    """Return the names below a folder, which need not be there, and their sizes in bytes. Raises UserError where it
    cannot be listed."""
    with remote_errors(address):
        system, path = _opened(address)
        return {name.removeprefix(path).lstrip("/"): size for name, size in _found(system, path)}


def read_remote(address: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return an object's bytes from `start` to `stop`, or to its end, and fetch no others.

    Raises:
        UserError: it is not there, or cannot be read.
    """
    if stop is not None and stop <= start:
        return b""
    system, path = _system(address)

    def read() -> bytes:
        try:
            content: bytes = system.cat_file(path, start=start, end=stop)
        except FileNotFoundError:
            raise
        except Exception:
            size = system.size(path)  # of what begins after its end some storages tell no more than that it is wrong
            if size is not None and start >= size:
                return b""
            raise
        return content

    return retried(address, read)


def read_ranges(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Return the bytes of several (address, start, stop) of one storage, which are fetched side by side. Raises
    UserError as `read_remote`."""
    system, _ = _system(ranges[0][0])
    addresses, starts, stops = (list(column) for column in zip(*ranges, strict=True))
    found = system.cat_ranges(
        [system._strip_protocol(address) for address in addresses], starts, stops, on_error="return"
    )
    return [
        read_remote(*wanted) if isinstance(content, Exception) else content
        for wanted, content in zip(ranges, found, strict=True)
    ]


def write_remote(address: str, content: bytes) -> None:
    """Write an object, whole. Raises UserError where it cannot be written."""
    system, path = _system(address)
    retried(address, lambda: system.pipe_file(path, content))


def upload(file: Path, address: str) -> None:
    """Write a local file's content to an object, which is there when all of it is (large ones in several parts). Raises
    UserError where it cannot be written."""
    system, path = _system(address)
    retried(address, lambda: system.put_file(str(file), path))


def remove_remote(addresses: list[str]) -> None:
    """Remove objects, those that are there. Raises UserError where one cannot be removed."""
    for address in addresses:
        system, path = _system(address)
        with remote_errors(address), suppress(FileNotFoundError):
            system.rm_file(path)


class RangeReader(io.RawIOBase):
    """An object behind an address, opened for reading. A read gives as many bytes as are asked for, or what there is to
    the end."""

    def __init__(self, address: str, size: int | None = None, at_once: bool = False):
        """With its `size` in bytes, where that is known. `at_once` fetches all that is ahead with the first read: of a
        small object that will be read whole, several requests take longer than its bytes."""
        system, path = _system(address)
        self.name = address
        self._size: int = retried(address, lambda: system.size(path)) if size is None else size
        self._least = self._size if at_once else FIRST_WINDOW
        self._position, self._start, self._content, self._window = 0, 0, b"", self._least

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        before = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, before + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._position < self._size:
            at = self._position - self._start
            if not 0 <= at < len(self._content):
                self._fetch(len(view) - done)
                at = 0
            taken = self._content[at : at + len(view) - done]
            view[done : done + len(taken)] = taken
            done += len(taken)
            self._position += len(taken)
        return done

    def _fetch(self, wanted: int) -> None:
        """Fetch what is at the position."""
        goes_on = self._content and self._position == self._start + len(self._content)
        self._window = min(2 * self._window, LAST_WINDOW) if goes_on else self._least
        stop = min(self._size, self._position + max(wanted, self._window))
        self._content = b""  # before the next one is there
        content = read_remote(self.name, self._position, stop)
        if len(content) < stop - self._position:
            raise UserError(f"{self.name}: is shorter than when it was listed; run the same command on what it is now")
        self._start, self._content = self._position, content


def _found(system: Any, path: str) -> list[tuple[str, int]]:
    """Return the objects below a path, or those that match it; none where only the bucket is there."""
    system.invalidate_cache()  # of an earlier listing
    try:
        found = system.glob(path, detail=True) if glob.has_magic(path) else system.find(path, detail=True)
    except FileNotFoundError:
        if not system.exists(path.strip("/").partition("/")[0]):
            raise
        found = {}
    return [(name, info["size"]) for name, info in found.items() if info["type"] == "file"]


def _opened(address: str) -> tuple[Any, str]:
    import fsspec  # here: 0.14 s, a third of what the room takes to import

    logging.getLogger("gcsfs").setLevel(logging.ERROR)  # it warns of what it does without, once for each bucket
    found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    return found


def _system(address: str) -> tuple[Any, str]:
    with remote_errors(address):
        return _opened(address)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | ImportError | NotImplementedError):
        return False
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    return isinstance(error, OSError) or _MAY_PASS.search(names) is not None


def _reason(address: str, error: Exception) -> str:
    """Return what is wrong, and what to do."""
    protocol = address.partition("://")[0].lower()
    if isinstance(error, ImportError):
        extra = _EXTRAS.get(protocol)
        what = f"pip install 'bertsmith[{extra}]'" if extra else "install the library that reads it"
        return f"{protocol}:// needs a library that is not there ({one_line(error)}); {what}"
    said = one_line(error).removeprefix("[Errno None]").strip() or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return f"no such bucket or object ({said}); look at the address"
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return f"no right to it ({said}); look at the credentials of this machine"
    if _may_pass(error):
        return f"the connection failed ({said}); look at the network and at the service's address, or try again later"
    return said
