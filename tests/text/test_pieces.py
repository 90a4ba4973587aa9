"""Pieces of any sizes, cut into shards anywhere, are the documents that were written, in order and none twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.storage.files import sha256_file
from bertsmith.text import pieces, shards
from bertsmith.text.pieces import (
    PIECES_FOLDER,
    Place,
    ShardCutter,
    ShardWriter,
    Span,
    open_pieces_folder,
    piece_span,
    write_piece,
)
from bertsmith.text.shard_checks import HEADER_SIZE
from bertsmith.text.shards import ARRAYS, Shard, shard_file

DTYPE = np.dtype(np.uint16)


def batch(rng: np.random.Generator, documents: int) -> Shard:
    line_ends = np.cumsum(rng.integers(1, 9, documents * 3))
    return Shard(rng.integers(0, 999, line_ends[-1] if documents else 0).astype(DTYPE), line_ends, line_ends[2::3])


def documents_of(shard: Shard) -> list[list[list[int]]]:
    """Return the lines of each document."""
    lines = np.split(shard.tokens, shard.line_ends[:-1]) if len(shard.line_ends) else []
    groups = np.searchsorted(shard.document_ends, shard.line_ends)
    found: list[list[list[int]]] = [[] for _ in shard.document_ends]
    for group, line in zip(groups, lines, strict=True):
        found[group].append(line.tolist())
    return found


def written(folder, batches: list[Shard]) -> list[Span]:
    (folder / PIECES_FOLDER).mkdir()
    lengths = [write_piece(folder, number, "train", shard) for number, shard in enumerate(batches)]
    return [piece_span(folder, number, "train", lengths[number], DTYPE) for number in range(len(batches))]


def assemble(folder, split: str, index: int, spans: list[Span]) -> dict[str, str]:
    """Put a shard together, and return file name → sha256."""
    writer = ShardWriter(folder)
    shard = writer.write_shard(split, index, spans)
    writer.publish_shard(shard)
    return shard.hashes


def read(folder, index: int) -> Shard:
    return Shard(*(np.load(folder / shard_file("train", index, array)) for array in ARRAYS))


def cut(spans: list[Span]) -> list[list[Span]]:
    cutter = ShardCutter()
    for span in spans:
        cutter.add(span)
    cutter.finish()
    return list(cutter.full)


@given(st.lists(st.integers(0, 5), max_size=9), st.integers(1, 200), st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_shards_hold_every_document_once_in_order(tmp_path_factory, sizes: list[int], limit: int, block: int):
    batches = [batch(np.random.default_rng(number), size) for number, size in enumerate(sizes)]
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_TOKENS", limit)
        patch.setattr(pieces, "BLOCK_ENTRIES", block)
        groups = cut(written(folder, batches))
        hashes = [assemble(folder, "train", index, group) for index, group in enumerate(groups)]
    found = [read(folder, index) for index in range(len(groups))]
    assert [document for shard in found for document in documents_of(shard)] == [
        document for shard in batches for document in documents_of(shard)
    ]
    assert all(len(shard.tokens) >= limit for shard in found[:-1])
    for group, shard in zip(groups, found, strict=True):
        assert len(shard.tokens) - group[-1].lengths[0] < limit, "closed at the first piece that fills it"
        assert shard.tokens.dtype == DTYPE and shard.line_ends.dtype == shard.document_ends.dtype == np.uint32
    assert {name: sha256_file(folder / name) for each in hashes for name in each} == {
        name: value for each in hashes for name, value in each.items()
    }
    assert not [path for path in (folder / PIECES_FOLDER).iterdir() if path.suffix != ".train"], "nothing half-written"


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(0, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_a_stretch_of_a_shard_goes_into_another_one(tmp_path_factory, sizes: list[int], first: int, count: int):
    """As when data that was made in parts is merged: its positions are counted from another start."""
    batches = [batch(np.random.default_rng(number), size) for number, size in enumerate(sizes)]
    folder = tmp_path_factory.mktemp("data")
    spans = written(folder, batches)
    assemble(folder, "train", 0, spans)
    chosen = spans[first : first + count]
    if not chosen:
        return
    skipped = [sum(span.lengths[number] for span in spans[:first]) for number in range(3)]
    wanted = [sum(span.lengths[number] for span in chosen) for number in range(3)]
    places = []
    for array, start, length, before in zip(ARRAYS, skipped, wanted, spans[0].places, strict=True):
        offset = HEADER_SIZE + start * before.dtype.itemsize
        places.append(Place(str(folder / shard_file("train", 0, array)), offset, length, before.dtype))
    assemble(folder, "train", 1, [spans[0], Span(tuple(places), skipped[0])])
    expected = [batches[0], *batches[first : first + count]]
    assert documents_of(read(folder, 1)) == [document for shard in expected for document in documents_of(shard)]


def test_arrays_come_back_as_plain_numpy_files(tmp_path):
    one, two = batch(np.random.default_rng(0), 3), batch(np.random.default_rng(1), 2)
    hashes = assemble(tmp_path, "train", 7, written(tmp_path, [one, two]))
    assert sorted(hashes) == sorted(f"train-00007.{array}.npy" for array in ARRAYS)
    tokens, lines, documents = (np.load(tmp_path / f"train-00007.{array}.npy") for array in ARRAYS)
    assert tokens.tolist() == [*one.tokens, *two.tokens]
    assert lines.tolist() == [*one.line_ends, *(two.line_ends + len(one.tokens))]
    assert documents.tolist() == [*one.document_ends, *(two.document_ends + len(one.tokens))]


def test_putting_a_shard_together_again_gives_the_same_files(tmp_path):
    spans = written(tmp_path, [batch(np.random.default_rng(number), 3) for number in range(3)])
    first = assemble(tmp_path, "train", 0, spans)
    (tmp_path / "train-00000.lines.npy").unlink()  # killed between two renamings
    assert assemble(tmp_path, "train", 0, spans) == first
    assert sha256_file(tmp_path / "train-00000.lines.npy") == first["train-00000.lines.npy"]


def test_a_piece_that_a_power_cut_shortened_is_noticed(tmp_path):
    [span] = written(tmp_path, [batch(np.random.default_rng(0), 3)])
    assert span.is_on_disk()
    path = tmp_path / PIECES_FOLDER / "00000000.train"
    path.write_bytes(path.read_bytes()[:-1])
    assert not span.is_on_disk()
    with pytest.raises(UserError, match=r"00000000\.train: shorter than when it was written"):
        assemble(tmp_path, "train", 0, [span])
    path.unlink()
    assert not span.is_on_disk()


def test_what_killed_workers_left_half_written_is_cleared_and_pieces_stay(tmp_path):
    [span] = written(tmp_path, [batch(np.random.default_rng(0), 3)])
    for name in ("00000001.heldout.0f", "train-00000.tokens.npy.a1"):
        (tmp_path / PIECES_FOLDER / name).write_bytes(b"half")
    open_pieces_folder(tmp_path)
    assert [path.name for path in (tmp_path / PIECES_FOLDER).iterdir()] == ["00000000.train"]
    assert span.is_on_disk()
    open_pieces_folder(tmp_path / PIECES_FOLDER)
    assert (tmp_path / PIECES_FOLDER / PIECES_FOLDER).is_dir()


def test_a_shard_is_named_again_where_a_worker_was_lost(tmp_path):
    spans = written(tmp_path, [batch(np.random.default_rng(number), 3) for number in range(3)])
    writer = ShardWriter(tmp_path)
    shard = writer.write_shard("train", 0, spans)
    assert not list(tmp_path.glob("train-*")), "no name before it is published"
    writer.publish_shard(shard)
    writer.publish_shard(shard)
    assert {name: sha256_file(tmp_path / name) for name in shard.hashes} == shard.hashes
    (tmp_path / "train-00000.lines.npy").unlink()
    with pytest.raises(FileNotFoundError):
        writer.publish_shard(shard)
