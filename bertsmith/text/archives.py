"""Tar archives, read forwards and never unpacked: bytes in, members' contents out.

The standard library's `tarfile` makes an object of every member, which takes more time than decompressing it: two
processes read 24 MB/s of OpenWebText with it and 70 with the walk below. A member's name is looked at only to refuse a
hostile one, and to pass over hidden ones, as in folders.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator

from bertsmith.errors import one_line, quoted
from bertsmith.text.compression import OnBroken, UnreadableInput, refuse, truncated

LARGEST_MEMBER = 64 << 20  # bytes; a larger one is passed over or stops the work. A document is never that long
_LARGEST_NAME = 1 << 20  # bytes of a block with the next member's name or pax records, which stands before its header
_BLOCK = 512  # bytes of tar's blocks: headers take one, contents a whole number of them

_FILES = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, devices, folders and pipes: their size field, where it is filled in, counts nothing that follows."""
_COUNTED_AS = {
    b"1": "archive link", b"2": "archive link", b"3": "archive device", b"4": "archive device", b"6": "archive device",
    b"S": "sparse archive member", b"5": None, b"D": None, b"V": None,
}  # fmt: skip
"""Type flag of members that are no texts → the reason they are counted by; folders, and an archive's own name, are not
counted."""


def members(
    blocks: Iterator[bytes], source: str, skipped: Counter[str] | None = None, broken: OnBroken = refuse
) -> Iterator[bytes]:
    """Yield the contents of the files in a tar archive, in its order; other members, and hidden files, are counted in
    `skipped`, and `broken` is called with an error for each member that is too large.

    Reads the old, POSIX (ustar, pax) and GNU formats, and archives that were appended to one another.

    Raises:
        UnreadableInput: not a tar archive, a damaged header, an early end, or a member whose name leads out of the
            archive's folder (an absolute path, or one with `..`).
    """
    skipped = Counter() if skipped is None else skipped
    buffer, start, has_ended, ahead = b"", 0, False, _Ahead()
    while True:
        if len(buffer) < start + _BLOCK:
            buffer, start = _refill(buffer[start:], _BLOCK, blocks), 0
            if len(buffer) < _BLOCK:
                if has_ended and not buffer.strip(b"\0"):
                    return
                raise truncated(source)
        header = buffer[start : start + _BLOCK]
        start += _BLOCK
        if not header[0] and not header.strip(b"\0"):
            has_ended = True  # unless another archive was appended
            continue
        has_ended = False
        size, flag = _parse(header, source)
        if ahead.size is not None and flag in _FILES:
            size = ahead.size
        padded = size + -size % _BLOCK
        if flag == b"S" and header[482]:  # more of the map of its holes
            buffer, start = _skip_map(buffer[start:], blocks, source), 0
        if size > (LARGEST_MEMBER if flag not in b"LKxg" else _LARGEST_NAME):
            if flag in b"LKxg":
                raise UnreadableInput(f"{source}: a name of {size:,} bytes; do not trust this archive, fetch it again")
            most = f"at most {LARGEST_MEMBER:,} are read of one; cut it into documents"
            broken(UnreadableInput(f"{source}: a member of {size:,} bytes, and {most}"))
            buffer, start, ahead = _skip(buffer[start:], padded, blocks, source), 0, _Ahead()
            continue
        if len(buffer) < start + padded:
            buffer, start = _refill(buffer[start:], padded, blocks), 0
            if len(buffer) < padded:
                raise truncated(source)
        content = buffer[start : start + size]
        start += padded
        if flag in b"LKxg":
            ahead.take_in(flag, content)
            continue
        what = _COUNTED_AS.get(flag, "archive member of unknown kind") if flag not in _FILES else ahead.counted_as
        hidden = False
        if ahead.name or b".." in header or b"/." in header or header[0] in b"./" or header[345:346] == b"/":
            hidden = _check_name(ahead.name or _name(header), source)
        if ahead.is_filled:
            ahead = _Ahead()
        if hidden and flag in _FILES:
            skipped["hidden archive member"] += 1
        elif what is not None:
            skipped[what] += 1
        elif flag in _FILES:
            yield content


class _Ahead:
    """The next member's name, size and type, as a GNU long-name block ("L") or pax records ("x") give them."""

    name: bytes | None = None
    size: int | None = None
    counted_as: str | None = None
    is_filled = False

    def take_in(self, flag: bytes, content: bytes) -> None:
        self.is_filled = True
        if flag == b"L":
            self.name = content.rstrip(b"\0")
        elif flag == b"x":
            records = dict(_RECORD.findall(content))
            self.name = records.get(b"path", self.name)
            if records.get(b"size", b"").isdigit() and len(records[b"size"]) < 20:
                self.size = int(records[b"size"])
            if any(key.startswith(b"GNU.sparse") for key in records):
                self.counted_as = "sparse archive member"


_RECORD = re.compile(rb"(?:\A|(?<=\n))\d+ ([^=\n]+)=([^\n]*)\n")


def _refill(buffer: bytes, size: int, blocks: Iterator[bytes]) -> bytes:
    """Return `buffer` with as many blocks after it as make `size` bytes; fewer at the end."""
    parts, held = [buffer], len(buffer)
    while held < size:
        block = next(blocks, None)
        if block is None:
            break
        parts.append(block)
        held += len(block)
    return b"".join(parts)


def _skip(buffer: bytes, size: int, blocks: Iterator[bytes], source: str) -> bytes:
    """Return the rest of the block in which `size` bytes of `buffer` and the blocks after it end."""
    while len(buffer) < size:
        size -= len(buffer)
        block = next(blocks, None)
        if block is None:
            raise truncated(source)
        buffer = block
    return buffer[size:]


def _skip_map(buffer: bytes, blocks: Iterator[bytes], source: str) -> bytes:
    goes_on = True
    while goes_on:
        buffer = _refill(buffer, _BLOCK, blocks)
        if len(buffer) < _BLOCK:
            raise truncated(source)
        goes_on, buffer = bool(buffer[504]), buffer[_BLOCK:]
    return buffer


def _parse(header: bytes, source: str) -> tuple[int, bytes]:
    """Size of what follows a header, and the member's type. Raises UnreadableInput where the checksum is wrong."""
    flag = header[156:157]
    try:
        # The checksum is the sum of the header's bytes, its own field taken for spaces. Adler-32's lower half is one
        # more than the sum of all bytes modulo 65521, and C adds up twenty times as fast as Python.
        field = header[148:156]
        expected = int(field.strip(b"\0 ") or b"0", 8) - 8 * ord(" ") + sum(field)
        if zlib.adler32(header) & 0xFFFF != (1 + expected) % 65521:
            raise ValueError("its checksum is wrong")
        if flag in _WITHOUT_CONTENT:
            return 0, flag
        octal = header[124:136].strip(b"\0 ") or b"0"
        size = int.from_bytes(header[125:136]) if header[124] & 0x80 else int(octal, 8)
        if not 0 <= size < 1 << 62:
            raise ValueError(f"a member of {size} bytes")
    except ValueError as error:
        raise UnreadableInput(
            f"{source}: not a tar archive, or a damaged one ({one_line(error)}); fetch it again"
        ) from None
    return size, flag


def _name(header: bytes) -> bytes:
    prefix, name = header[345:500].rstrip(b"\0"), header[:100].rstrip(b"\0")
    return prefix + b"/" + name if prefix else name


def _check_name(name: bytes, source: str) -> bool:
    """Return whether a member is hidden. Raises UnreadableInput where its name leads out of the archive's folder."""
    parts = name.split(b"/")
    if name.startswith(b"/") or b".." in parts:
        raise UnreadableInput(
            f"{source}: member {quoted(name.decode(errors='replace'))} leads out of the archive's folder; do not trust "
            f"this archive, fetch it from its publisher"
        )
    return parts[-1].startswith(b".")
