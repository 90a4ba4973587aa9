"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING, cast

from bertsmith.console.terminal import Tolerant, is_quiet, say
from bertsmith.errors import printable

if TYPE_CHECKING:  # needed only on a terminal
    from rich.console import Console
    from rich.progress import Progress as RichProgress

PLAIN_SECONDS = 10.0  # between two lines when standard error is not a terminal (a log file, a batch job)
PATIENCE_SECONDS = 10.0  # after which a job that is usually short shows its progress


class Progress:
    """The progress of a job: call `update` with the finished amount, as often as you like."""

    def __init__(self, label: str, total: float, initial: float = 0, patience: float = 0.0):
        self.label, self.total = label, total
        self.initial, self.started_at, self.printed_at = initial, time.monotonic(), float("-inf")
        self.patience = patience

    @property
    def is_due(self) -> bool:
        """Whether the job has taken long enough to be shown."""
        return time.monotonic() - self.started_at >= self.patience

    def update(self, done: float, details: str = "") -> None:
        """Show `done` of `total` (same unit), the time left, and `details`, as in "loss 3.21, 41,000 tokens/s"."""
        now = time.monotonic()
        if self.is_due and (now - self.printed_at >= PLAIN_SECONDS or done >= self.total):
            self.printed_at = now
            parts = [f"{self.label} {self.share(done):4.0%}", details, self.time_left(done)]
            self.line("  ".join(part for part in parts if part))

    def line(self, text: str) -> None:
        """Write a line that stays, beside or above the bar."""
        say(text, error=True)

    def share(self, done: float) -> float:
        return min(1.0, done / self.total) if self.total else 1.0

    def time_left(self, done: float) -> str:
        """Extrapolate from what this process did itself, so that a continued job is not flattered."""
        own = done - self.initial
        if own <= 0:
            return ""
        elapsed = time.monotonic() - self.started_at
        return f"{format_seconds(elapsed / own * max(0.0, self.total - done))} left"


class _Bar(Progress):
    """A bar on a terminal."""

    def __init__(self, bar: "RichProgress", label: str, total: float, initial: float, patience: float):
        super().__init__(label, total, initial, patience)
        self.bar = bar
        self.task = bar.add_task(printable(label), total=1.0, details="")

    def update(self, done: float, details: str = "") -> None:
        if self.is_due and not self.bar.live.is_started:
            self.bar.start()
        self.bar.update(self.task, completed=self.share(done), details=f"{details}  {self.time_left(done)}")

    def line(self, text: str) -> None:
        self.bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(label: str, total: float, initial: float = 0, patience: float = 0.0) -> Iterator[Progress]:
    """Yield a `Progress` fit for standard error as it is now, which shows nothing in its first `patience` seconds."""
    if sys.stderr is None or not sys.stderr.isatty() or is_quiet():
        yield Progress(label, total, initial, patience)
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[details]}", markup=False),
    )
    bar = RichProgress(*columns, console=_console(), redirect_stdout=False)
    if patience == 0:
        bar.start()
    try:
        yield _Bar(bar, label, total, initial, patience)
    finally:
        if bar.live.is_started:
            bar.stop()


@cache
def _console() -> "Console":
    """Return the console of all bars: a bar that begins inside another is drawn below it."""
    from rich.console import Console

    return Console(file=cast(IO[str], Tolerant(sys.stderr)))  # a bar whose terminal has gone is drawn nowhere


def format_seconds(seconds: float) -> str:
    """Write seconds in two units at most: "45 s", "3 min 20 s", "5 h 12 min", "2 d 4 h"."""
    whole = round(seconds)
    for unit, size, smaller, smaller_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size} {smaller}"
    return f"{whole} s"


def format_count(number: float) -> str:
    """Write a number short, for people: "950", "15.4 k", "3.2 M", "9.0 G"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):.1f} {unit}"
    return f"{number:,.0f}"
