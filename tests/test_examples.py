"""The examples of docs/extending.md, each end to end through the program, and what is said of a plugin that is missing,
another one, or faulty."""

import csv
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import bertsmith
from bertsmith.errors import UserError
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import read_manifest
from bertsmith.text.shards import open_data
from bertsmith.training.metrics import read_metrics
from tests.plugins import own_process, refused, run
from tests.tasks.toy_task import make_model
from tests.toys import WORDS, write_vocabulary

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

TOY = (
    "model.hidden_size=16", "model.num_hidden_layers=2", "model.num_attention_heads=2",
    "model.max_position_embeddings=64", "rows.length=32", "batch_size=8", "plan.steps=6", "plan.log_steps=2",
    "plan.evaluate_steps=3", "plan.checkpoint_steps=4", "plan.keep_checkpoints=0", "evaluate_rows=16", "log=[]",
)  # fmt: skip


def pretrain(data: Path, out: Path, *more: object) -> list[object]:
    return ["pretrain", "bert-tiny", f"data={data}", *TOY, *more, "--out", out]


def measures(run: Path) -> list[dict]:
    """Return the lines of metrics.jsonl but for warnings."""
    return [line for line in read_metrics(run / "metrics.jsonl") if line["split"] != "warning"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_is_a_page_and_says_its_command():
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 100 and f"--plugin examples/{path.name}" in text
    assert len(list(EXAMPLES.glob("*.py"))) == 6


def test_the_schedule_of_the_page_stays_where_its_warm_up_ends(data, tmp_path):
    page = (EXAMPLES.parent / "docs" / "extending.md").read_text()
    plugin = tmp_path / "flat.py"
    plugin.write_text(page.partition("```python\n")[2].partition("```")[0])
    flat = ("schedule.kind=flat", "schedule.warmup_proportion=0.5", "schedule.learning_rate=0.004")
    run(*pretrain(data, tmp_path / "run", *flat, "plan.log_steps=1", "--plugin", plugin))
    rates = [line["learning_rate"] for line in measures(tmp_path / "run") if line["split"] == "train"]
    assert rates == pytest.approx([0.004 * min(1, step / 3) for step in range(1, 7)])


def test_the_objective_learns_and_measures_without_smoothing(data, tmp_path):
    plugin = ("--plugin", EXAMPLES / "smoothed.py")
    run(*pretrain(data, tmp_path / "plain", "schedule.learning_rate=0.005"))
    smoothing = ("objective.kind=smoothed", "schedule.learning_rate=0.005")
    run(*pretrain(data, tmp_path / "half", *smoothing, "objective.smoothing=0.5", *plugin))
    plain, half = (measures(tmp_path / name) for name in ("plain", "half"))
    assert plain[0]["mlm_loss"] == pytest.approx(half[0]["mlm_loss"], abs=0.2), "as good as uniform, however smoothed"
    measured = [line["mlm_loss"] for line in half if line["split"] == "heldout"]
    assert len(measured) == 2 and all(abs(loss - math.log(len(WORDS) + 6)) < 0.5 for loss in measured)
    run(*pretrain(data, tmp_path / "none", *smoothing, "objective.smoothing=0.0", *plugin))
    none = measures(tmp_path / "none")
    assert none[-1]["mlm_loss"] == pytest.approx(plain[-1]["mlm_loss"], rel=1e-4), (
        "without smoothing it is the plain one"
    )


def test_the_encoder_is_trained_fine_tuned_and_not_exported_as_another(data, tmp_path, capsys):
    plugin = ("--plugin", EXAMPLES / "squared_relu.py")
    model, task = tmp_path / "run", write_stances(tmp_path)
    run(*pretrain(data, model, "model.kind=squared_relu", *plugin))
    assert "needs the plugin 'squared_relu.py'" in refused("predict", model, "[MASK] .")
    run("predict", model, "ba [MASK] .", *plugin)
    assert capsys.readouterr().out
    assert "needs the plugin" in refused("evaluate", model)
    run("evaluate", model, *plugin)
    assert "model.kind = 'squared_relu'" in refused("export", model, tmp_path / "hf", *plugin)
    own = ["custom.text=text", "custom.label=stance", f"data={task}", f"model={model}", "seeds=1", "batch_size=8"]
    assert "needs the plugin" in refused("finetune", "custom", *own, "--out", tmp_path / "tuned")
    run("finetune", "custom", *own, "sequence_length=32", "--out", tmp_path / "tuned", *plugin)
    assert "needs the plugin" in refused("predict", tmp_path / "tuned", "ba be")
    run("predict", tmp_path / "tuned", "ba be", *plugin)
    run("report", model, tmp_path / "tuned", "--out", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1000


def test_the_optimizer_moves_by_signs_and_is_continued_to_the_same_bits(data, tmp_path):
    plugin = ("--plugin", EXAMPLES / "lion.py")
    lion = ("optimizer.kind=lion", "optimizer.weight_decay=0", "schedule.learning_rate=0.01", *plugin)
    run(*pretrain(data, tmp_path / "run", *lion, "plan.checkpoint_steps=1"))
    paths = list(checkpoint_folders(tmp_path / "run").values())
    first, second = (load_file(path / "model.safetensors") for path in paths[:2])
    rate = next(line["learning_rate"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["step"] == 2)
    moved = (second["head.bias"] - first["head.bias"]).abs()
    assert torch.allclose(moved[moved > 0], torch.tensor(rate), rtol=1e-2), "every weight by the rate, or not at all"
    kept = load_file(paths[0] / "optimizer.safetensors")
    assert {name.rpartition(".")[2] for name in kept} == {"momentum"}
    end = sha256(paths[-1] / "model.safetensors")
    for path in paths[3:]:
        shutil.rmtree(path)
    run(*pretrain(data, tmp_path / "run", *lion, "plan.checkpoint_steps=1"))
    assert sha256(paths[-1] / "model.safetensors") == end


def write_stances(folder: Path) -> Path:
    rng, path = np.random.default_rng(0), folder / "stances"
    path.mkdir(exist_ok=True)
    for split, size in (("train", 60), ("dev", 30)):
        rows = []
        for number in range(size):
            words = rng.choice(WORDS[10 * (number % 3) : 10 * (number % 3) + 10], size=4)
            stance = ("against", "favor", "none")[number % 3]
            rows.append({"target": WORDS[50], "text": " ".join(words), "stance": stance})
        (path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_task_is_learnt_scored_by_its_metric_and_asked(tmp_path, capsys):
    plugin = ("--plugin", EXAMPLES / "stance.py")
    model, data, out = make_model(tmp_path), write_stances(tmp_path), tmp_path / "run"
    asked = ["task=stance", f"model={model}", f"data={data}", "seeds=1", "epochs=6", "batch_size=8",
             "sequence_length=32", "layerwise_lr_decay=1", "schedule.learning_rate=0.003"]  # fmt: skip
    run("finetune", "custom", *asked, "--out", out, *plugin)
    [scores] = [trial["metrics"] for trial in json.loads((out / "results.json").read_text())["trials"]]
    said = [line.split("\t") for line in (out / "trials/seed-0/predictions-dev.tsv").read_text().splitlines()[1:]]
    answers = [row[-1] for row in said]
    gold = [("against", "favor", "none")[number % 3] for number in range(30)]
    f1 = []
    for name in ("against", "favor"):
        right = sum(one == two == name for one, two in zip(answers, gold, strict=True))
        f1.append(2 * right / (answers.count(name) + gold.count(name)))
    assert scores["stance_f1"] == pytest.approx(sum(f1) / 2) and scores["stance_f1"] > 0.5
    assert "needs the plugin 'stance.py'" in refused("predict", out, "ba\tbe")
    capsys.readouterr()
    run("predict", out, "--file", data / "dev.jsonl", *plugin)
    assert len(capsys.readouterr().out.splitlines()) >= 30


def test_the_corpus_reader_gives_what_is_spoken(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for number, (first, second) in enumerate(zip(WORDS[:40], WORDS[40:], strict=True)):
        cues = f"1\n00:00:01,000 --> 00:00:02,500\n<i>{first}</i>\n{second}\n\n2\n00:00:03,000 --> 00:00:04,000\n"
        (films / f"{number}.srt").write_text(f"{cues}{first} .\n")
    (films / "notes.txt").write_text("no film")
    asked = (
        "prepare",
        "text",
        "layout=subtitles",
        f"corpus={films}",
        f"vocab={write_vocabulary(tmp_path)}",
        "workers=2",
    )
    assert "layout = 'subtitles'" in refused(*asked, "--out", tmp_path / "data")
    run(*asked, "--out", tmp_path / "data", "--plugin", EXAMPLES / "subtitles.py")
    data = open_data(tmp_path / "data")
    assert data.manifest["counts"]["documents"] == 40
    assert data.num_tokens("train") + data.num_tokens("heldout") == 40 * 4
    assert data.manifest["identity"]["plugin_hashes"] == {"subtitles.py": sha256(EXAMPLES / "subtitles.py")}


def test_the_tracker_is_given_each_measure_once(data, tmp_path):
    asked = ("--plugin", EXAMPLES / "csv_tracker.py", 'log=["csv"]')
    run(*pretrain(data, tmp_path / "run", *asked))
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    run(*pretrain(data, tmp_path / "run", *asked))
    with (tmp_path / "run-measures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["measure"] == "mlm_loss/train"] == ["2", "4", "6"]
    assert len({row["run"] for row in rows}) == 1
    measured = {
        str(line["step"]): line for line in read_metrics(tmp_path / "run/metrics.jsonl") if line["split"] == "heldout"
    }
    assert {row["step"]: float(row["value"]) for row in rows if row["measure"] == "mlm_accuracy/heldout"} == {
        step: line["mlm_accuracy"] for step, line in measured.items()
    }


def test_a_run_asks_for_its_plugin_by_name_and_hash_and_refuses_another(data, tmp_path):
    plugin = shutil.copy(EXAMPLES / "lion.py", tmp_path / "lion.py")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'data = "{data}"\nplugins = ["{plugin}"]\noptimizer.kind = "lion"\nplan.steps = 2\n')
    toy = [text for text in TOY if not text.startswith("plan.steps")]
    out = tmp_path / "run"
    asked = ["pretrain", recipe, *toy, "--out", out]
    run(*asked)
    hashes = {"lion.py": sha256(EXAMPLES / "lion.py")}
    assert read_manifest(out, "pretrain")["identity"]["plugin_hashes"] == hashes
    run(*asked)  # finished; found so

    needed = f"{out}: needs the plugin 'lion.py' of sha256 {hashes['lion.py'][:16]}…"
    without = ["pretrain", "bert-tiny", f"data={data}", *toy, "plan.steps=2", "optimizer.kind=lion", "--out", out]
    for arguments in (
        ["predict", out, "ba"],
        ["evaluate", out],
        ["export", out, tmp_path / "hf"],
        ["show", out],
        without,
    ):
        assert refused(*arguments) == f"{needed}: name it with --plugin FILE (in Python load_plugin)"
    run("show", out, "--plugin", EXAMPLES / "lion.py")  # wherever it lies, it is the same

    Path(plugin).write_text(Path(plugin).read_text() + "# another\n")
    assert refused("predict", out, "ba", "--plugin", plugin).startswith(f"{needed}; the one that was given has ")
    assert "belongs to another run (plugin_hashes: " in refused(*asked)

    inside = shutil.copy(EXAMPLES / "lion.py", out / "lion.py")
    said = refused("predict", out, "ba", "--plugin", inside)
    assert said == f"{inside}: lies in {out}, which bertsmith wrote; no code is run out of it: move it elsewhere"
    text = (out / "recipe.toml").read_text()
    assert "lion.py" in text
    assert "optimizer.kind = 'lion'" in refused("show", out / "recipe.toml"), "its plugins are not loaded"


def test_an_optimizer_that_does_not_name_what_it_keeps_is_refused_before_it_is_saved(data, tmp_path):
    plugin = tmp_path / "lion.py"
    text = (EXAMPLES / "lion.py").read_text()
    text = text.replace("momentum = self.state[parameter]", 'self.state[parameter]["count"] = torch.ones(())\n'
                        "                momentum = self.state[parameter]")  # fmt: skip
    plugin.write_text(text)
    said = refused(*pretrain(data, tmp_path / "run", "optimizer.kind=lion", "--plugin", plugin))
    assert "its state and its initial_state, which names all tensors, differ: encoder." in said and ".count\n" in said
    assert "last checkpoint: none" in said


def test_from_python_a_plugin_is_a_setting_or_loaded_before_a_run_is_opened(data, tmp_path):
    settings = {key: json.loads(value) for key, value in (text.split("=", 1) for text in TOY)}
    settings |= {"data": data, "optimizer.kind": "lion"}
    plugin = EXAMPLES / "lion.py"
    with own_process():
        bertsmith.pretrain("bert-tiny", tmp_path, settings | {"plugins": [str(plugin)], "plan.steps": 1})
    with own_process():
        with pytest.raises(UserError, match="load_plugin"):
            bertsmith.load(tmp_path)
        bertsmith.load_plugin(plugin)
        assert bertsmith.load(tmp_path).fill("ba [MASK]")


FAULTS = {
    "def (:\n": ("line 1: invalid syntax", "plugin"),
    "x = 1\ny = [][x]\n": ("line 2: IndexError: list index out of range", "plugin"),
    "from bertsmith.training.optimizers.registry import OPTIMIZERS\nOPTIMIZERS.add('adamw', None)\n":
        ("optimizer 'adamw': there is one of this name; choose another", "plugin"),
    (EXAMPLES / "lion.py").read_text().replace("beta1, beta2 = group", "beta1, beta3 = group['beta'], group"):
        ("KeyError: 'beta'", "step"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "said"), FAULTS.items(), ids=["syntax", "import", "name", "later"])
def test_a_fault_in_a_plugin_is_named_with_its_line(code, said, data, tmp_path, capfd, monkeypatch):
    plugin = tmp_path / "mine.py"
    plugin.write_text(code)
    message, where = said
    asked = pretrain(data, tmp_path / "run", "--plugin", plugin, *(["optimizer.kind=lion"] if where == "step" else []))
    if where == "plugin":
        assert refused(*asked).startswith(str(plugin)) and message in refused(*asked)
        return
    from bertsmith.__main__ import main

    monkeypatch.setattr("sys.argv", ["bertsmith", *map(str, asked)])
    with own_process(), pytest.raises(SystemExit):
        main()
    line = next(number for number, text in enumerate(code.splitlines(), start=1) if "group['beta']" in text)
    assert capfd.readouterr().err.splitlines()[-1] == f"bertsmith: {plugin}, line {line}: {message}"
    assert "no such file" in refused(*pretrain(data, tmp_path / "run", "--plugin", tmp_path / "none.py"))
