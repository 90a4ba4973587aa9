"""Lengths of time as Composer writes them: "4000ba" steps, "50_000_000_000tok" tokens, "286720000sp" rows, "0.06dur" of
the whole, "1ep" passes over the data.

Source: MosaicML Composer, composer/core/time.py.
"""

import math
import re
from typing import Any, Literal, NamedTuple

from bertsmith.errors import UserError, quoted

Unit = Literal["ba", "tok", "sp", "dur", "ep"]
_WRITTEN = re.compile(r"([\d_]*\.?\d[\d_]*(?:[eE][+-]?\d+)?)\s*(ba|tok|sp|dur|ep)")


class Duration(NamedTuple):
    """A length of time."""

    number: float
    unit: Unit


def parse_duration(value: Any, where: str) -> Duration:
    """Return what is written so; a plain whole number counts passes over the data. Raises UserError for all else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Duration(value, "ep")
    found = _WRITTEN.fullmatch(str(value).strip())
    if not found:
        raise UserError(
            f"{where} = {quoted(value, 60)}: no length of time; write 4000ba (steps), 1_000_000tok (tokens), 1000sp "
            f"(rows), 0.06dur (a share)"
        )
    unit: Any = found[2]
    return Duration(float(found[1].replace("_", "")), unit)


class Clock(NamedTuple):
    """Batches of rows, by which one unit is turned into another."""

    batch_size: int
    length: int
    """Tokens a row, at most."""
    total: Duration
    """Of the whole training."""

    def steps(self, duration: Duration) -> int | None:
        """Return the number of steps, every row counted as full; None for passes over data of unknown size."""
        match duration.unit:
            case "ba":
                return math.ceil(duration.number)
            case "sp":
                return math.ceil(duration.number / self.batch_size)
            case "tok":
                return math.ceil(duration.number / (self.batch_size * self.length))
            case "dur":
                whole = self.steps(self.total)
                return None if whole is None else math.ceil(duration.number * whole)
        return None

    def share(self, duration: Duration) -> float | None:
        """Return the share of the whole; None where the two have no unit in common."""
        if duration.unit == "dur":
            return duration.number
        if duration.unit == self.total.unit:
            return duration.number / self.total.number if self.total.number else None
        part, whole = self.steps(duration), self.steps(self.total)
        return None if part is None or not whole else part / whole
