"""Standard streams that are closed, full, or whose reader goes: training goes on; nothing raw reaches a terminal."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertsmith.console.terminal import Tolerant, say, say_json, say_table, tell
from bertsmith.errors import printable
from tests.processes import start_program
from tests.toys import make_data

ROOT = Path(__file__).resolve().parents[2]
LAST = Path("checkpoints/step-00000006")
PROGRAM = [sys.executable, "-m", "bertsmith"]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def training(out: str, *overrides: str) -> list[str]:
    return [
        "pretrain", "bert-tiny", "data=data", "plan.steps=6", "plan.evaluate_steps=1",
        "plan.checkpoint_steps=3", "rows.length=32", "batch_size=4", "model.hidden_size=16",
        "model.num_attention_heads=2", "evaluate_rows=8", "log=[]", *overrides, "--out", out,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Has a data folder, and what an undisturbed run leaves."""
    folder = tmp_path_factory.mktemp("streams")
    make_data(folder)
    process = start_program(*training("undisturbed"), cwd=folder)
    process.join()
    assert process.exitcode == 0
    return folder


def weights(run: Path) -> list[bytes]:
    return [(run / LAST / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


def test_training_ends_as_ever_where_the_disk_of_its_output_is_full(folder):
    process = start_program(*training("full"), cwd=folder, stdout="/dev/full", stderr="/dev/full")
    process.join(120)
    assert process.exitcode == 0
    assert weights(folder / "full") == weights(folder / "undisturbed")
    assert json.loads((folder / "full" / "manifest.json").read_text())["finished"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirection", [">/dev/full 2>&1", "0<&- >&- 2>&-", "2>&-", "2>/dev/full", ">&-", ">&- 2>/dev/full"]
)
def test_training_ends_as_ever_where_nothing_can_be_said(folder, redirection):
    out = f"run-{abs(hash(redirection))}"
    command = " ".join([*PROGRAM, *training(out)]) + f" {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert weights(folder / out) == weights(folder / "undisturbed")
    assert json.loads((folder / out / "manifest.json").read_text())["finished"]


@pytest.mark.slow
def test_training_outlives_the_reader_of_its_pipe(folder):
    """As of `2>&1 | tee log` with a tee that is killed."""
    process = subprocess.Popen(
        [*PROGRAM, *training("piped")], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert weights(folder / "piped") == weights(folder / "undisturbed")


def test_training_outlives_its_terminal(folder):
    """Where no SIGHUP comes, as after `setsid`, the bar and all lines fail with EIO."""
    outer, inner = pty.openpty()
    terminal = os.ttyname(inner)
    process = start_program(
        *training("lost"), cwd=folder, stdout=terminal, stderr=terminal, environment={"TERM": "xterm"}
    )
    assert os.read(outer, 1)
    os.close(inner)
    os.close(outer)
    process.join(120)
    assert process.exitcode == 0
    assert weights(folder / "lost") == weights(folder / "undisturbed")


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_warning_signal_saves_and_stops_and_the_same_command_goes_on(folder, number):
    """SLURM sends SIGUSR1 some time before the end, where it is asked to."""
    out = f"stopped-{number.name}"
    command = training(out, "plan.steps=6", "plan.checkpoint_steps=1000000", "plan.log_steps=1")
    endless = [word.replace("plan.steps=6", "plan.steps=100000") for word in command]
    process = start_program(*endless, cwd=folder, stderr=folder / f"{out}.txt")
    metrics = folder / out / "metrics.jsonl"
    while process.is_alive() and not (metrics.exists() and metrics.read_text().count("\n") > 2):
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.join(120)
    notes = (folder / f"{out}.txt").read_text()
    assert process.exitcode == 128 + number
    assert f"To go on:\n  bertsmith pretrain bert-tiny data=data {shlex.join(endless[3:])}" in notes, notes
    (saved,) = (folder / out / "checkpoints").iterdir()
    assert json.loads((saved / "state.json").read_text())["step"] == int(saved.name.removeprefix("step-")) >= 2


def test_no_signal_handler_is_left_behind(folder):
    from bertsmith.cli.arguments import stopping

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)]
    with pytest.raises(SystemExit) as ended, stopping("bertsmith …"):
        signal.raise_signal(signal.SIGUSR1)
    assert ended.value.code == 128 + signal.SIGUSR1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    ("redirection", "status", "says"),
    [
        (">&-", 0, ""),
        pytest.param("2>&- >/dev/full", 2, "", marks=pytest.mark.slow),
    ],
)
def test_results_that_cannot_be_written_are_no_traceback(redirection, status, says):
    command = f"{' '.join(PROGRAM)} show openwebtext {redirection}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True)
    assert (done.stderr, done.returncode) == (says, status)


def test_a_file_that_is_opened_never_gets_the_number_of_a_closed_stream(tmp_path):
    """Else what a library writes to number 2 would land in it."""
    code = (
        "import os; from bertsmith.console.terminal import open_streams; open_streams(); file = open('opened', 'w')\n"
        "os.write(1, b'one'); os.write(2, b'two'); file.write(str(file.fileno())); file.close()"
    )
    subprocess.run(["bash", "-c", f'{sys.executable} -c "$CODE" <&- >&- 2>&-'], cwd=tmp_path,
                   env=environment(CODE=code), check=True)  # fmt: skip
    assert int((tmp_path / "opened").read_text()) > 2


def test_a_stream_that_failed_is_written_to_again_once_it_can_be(tmp_path):
    reader, writer = os.pipe()
    kept = os.dup(reader)
    with os.fdopen(writer, "w", buffering=1) as pipe:
        stream = Tolerant(pipe)
        full = os.open("/dev/full", os.O_WRONLY)
        pipe_end = os.dup(writer)
        os.dup2(full, writer)
        stream.write("lost\n")
        os.dup2(pipe_end, writer)
        stream.write("kept\n")
    os.close(pipe_end)
    assert os.read(kept, 100) == b"kept\n"


def test_an_encoding_that_lacks_a_character_escapes_it():
    command = [*PROGRAM, "show", "openwebtext"]
    done = subprocess.run(command, env=environment(PYTHONIOENCODING="ascii"), capture_output=True, text=True)
    assert done.returncode == 0 and "\\u2013" in done.stdout, done.stderr


HOSTILE = "a\x1b[2J\x9b1mb\x07\u202ec\x7f\u2028d\ud800e"


def test_lines_tables_and_json_are_fit_for_a_terminal(capsys):
    say(HOSTILE)
    tell(HOSTILE)
    say_table(HOSTILE, [HOSTILE], [[HOSTILE]], width=80)
    say(HOSTILE, error=True)
    say_json({HOSTILE: [HOSTILE, float("nan"), {"deep": float("inf")}]})
    out, err = capsys.readouterr()
    for line in (out + err).splitlines():
        assert line.isprintable(), ascii(line)
    assert err == printable(HOSTILE) + "\n" and "a\\x1b[2J\\x9b1mb" in err
    assert json.loads(out.splitlines()[-1]) == {HOSTILE: [HOSTILE, None, {"deep": None}]}
