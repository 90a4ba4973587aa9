"""Ray, on this machine and on a cluster of two nodes, gives the bytes of one process, whatever is lost on the way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from bertsmith import __version__
from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.storage.code_version import code_version
from bertsmith.text.engines import ray_cluster, ray_worker
from bertsmith.text.engines.ray import MAX_LOSSES
from bertsmith.text.engines.ray_worker import WorkerSetup
from bertsmith.text.merging import MergeSettings, merge_shares
from bertsmith.text.prepare import PrepareRecipe, prepare
from tests.plugins import own_process
from tests.text import layouts
from tests.text.layouts import content

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install bertsmith[ray]")
PLUGIN = Path(__file__).with_name("marked_layout.py")
UNITS = 14


def recipe(folder: Path, *more: str) -> PrepareRecipe:
    if not (folder / "corpus").exists():
        layouts.write_archives(folder / "corpus", layouts.make_documents(10 * UNITS), 10)
    vocab = layouts.write_vocabulary(folder)
    values = [f"corpus={folder / 'corpus'}", f"vocab={vocab}", "heldout_fraction=0.2", *more]
    return load(PrepareRecipe, "prepare", "openwebtext", values).settings


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "10.0.0.1", "http://a:1/", ":6379", ""])
def test_an_address_that_is_none_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="auto or HOST:PORT is wanted"):
        prepare(recipe(tmp_path, "engine=ray", f'ray_address="{address}"'), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_address_without_ray_is_refused(tmp_path):
    with pytest.raises(UserError, match="ray_address = 'auto': only for engine = ray"):
        recipe(tmp_path, "ray_address=auto")


def test_where_ray_is_not_installed_it_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r'engine = ray: Ray is not installed; python -m pip install "bertsmith\[ray\]"'
    ):
        prepare(recipe(tmp_path, "engine=ray"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: object())
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(UserError, match=f"nothing answers at {address}"):
            prepare(recipe(tmp_path, "engine=ray", f"ray_address={address}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_asks_for_a_token_is_said_on_one_line(monkeypatch, capfd):
    """And not the twenty lines of Ray, which is written in C++."""

    def init(**settings: object) -> None:
        os.write(2, b"gcs_client.cc:210: InvalidAuthToken: Authentication token is missing\n" * 20)
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(UserError, match=r"node-1:6379 asks for a token; set RAY_AUTH_MODE=token"):
        ray_cluster._join("node-1:6379", {})
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def setup(folder: Path, **changed: object) -> WorkerSetup:
    pieces = folder / "data" / "pieces.bertsmith-partial"
    pieces.mkdir(parents=True)
    (pieces / "seen-1").touch()
    values = {
        "version": __version__, "code": code_version().sha256, "current": os.getcwd(), "plugins": (),
        "seen": str(pieces / "seen-1"), "shared": b"\x80\x04K*.",
    }  # fmt: skip
    return WorkerSetup(**(values | changed))


def test_a_worker_gets_ready_where_all_is_as_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ray_worker._set_up(setup(tmp_path)) == 42
    assert [path.name for path in (tmp_path / "data" / "pieces.bertsmith-partial").iterdir()] == ["seen-1"]


@pytest.mark.parametrize(("changed", "said"), [
    ({"version": "9.9.9"}, rf"has bertsmith {__version__}, the command 9\.9\.9; install 9\.9\.9 there"),
    ({"code": "abc"}, "has other code than the command's"),
    ({"current": "/no/such/folder"}, "/no/such/folder: No such file or directory; start the command in a folder"),
    ({"plugins": ((str(PLUGIN), "abc"),)}, "the plugin has other content here"),
    ({"plugins": (("/no/such.py", "abc"),)}, "/no/such.py: no such file"),
    ({"seen": "/no/data/pieces/seen-1"}, "does not see /no/data; --out must be in a folder that all nodes share"),
])  # fmt: skip
def test_a_worker_says_what_is_another_where_it_is(tmp_path, monkeypatch, changed, said):
    monkeypatch.chdir(tmp_path)
    with own_process(), pytest.raises(UserError, match=said):
        ray_worker._set_up(setup(tmp_path, **changed))


def command(folder: Path, out: Path, *more: str) -> list[str]:
    corpus, vocab = folder / "corpus", folder / "vocab.txt"
    return [
        sys.executable, "-m", "bertsmith", "prepare", "openwebtext", f"corpus={corpus}", f"vocab={vocab}",
        "heldout_fraction=0.2", "layout=marked", f"plugins=['{folder / PLUGIN.name}']", "--out", str(out), *more,
    ]  # fmt: skip


def marks(folder: Path) -> list[list[str]]:
    """Return what the plugin has noted: begun or ended, number of the unit, node."""
    return [path.name.split()[:3] for path in (folder / "marks").iterdir()]


@pytest.fixture
def marked(tmp_path) -> Path:
    """Return a folder with a corpus of `UNITS` units, the plugin that marks them, and `whole`, made by one process."""
    recipe(tmp_path)
    (tmp_path / "marks").mkdir()
    shutil.copy(PLUGIN, tmp_path)
    subprocess.run(command(tmp_path, tmp_path / "whole", "workers=1"), check=True, capture_output=True)
    return tmp_path


def wait_for(condition, seconds: float = 300.0) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def ray_processes() -> set[str]:
    """Return the ids of processes of Ray on this machine."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"/raylet" in line or b"gcs_server" in line or line.startswith(b"ray::"):
            found.add(path.parent.name)
    return found


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_goes_on_and_leaves_no_process(marked, number):
    before, out = ray_processes(), marked / "out"
    process = subprocess.Popen(
        command(marked, out, "engine=ray", "workers=2"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    journal = out / "journal.jsonl"
    wait_for(lambda: journal.exists() and journal.read_text().count("\n") > 3)
    process.send_signal(number)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), said
    assert "ray" not in said.replace("engine=ray", "").lower(), "Ray writes nothing on the screen"
    wait_for(lambda: not ray_processes() - before)  # Ray's agents take 90 s
    done = journal.read_text().count("\n") - 1
    assert 3 <= done < UNITS
    for mark in (marked / "marks").iterdir():
        mark.unlink()
    ended = subprocess.run(command(marked, out, "engine=ray", "workers=2"), capture_output=True, text=True)
    assert ended.returncode == 0 and "goes on after" in ended.stderr, ended.stderr
    assert sorted(int(unit) for what, unit, _ in marks(marked) if what == "begun") == list(range(done, UNITS))
    assert content(out) == content(marked / "whole")
    wait_for(lambda: not ray_processes() - before)


@pytest.fixture
def cluster() -> Iterator[object]:
    """Return a cluster of a node with a core; one more can be added."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@with_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_units_of_a_node_that_is_killed_are_done_again_and_no_others(marked, cluster):
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    out = marked / "out"
    process = subprocess.Popen(
        command(marked, out, "engine=ray", f"ray_address={cluster.address}"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def is_half_way() -> bool:
        found = Counter((what, node) for what, _, node in marks(marked))
        begun, ended = (found[what, second.node_id] for what in ("begun", "ended"))
        return ended >= 3 and begun > ended

    wait_for(is_half_way)
    cluster.remove_node(second, allow_graceful=False)
    answer, said = process.communicate(timeout=300)
    assert process.returncode == 0 and answer.startswith("wrote") and "raylet" not in answer + said, answer + said
    assert "2 nodes, 2 workers, 1 GB of memory reserved for each" in said
    assert "a node or worker of Ray was lost: what it was doing (1) is done again" in said
    assert content(out) == content(marked / "whole")
    begun = [(int(unit), node) for what, unit, node in marks(marked) if what == "begun"]
    again = [unit for unit, times in Counter(unit for unit, _ in begun).items() if times > 1]
    assert {unit for unit, _ in begun} == set(range(UNITS))
    assert len(again) == 1 and (again[0], second.node_id) in begun and len(begun) == UNITS + 1


@with_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_head_that_is_lost_ends_the_command_with_a_line(marked, cluster):
    address = cluster.address
    process = subprocess.Popen(
        command(marked, marked / "out", "engine=ray", f"ray_address={cluster.address}"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: sum(what == "ended" for what, _, _ in marks(marked)) >= 1)
    cluster.head_node.kill_gcs_server(check_alive=False)
    answer, said = process.communicate(timeout=300)
    assert process.returncode == 2 and not answer, said
    assert said.splitlines()[-1].startswith(f"bertsmith: Ray's head node ({address}) no longer answers"), said
    assert (marked / "out" / "journal.jsonl").read_text().count("\n") > 1


@with_ray
@pytest.mark.slow
def test_a_unit_that_ends_its_workers_is_named_and_given_up(marked):
    plugin, out = marked / PLUGIN.name, marked / "out"
    kill = "if self.number == 2: __import__('os').kill(__import__('os').getpid(), 9)"
    plugin.write_text(plugin.read_text().replace("time.sleep(SECONDS)", kill))
    ended = subprocess.run(command(marked, out, "engine=ray", "workers=1"), capture_output=True, text=True)
    assert ended.returncode == 2 and not ended.stdout, ended.stderr
    said = "4 workers were lost one after another at PartEncoder.encode 2, perhaps for lack of memory"
    assert said in ended.stderr.splitlines()[-1], ended.stderr
    begun = Counter(int(unit) for what, unit, _ in marks(marked) if what == "begun")
    assert begun.pop(2) == MAX_LOSSES + 1 and set(begun.values()) == {1}
    assert (out / "journal.jsonl").read_text().count("\n") == 3, "the head, and the two units before"


@with_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_versions_are_named_and_shares_are_merged_on_a_cluster(tmp_path, cluster, monkeypatch):
    import ray

    address, whole = f"ray_address={cluster.address}", tmp_path / "whole"
    prepare(recipe(tmp_path, "workers=1"), whole)
    with monkeypatch.context() as changed:
        changed.setattr("bertsmith.text.engines.ray.__version__", "9.9.9")
        with pytest.raises(UserError, match=rf"node .*: has bertsmith {__version__}, the command 9\.9\.9; install"):
            prepare(recipe(tmp_path, "engine=ray", address), tmp_path / "out")
    with monkeypatch.context() as changed:
        changed.setattr(ray, "__version__", "2.0.0")
        with pytest.raises(UserError, match=r"another version of Ray .*\n.*there Ray: 2.*; here Ray: 2\.0\.0"):
            prepare(recipe(tmp_path, "engine=ray", address), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for number in (1, 2):
        prepare(recipe(tmp_path, "workers=1", f"part={number}/2"), tmp_path / "out")
    merged = merge_shares(MergeSettings(engine="ray", ray_address=cluster.address), tmp_path / "out")
    assert content(merged.path) == content(whole)
    assert not ray.is_initialized()


@with_ray
@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_joined_with_one(marked, monkeypatch):
    """As `ray start` has it where its user has a token, which the first local cluster makes."""
    (marked / ".ray").mkdir()
    (marked / ".ray" / "auth_token").write_text("4" * 64)
    monkeypatch.setenv("HOME", str(marked))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    quiet = ("--include-dashboard=false", "--disable-usage-stats", "--num-cpus=1", f"--memory={2 << 30}")
    head = subprocess.Popen([*start, *quiet], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: ray_cluster._answers(f"127.0.0.1:{port}") or head.poll() is not None)
        time.sleep(5)  # until its node is there
        asked = ("engine=ray", f"ray_address=127.0.0.1:{port}")
        refused = subprocess.run(command(marked, marked / "refused", *asked), capture_output=True, text=True)
        assert refused.returncode == 2 and "asks for a token" in refused.stderr.splitlines()[-1], refused
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        subprocess.run(command(marked, marked / "joined", *asked), check=True, capture_output=True)
    finally:
        head.terminate()
        head.wait()
    assert content(marked / "joined") == content(marked / "whole")
