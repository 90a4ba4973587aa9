import gc
import subprocess
import sys

import pytest

from bertsmith import memory

PROGRAM = """
import resource
from bertsmith.memory import keep_freed_memory
if {keeps}:
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(b"x") * (8 << 20)
before = faults()
for _ in range(10):
    bytearray(b"x") * (8 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_the_system_hands_out_pages_once():
    faults = {}
    for keeps in (False, True):
        command = [sys.executable, "-c", PROGRAM.format(keeps=keeps)]
        faults[keeps] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults[True] * 10 < faults[False]


HOLES = """
import random
from bertsmith import memory
memory.keep_freed_memory()
surplus = memory.Surplus()
trimmed, give_back = [], memory.give_back_free_memory
memory.give_back_free_memory = lambda: trimmed.append(True) or give_back()
rng, largest, kept = random.Random(0), 0, []
for step in range(200):
    arrays = []
    for number in range(12):  # of sizes that differ by some percent; what is kept between them holds them apart
        arrays.append(bytearray(b"x") * int((2 << 20) * rng.uniform(0.8, 1.2)))
        kept.append(bytes(2000))
        if number > 5:
            arrays.pop(0)
    del arrays
    if {gives_back}:
        surplus.after_step()
    largest = max(largest, memory.resident_bytes())
print(largest >> 20, len(trimmed))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_holes_in_the_heap_do_not_add_up():
    largest = {}
    for gives_back in (False, True):
        program = HOLES.format(gives_back=gives_back)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        largest[gives_back], trimmed = map(int, done.stdout.split())
        assert (1 <= trimmed < 60) if gives_back else trimmed == 0
    assert largest[True] < 0.85 * largest[False], largest


def test_what_the_steps_need_is_not_given_back(monkeypatch):
    """A process that stays as it is, or needs more from some step on, is left alone after at most one try."""
    sizes, given = iter([100, 110, 120, 130, 137, 200, 190, 195, 200, 210]), []
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(memory, "give_back_free_memory", lambda: given.append(True) or True)
    surplus, after = memory.Surplus(), []
    for _ in range(10):
        surplus.after_step()
        after.append(len(given))
    assert after == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_where_the_system_does_not_say_nothing_is_done(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: None)
    monkeypatch.setattr(memory, "give_back_free_memory", lambda: 1 / 0)
    memory.Surplus().after_step()


def test_the_collector_leaves_imports_alone():
    kept = [[] for _ in range(1000)]
    try:
        memory.keep_imports()
        assert gc.get_freeze_count() > 1000 and not any(each is kept for each in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(each is kept for each in gc.get_objects())
