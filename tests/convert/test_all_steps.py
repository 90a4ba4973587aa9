"""`export --all-steps`: each step of a run as a folder with its logits, the first by its hash; what is left out."""

import json
import shutil

import pytest
import torch
import transformers
from huggingface_hub import ModelCard

import bertsmith
from bertsmith.convert.all_steps import export_steps
from bertsmith.convert.export import ExportSettings, export_run
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training import checkpoints
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import fingerprint, open_model
from bertsmith.training.pretrain import initial_objective, pretrain
from tests.predict.test_predictor import run as run_verb
from tests.toys import make_data, random_tokens, tiny_recipe

NAMES = [f"step-{step:08d}" for step in (0, 4, 8, 12)]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with all its checkpoints, and what its objective looked like before each of its steps was taken."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = tiny_recipe(make_data(folder).path, "plan.keep_checkpoints=0", "model.initializer_range=0.3")
    pretrain(recipe, folder / "run")
    return recipe, folder / "run"


def logits_of(folder, tokens: Tokens) -> torch.Tensor:
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        mask = tokens.to_padded(torch.ones_like(tokens.ids))
        given = {"input_ids": tokens.to_padded(tokens.ids), "attention_mask": mask}
        return tokens.to_flat(model(**given, token_type_ids=tokens.to_padded(tokens.segment_ids)).logits)


def test_each_step_has_its_logits_and_the_first_is_that_of_the_seed(trained, tmp_path):
    recipe, run = trained
    said = run_verb("export", run, tmp_path / "out", "--all-steps")
    assert said.splitlines()[0] == f"wrote 4 steps, {tmp_path / 'out' / NAMES[0]} to {NAMES[-1]}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
    tokenizer = Tokenizer.load(run)
    tokens = random_tokens([9, 30, 3], tokenizer.vocab_size)
    model = initial_objective(recipe, tokenizer).eval()
    seen = []
    for step, name in zip((0, 4, 8, 12), NAMES, strict=True):
        if step:
            model.load_state_dict(checkpoints.read(run / "checkpoints" / name, to_resume=False).model.read_all())
        with torch.no_grad():
            expected = model.scores(tokens, torch.arange(tokens.num_tokens))
        seen.append(logits_of(tmp_path / "out" / name, tokens))
        torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-4)
        assert all((seen[-1] - earlier).abs().max() > 1e-2 for earlier in seen[:-1])
    export_run(run, tmp_path / "last")
    assert (tmp_path / "last/model.safetensors").read_bytes() == (
        tmp_path / "out" / NAMES[-1] / "model.safetensors"
    ).read_bytes()


def test_a_card_has_what_was_measured_at_its_step(trained, tmp_path):
    run = trained[1]
    bertsmith.export(run, tmp_path / "out", {"card.license": "mit", "pooling": "mean"}, all_steps=True)
    lines = {line["step"]: line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "heldout"}
    assert lines.keys() == {6, 12}
    texts = {name: (tmp_path / "out" / name / "README.md").read_text() for name in NAMES}
    assert f"{lines[12]['mlm_loss']:.4g}" in texts[NAMES[3]] and "mlm\\_loss" not in texts[NAMES[1]]
    assert "| steps | 4 |" in texts[NAMES[1]] and "| steps | 0 |" in texts[NAMES[0]]
    assert ModelCard.load(tmp_path / "out" / NAMES[0] / "README.md").data.license == "mit"
    assert (tmp_path / "out" / NAMES[0] / "modules.json").is_file()


def test_first_weights_are_those_of_the_manifests_hash_or_are_left_out(trained, tmp_path, capsys):
    recipe, whole = trained
    run = shutil.copytree(whole, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    tokenizer = Tokenizer.load(run)
    assert manifest["initial"] == fingerprint(tokenizer, initial_objective(recipe, tokenizer).state_dict())
    for changed, said in (
        ({**manifest, "initial": "0" * 64}, "its recipe makes other weights here, with torch"),
        ({key: value for key, value in manifest.items() if key != "initial"}, "did not note the hash"),
    ):
        (run / "manifest.json").write_text(json.dumps(changed))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        written = export_steps(run, tmp_path / "out")
        assert [folder.name for folder in written] == NAMES[1:]
        assert f"left out: {run}, step 0: " in (err := capsys.readouterr().err) and said in err


def test_a_damaged_step_is_left_out_and_the_others_are_not(trained, tmp_path, capsys):
    run = shutil.copytree(trained[1], tmp_path / "run")
    weights = run / "checkpoints" / NAMES[2] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert [folder.name for folder in export_steps(run, tmp_path / "out")] == [NAMES[0], NAMES[1], NAMES[3]]
    assert f"left out: {weights}: damaged" in capsys.readouterr().err


def test_a_run_that_went_on_from_another_begins_with_its_weights(trained, tmp_path, capsys):
    recipe, whole = trained
    first = shutil.copytree(whole, tmp_path / "first")
    pretrain(tiny_recipe(recipe.data, f"init={first}", "plan.steps=4"), tmp_path / "run")
    begun, *_ = export_steps(tmp_path / "run", tmp_path / "out")
    ours, before = (open_model(path).network.weights for path in (begun, first))
    assert all(torch.equal(ours[name], tensor) for name, tensor in before.items())
    shutil.rmtree(first)
    shutil.rmtree(tmp_path / "out")
    assert [folder.name for folder in export_steps(tmp_path / "run", tmp_path / "out")] == [NAMES[1]]
    assert "left out: init: " in capsys.readouterr().err


def test_both_networks_of_an_electra_are_there_at_each_step(trained, tmp_path):
    settings = ["objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "plan.steps=4"]
    pretrain(tiny_recipe(trained[0].data, *settings), tmp_path / "run")
    for folder in export_steps(tmp_path / "run", tmp_path / "out"):
        assert {path.name for path in folder.iterdir()} == {"discriminator", "generator"}
        assert bertsmith.load(folder).replaced("ba be")


def test_what_cannot_be_exported_step_by_step_is_said(trained, tmp_path):
    run, out = trained[1], tmp_path / "out"
    with pytest.raises(UserError, match="leave averaged and mean_of out"):
        export_steps(run, out, options=ExportSettings(mean_of=2))
    with pytest.raises(UserError, match=r"gone: no such folder"):
        export_steps(tmp_path / "gone", out)
    export_run(run, tmp_path / "hf")
    with pytest.raises(UserError, match=r"--all-steps: .*hf is no run of `bertsmith pretrain`"):
        export_steps(tmp_path / "hf", out)
    assert not out.exists()
    (out / "step-00000005").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds step-00000005, which is no step of this run"):
        export_steps(run, out)
    (out / "step-00000005").rename(out / NAMES[1])
    (out / NAMES[1] / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds mine\.txt"):
        export_steps(run, out)
    assert [path.name for path in out.iterdir()] == [NAMES[1]], "nothing was written"
