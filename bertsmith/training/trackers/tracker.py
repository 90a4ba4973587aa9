"""The base of trackers, and continuing their runs."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bertsmith.console.terminal import say
from bertsmith.errors import UserError, one_line
from bertsmith.storage.json_files import check_shape, read_json, write_json

FILE = "trackers.json"
"""In a run's folder: what each tracker calls the run, and the last step of each split that it was given."""


class TrackedRun(NamedTuple):
    """A run's description for its trackers."""

    folder: Path
    name: str
    """The run's name for people."""
    id: str
    """The run's id, the same whenever it is continued; begins with `name`. Empty for trackers that forget."""
    step: int
    """The step that the run goes on from, 0 where it begins."""
    config: Mapping[str, Any]
    """The recipe, nested."""


class Tracker(ABC):
    """The base of a sink for a run's measures. Its package is imported when it is made, and not before."""

    forgets: ClassVar[bool] = False
    """True if it drops the steps that it was given after `TrackedRun.step`; others are not given a step again."""
    files: Sequence[str] = ()
    """Names of the files in the run's folder tensorboard/ that it writes."""

    @abstractmethod
    def __init__(self, run: TrackedRun):
        """Begin the run, or continue the one of this id."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take measures, as "mlm_loss/heldout"; of a step in one call or several."""

    @abstractmethod
    def close(self) -> None:
        """Return when everything is written."""


class Trackers:
    """The trackers of a run that is begun or continued."""

    def __init__(self, classes: Mapping[str, type[Tracker]], tracked: TrackedRun, sent: dict[str, int]):
        """Open a tracker of each class.

        Args:
            tracked: without an id, which each tracker has of its own.
            sent: split → the last step that was measured before the run was continued.

        Raises:
            UserError: one is not installed, or cannot begin.
        """
        path = tracked.folder / FILE
        known = read_json(path, dict) if path.exists() else {}
        check_shape(known, {str: {"id": str, "sent": {str: int}}}, str(path))
        for name in [name for name, cls in classes.items() if not cls.forgets]:
            if name in known:
                before = known[name]["sent"]
                known[name]["sent"] = {split: max(sent.get(split, 0), before.get(split, 0)) for split in sent | before}
            else:
                known[name] = {"id": f"{tracked.name}-{secrets.token_hex(4)}", "sent": {}}
        if known:
            write_json(path, known)  # before they begin: killed meanwhile, their runs are continued
        self._sent = {name: entry["sent"] for name, entry in known.items()}
        self._open: dict[str, Tracker] = {}
        try:
            for name, cls in classes.items():
                self._open[name] = _opened(name, cls, tracked._replace(id=known[name]["id"] if name in known else ""))
        except BaseException:
            self.close()
            raise

    @property
    def files(self) -> list[str]:
        """See `Tracker`, of all."""
        return [file for tracker in self._open.values() for file in tracker.files]

    def log(self, split: str, step: int, values: Mapping[str, float]) -> None:
        """Give measures to all trackers; one that fails is left out from then on, and a line says so."""
        for name, tracker in list(self._open.items()):
            if step <= self._sent.get(name, {}).get(split, -1):
                continue
            try:
                tracker.log(step, {f"{key}/{split}": value for key, value in values.items()})
            except Exception as error:  # a run does not end for its charts
                say(f"warning: {name}: {one_line(error)}; the run goes on without it", error=True)
                del self._open[name]

    def close(self) -> None:
        for tracker in self._open.values():
            tracker.close()


def _opened(name: str, cls: type[Tracker], run: TrackedRun) -> Tracker:
    try:
        return cls(run)
    except ImportError as error:
        extra = f"pip install 'bertsmith[{name}]'" if cls.__module__.startswith(__package__) else "install it"
        raise UserError(f"log: {name}: not installed ({one_line(error)}); {extra}, or leave it out") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"log: {name}: {one_line(error)}; see to it, or leave it out") from error
