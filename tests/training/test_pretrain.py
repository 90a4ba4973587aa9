"""Journeys of a small run: to its end, killed, interrupted, resumed, lengthened, refused."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from bertsmith.cli.show import show
from bertsmith.config.loading import load, to_toml
from bertsmith.console.progress import format_count
from bertsmith.encoders.encoder import num_parameters
from bertsmith.errors import Interrupted, UserError
from bertsmith.objectives import masking
from bertsmith.storage.files import sha256_file
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import read_manifest
from bertsmith.text.shards import open_data
from bertsmith.tokenizers import tokenizer
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training import batches, checkpoints, runner
from bertsmith.training.loop import MAX_SKIPPED_IN_A_ROW
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import load_run, open_model
from bertsmith.training.pretrain import initial_objective, pretrain
from bertsmith.training.recipe import PretrainRecipe
from tests.families import FAMILIES
from tests.processes import CONTEXT, start_program, start_server
from tests.toys import tiny_recipe


def weights_of(run: Path) -> str:
    return sha256_file(list(checkpoint_folders(run).values())[-1] / "model.safetensors")


def test_a_run_learns_and_says_so(data, tmp_path):
    summary = pretrain(tiny_recipe(data, "plan.steps=120", "schedule.learning_rate=1e-2"), tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    held_out = [line["mlm_loss"] for line in lines if line["split"] == "heldout"]
    assert held_out[-1] < held_out[0] - 0.2
    assert summary["measures"]["mlm_loss"] == held_out[-1]
    assert summary["steps"] == 120 and summary["tokens"] == lines[-1]["tokens"]
    training = [line for line in lines if line["split"] == "train"]
    assert {"learning_rate", "gradient_norm", "tokens_per_second", "mfu", "memory_bytes"} <= training[0].keys()
    model = load_run(tmp_path)
    assert model.step == 120 and "encoder.embeddings.token.weight" in model.weights


def test_no_engine_for_text_is_made(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "fastest_engine", lambda *_: pytest.fail("a run waited for what it does not use"))
    pretrain(tiny_recipe(data, "plan.steps=1"), tmp_path)


def test_run_again_it_finds_itself_done(data, tmp_path):
    recipe = tiny_recipe(data)
    first = pretrain(recipe, tmp_path)
    before = (weights_of(tmp_path), (tmp_path / "metrics.jsonl").read_text())
    second = pretrain(recipe, tmp_path)
    assert (weights_of(tmp_path), (tmp_path / "metrics.jsonl").read_text()) == before
    assert first == second


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.hidden_dropout_prob=0.0", "model.attention_probs_dropout_prob=0.0"],
        ["model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1"],
        ["objective.masking.prob=0.3", "objective.masking.final_prob=0.1", "objective.masking.whole_words=true"],
        ["model.kind=modern", "model.local_attention=4", "model.attention_dropout=0.1"],
        ["optimizer.kind=adafactor", "optimizer.beta2_decay=0.9"],
        ["optimizer.kind=muon", "optimizer.momentum_steps=6", "model.kind=modern", "model.local_attention=4"],
        ["optimizer.kind=muon", "optimizer.neuron_beta=0.9", "average_decay=0.9"],
        ["objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "objective.generator.rate=0.3"],
    ],
    ids=[
        "without dropout",
        "with dropout",
        "with a falling share of whole words",
        "modern",
        "adafactor",
        "muon",
        "normuon and an average",
        "rtd",
    ],
)
def test_resumed_from_any_checkpoint_it_ends_bit_for_bit_the_same(data, tmp_path, overrides):
    recipe = tiny_recipe(data, "plan.keep_checkpoints=0", *overrides)
    pretrain(recipe, tmp_path / "whole")
    expected = [{**line, "seconds": 0} for line in measures(tmp_path / "whole")]
    for step in (4, 8):
        resumed = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "whole", resumed)
        for later in sorted((resumed / "checkpoints").iterdir())[step // 4 :]:
            shutil.rmtree(later)
        pretrain(recipe, resumed)
        assert weights_of(resumed) == weights_of(tmp_path / "whole")
        assert [{**line, "seconds": 0} for line in measures(resumed)] == expected


def test_a_generator_moves_at_its_own_rate(data, tmp_path):
    ends = []
    for rate in (1, 0.25):
        settings = ("objective.kind=rtd", "optimizer.weight_decay=0", f"objective.generator.rate={rate}")
        recipe = tiny_recipe(data, *settings, "plan.steps=1")
        pretrain(recipe, tmp_path / f"{rate}")
        ends.append(checkpoints.load_newest(tmp_path / f"{rate}").model)
    begun = initial_objective(recipe, Tokenizer.load(data)).state_dict()
    for name, tensor in begun.items():
        full, own = (end[name] - tensor for end in ends)
        if name.startswith("generator."):
            torch.testing.assert_close(own, 0.25 * full, rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(own, full), name
    assert any(full.any() for full in (ends[0][name] - begun[name] for name in begun if name.startswith("generator.")))


def measures(run: Path) -> list[dict]:
    noisy = {"tokens_per_second", "mfu", "memory_bytes", "seconds"}
    return [{k: v for k, v in line.items() if k not in noisy} for line in read_metrics(run / "metrics.jsonl")]


@pytest.mark.parametrize("times", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_weights(data, tmp_path, times):
    recipe = tiny_recipe(data, f"plan.steps={100 * times}", "plan.checkpoint_steps=10", "plan.evaluate_steps=120")
    pretrain(recipe, tmp_path / "whole")
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    rng, kills, metrics = random.Random(0), 0, tmp_path / "killed" / "metrics.jsonl"
    for _ in range(times):
        size = metrics.stat().st_size if metrics.exists() else 0
        process = start_program("pretrain", tmp_path / "recipe.toml", "--out", tmp_path / "killed")
        while process.is_alive() and not (metrics.exists() and metrics.stat().st_size > size):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills == times, "every kill falls into training"
    pretrain(recipe, tmp_path / "killed")
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((signal.SIGTERM, 143), (signal.SIGHUP, 129))),
    ],
)
def test_asked_to_stop_it_saves_and_says_how_to_go_on(data, tmp_path, number, status):
    recipe = tiny_recipe(data, "plan.steps=100000", "plan.checkpoint_steps=100000", "plan.evaluate_steps=100000")
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    process = start_program("pretrain", tmp_path / "recipe.toml", "--out", tmp_path / "run", stderr=tmp_path / "stderr")
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.join(60)
    errors = (tmp_path / "stderr").read_text()
    assert process.exitcode == status, errors
    step = checkpoints.load_newest(tmp_path / "run").state.step
    assert f"stopped at step {step:,}, which is saved. To go on:\n  bertsmith pretrain" in errors and step > 0


def test_asked_to_stop_in_its_last_step_it_finishes_first(data, tmp_path):
    def ask(objective, show) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"asked": 1.0}

    recipe = tiny_recipe(data, "plan.evaluate_steps=12")
    with pytest.raises(Interrupted):
        pretrain(recipe, tmp_path, probes=[ask])
    manifest = read_manifest(tmp_path, "pretrain")
    assert manifest["finished"] and manifest["measures"]["asked"] == 1 and "mlm_loss" in manifest["measures"]
    assert pretrain(recipe, tmp_path)["measures"] == manifest["measures"]


def test_another_recipe_is_refused_by_its_keys(data, tmp_path):
    pretrain(tiny_recipe(data), tmp_path)
    with pytest.raises(UserError, match=r"model\.hidden_size: 16 → 32.*--overwrite"):
        pretrain(tiny_recipe(data, "model.hidden_size=32"), tmp_path)
    with pytest.raises(UserError, match=r"plan\.steps: 12 → 5"):
        pretrain(tiny_recipe(data, "plan.steps=5"), tmp_path)
    with pytest.raises(UserError, match=r"plan\.steps: 12 → 16"):  # it has ended
        pretrain(tiny_recipe(data, "plan.steps=16"), tmp_path)
    with pytest.raises(UserError, match=r"plan\.hours: None → 1\.0"):
        pretrain(tiny_recipe(data, "plan.hours=1.0"), tmp_path)
    assert pretrain(tiny_recipe(data, "seed=3"), tmp_path, overwrite=True)["steps"] == 12


def test_a_plan_may_be_lengthened_before_its_end(data, tmp_path, monkeypatch):
    from bertsmith.training import loop

    def stop(state, step, position):
        if state.step == 6:
            raise UserError("the power went out")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_check_finite", stop)
        with pytest.raises(UserError, match="power"):
            pretrain(tiny_recipe(data), tmp_path)
    assert pretrain(tiny_recipe(data, "plan.steps=16", "plan.log_steps=1"), tmp_path)["steps"] == 16


def test_other_data_is_refused_and_moved_data_is_not(data, tmp_path):
    pretrain(tiny_recipe(data), tmp_path / "run")
    shutil.copytree(data, tmp_path / "moved")
    pretrain(tiny_recipe(tmp_path / "moved"), tmp_path / "run")
    manifest = json.loads((tmp_path / "moved" / "manifest.json").read_text())
    manifest["tokenizer"]["fingerprint"] = "other"
    (tmp_path / "moved" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError):
        pretrain(tiny_recipe(tmp_path / "moved"), tmp_path / "run")


def test_data_smaller_than_a_row_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="less than one row"):
        pretrain(tiny_recipe(data, "rows.length=1000000", "model.max_position_embeddings=1000000"), tmp_path)


def test_a_folder_that_is_no_data_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json"):
        pretrain(tiny_recipe(tmp_path), tmp_path / "run")


def test_a_device_that_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="not supported"):
        pretrain(tiny_recipe(data, "machine.device=mps"), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable GPU"):
            pretrain(tiny_recipe(data, "machine.device=cuda"), tmp_path)


def test_when_memory_runs_out_the_micro_batch_shrinks_and_the_loss_is_the_same(data, tmp_path, monkeypatch):
    recipe = tiny_recipe(data)
    pretrain(recipe, tmp_path / "roomy")
    roomy = runner.Runner._add_gradients

    def cramped(self, part, counts):
        if part.tokens.num_rows > 3:
            raise torch.OutOfMemoryError
        return roomy(self, part, counts)

    monkeypatch.setattr(runner.Runner, "_add_gradients", cramped)
    pretrain(recipe, tmp_path / "cramped")
    losses = [
        [line["mlm_loss"] for line in read_metrics(tmp_path / run / "metrics.jsonl") if line["split"] == "train"]
        for run in ("roomy", "cramped")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    monkeypatch.setattr(runner.Runner, "_add_gradients", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(UserError, match="single row"):
        pretrain(recipe, tmp_path / "impossible")


def test_when_memory_runs_out_in_an_evaluation_it_goes_on_with_fewer_rows(data, tmp_path, monkeypatch):
    from bertsmith.objectives.mlm import MaskedTokens

    recipe = tiny_recipe(data)
    pretrain(recipe, tmp_path / "roomy")
    roomy = MaskedTokens.losses

    def cramped(self, batch):
        if not self.training and batch.tokens.num_rows > 3:
            raise torch.OutOfMemoryError
        return roomy(self, batch)

    monkeypatch.setattr(MaskedTokens, "losses", cramped)
    pretrain(recipe, tmp_path / "cramped")
    losses = [measures(tmp_path / run)[-1]["mlm_loss"] for run in ("roomy", "cramped")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_gradients_that_are_not_finite_are_skipped_counted_and_in_the_end_stop_the_run(data, tmp_path, monkeypatch):
    from bertsmith.objectives.mlm import MaskedTokens

    plain, calls = MaskedTokens.total, []

    def sometimes(self, losses, counts):
        calls.append(1)
        return plain(self, losses, counts) * (float("nan") if len(calls) == 3 or len(calls) > 20 else 1.0)

    monkeypatch.setattr(MaskedTokens, "total", sometimes)
    pretrain(tiny_recipe(data), tmp_path / "one")
    assert read_metrics(tmp_path / "one" / "metrics.jsonl")[0]["skipped_steps"] == 1
    with pytest.raises(UserError, match=r"not finite(.|\n)*last checkpoint: .*step-00000012"):
        pretrain(tiny_recipe(data, "plan.steps=40"), tmp_path / "many")
    assert MAX_SKIPPED_IN_A_ROW == 5


def _hold(run: Path, ready, done) -> None:
    from bertsmith.storage.files import locked

    with locked(run):
        ready.set()
        done.wait(30)


def test_a_run_in_use_is_refused(data, tmp_path):
    start_server()
    ready, done = CONTEXT.Event(), CONTEXT.Event()
    other = CONTEXT.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(30)
    try:
        with pytest.raises(UserError, match="in use"):
            pretrain(tiny_recipe(data), tmp_path)
    finally:
        done.set()
        other.join()
    assert not (tmp_path / "manifest.json").exists()


def test_overwrite_leaves_another_kind_of_folder_alone(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    with pytest.raises(UserError, match="a data folder, not a pretrain one"):
        pretrain(tiny_recipe(data), tmp_path / "data", overwrite=True)
    assert (tmp_path / "data" / "manifest.json").read_bytes() == (data / "manifest.json").read_bytes()


def test_a_damaged_newer_checkpoint_does_not_outlive_the_good_ones(data, tmp_path):
    recipe = tiny_recipe(data, "plan.keep_checkpoints=2")
    pretrain(recipe, tmp_path)
    (tmp_path / "checkpoints" / "step-00000012" / "model.safetensors").write_bytes(b"rubbish")
    pretrain(recipe, tmp_path)
    assert checkpoints.load_newest(tmp_path).state.step == 12


def test_plans_in_tokens_and_hours_end(data, tmp_path):
    assert pretrain(tiny_recipe(data, "plan.tokens=2000"), tmp_path / "tokens")["tokens"] >= 2000
    summary = pretrain(tiny_recipe(data, "plan.hours=0.0001"), tmp_path / "hours")
    assert summary["seconds"] >= 0.36 and summary["steps"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2", "deberta-v2, mask decoder"])
def test_compiled_layers_give_the_same_loss(family, data, tmp_path):
    family, _, decodes = family.partition(", ")
    settings = FAMILIES[family].model + (("model.enhanced_mask_decoder=true",) if decodes else ())
    pretrain(tiny_recipe(data, *settings), tmp_path / "plain")
    pretrain(tiny_recipe(data, "machine.compile=true", *settings), tmp_path / "compiled")
    plain, compiled = (measures(tmp_path / run)[-1]["mlm_loss"] for run in ("plain", "compiled"))
    assert plain == pytest.approx(compiled, rel=1e-3)


@pytest.mark.parametrize("compat", [False, True])
def test_compat_reaches_rows_masks_and_the_first_learning_rate(data, tmp_path, monkeypatch, compat):
    asked = {"rows": set(), "masks": set()}
    rows_of, mask = batches.rows_of, masking.mask

    def watched_rows(shard, settings, rng, compat):
        asked["rows"].add(compat)
        return rows_of(shard, settings, rng, compat)

    def watched_mask(ids, lengths, vocabulary, policy, rng):
        asked["masks"].add(policy.compat)
        return mask(ids, lengths, vocabulary, policy, rng)

    monkeypatch.setattr(batches, "rows_of", watched_rows)
    monkeypatch.setattr(masking, "mask", watched_mask)
    pretrain(tiny_recipe(data, f"compat={str(compat).lower()}", "plan.log_steps=1"), tmp_path)
    assert asked == {"rows": {compat}, "masks": {compat}}
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "train"]
    assert (rates[0] == 0.0) == compat and rates[1] > 0.0


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(data, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pretrain(tiny_recipe(data, "machine.device=cpu"), tmp_path / "cpu")
    pretrain(tiny_recipe(data, "machine.device=cuda", "machine.dtype=float32"), tmp_path / "cuda")
    cpu, cuda = (measures(tmp_path / run)[-1]["mlm_loss"] for run in ("cpu", "cuda"))
    assert cpu == pytest.approx(cuda, rel=1e-3)


@pytest.mark.parametrize("settings", [(), ("objective.kind=rtd",)], ids=["mlm", "rtd"])
def test_bfloat16_on_the_cpu_learns_what_float32_does(data, tmp_path, monkeypatch, settings):
    """There nearly full rows are padded, here all of them, and short ones attend by plain products."""
    monkeypatch.setattr("bertsmith.training.machine.NEARLY_FULL", 0.0)
    for dtype in ("float32", "bfloat16"):
        pretrain(tiny_recipe(data, *settings, "machine.device=cpu", f"machine.dtype={dtype}"), tmp_path / dtype)
    exact, rounded = (measures(tmp_path / dtype)[-1]["mlm_loss"] for dtype in ("float32", "bfloat16"))
    assert rounded == pytest.approx(exact, rel=0.03) and rounded != exact


def test_whole_words_are_not_drawn_as_the_reference_does(data):
    with pytest.raises(UserError, match=r"whole_words: the reference draws single tokens"):
        tiny_recipe(data, "objective.masking.whole_words=true", "compat=true")


def test_pairs_need_a_model_that_tells_segments_apart_or_knows_of_none(data, tmp_path):
    with pytest.raises(UserError, match=r"rows\.kind = 'two_segments': .*\(model\.type_vocab_size\); use windows"):
        tiny_recipe(data, "model.type_vocab_size=1")
    pretrain(tiny_recipe(data, "model.type_vocab_size=1", "rows.kind=windows", "plan.steps=1"), tmp_path)
    assert tiny_recipe(data, "model.kind=modern").rows.kind == "two_segments"


def test_electrics_noise_is_known_unless_the_reference_is_followed(data):
    electric = ("objective.kind=electric", "objective.generator.temperature=0.5")
    with pytest.raises(UserError, match=r"objective\.generator\.temperature = 0\.5: Electric"):
        tiny_recipe(data, *electric)
    assert tiny_recipe(data, *electric, "compat=true").objective.generator.temperature == 0.5


def test_a_folder_that_is_removed_meanwhile_stops_the_run_with_a_line(data, tmp_path):
    def remove(folder: Path):
        def act(objective, show) -> dict[str, float]:
            if folder.exists():
                shutil.rmtree(folder)
            return {}

        return act

    run, copy = tmp_path / "run", shutil.copytree(data, tmp_path / "data")
    with pytest.raises(UserError, match="run: was removed, renamed or replaced while this command worked in it"):
        pretrain(tiny_recipe(copy), run, probes=[remove(run)])
    assert not run.exists()
    with pytest.raises(UserError, match=r"data/train-00000\.tokens\.npy: is gone(.|\n)*last checkpoint: .*step-"):
        pretrain(tiny_recipe(copy, "plan.steps=5000"), run, probes=[remove(copy)])
    assert checkpoints.load_newest(run) is not None


def test_what_is_trained_where_and_for_how_long_is_said_before_the_first_step(data, tmp_path, capsys):
    recipe = tiny_recipe(data, "plan.steps=1")
    pretrain(recipe, tmp_path)
    objective = initial_objective(recipe, open_data(data).tokenizer)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"{format_count(num_parameters(objective))} parameters, ")
    assert first.endswith(f"CPU, {torch.get_num_threads()} threads, float32; 1 steps")


def test_an_unfinished_run_is_a_model_and_that_is_said(data, tmp_path, capsys):
    run = tmp_path / "run"
    pretrain(tiny_recipe(data), run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"finished": False}))
    shutil.rmtree(run / "checkpoints/step-00000012")
    capsys.readouterr()
    for _ in range(2):
        open_model(run)
    said = capsys.readouterr().err
    assert said == f"{run}: unfinished, at step 8 of 12; its weights are taken as they are\n"
    assert show(str(run)) == ["pretrain", run / "recipe.toml", "--out", run]
    assert "no, step 8 of 12" in capsys.readouterr().out
    pretrain(load(PretrainRecipe, "pretrain", str(run / "recipe.toml")).settings, run)
    assert json.loads((run / "manifest.json").read_text())["finished"]


def test_another_number_of_threads_is_noted_and_said(data, tmp_path, capsys):
    pretrain(tiny_recipe(data), tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["threads"] == [torch.get_num_threads()]
    path.write_text(json.dumps(manifest | {"threads": [64], "finished": False}))
    shutil.rmtree(tmp_path / "checkpoints/step-00000012")
    capsys.readouterr()
    pretrain(tiny_recipe(data), tmp_path)
    assert "this run had 64 threads so far and has" in capsys.readouterr().err
    assert json.loads(path.read_text())["threads"] == [64, torch.get_num_threads()]


def test_a_torn_end_of_the_metrics_is_forgotten_and_a_damaged_line_before_it_is_named(data, tmp_path):
    recipe = tiny_recipe(data)
    pretrain(recipe, tmp_path)
    path, whole = tmp_path / "metrics.jsonl", measures(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints/step-00000012")
    path.write_bytes(path.read_bytes()[:-40] + bytes(300))
    pretrain(recipe, tmp_path)
    assert [line["step"] for line in measures(tmp_path)] == [line["step"] for line in whole]
    path.write_bytes(b"\0" + path.read_bytes())
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 1: not JSON .*; remove that line"):
        pretrain(recipe, tmp_path)
