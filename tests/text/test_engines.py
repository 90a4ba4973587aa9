"""Wherever tasks are done, in whatever order and however often, the data are the same bytes."""

import operator
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.text import shards
from bertsmith.text.engines.engine import results_in_order
from bertsmith.text.engines.processes import ProcessEngine
from bertsmith.text.engines.registry import ENGINES
from bertsmith.text.merging import MergeSettings, merge_shares
from bertsmith.text.part_encoder import PartEncoder
from bertsmith.text.pieces import ShardWriter
from bertsmith.text.prepare import PrepareRecipe, prepare
from tests.plugins import own_process
from tests.text import layouts
from tests.text.layouts import content


class Unordered:
    """An engine that does tasks in any order, and some of them twice, as where a worker was lost."""

    num_workers = 3

    def __init__(self, workers: int | None, settings: object):
        self.rng, self.asked, self.done = random.Random(0), settings, []

    def get_ready(self) -> None:
        pass

    @contextmanager
    def start(self, shared: object) -> Iterator["Unordered"]:
        self.shared, self.waiting = pickle.dumps(shared), []
        yield self

    num_tasks = 12

    def submit(self, function, *arguments) -> "Task":
        task = Task(self, pickle.dumps((function, arguments)))
        self.waiting.append(task)
        return task

    def work(self) -> None:
        self.rng.shuffle(self.waiting)
        for task in self.waiting:
            for _ in range(self.rng.choice([1, 1, 2])):
                function, arguments = pickle.loads(task.call)
                task.value = function(pickle.loads(self.shared), *arguments)
                self.done.append(function)
        self.waiting.clear()


class Task:
    def __init__(self, engine: Unordered, call: bytes):
        self.engine, self.call, self.value = engine, call, None

    def done(self) -> bool:
        return self.value is not None

    def result(self) -> object:
        if self.value is None:
            self.engine.work()
        return self.value


def recipe(folder: Path, *more: str) -> PrepareRecipe:
    corpus = folder / "corpus"
    if not corpus.exists():
        layouts.write_jsonl(corpus, layouts.make_documents(300))
    vocab = layouts.write_vocabulary(folder)
    values = [f"corpus={corpus}", f"vocab={vocab}", "workers=1", "heldout_fraction=0.2", *more]
    return load(PrepareRecipe, "prepare", "jsonl", values).settings


def test_an_engine_of_one_s_own_gives_the_same_bytes(tmp_path, monkeypatch):
    layouts.set_part_bytes(monkeypatch, 2000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)
    monkeypatch.setattr("bertsmith.text.compression.CHUNK_BYTES", 512)
    whole = prepare(recipe(tmp_path), tmp_path / "whole")
    opened = []

    def open_engine(workers: int | None, settings: object) -> Unordered:
        opened.append(Unordered(workers, settings))
        return opened[-1]

    with own_process():
        ENGINES.add("unordered", open_engine)
        one = prepare(recipe(tmp_path, "engine=unordered"), tmp_path / "one")
        assert content(one.path) == content(whole.path)
        assert opened[0].asked == recipe(tmp_path, "engine=unordered")
        assert opened[0].done.count(PartEncoder.encode) > 30 and opened[0].done.count(ShardWriter.publish_shard) > 10
        for number in (1, 2):
            prepare(recipe(tmp_path, "engine=unordered", f"part={number}/2"), tmp_path / "two")
        merged = merge_shares(MergeSettings(engine="unordered"), tmp_path / "two")
        assert content(merged.path) == content(whole.path)
        assert len(opened) == 4


def test_an_engine_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"engine = 'rey': there are 'processes'.*; a plugin may register more"):
        recipe(tmp_path, "engine=rey")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_calls_which_are_taken_as_needed(workers):
    taken = []

    def calls() -> Iterator[tuple[int, ...]]:
        for number in range(30):
            taken.append(number)
            yield (number,)

    with ProcessEngine(workers).start(100) as started:
        results = results_in_order(started, operator.add, calls())
        assert len(taken) == started.num_tasks
        assert next(results) == ((0,), 100)
        assert len(taken) == started.num_tasks + 1
        assert [value for _, value in results] == [100 + number for number in range(1, 30)]
