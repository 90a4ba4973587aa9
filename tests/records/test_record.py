"""Entries of the record: what follows from runs, what breaks a rule, and forgeries, none of which passes."""

import itertools
import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bertsmith.errors import UserError
from bertsmith.planning.estimate import estimate
from bertsmith.records.entry import curve_of, entry_of, tokens_by_length
from bertsmith.records.evidence import Sources, read_evidence
from bertsmith.records.folder import check_entry, find_sources, read_entry, write_entry
from bertsmith.records.rules import board_of, broken_rules
from bertsmith.storage.code_version import UNKNOWN_CODE, code_version
from bertsmith.storage.files import sha256_file
from bertsmith.tasks.published.glue import GLUE
from bertsmith.training.pretrain import pretrain
from bertsmith.training.stages import StageSettings
from tests.records.toy_record import CODE, GPU, accept_toy_tasks, edit, make_runs, rehash
from tests.toys import tiny_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return make_runs(tmp_path_factory.mktemp("runs"), *(set(GLUE) - {"wnli"}), "mnli-mismatched")


@pytest.fixture(autouse=True)
def toy_tasks(monkeypatch):
    accept_toy_tasks(monkeypatch)


@pytest.fixture(scope="module")
def original(runs) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        accept_toy_tasks(patch)
        write_entry(sources(runs), runs / "entry")
    return runs / "entry"


@pytest.fixture
def entry(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "entry")


def sources(runs: Path) -> Sources:
    return find_sources([runs / name for name in ("cramming", "run", "reference")])


def test_an_entry_says_what_follows_from_the_runs(runs, original):
    found = read_entry(original)
    assert found["eligible"] is True and found["not_eligible"] == []
    assert found["board"] == "at most 15 M parameters" and found["machines"] == [GPU]
    scores = {name: json.loads((runs / name / "results.json").read_text()) for name in ("reference", "cramming")}
    for protocol, results in scores.items():
        assert found["averages"][protocol] == results["averages"][protocol]["average"]
    metrics = {"cola": "mcc", "sts-b": "spearman"}
    seeds = {
        task: [trial["metrics"][metrics.get(task, "accuracy")] for trial in row["trials"]]
        for task, row in scores["reference"]["tasks"].items()
    }
    assert all(len(of_seed) == 5 for of_seed in seeds.values()) and len(seeds) == 8
    expected = sum(map(statistics.median, seeds.values())) / 8
    assert found["averages"]["reference"] == pytest.approx(expected)
    assert found["glue"]["reference"]["tasks"]["rte"]["seeds"]["3"]["accuracy"] == seeds["rte"][3]

    weights = runs / "run/checkpoints/step-00000012/model.safetensors"
    tensors = load_file(weights)
    count = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("encoder."))
    assert found["parameters"] == {"encoder": count, "trained": sum(tensor.numel() for tensor in tensors.values())}
    assert found["hashes"]["weights"] == sha256_file(weights)
    manifest = json.loads((runs / "run/manifest.json").read_text())
    per_token = estimate(str(runs / "run/recipe.toml")).flops_per_token
    assert found["tokens"] == manifest["tokens"] and found["flops"] == pytest.approx(per_token * manifest["tokens"])
    assert found["hours"] == pytest.approx(manifest["seconds"] / 3600)
    assert found["hashes"]["data"] == manifest["data"]["hash"]
    assert found["code"] == [CODE._asdict()] and len(found["code"][0]["sha256"]) == 64
    assert [point["step"] for point in found["curve"]] == [6, 12]
    assert found["curve"][-1]["pinned_loss"] == found["measures"]["pinned_loss"] == manifest["measures"]["pinned_loss"]


def test_an_entry_holds_by_itself_and_against_its_runs(runs, original):
    assert check_entry(original) == []
    assert check_entry(original, sources(runs)) == []
    files = {path.relative_to(original).as_posix() for path in original.rglob("*") if path.is_file()}
    assert {"run/recipe.toml", "run/metrics.jsonl", "data/manifest.json", "cramming/results.json"} <= files
    assert not any(name.endswith((".safetensors", ".npy")) for name in files)


def test_weights_that_are_others_are_found_against_the_runs(runs, original, tmp_path):
    for name in ("run", "reference", "cramming"):
        shutil.copytree(runs / name, tmp_path / name)
    copies = find_sources([tmp_path / name for name in ("run", "reference", "cramming")])
    assert check_entry(original, copies) == []
    predictions = tmp_path / "cramming/tasks/rte/trials/seed-2/predictions-dev.tsv"
    predictions.write_text(predictions.read_text() + "\n")
    [line] = check_entry(original, copies)
    assert str(predictions) in line and "its hash is not the one" in line
    other = tiny_recipe(runs / "data", "model.max_position_embeddings=128", "rows.length=128", "seed=1")
    pretrain(other, tmp_path / "other")
    lines = check_entry(original, replace(copies, run=tmp_path / "other"))
    assert any("run/recipe.toml: is not the run's own" in line for line in lines)
    assert any("scores of another model" in line for line in lines)
    with pytest.raises(UserError, match=r"scores of another model than the newest weights of .*other"):
        write_entry(replace(copies, run=tmp_path / "other"), tmp_path / "entry")
    assert not (tmp_path / "entry").exists()


def test_rules(runs):
    evidence = read_evidence(sources(runs))

    def broken(num_parameters: int = 9_000, **changed) -> str:
        [line] = broken_rules(replace(evidence, **changed), num_parameters)
        return line

    def of_run(**changed) -> str:
        return broken(manifest=evidence.manifest | changed)

    assert broken_rules(evidence, 15_000_000) == []
    assert "121,000,000 parameters, more than 120,000,000" in broken(121_000_000)
    assert board_of(15_000_001) == "at most 120 M parameters" and board_of(120_000_001) is None
    assert "at step 12" in of_run(finished=False)
    assert "not finished" in broken(state=replace(evidence.state, step=11))
    assert "weights of another model" in of_run(identity=evidence.manifest["identity"] | {"init": "abc"})
    assert "a branch of" in of_run(identity=evidence.manifest["identity"] | {"branch": "abc"})
    assert "mine.py" in of_run(identity=evidence.manifest["identity"] | {"plugin_hashes": {"mine.py": "ab"}})
    assert f"several machines ({GPU}, A100)" in of_run(machines=[GPU, "A100"])
    assert "hours of a GPU" in of_run(machines=["x86_64 CPU, 2 threads"])
    code, unknown = CODE._asdict(), UNKNOWN_CODE._asdict()
    assert "does not say which code" in of_run(code=[])
    assert "does not say which code" in of_run(code=[unknown, code])
    assert "its code is of no commit" in of_run(code=[code | {"commit": None}])
    edited = code | {"sha256": "e" * 64}
    assert "trained by 2 versions of the code (c0dec0dec0de, c0dec0dec0de)" in of_run(code=[code, edited])
    assert "protocol=cramming" in broken(glue={"reference": evidence.glue["reference"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": (0, 1, 2)}, "reference: fewer than 5 seeds: rte 3"),
        ({"trials": (0, 1, 2, 3, 4), "as": (0, 1, 2, 4, 7)}, "some seeds were left out: rte has 0, 1, 2, 4, 7"),
        ({"learnt_before": ["mnli"]}, "had learnt other tasks before: rte after mnli"),
        ({"scored_on": "test"}, "not scored on dev: rte 'test'"),
        ({"examples": {"train": 24, "dev": 11}}, "not the published examples: rte dev 11 of 12"),
    ],
)
def test_rules_of_fine_tuning(runs, change, message):
    evidence = read_evidence(sources(runs))
    glue, change = evidence.glue["reference"], dict(change)
    task = glue.tasks["rte"]
    chosen = change.pop("trials", tuple(task.trials))
    names = change.pop("as", chosen)
    trials = {name: task.trials[seed] for name, seed in zip(names, chosen, strict=True)}
    changed = replace(task, manifest=task.manifest | change, trials=trials)
    changed = replace(glue, tasks=glue.tasks | {"rte": changed})
    [line] = broken_rules(replace(evidence, glue=evidence.glue | {"reference": changed}), 9_000)
    assert message in line


@pytest.mark.parametrize(
    ("task", "change", "named"),
    [("rte", {"data": ["a", "b"]}, "rte"), ("mnli", {"mismatched_dev": "b"}, "mnli mismatched")],
)
def test_the_protocols_are_scored_on_the_same_dev_examples(runs, task, change, named):
    evidence = read_evidence(sources(runs))
    glue = evidence.glue["cramming"]
    found = glue.tasks[task]
    identity = found.manifest["identity"]
    assert identity.keys() >= change.keys()
    other = replace(found, manifest=found.manifest | {"identity": identity | change})
    changed = evidence.glue | {"cramming": replace(glue, tasks=glue.tasks | {task: other})}
    [line] = broken_rules(replace(evidence, glue=changed), 9_000)
    assert line == f"the protocols were scored on different dev examples: {named}"


def test_other_hyperparameters_or_a_task_less_are_not_eligible(runs):
    evidence = read_evidence(sources(runs))
    glue = evidence.glue["reference"]
    settings = {"identity": glue.tasks["rte"].manifest["identity"] | {"epochs": 20.0}}
    longer = replace(glue.tasks["rte"], manifest=glue.tasks["rte"].manifest | settings)
    changed = evidence.glue | {"reference": replace(glue, tasks=glue.tasks | {"rte": longer})}
    [line] = broken_rules(replace(evidence, glue=changed), 9_000)
    assert line == "reference: not the reference's hyper-parameters (epochs)"
    less = {task: row for task, row in glue.results["tasks"].items() if task != "qqp"}
    changed = evidence.glue | {"reference": replace(glue, results=glue.results | {"tasks": less})}
    found = entry_of(replace(evidence, glue=changed))
    assert found["averages"]["reference"] is None and found["eligible"] is False
    assert found["not_eligible"] == ["reference: over 7 of 8, without qqp accuracy"]


RTE = "reference/tasks/rte"
FORGERIES = [
    ("entry.json", "averages.reference", 0.9, "averages.reference is 0.9; by the files it is"),
    ("entry.json", "parameters.encoder", 1000, "parameters.encoder is 1000; by the files"),
    ("entry.json", "flops", 1e6, "flops is 1000000.0; by the files"),
    ("entry.json", "eligible", False, "eligible is False; by the files it is True"),
    ("entry.json", "eligible", 1, "eligible is 1; by the files it is True"),
    ("entry.json", "hours", None, "hours is left out"),
    ("entry.json", "note", "verified", "note does not follow from the files"),
    ("entry.json", "curve.0.pinned_loss", 1.0, "curve[0].pinned_loss is 1.0"),
    ("entry.json", "hashes.weights", "0" * 64, "hashes.weights is '000"),
    ("reference/results.json", "tasks.rte.summary.accuracy.median", 0.9, "tasks.rte.summary.accuracy.median is 0.9"),
    ("reference/results.json", "tasks.rte.trials.1.metrics.accuracy", 0.75, "tasks.rte.trials.1.accuracy is 0.75"),
    ("reference/results.json", "averages.reference.average", 0.9, "averages.reference.average is 0.9"),
    ("reference/results.json", "averages.reference.departures", ["x"], "averages.reference.departures"),
    ("reference/results.json", "tasks.qqp", None, "qqp is left out"),
    (f"{RTE}/trials/seed-1/results.json", "metrics.accuracy", 0.75, "its hash is not the one in the trial's"),
    (f"{RTE}/trials/seed-1/results.json", "metrics.accuracy", 1.5, "accuracy is 1.5, which no score is"),
    (f"{RTE}/trials/seed-1/results.json", "metrics.accuracy", 0.77, "accuracy 0.77 is of no whole number"),
    (f"{RTE}/manifest.json", "identity.epochs", 3.0, "epochs is 3.0, in the GLUE run's manifest 10.0"),
    (f"{RTE}/manifest.json", "identity.model", "f" * 64, "tasks.rte.from_mnli is False; by the files it is True"),
    ("reference/manifest.json", "identity.model", "f" * 64, "the GLUE runs are of two different models"),
    ("reference/manifest.json", "identity.protocol", "cramming", "the protocol is 'cramming', not reference"),
    ("run/manifest.json", "seconds", 0.001, "seconds is 0.001; by the files"),
    ("run/manifest.json", "recipe.seed", 7, "recipe.seed is 7"),
    ("run/manifest.json", "identity.model/hidden_size", 8, "identity: model.hidden_size: 8 → 16"),
    ("run/manifest.json", "vocab_size", 90, "vocab_size is 90"),
    ("run/manifest.json", "measures.pinned_loss", 1.0, "measures: pinned_loss is 1.0"),
    ("run/manifest.json", "machines", ["NVIDIA T4"], "machines[0] is 'NVIDIA H200'; by the files it is 'NVIDIA T4'"),
    ("run/checkpoints/step-00000012/state.json", "tokens", 10**7, "10,000,000 tokens in 12 steps, which have 12,288"),
    ("run/checkpoints/step-00000012/state.json", "seconds", 0.001, "seconds is"),
    ("data/manifest.json", "files.train-00000/tokens/npy", "0" * 64, "data.hash is"),
    ("data/manifest.json", "shards.train.0.documents", 5, "data.documents is"),
]


def test_whatever_is_changed_is_found_by_its_hash(entry):
    for name, key, value, _ in FORGERIES:
        edit(entry / name, key, value)
    lines = check_entry(entry)
    for name, *_ in FORGERIES:
        assert f"{entry / name}: its hash is not the one in manifest.json" in lines


@pytest.mark.parametrize(("name", "key", "value", "message"), FORGERIES)
def test_a_forgery_does_not_pass(entry, name, key, value, message):
    edit(entry / name, key, value)
    rehash(entry)
    lines = check_entry(entry)
    assert any(message in line for line in lines), lines


def test_a_forged_recipe_or_log_does_not_pass(entry):
    recipe, log = entry / "run/recipe.toml", entry / "run/metrics.jsonl"
    before = recipe.read_text()
    recipe.write_text(before.replace("batch_size = 8\n", "batch_size = 16\n"))
    rehash(entry)
    assert any("identity: batch_size: 8 → 16, by its recipe" in line for line in check_entry(entry))
    recipe.write_text(before.replace("num_hidden_layers = 2", "num_hidden_layers = 900000000"))
    rehash(entry)
    assert any("at most 4,096" in line for line in check_entry(entry)), "it is not built"
    recipe.write_text(before)
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-2]))
    rehash(entry)
    assert any("ends at step" in line for line in check_entry(entry))
    log.write_text("".join([*lines, lines[0]]))
    rehash(entry)
    assert any("step 4: tokens is" in line for line in check_entry(entry))


def test_files_that_are_missing_more_or_links(entry):
    (entry / "run/metrics.jsonl").unlink()
    (entry / "weights.bin").write_text("x")
    shutil.move(entry / "data/manifest.json", entry.parent / "elsewhere.json")
    (entry / "data/manifest.json").symlink_to(entry.parent / "elsewhere.json")
    lines = check_entry(entry)
    assert f"{entry}: 'run/metrics.jsonl' is missing" in lines
    assert f"{entry / 'weights.bin'}: is not in the entry's manifest.json" in lines
    assert f"{entry / 'data/manifest.json'}: a link; an entry has files alone" in lines
    shutil.rmtree(entry / "run")
    assert any("not a finished pretrain folder" in line for line in check_entry(entry))
    (entry / "manifest.json").unlink()
    with pytest.raises(UserError, match="not a finished record folder"):
        check_entry(entry)


def test_an_entry_without_its_checkpoint_is_lines_against_its_runs_too(runs, entry, run_main):
    shutil.rmtree(entry / "run/checkpoints")
    status, stdout, stderr = run_main("record", entry, *(runs / name for name in ("run", "reference", "cramming")))
    lines = stdout.splitlines()
    assert status == 1 and not stderr and "`bertsmith pretrain`" not in stdout
    for name in ("manifest.json", "state.json"):
        assert f"{entry}: 'run/checkpoints/step-00000012/{name}' is missing" in lines
    assert f"{entry / 'run'}: has no checkpoint; an entry has that of a finished run" in lines


def test_what_no_entry_is_made_of(runs, original, tmp_path):
    with pytest.raises(UserError, match="0 pre-training runs"):
        find_sources([runs / "reference"])
    with pytest.raises(UserError, match="2 pre-training runs"):
        find_sources([runs / "run", runs / "run"])
    with pytest.raises(UserError, match="protocol 'reference'; give one GLUE run each"):
        find_sources([runs / "run", runs / "reference", runs / "reference"])
    with pytest.raises(UserError, match="a data folder; an entry is made of"):
        find_sources([runs / "data"])
    with pytest.raises(UserError, match=r"its data, .*data, is not there; name the folder with --data"):
        moved = shutil.copytree(runs / "run", tmp_path / "run")
        edit(moved / "manifest.json", "data.path", str(tmp_path / "data"))
        find_sources([moved])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(UserError, match="is no entry of the record"):
        write_entry(sources(runs), tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").exists()
    changed = shutil.copytree(runs / "reference", tmp_path / "reference")
    edit(changed / "results.json", "tasks.rte.trials.0.metrics.accuracy", 0.75)
    with pytest.raises(UserError, match=r"accuracy is 0.75; by the files it is .*\nso no entry can be made of it"):
        write_entry(find_sources([runs / "run", changed]), tmp_path / "entry")


def test_an_entry_is_written_again_and_of_a_run_alone(runs, tmp_path, run_main):
    out = tmp_path / "entry"
    status, stdout, _ = run_main("record", runs / "run", "--out", out)
    assert status == 0 and "not eligible: there is no run of `bertsmith glue` with protocol=cramming" in stdout
    assert read_entry(out)["averages"] == {} and check_entry(out) == []
    status, stdout, _ = run_main("record", runs / "run", runs / "reference", "--out", out)
    assert status == 0 and "over 8 of 8, median of 5 seeds" in stdout
    assert sorted(path.name for path in out.iterdir()) == ["data", "entry.json", "manifest.json", "reference", "run"]


def test_the_verb_checks_and_its_status_says_so(runs, entry, run_main):
    status, stdout, _ = run_main("record", entry)
    assert status == 0 and "all that it claims follows from its files\n" in stdout and "eligible" in stdout
    status, stdout, _ = run_main("record", entry, *(runs / name for name in ("run", "reference", "cramming")))
    assert status == 0 and "its files are the runs' own" in stdout
    edit(entry / "entry.json", "hours", 0.5)
    status, stdout, stderr = run_main("record", entry, "--json")
    assert status == 1 and len(json.loads(stdout)["faults"]) == 2 and not stderr
    status, _, stderr = run_main("record", entry, "--out", entry)
    assert status == 2 and "is an entry already" in stderr
    status, _, stderr = run_main("record", entry, "--data", runs / "data")
    assert status == 2 and "is checked by its own files; name its runs too" in stderr and stderr.count("\n") == 1
    status, _, stderr = run_main("record", runs / "run")
    assert status == 2 and "--out is missing" in stderr
    status, _, stderr = run_main("show", entry)
    assert status == 2 and "`bertsmith record " in stderr


def test_operations_of_stages_are_by_their_own_rows(runs):
    evidence = read_evidence(sources(runs))
    recipe = replace(evidence.recipe, stages=(StageSettings(tokens=1000, length=32),))
    per_token = {
        length: estimate(str(runs / "run/recipe.toml"), [f"rows.length={length}"]).flops_per_token
        for length in (32, 128)
    }
    tokens = evidence.state.tokens
    assert tokens_by_length(recipe, tokens) == [(32, 1000), (128, tokens - 1000)]
    assert tokens_by_length(recipe, 900) == [(32, 900)]
    found = entry_of(replace(evidence, recipe=recipe))
    assert found["flops"] == pytest.approx(1000 * per_token[32] + (tokens - 1000) * per_token[128])
    assert per_token[32] < per_token[128]


def test_a_staged_run_makes_an_entry(runs, tmp_path):
    recipe = tiny_recipe(runs / "data", "stages=[{tokens=600,length=16,batch_size=4}]")
    pretrain(recipe, tmp_path / "run")
    write_entry(find_sources([tmp_path / "run"]), tmp_path / "entry")
    assert check_entry(tmp_path / "entry") == []


def test_a_long_curve_is_thinned_evenly():
    lines = [{"split": split, "step": step} for step in range(1000) for split in ("train", "heldout")]
    steps = [point["step"] for point in curve_of(lines)]
    assert len(steps) == 100 and steps[0] == 0 and steps[-1] == 999
    assert {after - before for before, after in itertools.pairwise(steps)} <= {10, 11}
    assert curve_of(lines[:2]) == [{"step": 0}] and curve_of([]) == []


def test_the_run_again_on_another_machine_says_nothing_new(runs, tmp_path, monkeypatch):
    run = shutil.copytree(runs / "run", tmp_path / "run")
    recipe = tiny_recipe(runs / "data", "model.max_position_embeddings=128", "rows.length=128")
    pretrain(recipe, run)
    assert json.loads((run / "manifest.json").read_text())["machines"] == [GPU], "nothing was trained"
    part = tiny_recipe(runs / "data", "schedule.kind=constant", "plan.steps=4")
    pretrain(part, tmp_path / "two")
    monkeypatch.setattr("bertsmith.training.folder._name", lambda device: "NVIDIA T4")
    pretrain(tiny_recipe(runs / "data", "schedule.kind=constant", "plan.steps=8"), tmp_path / "two")
    machines = json.loads((tmp_path / "two/manifest.json").read_text())["machines"]
    assert len(machines) == 2 and "CPU" in machines[0] and machines[1] == "NVIDIA T4"


def test_what_a_manifest_of_an_earlier_version_left_out_is_not_lost(runs, tmp_path):
    part = tiny_recipe(runs / "data", "schedule.kind=constant", "plan.steps=4")
    pretrain(part, tmp_path / "run")
    path = tmp_path / "run/manifest.json"
    for key, value in {"machines": None, "code": None, "environment.machine": "NVIDIA T4"}.items():
        edit(path, key, value)
    older = path.read_bytes()
    pretrain(part, tmp_path / "run")
    found = json.loads(path.read_text())
    assert found["machines"] == ["NVIDIA T4"] and found["code"] == [UNKNOWN_CODE._asdict()]
    path.write_bytes(older)
    pretrain(tiny_recipe(runs / "data", "schedule.kind=constant", "plan.steps=8"), tmp_path / "run")
    found = json.loads(path.read_text())
    assert found["machines"][0] == "NVIDIA T4" and " CPU, " in found["machines"][1] and len(found["machines"]) == 2
    assert found["code"] == [UNKNOWN_CODE._asdict(), code_version()._asdict()]
    lines = broken_rules(read_evidence(Sources(tmp_path / "run", runs / "data", {})), 9_000)
    assert any("several machines (NVIDIA T4, " in line for line in lines)
    assert any("does not say which code trained it, or a part of it" in line for line in lines)
