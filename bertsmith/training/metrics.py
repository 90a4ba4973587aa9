"""metrics.jsonl, one JSON object a line, and TensorBoard's event files beside it."""

import json
from pathlib import Path
from typing import Any

from bertsmith.files import atomic_write, reported
from bertsmith.json_files import finite


class MetricsLog:
    """What a run measured, by step. A resumed run first forgets what it measured after its checkpoint."""

    def __init__(self, run: Path, step: int, tensorboard: bool = True):
        self.path = run / "metrics.jsonl"
        self._forget_after(step)
        with reported(self.path):
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115, open as long as the run
        self._events = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._events = SummaryWriter(run / "tensorboard", purge_step=step + 1)

    def write(self, split: str, step: int, values: dict[str, Any]) -> None:
        """Add one line; numbers that are not finite become null."""
        values = finite(values)
        self._add({"split": split, "step": step, **values})
        if self._events is not None:
            for name, value in values.items():
                if value is not None and name not in ("tokens", "seconds"):
                    self._events.add_scalar(f"{name}/{split}", value, step)

    def warn(self, step: int, text: str) -> None:
        """Add a line with a warning, of the split "warning"."""
        self._add({"split": "warning", "step": step, "text": text})

    def _add(self, line: dict[str, Any]) -> None:
        with reported(self.path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()

    def _forget_after(self, step: int) -> None:
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        with atomic_write(self.path, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in kept)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; one that was cut short by a crash is left out."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines
