"""Units in, their tokens out, in the same order: encoded by as many processes as asked for."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection

from bertsmith.errors import UserError
from bertsmith.text.archives import BrokenArchive
from bertsmith.text.encoding import Encoded, encode
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.units import Unit


@dataclass(frozen=True)
class Encoder:
    """Reads a unit and encodes its documents.

    Attributes:
        tokenizer, heldout_fraction: as for `bertsmith.text.encoding.encode`.
        skip_broken: whether a broken archive counts as one skipped "broken archive" with no document in it, instead of
            ending the work with a UserError.
    """

    tokenizer: Tokenizer
    heldout_fraction: float
    skip_broken: bool

    def __call__(self, unit: Unit) -> Encoded:
        skipped: Counter[str] = Counter()
        try:
            encoded = encode(unit.documents(skipped), self.tokenizer, self.heldout_fraction)
        except BrokenArchive as error:
            if not self.skip_broken:
                raise UserError(f"{error}, or go on without it: on_error=skip") from None
            encoded = encode((), self.tokenizer, self.heldout_fraction)
            skipped = Counter({"broken archive": 1})
        encoded.skipped.update(skipped)
        return encoded


def encode_units(units: Iterable[Unit], encoder: Encoder, workers: int) -> Iterator[tuple[Unit, Encoded]]:
    """Each unit with its tokens, in the order of `units`, of which no more are asked for than keep `workers` busy.

    With one worker everything happens in this process.

    Raises:
        UserError: a unit cannot be read (when its turn comes), or a worker was killed.
    """
    if workers == 1:
        for unit in units:
            yield unit, encoder(unit)
        return
    context = multiprocessing.get_context("spawn")  # whatever this process runs, a fork might copy a lock held by it
    pool = ProcessPoolExecutor(workers, context, _start, (encoder,))
    pending = deque()
    try:
        for unit in units:
            pending.append((unit, pool.submit(_encode, unit)))
            if len(pending) > 2 * workers:
                first, future = pending.popleft()
                yield first, future.result()
        for unit, future in pending:
            yield unit, future.result()
    except BrokenProcessPool:
        raise UserError(f"workers = {workers}: one was killed, perhaps for lack of memory; use fewer") from None
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Encoder
"""A worker's own, set when it starts: sent once and not with every unit."""


def _start(encoder: Encoder) -> None:
    global _encoder
    _encoder = encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, which would wait for the next unit for ever."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _encode(unit: Unit) -> Encoded:
    return _encoder(unit)
