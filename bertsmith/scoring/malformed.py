"""The malformed parts of a file, which are refused, or left out and counted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bertsmith.errors import UserError

Part = TypeVar("Part")

RUN_REMEDY = "skip_malformed=true leaves such {} out"
GRADE_REMEDY = "--skip-malformed leaves such {} out, as a run with skip_malformed=true does"


@dataclass
class Malformed:
    """The malformed parts of one file."""

    noun: str = "questions"
    """Name of the parts, in messages."""
    remedy: str = ""
    """How a user leaves them out, where they can: `RUN_REMEDY`, `GRADE_REMEDY`."""
    skip: bool = False
    count: int = 0
    first: str = ""
    """The fault of the first that was left out."""

    def read_or_skip(self, read: Callable[..., Part], *args: object) -> Part | None:
        """Return what `read` gives; None where it refuses, and that is to be left out. Raises UserError where `read`
        refuses, and that is not to be left out."""
        try:
            return read(*args)
        except UserError as error:
            if not self.skip:
                raise UserError(f"{error} ({self.remedy.format(self.noun)})" if self.remedy else str(error)) from None
            self.count += 1
            self.first = self.first or str(error)
            return None

    def note(self) -> list[str]:
        """Return a line that says what was left out; none where nothing was."""
        return [f"{self.count:,} malformed {self.noun}, left out; the first: {self.first}"] if self.count else []
