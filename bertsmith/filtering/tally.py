"""What became of documents: how many were read, kept and dropped, by reason, with a sample of the dropped ones.

A reason is the setting that decided, such as "gopher_quality.min_doc_words". The sample is that of the smallest hashes,
so it is the same however the corpus was shared out, and is spread over all of it.
"""

import hashlib
import heapq
from collections import Counter
from pathlib import Path
from typing import Any

from bertsmith.storage.json_files import read_json, write_json

MAX_TEXT = 2000
"""Characters of a dropped text that the sample has."""

RULES = ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb", "empty", "exact", "minhash")
"""In the order in which they are applied; what they leave empty is dropped too."""

SampledText = tuple[str, dict[str, Any]]
"""A sampled document: the hash that orders it, and what is written of it."""


class Tally:
    """Counts of documents and of their bytes, as UTF-8."""

    def __init__(self, sample: int):
        self.sample = sample
        self.documents: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()  # unreadable ones, by reason
        self.lines: Counter[str] = Counter()  # that were taken out of texts
        self.broken: list[str] = []
        self.dropped: dict[str, list[SampledText]] = {}

    def count(self, what: str, text: str) -> None:
        """Count a document as "read", "kept", or dropped for a reason."""
        self.documents[what] += 1
        self.bytes[what] += len(text.encode())

    def drop(self, reason: str, text: str, source: str, note: str = "") -> None:
        """Count a dropped document, and sample it."""
        self.count(reason, text)
        key = hashlib.sha1(f"{source}\n{text}".encode(), usedforsecurity=False).hexdigest()
        shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
        entry = {"source": source, "characters": len(text), **({"note": note} if note else {}), "text": shown}
        self._keep_smallest(reason, [(key, entry)])

    def _keep_smallest(self, reason: str, entries: list[SampledText]) -> None:
        together = [*self.dropped.get(reason, ()), *entries]
        self.dropped[reason] = heapq.nsmallest(self.sample, together, key=lambda entry: entry[0])

    def add(self, path: Path) -> None:
        """Add the tally of another task."""
        other = read_json(path, dict)
        for name in ("documents", "bytes", "skipped", "lines"):
            getattr(self, name).update(other[name])
        self.broken += other["broken"]
        for reason, entries in other["dropped"].items():
            self._keep_smallest(reason, [(key, entry) for key, entry in entries])

    def save(self, path: Path) -> None:
        write_json(path, {name: value for name, value in vars(self).items() if name != "sample"})

    def reasons(self) -> list[str]:
        """Return the reasons for which documents were dropped, in the order of the rules."""
        found = [reason for reason in self.documents if reason not in ("read", "kept")]
        return sorted(found, key=lambda reason: (RULES.index(reason.partition(".")[0]), reason))


def tally_file(rank: int) -> str:
    """Return the name of the file of a task's tally."""
    return f"{rank:05d}.json"


class Excluded:
    """What datatrove calls an exclusion writer: takes in what a filter drops."""

    def __init__(self, tally: Tally, rule: str, reasons: dict[str, str]):
        self._tally, self._rule, self._reasons = tally, rule, reasons

    def __enter__(self) -> "Excluded":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, document: Any, rank: int = 0) -> None:
        given = document.metadata.get("filter_reason")
        reason = self._rule if given is None else f"{self._rule}.{self._reasons.get(given, given)}"
        note = document.metadata.get("language", "")
        self._tally.drop(reason, document.text, document.metadata["source"], note)
