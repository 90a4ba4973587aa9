"""Downloads, against a local server that cuts connections, ignores ranges, lies, refuses and recovers."""

import contextlib
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from random import Random
from urllib.parse import urlsplit

import pytest

from bertsmith.datasets.download import CATALOGUE, Download, RemoteFile, Source, download
from bertsmith.errors import UserError
from bertsmith.storage.files import locked

CONTENT = Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = (0.0, 0.0, 0.0, 0.0)


@dataclass
class Page:
    """What the server says at one address."""

    content: bytes = CONTENT
    cut_after: int = 1 << 40
    """bytes after which every answer breaks off"""
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    """of the first answers, before the content is given"""


class Site:
    """A web server on the loopback: `pages` by path, and what was asked for."""

    def __init__(self, server: ThreadingHTTPServer):
        self.address = f"http://127.0.0.1:{server.server_port}"
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, int]] = []
        """path, first byte wanted"""

    def source(self, name: str, page: Page | None, **about) -> Source:
        """A source of one file, `data.bin` unless `path` is given."""
        if page:
            self.pages[f"/{name}"] = page
        return (RemoteFile(**{"url": f"{self.address}/{name}", "path": "data.bin", **about}),)

    def starts(self, name: str) -> list[int]:
        return [start for path, start in self.asked if path == f"/{name}"]


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            page = pages.get(self.path)
            wanted = self.headers.get("Range", "bytes=0-")
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            asked.append((self.path, start))
            if page is None or page.statuses:
                self.send_error(404 if page is None else page.statuses.pop(0))
                return
            start = start if page.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(page.content) - 1}/{len(page.content)}")
            self.send_header("Content-Length", str(len(page.content) - start))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client hangs up when it goes on elsewhere
                self.wfile.write(page.content[start : start + page.cut_after])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(server)
        pages, asked = site.pages, site.asked
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def get(out: Path, *sources: Source, pauses: tuple[float, ...] = AT_ONCE) -> list[Path]:
    return download("data", out, {"data": [Download("The data", sources)]}, pauses)


def test_a_cut_transfer_goes_on_where_it_was_cut(site, tmp_path):
    paths = get(tmp_path, site.source("cut", Page(cut_after=1_100_000), size=len(CONTENT), sha256=SHA256))
    assert paths == [tmp_path / "data.bin"]
    assert paths[0].read_bytes() == CONTENT
    resumed = [start for start in site.starts("cut") if start]
    assert len(resumed) >= 2
    assert resumed == sorted(set(resumed))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["data.bin"]


def test_the_next_run_goes_on_where_the_last_gave_up(site, tmp_path):
    source = site.source("cut", Page(cut_after=1_100_000))
    with pytest.raises(UserError):
        get(tmp_path, source, pauses=())
    assert not (tmp_path / "data.bin").exists()
    asked = len(site.asked)
    site.pages["/cut"] = Page()
    assert get(tmp_path, source)[0].read_bytes() == CONTENT
    assert max(start for _, start in site.asked[asked:]) >= 500_000


def test_a_server_that_ignores_ranges_is_asked_from_the_beginning(site, tmp_path):
    source = site.source("whole", Page(cut_after=1_100_000, ranges=False))
    with pytest.raises(UserError):
        get(tmp_path, source, pauses=())
    site.pages["/whole"].cut_after = 1 << 40
    assert get(tmp_path, source)[0].read_bytes() == CONTENT


def test_a_server_that_always_cuts_at_the_same_byte_is_given_up(site, tmp_path):
    with pytest.raises(UserError, match="the connection was cut"):
        get(tmp_path, site.source("stuck", Page(cut_after=1_100_000, ranges=False)))
    assert len(site.asked) < 20


@pytest.mark.parametrize("about", [{"size": 2_999_999}, {"sha256": "0" * 64}])
def test_wrong_bytes_are_dropped_and_the_next_source_is_asked(site, tmp_path, about):
    wrong = site.source("wrong", Page(), **about)
    right = site.source("right", Page(), size=len(CONTENT), sha256=SHA256)
    assert get(tmp_path, wrong, right)[0].read_bytes() == CONTENT
    with pytest.raises(UserError, match="instead of"):
        get(tmp_path / "alone", wrong)
    assert not (tmp_path / "alone").exists()


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_not_argued_with(site, tmp_path, status):
    refusing = site.source("refusing", Page(statuses=[status] * 9))
    assert get(tmp_path, refusing, site.source("right", Page()))[0].read_bytes() == CONTENT
    assert [path for path, _ in site.asked] == ["/refusing", "/right"]


def test_a_passing_trouble_is_waited_out(site, tmp_path):
    assert get(tmp_path, site.source("busy", Page(statuses=[503])))[0].read_bytes() == CONTENT
    assert site.starts("busy") == [0, 0]


def test_offline_the_message_says_what_to_fetch_and_where_to_put_it(tmp_path):
    source = (RemoteFile("http://127.0.0.1:9/data.bin", "part/data.bin"),)
    with pytest.raises(UserError) as caught:
        get(tmp_path, source)
    message = str(caught.value)
    assert "http://127.0.0.1:9/data.bin" in message
    assert str(tmp_path / "part" / "data.bin") in message
    assert "no connection" in message
    assert len(message.splitlines()) == 2


def test_over_quota_the_second_source_is_asked(site, tmp_path, monkeypatch):
    import gdown

    fetch = gdown.download

    def over_quota(url, **arguments):
        if "drive.google.com" in url:
            raise gdown.exceptions.FileURLRetrievalError("Too many users have viewed or downloaded this file recently.")
        return fetch(url=url, **arguments)

    monkeypatch.setattr(gdown, "download", over_quota)
    drive = (RemoteFile("https://drive.google.com/uc?id=0", "data.bin"),)
    assert get(tmp_path, drive, site.source("copy", Page()))[0].read_bytes() == CONTENT
    with pytest.raises(UserError, match=r"drive\.google\.com: Google Drive hands out no link"):
        get(tmp_path / "alone", drive)


def test_what_is_there_is_not_fetched_again(site, tmp_path):
    two = (*site.source("a", Page(b"a"), path="a.txt"), *site.source("b", Page(b"b"), path="folder/b.txt"))
    assert get(tmp_path, two) == [tmp_path / "a.txt", tmp_path / "folder" / "b.txt"]
    (tmp_path / "a.txt").unlink()
    get(tmp_path, two)
    assert [path for path, _ in site.asked] == ["/a", "/b", "/a"]


def test_a_source_that_was_begun_goes_before_the_others(site, tmp_path):
    archive = site.source("archive", Page(), path="whole.bin")
    parts = (*site.source("a", Page(b"a"), path="a.txt"), *site.source("b", None, path="b.txt"))
    with pytest.raises(UserError):
        get(tmp_path, parts)
    site.pages["/b"] = Page(b"b")
    assert get(tmp_path, archive, parts) == [tmp_path / "a.txt", tmp_path / "b.txt"]


def test_a_file_put_there_by_hand_is_taken_or_refused_but_never_removed(tmp_path):
    source = (RemoteFile("http://127.0.0.1:9/data.bin", "data.bin", len(CONTENT), SHA256),)
    (tmp_path / "data.bin").write_bytes(CONTENT)
    assert get(tmp_path, source) == [tmp_path / "data.bin"]
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"data\.bin: has 2,999,999 bytes instead of 3,000,000; remove it"):
        get(tmp_path, source)
    assert (tmp_path / "data.bin").exists()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_only_the_expected_members_leave_an_archive(site, tmp_path):
    hostile = {"../evil.txt": b"x", "/evil.txt": b"x", "CoLA/../../evil.txt": b"x", "CoLA/original/notes.txt": b"x"}
    content = zipped({"CoLA/train.tsv": b"train", "CoLA/dev.tsv": b"dev"} | hostile)
    about = {"path": "CoLA.zip", "members": ("CoLA/train.tsv", "CoLA/dev.tsv")}
    source = site.source("zip", Page(content), size=len(content), **about)
    out = tmp_path / "out"
    assert get(out, source) == [out / "CoLA" / "train.tsv", out / "CoLA" / "dev.tsv"]
    assert (out / "CoLA" / "train.tsv").read_bytes() == b"train"
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["out/.lock", "out/CoLA/dev.tsv", "out/CoLA/train.tsv"]
    get(out, source)
    assert len(site.asked) == 1


@pytest.mark.parametrize("content", [b"not an archive", zipped({"CoLA/dev.tsv": b"dev"}), zipped({"a": CONTENT})[:-99]])
def test_a_wrong_archive_sends_us_to_the_next_source(site, tmp_path, content):
    archive = site.source("zip", Page(content), path="CoLA.zip", members=("CoLA/train.tsv",))
    copy = site.source("copy", Page(b"rows"), path="CoLA/train.parquet")
    assert get(tmp_path, archive, copy) == [tmp_path / "CoLA" / "train.parquet"]
    assert not (tmp_path / "CoLA.zip").exists()


def test_an_archive_fetched_by_hand_is_unpacked(tmp_path):
    content = zipped({"RTE/train.tsv": b"train"})
    about = (len(content), hashlib.sha256(content).hexdigest(), ("RTE/train.tsv",))
    (tmp_path / "RTE.zip").write_bytes(content)
    assert get(tmp_path, (RemoteFile("http://127.0.0.1:9/RTE.zip", "RTE.zip", *about),)) == [
        tmp_path / "RTE" / "train.tsv"
    ]


def test_what_cannot_be_done_is_said(tmp_path):
    with pytest.raises(
        UserError, match="wikipedia: nothing to download by that name; there are openwebtext, glue, vocab"
    ):
        download("wikipedia", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        get(tmp_path / "file", ())
    with locked(tmp_path), pytest.raises(UserError, match="in use by another"):
        get(tmp_path, ())


def test_the_catalogue_is_sound():
    files = [file for items in CATALOGUE.values() for item in items for source in item.sources for file in source]
    assert all(urlsplit(file.url).scheme == "https" for file in files)
    for path in (PurePosixPath(path) for file in files for path in (file.path, *file.members)):
        assert not path.is_absolute()
        assert ".." not in path.parts
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) and file.size for file in files if file.sha256)
    assert all(len(item.sources) > 1 for items in CATALOGUE.values() for item in items if item.name != "MRPC")
    tasks = [item.name for item in CATALOGUE["glue"]]
    assert sorted(tasks) == ["CoLA", "MNLI", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI", "diagnostic"]
    assert all(
        path.startswith(f"{item.name}/")
        for item in CATALOGUE["glue"]
        for s in item.sources
        for f in s
        for path in f.kept
    )
