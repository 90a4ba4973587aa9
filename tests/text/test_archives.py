"""What an archive holds comes out as it went in; what is cut, damaged or hostile is refused, whatever it is."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zlib
from collections import Counter

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.text import archives
from bertsmith.text.archives import members
from bertsmith.text.compression import UnreadableInput, decompressed
from tests.text.layouts import COMPRESS, tar

CONTENTS = st.lists(st.binary(max_size=3000), max_size=6)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def read(archive: bytes) -> list[bytes]:
    return list(members(decompressed(io.BytesIO(archive), "a.tar"), "a.tar"))


def stream(content: bytes) -> bytes:
    return b"".join(decompressed(io.BytesIO(content), "a"))


@given(CONTENTS, FORMATS, st.sampled_from(sorted(COMPRESS)), st.integers(0, 200))
@settings(deadline=None, max_examples=60)
def test_members_come_out_as_they_went_in(contents: list[bytes], form: int, suffix: str, length: int):
    names = [f"{'folder/' * (length // 8)}{number}.txt" for number in range(len(contents))]
    if form == tarfile.USTAR_FORMAT:
        names = [name[-90:].lstrip("/") for name in names]
    assert read(COMPRESS[suffix](tar(contents, names, form))) == contents


def test_a_member_larger_than_a_block_of_the_stream_comes_out_whole():
    contents = [bytes(range(256)) * 4000, b"small", b"x" * 300_000]
    assert read(lzma.compress(tar(contents))) == contents
    assert read(tar(contents)) == contents


def member(name: str, content: bytes = b"", **more) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def packed(*found: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for info, content in found:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_what_is_no_text_is_counted_by_what_it_is():
    kinds = [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
    others = [member("thing", type=kind, linkname="/etc/passwd") for kind in [*kinds, b"9"]]
    hidden = [member("a/._x", b"\0\5\x16\7"), member(".DS_Store", b"a"), member("./.git/x", b"read")]
    skipped: Counter[str] = Counter()
    archive = packed(*others, *hidden, member("./a.txt", b"abc"), member("a/...b"), member("empty"))
    assert list(members(iter([archive]), "a.tar", skipped)) == [b"read", b"abc", b""]
    assert skipped == {
        "archive link": 2, "archive device": 3, "archive member of unknown kind": 1, "hidden archive member": 3,
    }  # fmt: skip


def test_sparse_members_are_counted_and_what_is_behind_them_is_read():
    """In GNU's old layout with more of the map behind the header, and as pax records say it."""
    old = bytearray(packed(member("hole", b"x" * 700), form=tarfile.GNU_FORMAT)[: 512 + 1024])
    old[156:157], old[482] = b"S", 1
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old[:512])
    maps = bytearray(1024)
    maps[504] = 1
    pax = packed(member("hole2", b"y" * 10, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.name": "hole2"}))
    archive = bytes(old[:512] + maps + old[512:]) + pax[:-8192] + packed(member("a", b"abc"))
    skipped: Counter[str] = Counter()
    assert list(members(iter([archive]), "a.tar", skipped)) == [b"abc"]
    assert skipped == {"sparse archive member": 2}


def test_archives_one_after_the_other_are_one():
    first, second = tar([b"one", b"two"]), tar([b"three"], form=tarfile.PAX_FORMAT)
    assert read(first + second) == read(gzip.compress(first) + gzip.compress(second)) == [b"one", b"two", b"three"]
    assert read(first[:2048] + second) == [b"one", b"two", b"three"], "as tar --concatenate makes it"
    found = members(iter([first + b"rubbish" * 100]), "a.tar")
    assert [next(found), next(found)] == [b"one", b"two"]
    with pytest.raises(UnreadableInput, match=r"a\.tar: not a tar archive, or a damaged one"):
        next(found)
    with pytest.raises(UnreadableInput, match=r"a\.tar: ends too early"):
        read(first + b"rubbish")


def test_a_member_that_is_too_large_is_told_of_and_those_behind_it_are_read(monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    archive = tar([b"one", b"x" * 1001, b"y" * 1000, b"z" * 70_000, b"two"])
    broken: list[UnreadableInput] = []
    assert list(members(iter([archive[:3000], archive[3000:]]), "a.tar", broken=broken.append)) == [
        b"one", b"y" * 1000, b"two",
    ]  # fmt: skip
    assert [str(error).split(",")[0] for error in broken] == ["a.tar: a member of 1"] * 1 + ["a.tar: a member of 70"]
    with pytest.raises(UnreadableInput, match="a member of 1,001 bytes, and at most 1,000 are read"):
        read(archive)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x.txt", "a/../../x.txt", "..", "a/" * 80 + "../x.txt"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, form: int):
    with pytest.raises(UnreadableInput, match=r"a\.tar: member .* leads out of the archive's folder"):
        read(tar([b"good", b"bad"], ["good.txt", name], form))


def test_a_hostile_prefix_is_refused():
    archive = bytearray(tar([b"bad"], ["x.txt"]))
    archive[345:349] = b"/etc"
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    with pytest.raises(UnreadableInput, match="leads out"):
        read(bytes(archive))


@pytest.mark.parametrize("name", ["a..txt", "..a/b.txt", "a/b...txt"])
def test_dots_in_a_name_are_no_harm(name: str):
    assert read(tar([b"good"], [name])) == [b"good"]


@given(CONTENTS, st.sampled_from(sorted(COMPRESS)), st.data())
@settings(deadline=None, max_examples=60)
def test_a_truncated_archive_gives_its_beginning_and_is_refused(
    contents: list[bytes], suffix: str, data: st.DataObject
):
    archive = tar(contents)
    end = 512 * sum(1 + -(-len(content) // 512) for content in contents)  # what follows is the end-of-archive mark
    whole = COMPRESS[suffix](archive)
    cut = data.draw(st.integers(0, len(whole) - 1 if suffix else end))
    found = []
    with pytest.raises(UnreadableInput, match=r"a\.tar"):
        for content in members(decompressed(io.BytesIO(whole[:cut]), "a.tar"), "a.tar"):
            found.append(content)
    assert found == contents[: len(found)]


@given(CONTENTS | st.just([bytes(range(256)) * 4000]), st.data())
@settings(deadline=None, max_examples=200)
def test_a_damaged_archive_never_gives_other_contents(contents: list[bytes], data: st.DataObject):
    whole = bytearray(lzma.compress(tar(contents)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(UnreadableInput):
        assert read(bytes(whole)) == contents  # the bit may be in padding


@given(st.binary(max_size=2000) | st.binary(max_size=600).map(lambda junk: tar([b"a"])[:1024] + junk))
@settings(deadline=None)
def test_any_bytes_are_an_archive_or_a_broken_one(junk: bytes):
    try:
        assert all(isinstance(content, bytes) for content in read(junk))
    except UnreadableInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(("field", "size"), [(b"77777777777\0", "8,589,934,591"), (b"-1000      \0", "-512")])
def test_a_member_that_claims_an_impossible_size_is_refused(field: bytes, size: str):
    archive = bytearray(tar([b"a"]))
    archive[124:136] = field
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    with pytest.raises(UnreadableInput, match=f"a member of {size} bytes"):
        read(bytes(archive))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.compress, bz2.compress])
def test_streams_one_after_the_other_are_one(compress):
    assert stream(compress(b"ab" * 50_000) + compress(b"") + compress(b"cd")) == b"ab" * 50_000 + b"cd"


def test_padding_between_streams_of_xz_is_passed_over():
    assert stream(lzma.compress(b"ab") + b"\0" * 8 + lzma.compress(b"cd") + b"\0" * 4) == b"abcd"


def test_the_walk_agrees_with_tarfile_on_real_archives(shared_data):
    path = shared_data / "corpora" / "openwebtext.tar.xz"
    with open(path, "rb") as file, tarfile.open(path) as expected:
        for number, content in enumerate(members(decompressed(file, str(path)), str(path))):
            assert content == expected.extractfile(expected.next()).read()
            if number == 3:
                break
    with tarfile.open(fileobj=io.BytesIO(content)) as inner:
        assert read(content) == [inner.extractfile(member).read() for member in inner]


def test_frames_of_zstd_that_are_to_be_skipped_are():
    frame = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    whole = frame + zstandard.compress(b"ab" * 9000) + frame + zstandard.compress(b"cd") + frame
    assert stream(whole) == b"ab" * 9000 + b"cd"


def test_the_older_layout_of_lzma_is_read():
    assert stream(lzma.compress(b"ab" * 9000, format=lzma.FORMAT_ALONE)) == b"ab" * 9000


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.XZ", "a.jsonl.zst", "a.bz2", "a.lzma"])
@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"\x1f", b"\x8b", b"\xfd", b"caf\xe9 {}", b"\xff\xfea\0"])
def test_what_is_neither_compressed_nor_text_is_broken(name, content):
    with pytest.raises(UnreadableInput, match=f"{name}: (empty|neither compressed nor text), whatever its name says"):
        list(decompressed(io.BytesIO(content), name))
    text = ("é" * 9000).encode()  # the first block ends inside a character
    assert b"".join(decompressed(io.BytesIO(b"x" + text), name)) == b"x" + text


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.compress, bz2.compress])
def test_rubbish_behind_a_stream_is_broken(compress):
    with pytest.raises(UnreadableInput, match=r"a: (corrupt|ends too early)"):
        stream(compress(b"ab" * 5000) + b"rubbish")


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        *(pytest.param(of, marks=pytest.mark.slow) for of in (lzma.compress, zstandard.compress, bz2.compress)),
    ],
)
def test_what_expands_a_thousandfold_comes_in_bounded_blocks(compress):
    largest = max(map(len, decompressed(io.BytesIO(compress(bytes(100 << 20))), "a")))
    assert largest <= 17 << 20


def test_a_decoder_that_asks_for_much_memory_is_refused():
    """As of files that were made with a window of 1 GiB, which their headers say; making one takes seconds."""
    asking = bytearray(lzma.compress(b"a"))
    asking[16] = 36  # of the block's header, 12 bytes from byte 12: the size of LZMA2's dictionary as 2 << 29
    asking[20:24] = zlib.crc32(asking[12:20]).to_bytes(4, "little")
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        lzma.decompress(asking, memlimit=(1 << 30) - 1)
    with pytest.raises(UnreadableInput, match="Memory usage limit"):
        stream(bytes(asking))
    compressor = zstandard.ZstdCompressor().compressobj()
    asking = bytearray(compressor.compress(b"a") + compressor.flush())
    asking[5] = (30 - 10) << 3  # the window's size as 1 << 30
    assert zstandard.get_frame_parameters(asking).window_size == 1 << 30
    with pytest.raises(UnreadableInput, match="corrupt"):
        stream(bytes(asking))
