"""The Python API: the page that shows it runs from its first line to its last, at toy size."""

import json
import re
from pathlib import Path

import pytest

import bertsmith
from bertsmith.errors import UserError
from tests.tasks.toy_task import write_task
from tests.toys import make_data, tiny_recipe, write_corpus, write_vocabulary

PAGE = Path(__file__).resolve().parents[1] / "docs/python.md"
TOY = {
    "model.hidden_size": 16, "model.num_hidden_layers": 1, "model.num_attention_heads": 2, "rows.length": 32,
    "batch_size": 8, "evaluate_rows": 16, "log": [],
}  # fmt: skip


def test_the_page_about_python_runs(tmp_path, monkeypatch, capsys):
    write_vocabulary(tmp_path)
    write_corpus(tmp_path)
    write_task(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    code = "\n".join(blocks)
    replaced = {
        '"my/folder"': '"corpus", "workers": 1, "heldout_fraction": 0.1', '"data/vocab.txt"': '"vocab.txt"',
        '"plan.steps": 20_000': f'"plan.steps": 2, **{TOY!r}', '"my/task"': '"task", "epochs": 1',
        '"seeds": 3': '"seeds": 1, "sequence_length": 32',
    }  # fmt: skip
    for text, toy in replaced.items():
        assert text in code
        code = code.replace(text, toy)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == code.count("print("), "the functions themselves print nothing on standard output"
    assert lines[0].endswith("training tokens") and "mlm_loss" in lines[1]
    assert "config.json" in lines[-1] and "README.md" in lines[-1]
    assert 'license: "apache-2.0"' in (tmp_path / "runs/task-hf/README.md").read_text()
    results = json.loads((tmp_path / "runs/task/results.json").read_text())
    assert lines[2] == str(results["summary"]["accuracy"]["mean"])


def test_pretrain_takes_a_settings_object_and_measures_blimp(tmp_path):
    data = make_data(tmp_path)
    (tmp_path / "blimp").mkdir()
    pair = {"sentence_good": "ba be .", "sentence_bad": "be ba .", "UID": "toy", "linguistics_term": "islands"}
    (tmp_path / "blimp/toy.jsonl").write_text(f"{json.dumps(pair)}\n" * 4)
    recipe = tiny_recipe(data.path, "plan.steps=2", "plan.evaluate_steps=2", f"blimp={tmp_path / 'blimp'}")
    summary = bertsmith.pretrain(recipe, tmp_path / "run")
    assert 0 <= summary["measures"]["blimp"] <= 1
    assert any("blimp" in json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("value", "toml"),
    [
        (True, "true"), (1e-4, "0.0001"),
        ("ünï \"q\"", '"ünï \\"q\\""'), (Path("a b"), '"a b"'), ((1, 2.5), "[1, 2.5]"),
        ({"squad-v1.1": "data/squad"}, '{"squad-v1.1" = "data/squad"}'),
    ],
)  # fmt: skip
def test_values_are_laid_over_as_toml(value, toml):
    assert bertsmith._overrides({"key": value}) == [f"key={toml}"]


def test_a_wrong_setting_is_named(tmp_path):
    with pytest.raises(UserError, match=r"plan\.step: no such setting; did you mean plan\.steps\?"):
        bertsmith.pretrain("bert-tiny", tmp_path / "run", {"data": "d", "plan.step": 3})
