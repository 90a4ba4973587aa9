"""Documents of a shard → training rows of a sequence length. Pure functions of (shard, settings, rng).

A row is `[CLS] first segment [SEP]` or `[CLS] first segment [SEP] second segment [SEP]`; it never crosses a document.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from bertsmith.config.fields import setting, settings
from bertsmith.text.shards import Shard

SINGLE_SEGMENT_PROB = 0.1
SHORT_ROW_PROB = 0.05
SHORTEST_ROW = 5


@settings
class RowSettings:
    """Settings that turn documents into rows."""

    kind: Literal["two_segments", "windows"] = setting(
        "two_segments", "two_segments: the reference's pairs of neighbouring spans; windows: plain runs of a document"
    )
    length: int = setting(128, "longest row in tokens, with its special tokens", ge=8)


class RowSpans(NamedTuple):
    """R rows as pieces of a shard's token array; P pieces in all, in row order."""

    starts: np.ndarray  # [P] int64, a piece's first token
    ends: np.ndarray  # [P] int64, after its last
    segments: np.ndarray  # [P] uint8: 0 or 1. A row's pieces of segment 0 come before those of segment 1
    bounds: np.ndarray  # [R + 1] int64: row r has the pieces bounds[r] to bounds[r + 1]

    def __len__(self) -> int:
        return len(self.bounds) - 1


class PackedRows(NamedTuple):
    """Rows with their special tokens, laid end to end, as `Tokens.pack` takes them."""

    ids: np.ndarray  # [T], the shard's type
    segment_ids: np.ndarray  # [T] uint8
    lengths: np.ndarray  # [R] int64


def rows_of(shard: Shard, settings: RowSettings, rng: np.random.Generator, compat: bool = False) -> RowSpans:
    """Return all rows of a shard, in the order of its text.

    Each token is in exactly one row. With `compat` two-segment rows are the reference's instead, which drops text that
    does not fit.
    """
    if settings.kind == "windows":
        return _windows(shard, settings.length)
    if compat:
        return _spans_of(_reference_segments(shard, settings.length, rng))
    return _contiguous_segments(shard, settings.length, rng)


RowPieces = list[tuple[int, int, int]]
"""One row: (start, end, segment) of each piece."""


def _spans_of(rows: Iterable[RowPieces]) -> RowSpans:
    starts, ends, segments, counts = [], [], [], []
    for pieces in rows:
        counts.append(len(pieces))
        for start, end, segment in pieces:
            starts.append(start)
            ends.append(end)
            segments.append(segment)
    return RowSpans(np.array(starts, np.int64), np.array(ends, np.int64), np.array(segments, np.uint8), _bounds(counts))


def _bounds(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the bounds of rows with so many pieces each."""
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    return bounds


def _windows(shard: Shard, length: int) -> RowSpans:
    stops, size = shard.document_ends.astype(np.int64), length - 2
    begins = np.concatenate([np.zeros(1, np.int64), stops[:-1]])[: len(stops)]
    counts = -(-(stops - begins) // size)
    starts = _ranges(np.zeros_like(counts), counts) * size + np.repeat(begins, counts)
    ends = np.minimum(starts + size, np.repeat(stops, counts))
    return RowSpans(starts, ends, np.zeros(len(starts), np.uint8), np.arange(len(starts) + 1))


def _contiguous_segments(shard: Shard, length: int, rng: np.random.Generator) -> RowSpans:
    """Return rows with the reference's shares of single-segment and short rows, cut between segments at a line's end
    near the middle. Other than there, a row takes as much of the document as it holds, and the next one starts from
    there, also in the middle of a line.

    A run's first step waits for half a million turns of this loop: it calls no function of ours, what is random is
    drawn before it, and its rows become spans all at once.
    """
    line_ends = [0, *shard.line_ends.tolist()]
    line_ends += line_ends[-1:] * (2 * length + 2)  # the text may end before a row's middle
    first_lines = [1, *(np.searchsorted(shard.line_ends, shard.document_ends[:-1]) + 2).tolist()]
    documents = zip(shard.document_ends.tolist(), first_lines, strict=False)  # of no text a line too many
    cuts, ends = [], []  # of each row, the end of its first segment and its own, which are the same of a single one
    start = document_end = line = 0  # of the row; a line that ends after all that ended before the last row's middle
    for room, half, back in chain.from_iterable(_row_draws(length, rng)):
        if start == document_end:
            document_end, line = next(documents, (0, 0))
            if not document_end:
                break
        line = bisect_left(line_ends, start + half, line, line + 2 * length)  # a line has at least a token
        end = start + room if start + room < document_end else document_end  # `min` takes twice as long
        cut = line_ends[line - back] if back < SINGLE else end
        if cut <= start:
            cut = line_ends[line]
        if cut >= end:
            cut = end = min(start + room + 1, document_end)  # no second [SEP]: room for one more
        cuts.append(cut)
        ends.append(end)
        start = end
    return _pairs(np.array(cuts, np.int64), np.array(ends, np.int64))


SINGLE = 2
"""In place of how many lines' ends before its middle a row is cut, 0 or 1: it is not."""


def _row_draws(length: int, rng: np.random.Generator) -> Iterator[Iterable[tuple[int, int, int]]]:
    """Yield what is drawn for rows, thousands at a time: of each the tokens that two segments have room for, half of
    them, and whether it is cut at the last line's end before its middle (1), at the one after that (0), or not at all
    (`SINGLE`).

    A row takes three random numbers, or where it is short four. Where its first one lies follows from all rows before:
    those of twice as many rows are found from those of as many.
    """
    rest = np.empty(0)
    while True:
        numbers = np.concatenate([rest, rng.random(8192)])
        size = len(numbers)
        short = numbers < SHORT_ROW_PROB
        following = np.minimum(np.arange(3, size + 4) + np.append(short, False), size)
        first = np.zeros(1, np.int64)  # of each row, its first number's place
        while first[-1] < size:
            first = np.concatenate([first, following[first]])
            following = following[following]
        first = first[first < size - 3]  # all numbers of a row are there
        after = first + short[first]
        short_length = SHORTEST_ROW + (numbers[first + 1] * (length - SHORTEST_ROW + 1)).astype(np.int64)
        room = np.where(short[first], short_length, length) - 3
        back = np.where(numbers[after + 1] < SINGLE_SEGMENT_PROB, SINGLE, numbers[after + 2] >= 0.5)
        yield zip(room.tolist(), (room // 2).tolist(), back.tolist(), strict=True)
        rest = numbers[after[-1] + 3 :]


def _pairs(cuts: np.ndarray, ends: np.ndarray) -> RowSpans:
    """Return rows of which each begins where the one before ends, and has a second segment where it is cut before its
    end."""
    paired = cuts < ends
    bounds = _bounds(1 + paired)
    first, second = bounds[:-1], bounds[:-1][paired] + 1
    starts, stops = np.zeros(bounds[-1], np.int64), np.empty(bounds[-1], np.int64)
    starts[first[1:]], stops[first] = ends[:-1], cuts
    starts[second], stops[second] = cuts[paired], ends[paired]
    segments = np.zeros(bounds[-1], np.uint8)
    segments[second] = 1
    return RowSpans(starts, stops, segments, bounds)


def _reference_segments(shard: Shard, length: int, rng: np.random.Generator) -> Iterator[RowPieces]:
    """Yield rows line by line as the reference does, which drops some text.

    Source: google-research/electra, build_pretraining_dataset.py, ExampleBuilder.
    """
    uniform = _uniform(rng).__next__
    target = length
    lines: list[tuple[int, int]] = []
    pending = 0
    documents = iter(shard.document_ends.tolist())
    document_end = next(documents, None)
    start = 0
    for end in shard.line_ends.tolist():
        lines.append((start, end))
        pending += end - start
        if pending >= target or end == document_end:
            yield _reference_row(lines, target, length, uniform)
            target = _draw_length(length, uniform)
            lines, pending = [], 0
        if end == document_end:
            document_end = next(documents, None)
        start = end


def _reference_row(lines: list[tuple[int, int]], target: int, length: int, uniform: Callable[[], float]) -> RowPieces:
    first_target = 100_000 if uniform() < SINGLE_SEGMENT_PROB else (target - 3) // 2
    first: RowPieces = []
    second: RowPieces = []
    first_size = 0
    for start, end in lines:
        size = end - start
        joins = not first or first_size + size < first_target
        joins = joins or (not second and first_size < first_target and uniform() < 0.5)
        if joins:
            first.append((start, end, 0))
            first_size += size
        else:
            second.append((start, end, 1))
    first = _trim(first, length - 2)
    return first + _trim(second, max(0, length - sum(end - start for start, end, _ in first) - 3))


def _trim(pieces: RowPieces, size: int) -> RowPieces:
    kept = []
    for start, end, segment in pieces:
        if size <= 0:
            break
        kept.append((start, min(end, start + size), segment))
        size -= end - start
    return kept


def _draw_length(length: int, uniform: Callable[[], float]) -> int:
    return length if uniform() >= SHORT_ROW_PROB else SHORTEST_ROW + int(uniform() * (length - SHORTEST_ROW + 1))


def _uniform(rng: np.random.Generator) -> Iterator[float]:
    """Yield random numbers in [0, 1), generated in blocks: one at a time takes twenty times as long."""
    while True:
        yield from rng.random(8192).tolist()


class GatheredRows(NamedTuple):
    """R rows as the ids of their pieces, in row order, without special tokens."""

    ids: np.ndarray  # [T], the shard's type
    sizes: np.ndarray  # [P] int64, of each piece
    segments: np.ndarray  # [P] uint8, as of `RowSpans`
    num_pieces: np.ndarray  # [R] int64


def gather_rows(shard_tokens: np.ndarray, rows: RowSpans, chosen: np.ndarray) -> GatheredRows:
    """Read the pieces of the rows numbered `chosen` ([R] int64)."""
    first, num_pieces = rows.bounds[chosen], rows.bounds[chosen + 1] - rows.bounds[chosen]
    pieces = _ranges(first, num_pieces)
    starts, sizes = rows.starts[pieces], rows.ends[pieces] - rows.starts[pieces]
    return GatheredRows(shard_tokens[_ranges(starts, sizes)], sizes, rows.segments[pieces], num_pieces)


def assemble(parts: Sequence[GatheredRows], specials: tuple[int, int]) -> PackedRows:
    """Assemble rows of several shards, one part after another, with `specials` = ([CLS], [SEP]) around their pieces. To
    do it once for all of a batch takes less time than shard by shard."""
    gathered, sizes, segments, num_pieces = (np.concatenate(column) for column in zip(*parts, strict=True))
    cls_id, sep_id = specials
    num_rows = len(num_pieces)
    row_of_piece = np.repeat(np.arange(num_rows), num_pieces)
    second = segments == 1

    first_sizes = np.bincount(row_of_piece, weights=sizes * ~second, minlength=num_rows).astype(np.int64)
    second_sizes = np.bincount(row_of_piece, weights=sizes * second, minlength=num_rows).astype(np.int64)
    lengths = first_sizes + second_sizes + 2 + (second_sizes > 0)
    row_ends = np.cumsum(lengths)
    row_starts = row_ends - lengths

    # A piece lies after all earlier pieces and special tokens: [CLS] of its row, [SEP] before a second segment.
    num_specials = lengths - first_sizes - second_sizes
    specials_before = (np.cumsum(num_specials) - num_specials)[row_of_piece]
    places = np.cumsum(sizes) - sizes + specials_before + 1 + second
    ids = np.full(int(lengths.sum()), sep_id, dtype=gathered.dtype)
    ids[_ranges(places, sizes)] = gathered
    ids[row_starts] = cls_id
    sizes_by_segment = np.stack([first_sizes + 2, lengths - first_sizes - 2], axis=1).ravel()
    segment_ids = np.repeat(np.tile(np.array([0, 1], np.uint8), num_rows), sizes_by_segment)
    return PackedRows(ids, segment_ids, lengths)


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return concatenated aranges: start, start + 1, … (`size` of them) for each pair."""
    shifts = starts - (np.cumsum(sizes) - sizes)
    return np.arange(int(sizes.sum())) + np.repeat(shifts, sizes)
