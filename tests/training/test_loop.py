import signal

import pytest

from bertsmith.training import loop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_that_came_too_late_is_passed_on(number):
    obeyed = []
    previous = signal.signal(number, lambda number, frame: obeyed.append(number))
    try:
        with loop._stop_requests() as requests:
            signal.raise_signal(number)
            assert requests == [number] and not obeyed
        assert obeyed == [number]
        with loop._stop_requests():
            pass
        assert obeyed == [number]
    finally:
        signal.signal(number, previous)
