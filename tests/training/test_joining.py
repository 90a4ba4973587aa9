"""How ranks find each other and begin to work together; what they do where one of them goes meanwhile."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
import torch
from torch.distributed import HashStore

from bertsmith.errors import UserError
from bertsmith.training import joining, rendezvous
from bertsmith.training.joining import num_ranks
from bertsmith.training.ranks import RankLost, Ranks
from bertsmith.training.rendezvous import agreed_name
from tests.training.ranks_at_work import fork_ranks, fork_ranks_with


def test_an_environment_that_names_no_rank_is_refused(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "node-1")  # as a batch script may have it
    assert num_ranks() == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="start them with torchrun --nproc-per-node 4 -m bertsmith"):
        num_ranks()


def name_found(store: HashStore, start: int, rank: int) -> str:
    time.sleep(0.1 * ((rank + start) % 3))  # each is the last one once
    return agreed_name(store, rank, 3)


def test_a_start_has_a_name_that_no_start_before_it_had(monkeypatch):
    """The store outlives the ranks; one that was started anew finds what those before it have left there."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    store, names = HashStore(), []
    for start in range(3):
        with ThreadPoolExecutor(3) as pool:
            found = set(pool.map(partial(name_found, store, start), range(3)))
        assert len(found) == 1
        names += found
    assert len(set(names)) == 3


def test_the_ranks_of_another_run_are_no_others_of_this_one():
    """As where a second run on this machine has the port of the first; its first rank cannot listen there."""
    store = HashStore()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(partial(name_found, store, 0), range(3)))
    with pytest.raises(RuntimeError, match="the ranks of another run are there"):
        agreed_name(store, 1, 3)


def test_a_rank_of_another_run_leaves_alone_a_run_whose_ranks_are_still_coming():
    """By the time that a rank may be silent as it is: on a busy machine a thread is so for some tenths of a second."""
    store = HashStore()
    with ThreadPoolExecutor(3) as pool:
        coming = [pool.submit(agreed_name, store, rank, 3) for rank in (0, 1)]
        while not store.check(["hello 1"]):  # rank 0 makes the key "waits 1" too, to read it
            time.sleep(0.02)
        with pytest.raises(RuntimeError, match="the ranks of another run are there"):
            agreed_name(store, 1, 3)
        coming.append(pool.submit(agreed_name, store, 2, 3))
        assert len({found.result(10) for found in coming}) == 1


def test_a_rank_takes_the_place_of_one_that_has_gone(monkeypatch):
    """As of one of another run, which whoever had started it has ended since."""
    monkeypatch.setattr(rendezvous, "LIVELY", timedelta(seconds=0.2))
    store = HashStore()
    store.set("hello 1", "of another run")
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(partial(name_found, store, 0), range(3)))) == 1
    with pytest.raises(RuntimeError, match="the ranks of another run are there"):
        agreed_name(store, 1, 3)


@pytest.mark.parametrize(("hello", "counted"), [("hello 1", False), ("hello 0", True)])
def test_what_ends_a_rank_of_another_run_ends_no_other_run(monkeypatch, hello, counted):
    store = HashStore()
    store.set(hello, "a word")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(joining, "_is_to_say_why", False)
    monkeypatch.setattr(rendezvous, "_word", "")
    monkeypatch.setattr(rendezvous, "find_store", lambda timeout: (store, 1, 2))
    assert joining.is_to_say_why()
    assert store.check([rendezvous.failed_before_joining()]) is counted


def failing(reason: str):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(reason)

    return fail


def test_who_finds_nobody_says_so_on_each_machine_once(monkeypatch):
    monkeypatch.setattr(joining, "_is_to_say_why", False)
    monkeypatch.setattr(rendezvous, "find_store", failing("nobody"))
    with pytest.raises(SystemExit):
        joining._find_others(local=1)
    assert not joining._is_to_say_why
    with pytest.raises(UserError, match=r"cannot be reached at .*nobody"):
        joining._find_others(local=0)
    assert joining.is_to_say_why()


def test_who_has_found_the_others_may_be_the_only_one_to_know_what_is_wrong(monkeypatch):
    """As of a GPU that is in use: whatever its number on the machine."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(joining, "_find_others", lambda local: (HashStore(), 1, 2))
    monkeypatch.setattr(joining.dist, "init_process_group", failing("device is busy"))
    with pytest.raises(UserError, match="device is busy"):
        joining._join()


@pytest.mark.parametrize("moment", ["rendezvous._say_hello", "dist.init_process_group", "dist.new_group"])
def test_a_rank_that_is_killed_while_all_join_does_not_hold_up_the_others(moment, tmp_path, monkeypatch):
    """Neither for the minutes in which ranks may come nor for the hours that a decision may take."""
    monkeypatch.setattr(joining, "JOINING", timedelta(seconds=2))
    monkeypatch.setattr(rendezvous, "SILENT", timedelta(seconds=2))
    begun_at = time.monotonic()
    first, killed, third = fork_ranks_with([None, partial(be_killed_at, moment), None], wait, tmp_path)
    assert time.monotonic() - begun_at < 20
    assert (first.status, killed.status) == (1, -signal.SIGKILL) and third.status in (1, 2)
    (said,) = (first.error + third.error).splitlines()
    assert "while the ranks joined, " in said and " has ended" in said and "start all of them again" in said


def be_killed_at(moment: str) -> None:
    """Let this process be killed as it comes to a function of `joining`, or after it has said hello."""
    module, name = moment.split(".")
    function = getattr(getattr(joining, module), name)

    def end(*given: object, **named: object) -> None:
        if name == "_say_hello":
            function(*given)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(getattr(joining, module), name, end)


def wait(ranks: Ranks) -> None:
    ranks.wait_for_all()


def test_a_rank_may_take_longer_for_its_work_than_for_joining(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "JOINING", timedelta(seconds=0.5))
    ended = fork_ranks(2, come_late, tmp_path)
    assert [process.status for process in ended] == [0, 0], ended


def come_late(ranks: Ranks) -> None:
    """Be late at a decision, and for a sum, by more than the 0.7 seconds for which ranks wait while they join."""
    time.sleep(1.5 * ranks.rank)
    ranks.wait_for_all()
    time.sleep(1.5 * ranks.rank)
    ranks.finished(ranks.sum_of(torch.ones(1)))


def test_of_a_store_that_outlives_its_ranks_only_one_that_was_seen_to_wait_is_lost(monkeypatch):
    """What those of the start before have left says nothing of who is still coming."""
    monkeypatch.setattr(rendezvous, "SILENT", timedelta(seconds=0))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    store = HashStore()
    store.set("hello 1", "a word of the start before")
    waiting = rendezvous._Waiting(store, [1])
    for told in (0, 1, 1):  # in seconds of a clock that goes on by two each time
        waiting.checked_at -= 2
        store.add("waits 1", told)
        waiting.check()
    waiting.checked_at -= 2
    with pytest.raises(RankLost, match="rank 1 has ended"):
        waiting.check()


PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.DEVNULL)
sys.stdin.read()
"""
CHILD = """
import signal, sys, time
from bertsmith.training.joining import stop_with_parent

def stop(number, frame):
    print("stopped by", number, flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, stop)
stop_with_parent()
print("at work", flush=True)
time.sleep(60)
"""


def test_a_rank_whose_torchrun_is_killed_is_asked_to_stop():
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "at work\n"
        parent.kill()
        assert parent.stdout.read() == "stopped by 15\n"  # until nobody has it open
