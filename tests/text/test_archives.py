"""What an archive holds comes out as it went in; what is cut, damaged or hostile is refused, whatever it is."""

import contextlib
import gzip
import io
import lzma
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.text.archives import BrokenArchive, decompressed, members
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


def test_what_is_not_a_file_is_passed_over():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo("thing")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("a.txt")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    assert read(file.getvalue()) == [b"abc"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x.txt", "a/../../x.txt", "..", "a/" * 80 + "../x.txt"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, form: int):
    with pytest.raises(BrokenArchive, match=r"a\.tar: member .* leads out of the archive's folder"):
        read(tar([b"good", b"bad"], ["good.txt", name], form))


def test_a_hostile_prefix_is_refused():
    archive = bytearray(tar([b"bad"], ["x.txt"]))
    archive[345:349] = b"/etc"
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    with pytest.raises(BrokenArchive, match="leads out"):
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
    with pytest.raises(BrokenArchive, match=r"a\.tar"):
        for content in members(decompressed(io.BytesIO(whole[:cut]), "a.tar"), "a.tar"):
            found.append(content)
    assert found == contents[: len(found)]


@given(CONTENTS | st.just([bytes(range(256)) * 4000]), st.data())
@settings(deadline=None, max_examples=200)
def test_a_damaged_archive_never_gives_other_contents(contents: list[bytes], data: st.DataObject):
    whole = bytearray(lzma.compress(tar(contents)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(BrokenArchive):
        assert read(bytes(whole)) == contents  # the bit may be in padding


@given(st.binary(max_size=2000) | st.binary(max_size=600).map(lambda junk: tar([b"a"])[:1024] + junk))
@settings(deadline=None)
def test_any_bytes_are_an_archive_or_a_broken_one(junk: bytes):
    try:
        assert all(isinstance(content, bytes) for content in read(junk))
    except BrokenArchive as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(("field", "size"), [(b"77777777777\0", "8589934591"), (b"-1000      \0", "-512")])
def test_a_member_that_claims_an_impossible_size_is_refused(field: bytes, size: str):
    archive = bytearray(tar([b"a"]))
    archive[124:136] = field
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    with pytest.raises(BrokenArchive, match=f"a member of {size} bytes"):
        read(bytes(archive))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.compress])
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
