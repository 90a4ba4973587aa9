"""metrics.jsonl, one JSON object a line, and trackers beside it; tokens a second, the share of the hardware's peak,
memory."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from bertsmith.errors import UserError
from bertsmith.memory import peak_bytes
from bertsmith.storage.files import atomic_write, open_own, reported
from bertsmith.storage.json_files import check_shape, finite, parse_json
from bertsmith.training.machine import Machine
from bertsmith.training.trackers.registry import TRACKERS
from bertsmith.training.trackers.tracker import TrackedRun, Trackers

NO_CONFIG: Mapping[str, Any] = MappingProxyType({})

_MAX_LINE_BYTES = 1 << 20
"""A line has about 300."""


class MetricsLog:
    """A run's measures by step. A resumed run first removes those after its checkpoint.

    Attributes:
        trackers: what is given the measures besides.
    """

    def __init__(
        self, run: Path, step: int, log: Sequence[str] = (), config: Mapping[str, Any] = NO_CONFIG, title: str = ""
    ):
        """Open the log of a run that goes on from `step`, and its trackers of these names.

        Args:
            run: the folder.
            config: the recipe, for the trackers.
            title: what they call the run; left out, as its folder.

        Raises:
            UserError: metrics.jsonl is damaged or cannot be written; a tracker cannot begin.
        """
        self.path = run / "metrics.jsonl"
        before = read_metrics(self.path)
        with atomic_write(self.path, "w") as file:  # a new file: a hard link of the old one stays as it is
            file.writelines(json.dumps(line) + "\n" for line in before if line["step"] <= step)
        sent = {line["split"]: line["step"] for line in before}
        tracked = TrackedRun(run, title or run.resolve().name, "", step, config)
        self.trackers = Trackers({name: TRACKERS[name] for name in log}, tracked, sent)
        with reported(self.path):
            self._file = os.fdopen(open_own(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8")

    def write(self, split: str, step: int, values: dict[str, Any]) -> None:
        """Add one line; numbers that are not finite become null.

        Raises:
            UserError: the disk is full, or somebody has removed the file.
        """
        values = finite(values)
        self._add({"split": split, "step": step, **values})
        shown = {k: value for k, value in values.items() if value is not None and k not in ("tokens", "seconds")}
        self.trackers.log(split, step, shown)

    def warn(self, step: int, text: str) -> None:
        """Add a line with a warning, of the split "warning"."""
        self._add({"split": "warning", "step": step, "text": text})

    def _add(self, line: dict[str, Any]) -> None:
        with reported(self.path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            if not os.fstat(self._file.fileno()).st_nlink:
                raise UserError(f"{self.path}: was removed while the run wrote it; the run stops")

    def sync(self) -> None:
        """Return when the lines would survive a power cut, as a checkpoint that is saved next does."""
        os.fsync(self._file.fileno())

    @property
    def files(self) -> list[str]:
        """Names of the files that its trackers have begun in the run's folder."""
        return self.trackers.files

    def close(self) -> None:
        self._file.close()
        self.trackers.close()


class NoLog:
    """The log of a rank that keeps none."""

    files: list[str] = []  # noqa: RUF012

    def write(self, split: str, step: int, values: dict[str, Any]) -> None:
        """See `MetricsLog`, as for all that follow."""

    def warn(self, step: int, text: str) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl, each with a "split" and a "step"; none where there is no such file. A torn
    end, as a kill or a power cut leaves it, is left out.

    Raises:
        UserError: a line before the end is damaged.
    """
    if not path.exists():
        return []
    with reported(path), path.open("rb") as file:
        lines = file.read().split(b"\n")
    # A line without its line feed may still be JSON, as the beginning of a number is.
    read, first_fault = [], None
    for number, text in enumerate(lines[:-1], start=1):
        try:
            line = _read_line(text, path, number)
        except UserError as error:
            first_fault = first_fault or error
            continue
        if first_fault is not None:
            raise UserError(f"{str(first_fault).removesuffix('; write the file again')}; remove that line") from None
        read.append(line)
    return read


def _read_line(text: bytes, path: Path, number: int) -> dict[str, Any]:
    where = f"{path}, line {number}"
    if len(text) > _MAX_LINE_BYTES:
        raise UserError(f"{where}: longer than {_MAX_LINE_BYTES:,} bytes")
    line = parse_json(text.decode(errors="replace"), str(path), dict, number)
    measures = {key: _MEASURE for key in line if key != "text"}  # a warning's
    check_shape(line, measures | {"split": str, "step": int, "text?": str}, where)
    if line["step"] < 0:
        raise UserError(f"{where}: step {line['step']} is negative")
    if "peak_share" in line:  # as version 0.1.0 called it
        line["mfu"] = line.pop("peak_share")
    return line


_MEASURE = (int, float, type(None))

DEVIATION = "_std"
"""Ending of a measure that is the standard deviation of another, over the seeds of what was trained for it."""


def with_deviations(measures: Mapping[str, Any]) -> dict[str, str]:
    """Return measures as people read them, those that have a deviation with it: "0.8134 ± 0.0021"; a measure that is
    no number is a dash."""
    numbers = {name: value for name, value in measures.items() if isinstance(value, int | float)}
    texts = {name: "–" if math.isnan(value) else f"{value:.4g}" for name, value in numbers.items()}
    return {
        name: f"{text} ± {texts[name + DEVIATION]}" if name + DEVIATION in texts else text
        for name, text in texts.items()
        if name.removesuffix(DEVIATION) not in texts or not name.endswith(DEVIATION)
    }


_PEAKS: dict[tuple[str, torch.dtype], float] = {}


class Meter:
    """A meter of training speed: rates between two readings."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.peak_flops = measured_peak_flops(machine) * machine.ranks.size
        self.tokens = self.seconds = self.flops_per_token = 0.0
        self.counted = self.flops = 0.0
        self._has_measured_again = False

    def start(self, tokens: int, seconds: float) -> None:
        """Count from these totals on."""
        self.tokens, self.seconds, self.counted, self.flops = tokens, seconds, tokens, 0.0

    def set_cost(self, tokens: int, flops_per_token: float) -> None:
        """Take a token after these, the total now, to cost so many operations, forward and backward."""
        self.flops += (tokens - self.counted) * self.flops_per_token
        self.counted, self.flops_per_token = tokens, flops_per_token

    def read(self, tokens: int, seconds: float) -> dict[str, float | None]:
        """Return `tokens_per_second`, `mfu` (model FLOPs utilisation, of the measured peak) and `memory_bytes` since
        the last reading, given the totals now. The rates are None where no time was counted: a single step that
        compiled."""
        self.set_cost(tokens, self.flops_per_token)
        num_tokens, flops, span = tokens - self.tokens, self.flops, seconds - self.seconds
        self.start(tokens, seconds)
        return {
            "tokens_per_second": num_tokens / span if span > 0 else None,
            "mfu": self._utilisation(flops / span) if span > 0 else None,
            "memory_bytes": memory_bytes(self.machine.device),
        }

    def _utilisation(self, rate: float) -> float | None:
        """Return which share of the peak so many operations a second are. On the CPU more than the peak means that
        other programs ran when it was measured: it is measured once more, and if that does not help the share is not
        known."""
        is_impossible = rate > self.peak_flops and self.machine.device.type == "cpu"
        if is_impossible and not self._has_measured_again:
            self._has_measured_again = True
            self.peak_flops = measured_peak_flops(self.machine, again=True) * self.machine.ranks.size
            is_impossible = rate > self.peak_flops
        return None if is_impossible else rate / self.peak_flops


def measured_peak_flops(machine: Machine, again: bool = False) -> float:
    """Measure the operations a second of a large matrix product on this machine: the peak that software can reach, as
    opposed to a data sheet's. Takes a tenth of a second or two, once a process, or where it is to be done `again`."""
    key = (str(machine.device), machine.dtype)
    if again or key not in _PEAKS:
        size, times = (8192, 8) if machine.device.type == "cuda" else (1024, 4)
        # Random numbers: a GPU multiplies ones faster, since it then draws less power and clocks higher.
        matrix = torch.randn(size, size, device=machine.device, dtype=machine.dtype)
        measured = max(2 * size**3 / _seconds_of_product(matrix) for _ in range(times))
        _PEAKS[key] = max(_PEAKS.get(key, 0.0), measured)
    return _PEAKS[key]


def _seconds_of_product(matrix: torch.Tensor) -> float:
    cuda = matrix.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(matrix.device)
    started_at = time.perf_counter()
    matrix @ matrix
    if cuda:
        torch.cuda.synchronize(matrix.device)
    return time.perf_counter() - started_at


def memory_bytes(device: torch.device) -> int:
    """Return the most memory used so far: torch's on a GPU, the process's on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()
