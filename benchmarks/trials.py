"""Trials of contestants in turns, each written down as it ends, so that a long benchmark goes on from there."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bertsmith.cores import num_cores


def parser_of(about: str, repeats: int | None = None) -> argparse.ArgumentParser:
    """Return a parser for a benchmark that is described by the first line of `about`, with --out, and --repeats where
    it is measured in turns."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file; finished trials in it are kept")
    if repeats is not None:
        parser.add_argument("--repeats", type=int, default=repeats, help="trials of each contestant")
    return parser


class Trials:
    """Finished trials, in memory and in a JSON file."""

    def __init__(self, path: Path | None, machine: str | None = None):
        self.path = path
        self.commit = _commit()
        self.content: dict[str, Any] = {"machine": machine or _machine(), "trials": []}
        if path and path.exists():
            self.content = json.loads(path.read_text(encoding="utf-8"))

    def alternate(self, what: str, contestants: dict[str, Callable[[], dict[str, float]]], repeats: int) -> None:
        """Run each contestant `repeats` times, in turns; a contestant returns its figures by name."""
        for number in range(repeats):
            for who, measure in contestants.items():
                if not self._done(what, who, number):
                    self.add(what, who, number, measure())

    def side_by_side(self, measures: dict[tuple[str, str, int], Callable[[], dict[str, float]]], jobs: int) -> None:
        """Run what is measured in processes of its own, by (what, who, number), so many at a time; for figures that do
        not depend on who else is at work. One that dies is named, and does not end the others."""
        with ThreadPoolExecutor(jobs) as pool:
            begun = {pool.submit(measure): key for key, measure in measures.items() if not self._done(*key)}
            for ended in as_completed(begun):
                try:
                    self.add(*begun[ended], ended.result())
                except subprocess.CalledProcessError as error:
                    print(f"{begun[ended]}: died with code {error.returncode}", flush=True)

    def _done(self, what: str, who: str, number: int) -> bool:
        key = {"what": what, "who": who, "number": number}
        return any(key.items() <= trial.items() for trial in self.content["trials"])

    def add(self, what: str, who: str, number: int, figures: dict[str, Any]) -> None:
        """Keep a trial that has ended, and print its numbers."""
        key = {"what": what, "who": who, "number": number}
        self.content["trials"].append(key | {"commit": self.commit} | figures)
        print(f"{what}, {who}, {number + 1}: {_say(figures)}", flush=True)
        self._save()

    def figures(self, what: str, who: str, name: str) -> list[float]:
        return [trial[name] for trial in self.content["trials"] if (trial["what"], trial["who"]) == (what, who)]

    def ratio(self, what: str, whose: str, name: str, target: float, least: bool = True) -> None:
        """Print and note bertsmith's median over that of `whose`, which is to be at least (or most) `target`."""
        own, peer = (self.figures(what, who, name) for who in ("bertsmith", whose))
        ratio = statistics.median(own) / statistics.median(peer)
        reached = ratio >= target if least else ratio <= target
        print(
            f"{what}: {name} {_spread(own)} against {_spread(peer)} of {whose}: {ratio:.2f} × "
            f"(target {'≥' if least else '≤'} {target}: {'reached' if reached else 'missed'})"
        )
        result = {"figure": name, "bertsmith": own, whose: peer, "ratio": ratio, "target": target, "reached": reached}
        self.note("results", f"{what}, {name}", result)

    def note(self, section: str, name: str, value: Any) -> None:
        """Keep something else than a trial."""
        self.content.setdefault(section, {})[name] = value
        self._save()

    def _save(self) -> None:
        if self.path:
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
            partial.replace(self.path)


def shared_data() -> Path:
    """Return the folder of data for development: BERTSMITH_SHARED_DATA, or the one beside the project."""
    return Path(os.environ.get("BERTSMITH_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def in_own_process(module: str, *arguments: str, threads: int | None = None) -> dict[str, float]:
    """What `python -m benchmarks.MODULE ARGUMENTS` prints last: figures as JSON. Nothing that one contestant sets in
    its process, and none of its memory, is then the other's."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _say(figures: dict[str, Any]) -> str:
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return ", ".join(f"{name} {value:,.4g}" for name, value in numbers.items())


def _spread(figures: list[float]) -> str:
    return f"{statistics.median(figures):,.4g} (median of {len(figures)}, {min(figures):,.4g} to {max(figures):,.4g})"


def _machine() -> str:
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{num_cores()} × {model}"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    except OSError:
        return ""  # a machine without git
