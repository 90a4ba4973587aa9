import signal

import pytest

from bertsmith.console.signals import holding_stops
from bertsmith.text.engines.processes import _Processes


@pytest.fixture(autouse=True)
def interrupts():
    """A shell that starts tests in the background has them ignore Ctrl-C, and Python then leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_was_begun_is_whole_before_a_command_stops():
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), holding_stops():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done and signal.getsignal(signal.SIGINT) is before


def test_a_signal_acts_at_once_when_the_block_is_over():
    with holding_stops():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_worker_is_started_whole():
    """One whose start is cut short prints a page about a semaphore that is gone."""
    started = []

    class Pool:
        def submit(self, *_: object) -> None:
            signal.raise_signal(signal.SIGINT)
            started.append(True)

    with pytest.raises(KeyboardInterrupt):
        _Processes(Pool(), 2).submit(print)  # type: ignore[arg-type]
    assert started
