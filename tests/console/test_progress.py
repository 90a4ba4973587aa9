"""Progress: plain lines where standard error is no terminal, a bar on one, nothing of what is soon over."""

import os
import pty
import subprocess
import sys

import pytest

from bertsmith.console import progress as module
from bertsmith.console.progress import progress_bar


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Its one number is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_what_is_soon_over_shows_nothing_and_what_is_not_says_how_long_it_takes(clock, capsys):
    for seconds in (0.9, 2.4):
        with progress_bar("predicting", 4, patience=10.0) as bar:
            for done in range(1, 5):
                clock[0] += seconds
                bar.update(done)
    assert capsys.readouterr().err == ""
    with progress_bar("predicting", 4, patience=10.0) as bar:
        for done in range(1, 5):
            clock[0] += 6
            bar.update(done)
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["predicting  50%  12 s left", "predicting 100%  0 s left"]


def test_a_bar_inside_another_is_drawn_on_a_terminal_and_both_end():
    outer, inner = pty.openpty()
    code = (
        "from bertsmith.console.progress import progress_bar\n"
        "with progress_bar('outer', 2) as bar:\n"
        "    bar.update(1)\n"
        "    with progress_bar('inner', 2) as small: small.update(2)\n"
        "    with progress_bar('never', 2, patience=1e9) as hidden: hidden.update(2)\n"
        "    bar.update(2)\n"
    )
    subprocess.run([sys.executable, "-c", code], stderr=inner, check=True, env=os.environ | {"TERM": "xterm"})
    os.close(inner)
    shown = os.read(outer, 1 << 16).decode()
    os.close(outer)
    assert "outer" in shown and "inner" in shown and "never" not in shown
    assert shown.count("\x1b[?25h") >= 1, "the cursor is back"
