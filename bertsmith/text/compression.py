"""Compressed files, read forwards and never unpacked: bytes in, bytes out, in bounded memory."""

import bz2
import codecs
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO

import zstandard

from bertsmith.errors import UserError, one_line

COMPRESSED_ENDINGS = (".gz", ".xz", ".zst", ".bz2", ".lzma")

CHUNK_BYTES = 1 << 14  # read at once, and handed to a decoder
_ZSTD_CHUNK = 512  # few, because zstd has no limit on its output, and expands zeros 30,000 times
_BLOCK = 1 << 22  # bytes that a decoder gives at once, about, where it has a limit

_DECODER_MEMORY = 512 << 20  # bytes of a decoder's dictionary or window, whose size is in the file


class UnreadableInput(UserError):
    """An archive that is truncated, corrupt, hostile or too large; `on_error = "skip"` passes over it."""


OnBroken = Callable[[UnreadableInput], None]
"""Called for a broken part where reading can go on after it: raises the error, or counts it."""


def refuse(error: UnreadableInput) -> None:
    raise error


def decompressed(file: BinaryIO, source: str) -> Iterator[bytes]:
    """Yield the content of `file` in blocks, decompressed where its first bytes are those of a format; errors name
    `source`.

    Raises:
        UnreadableInput: the data is corrupt, ends too early, or takes a decoder more than `_DECODER_MEMORY`; the name
            says that it is compressed, and it is neither that nor text.
    """
    chunk = file.read(CHUNK_BYTES)
    found = _compression(chunk, source)
    if found is None:
        while chunk:
            yield chunk
            chunk = file.read(CHUNK_BYTES)
        return
    new_decoder = _DECODERS[found]
    decoder = None
    while chunk:
        if decoder is None:
            decoder = new_decoder()
        try:
            chunk = yield from _decoded(decoder, chunk, _ZSTD_CHUNK if found == "zstd" else CHUNK_BYTES)
        except (lzma.LZMAError, zlib.error, zstandard.ZstdError, OSError, EOFError) as error:
            if getattr(error, "errno", None):
                raise  # of the file system
            raise UnreadableInput(f"{source}: corrupt ({one_line(error)}); fetch it again") from None
        if decoder.eof:  # another stream may follow, after zeros for padding
            chunk, decoder = chunk.lstrip(b"\0"), None
        chunk = chunk or file.read(CHUNK_BYTES)
    if decoder is not None:
        raise truncated(source)


def is_compressed(beginning: bytes, source: str) -> bool:
    """Return whether `decompressed` would decompress a file that begins with these `CHUNK_BYTES`.

    Raises:
        UnreadableInput: its name says that it is compressed, and it is neither that nor text.
    """
    return _compression(beginning, source) is not None


def _compression(beginning: bytes, source: str) -> str | None:
    """Return the format of a compressed file by its beginning, None where it is none."""
    found = archive_format(beginning)
    if found is None:
        _refuse_unless_text(beginning, source)
    return found if found in _DECODERS else None


def _refuse_unless_text(beginning: bytes, source: str) -> None:
    """Raise UnreadableInput where a file's name says that it is compressed, and it is neither that nor text."""
    if not source.lower().endswith(COMPRESSED_ENDINGS):
        return
    is_text = bool(beginning) and not re.search(rb"[\0-\x08\x0e-\x1f]", beginning)
    try:
        # Of a file that goes on, the last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) < CHUNK_BYTES)
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        what = "neither compressed nor text" if beginning else "empty"
        raise UnreadableInput(f"{source}: {what}, whatever its name says; fetch it again")


def archive_format(content: bytes) -> str | None:
    """Return the format of an archive or compressed file by its beginning; None of anything else."""
    if found := _ARCHIVE.match(content):
        return found.lastgroup
    return "tar" if content[257:262] == b"ustar" else None


def is_readable(archive: str) -> bool:
    """Return whether `decompressed` and `bertsmith.text.archives.members` can read an archive of this format."""
    return archive == "tar" or archive in _DECODERS


def truncated(source: str) -> UnreadableInput:
    return UnreadableInput(f"{source}: ends too early, it is truncated; fetch it again")


def _decoded(decoder: Any, chunk: bytes, step: int) -> Generator[bytes, None, bytes]:
    """Yield the decoded `chunk` (for decoders without a limit, `step` bytes at a time); return the rest of it after the
    stream's end."""
    if isinstance(decoder, lzma.LZMADecompressor | bz2.BZ2Decompressor):
        yield decoder.decompress(chunk, _BLOCK)
        while not decoder.eof and not decoder.needs_input:
            yield decoder.decompress(b"", _BLOCK)
        return decoder.unused_data
    for start in range(0, len(chunk), step):
        yield decoder.decompress(chunk[start : start + step])
        if decoder.eof:
            return decoder.unused_data + chunk[start + step :]
    return b""


def _new_zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_DECODER_MEMORY).decompressobj()


def _new_lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_DECODER_MEMORY)


_ARCHIVE = re.compile(
    rb"""(?xs)
    (?P<xz>\xfd7zXZ\x00) | (?P<gzip>\x1f\x8b) | (?P<zstd>\x28\xb5\x2f\xfd | [\x50-\x5f]\x2a\x4d\x18)
    | (?P<bzip2>BZh[1-9](?:1AY&SY|\x17rE8P\x90)) | (?P<lzma>\x5d\x00\x00) | (?P<compress>\x1f\x9d)
    | (?P<zip>PK\x03\x04) | (?P<sevenzip>7z\xbc\xaf\x27\x1c) | (?P<rar>Rar!\x1a\x07) | (?P<lz4>\x04\x22\x4d\x18)
    | (?P<parquet>PAR1)
    """
)
"""First bytes of such files; of zstd its skippable frames as well."""

_DECODERS: dict[str, Callable[[], Any]] = {
    "xz": _new_lzma,
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": _new_zstd,
    "bzip2": bz2.BZ2Decompressor,
    "lzma": _new_lzma,
}
