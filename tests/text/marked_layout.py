"""A plugin for tests: a layout whose parts leave a file beside the plugin, in the folder `marks`, when they are begun
and when they are read, with the node of Ray where that is; reading takes `SECONDS` more."""

import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.text.compression import OnBroken, refuse
from bertsmith.text.corpora import LAYOUTS
from bertsmith.text.layouts.layout import Layout

SECONDS = 2.0


def node() -> str:
    ray = sys.modules.get("ray")
    is_worker = ray and ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
    return ray.get_runtime_context().get_node_id() if is_worker else "here"


@dataclass(frozen=True)
class MarkedPart:
    part: Any
    number: int

    @property
    def source(self) -> str:
        return self.part.source

    @property
    def size(self) -> int:
        return self.part.size

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        if node() == "here":  # the command itself looks at the first ones
            yield from self.part.documents(skipped, broken)
            return
        self.mark("begun")
        time.sleep(SECONDS)
        yield from self.part.documents(skipped, broken)
        self.mark("ended")

    def mark(self, what: str) -> None:
        Path(__file__).with_name("marks").joinpath(f"{what} {self.number} {node()} {uuid.uuid4().hex}").touch()


def parts(files: Any, recipe: Any) -> Iterator[MarkedPart]:
    for number, part in enumerate(LAYOUTS["openwebtext"].parts(files, recipe)):
        yield MarkedPart(part, number)


LAYOUTS.add("marked", Layout((("_data.xz",),), parts))
