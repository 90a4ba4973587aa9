"""Stages of batch size and row length: the right rows in every step, no text twice, and the same bits after a stop."""

import itertools
import json
import os
import shutil
import signal
from collections import Counter

import numpy as np
import pytest
import torch

from bertsmith.config.loading import load, to_toml
from bertsmith.errors import Interrupted, UserError
from bertsmith.randomness import derived_rng
from bertsmith.reports.facts import facts
from bertsmith.reports.runs import read_runs
from bertsmith.storage.files import sha256_file
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.text import shards
from bertsmith.text.layouts import layout
from bertsmith.training import checkpoints
from bertsmith.training import cuda_graphs as graphs_file
from bertsmith.training.loop import State
from bertsmith.training.machine import Machine
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import load_run
from bertsmith.training.pretrain import pretrain
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner
from bertsmith.training.schedules import ConstantSettings, Plan
from bertsmith.training.staged_rows import StagedRows
from bertsmith.training.stages import stage_at, steps_of_stages
from tests.toys import make_data, tiny_recipe

STAGES = "stages=[{tokens=300, batch_size=6, length=16}, {tokens=500, batch_size=10}]"
PLAN = ("plan.tokens=2000", "plan.checkpoint_steps=1", "plan.keep_checkpoints=0", "plan.log_steps=1")
ENDS = (300, 800)
"""Tokens seen by the end of STAGES' first stages."""


def tensors(run, step):
    found = checkpoints.read(run / f"checkpoints/step-{step:08d}")
    return {**found.model, **found.optimizer}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def states(run) -> list[State]:
    return [checkpoints.read(path, to_resume=False).state for path in checkpoint_folders(run).values()]


def copy_until(run, step, to):
    """Copy a run as it was when it had its checkpoint of `step`."""
    shutil.copytree(run, to)
    for later, path in checkpoint_folders(to).items():
        if later > step:
            shutil.rmtree(path)
    return to


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run of three stages with a checkpoint of each step."""
    out = tmp_path_factory.mktemp("staged") / "run"
    pretrain(tiny_recipe(data, STAGES, *PLAN, *CHANGING), out)
    return out


CHANGING = ("objective.masking.prob=0.3", "objective.masking.final_prob=0.1", "average_decay=0.5",
            "model.hidden_dropout_prob=0.1")  # fmt: skip


def test_every_step_has_the_rows_the_length_and_the_predictions_of_its_stage(data, tmp_path, monkeypatch, capsys):
    seen = []
    plain = Runner.gradients

    def watched(self, prepared):
        tokens = prepared.batch.tokens
        shape = tokens.num_rows, prepared.length, prepared.batch.targets["positions"].shape[1]
        seen.append((tokens.num_tokens, tokens.max_seqlen, shape))
        return plain(self, prepared)

    monkeypatch.setattr(Runner, "gradients", watched)
    pretrain(tiny_recipe(data, STAGES, *PLAN), tmp_path)
    before = np.cumsum([0, *(tokens for tokens, _, _ in seen)])
    assert before[-2] < 2000 <= before[-1]
    shapes = [(6, 16, 2), (10, 32, 4), (8, 32, 4)]  # 15.5 % of a row are predicted
    expected = [shapes[0 if tokens < 300 else 1 if tokens < 800 else 2] for tokens in before[:-1]]
    assert [shape for _, _, shape in seen] == expected and set(expected) == set(shapes)
    assert all(longest <= length for _, longest, (_, length, _) in seen)
    assert max(longest for _, longest, (_, length, _) in seen if length == 32) > 16
    said = capsys.readouterr().err
    assert "stage 1 of 3, from the beginning: 6 rows of 16 tokens" in said
    assert "stage 3 of 3, after " in said and ": 8 rows of 32 tokens" in said
    assert list(checkpoint_folders(tmp_path)) == list(range(1, len(seen) + 1))


def test_a_checkpoint_is_written_at_the_end_of_a_stage(data, tmp_path):
    pretrain(tiny_recipe(data, STAGES, "plan.tokens=2000", "plan.checkpoint_steps=100"), tmp_path)
    found = [state.tokens for state in states(tmp_path)]
    assert len(found) == 2, "the newest two, of the second stage's end and of the plan's"
    assert 800 <= found[0] < 800 + 10 * 32 and found[1] >= 2000


def test_resumed_around_the_end_of_a_stage_it_ends_bit_for_bit_the_same(data, run, tmp_path):
    recipe = tiny_recipe(data, STAGES, *PLAN, *CHANGING)
    tokens = [state.tokens for state in states(run)]
    last = len(tokens)
    boundaries = [1 + next(number for number, seen in enumerate(tokens) if seen >= end) for end in ENDS]
    for step in sorted({step + offset for step in boundaries for offset in (-1, 0, 1)}):
        resumed = copy_until(run, step, tmp_path / f"from-{step}")
        pretrain(recipe, resumed)
        assert same(tensors(resumed, last), tensors(run, last)), f"from step {step}"
        assert states(resumed)[-1].position == states(run)[-1].position
    assert [line["tokens"] for line in read_metrics(resumed / "metrics.jsonl") if line["split"] == "train"] == tokens


def test_a_stage_that_a_step_before_it_ends_has_no_step_in_a_straight_run_either(data, tmp_path):
    stages = "stages=[{tokens=50, batch_size=20, length=32}, {tokens=50, batch_size=4, length=16}]"
    recipe = tiny_recipe(data, stages, "plan.steps=4", "plan.checkpoint_steps=1", "plan.keep_checkpoints=0")
    pretrain(recipe, tmp_path / "run")
    first, second, *_ = states(tmp_path / "run")
    assert first.tokens > 100 and first.position[-1] == 0 and second.position[-1] == 2
    pretrain(recipe, copy_until(tmp_path / "run", 1, tmp_path / "resumed"))
    assert same(tensors(tmp_path / "resumed", 4), tensors(tmp_path / "run", 4))


def test_stages_like_the_recipe_s_own_change_nothing(data, tmp_path):
    of_steps = ("plan.steps=12", "objective.masking.prob=0.3", "objective.masking.final_prob=0.1")
    pretrain(tiny_recipe(data, *of_steps), tmp_path / "plain")
    pretrain(tiny_recipe(data, *of_steps, "stages=[{tokens=700, batch_size=8, length=32}]"), tmp_path / "staged")
    assert same(tensors(tmp_path / "staged", 12), tensors(tmp_path / "plain", 12))


def test_asked_to_stop_in_the_last_step_of_a_stage_it_is_saved_and_goes_on(data, run, tmp_path):
    last = next(state.step for state in states(run) if state.tokens >= ENDS[0])
    asked = []

    def ask(objective, show) -> dict[str, float]:
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        return {}

    recipe = tiny_recipe(data, STAGES, *PLAN, *CHANGING, f"plan.evaluate_steps={last}")
    with pytest.raises(Interrupted, match="SIGTERM"):
        pretrain(recipe, tmp_path / "run", probes=[ask])
    assert states(tmp_path / "run")[-1].step == last
    pretrain(recipe, tmp_path / "run")
    step = states(run)[-1].step
    assert same(tensors(tmp_path / "run", step), tensors(run, step))


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Data of two groups of shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PART_BYTES", 12_000)
        patch.setattr(shards, "SHARD_TOKENS", 1800)
        data = make_data(tmp_path_factory.mktemp("several"))
    assert 4 < data.num_shards("train") <= 8
    return data


def drawn(made, count=None, until=None):
    """Return the original ids of as many batches, or of those before the epoch `until`, and the last position."""
    ids: Counter = Counter()
    position = ()
    for number, (batch, after) in enumerate(made):
        if number == count or (until is not None and after[0] == until):
            break
        position = after
        flat = batch.tokens.ids.clone()
        in_rows, labels, weights = (batch.targets[name] for name in ("positions", "labels", "weights"))
        places = (batch.tokens.row_starts[:, None] + in_rows)[weights > 0]
        flat[places] = labels[weights > 0]
        ids.update(flat.tolist())
    return ids, position


def test_a_stage_of_other_rows_goes_on_with_the_next_group_and_sees_no_text_twice_in_an_epoch(several):
    recipe = tiny_recipe(
        several.path, "stages=[{tokens=500, batch_size=1, length=16}]", "batch_size=1", "plan.steps=999"
    )
    rows = StagedRows(several, recipe)
    first, position = drawn(rows.batches(0, State()), count=40)
    assert position == (0, 0, 40, 0)
    at_the_end = State(40, first.total(), position=position)
    assert at_the_end.tokens >= 500 and stage_at(rows.stages, at_the_end.tokens) == 1
    rows.check(at_the_end)
    second, position = drawn(rows.batches(1, at_the_end), until=1)
    assert position[:2] == (0, 1) and position[3] == 1
    order = derived_rng(recipe.seed, "shards", 0).permutation(several.num_shards("train")).tolist()
    groups = [Counter(), Counter()]
    for place, number in enumerate(order):
        groups[place // 4].update(several.read("train", number).tokens.tolist())
    for special in (several.tokenizer.cls_id, several.tokenizer.sep_id):
        del first[special], second[special]
    assert first <= groups[0] and second == groups[1], "all of the second group, and each token once"
    beyond = State(41, at_the_end.tokens + 30, position=(0, 1, 1, 1))
    rows.check(beyond)
    again, _ = drawn(rows.batches(1, beyond), count=1)
    assert again != drawn(rows.batches(1, at_the_end), count=1)[0], "it goes on where it stands"


def test_with_a_single_group_a_stage_of_other_rows_begins_with_the_next_epoch(run):
    stages = [state.position[3] for state in states(run)]
    assert sorted(set(stages)) == [0, 1, 2] and stages == sorted(stages)
    epochs = {state.position[3]: state.position[0] for state in states(run)}
    assert epochs == {0: 0, 1: 1, 2: 1}, "the last two have rows of one length"
    second = [state.position for state in states(run) if state.position[3] > 0]
    assert second[0][2] == 10 and all(one[2] < two[2] for one, two in itertools.pairwise(second))


def test_in_a_plan_of_hours_stages_and_masks_follow_and_a_run_goes_on(data, tmp_path, monkeypatch):
    seen, plain = [], PretrainRecipe.progress

    def watched(self, step, tokens, seconds):
        seen.append(plain(self, step, tokens, seconds))
        return seen[-1]

    monkeypatch.setattr(PretrainRecipe, "progress", watched)
    settings = ("stages=[{tokens=300, length=16}]", "objective.masking.prob=0.4", "objective.masking.final_prob=0.1")
    recipe = tiny_recipe(data, *settings, "plan.hours=0.0002", "plan.checkpoint_steps=1", "plan.keep_checkpoints=0")
    pretrain(recipe, tmp_path)
    found = states(tmp_path)
    assert found[-1].seconds >= 0.72 and found[-1].position[3] == 1
    assert seen[0] == 0 and seen == sorted(seen) and 0.5 < seen[-1] <= 1
    middle = found[len(found) // 2]
    for state in found:
        if state.step > middle.step:
            shutil.rmtree(tmp_path / f"checkpoints/step-{state.step:08d}")
    seen.clear()
    pretrain(recipe, tmp_path)
    assert seen[0] == pytest.approx(middle.seconds / 0.72), "masks go on where the clock stood"


def test_a_branch_goes_on_in_the_stage_of_its_checkpoint(data, run, tmp_path, monkeypatch):
    """With the run's own rate it has the run's own rows, masks and weights, also from the very end of a stage."""
    own = (STAGES, *PLAN, "schedule.warmup_proportion=0")
    pretrain(tiny_recipe(data, *own, "schedule.kind=constant"), tmp_path / "stable")
    found = states(tmp_path / "stable")
    monkeypatch.setattr(
        "bertsmith.training.pretrain.decaying_from",
        lambda recipe, branch: ConstantSettings(learning_rate=5e-3, warmup_proportion=0),
    )
    for end in ENDS:
        step = next(state.step for state in found if state.tokens >= end)
        branch = tmp_path / f"branch-{step}"
        pretrain(tiny_recipe(data, *own, "schedule.kind=wsd", f"branch={tmp_path / 'stable'}@{step}"), branch)
        assert same(tensors(branch, found[-1].step), tensors(tmp_path / "stable", found[-1].step))
    longer = tiny_recipe(data, *own, "schedule.kind=constant", "plan.tokens=2600")
    pretrain(longer, tmp_path / "stable")
    pretrain(longer, tmp_path / "whole")
    last = states(tmp_path / "whole")[-1].step
    assert same(tensors(tmp_path / "stable", last), tensors(tmp_path / "whole", last)), "a plan may be lengthened"


def test_a_model_goes_on_in_stages_while_new_networks_warm_up_alone(data, run, tmp_path):
    """As a discriminator beside a new generator, over the end of the first stage."""
    recipe = tiny_recipe(
        data, STAGES, *PLAN, f"init={run}", "objective.kind=rtd", "objective.generator.hidden_fraction=0.5",
        "head_warmup.steps=6", "plan.tokens=1500",
    )  # fmt: skip
    pretrain(recipe, tmp_path / "whole")
    found, start = states(tmp_path / "whole"), load_run(run).weights
    assert found[5].position[3] == 1 and found[-1].position[3] == 2
    end = tensors(tmp_path / "whole", 6)
    assert all(torch.equal(end[name], tensor) for name, tensor in start.items() if name.startswith("encoder."))
    resumed = copy_until(tmp_path / "whole", 5, tmp_path / "resumed")
    pretrain(recipe, resumed)
    assert same(tensors(resumed, found[-1].step), tensors(tmp_path / "whole", found[-1].step))


def test_a_plan_that_ends_before_its_last_stage_says_so_once(data, tmp_path, capsys):
    """Rows are not full: nine full steps are more of them."""
    recipe = tiny_recipe(data, "stages=[{tokens=2304, batch_size=8, length=16}]", "plan.steps=20")
    for _ in range(2):
        pretrain(recipe, tmp_path)
    (warning,) = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "warning"]
    assert warning["text"].startswith("the plan ended in stage 1 of 2, so no step had 8 rows of 32 tokens; shorten")


def test_a_new_stage_gives_up_what_was_recorded_and_compiled(data, tmp_path, monkeypatch):
    given_up, resets, plain = [], [], Runner.forget_shapes

    def watched(self):
        self.micro_batch_rows = 1  # as where memory had run out
        plain(self)
        given_up.append((self.micro_batch_rows, [parameter.grad for parameter in self.objective.parameters()]))

    monkeypatch.setattr(Runner, "forget_shapes", watched)
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    pretrain(tiny_recipe(data, STAGES, *PLAN), tmp_path)
    assert len(given_up) == 2 and not resets
    assert all(rows is None and not any(grad is not None for grad in grads) for rows, grads in given_up)


def test_each_stage_is_compiled_once_for_its_own_sizes(data, tmp_path, monkeypatch):
    """As on a GPU, with padded rows, by a compiler that notes what it is given; without the reset between stages the
    second one's sizes would be numbers that vary, and its graphs slower."""
    given, plain = [], torch.nn.Module.compile

    def compiler(graph, inputs):
        given.append([tuple(entry.shape) if isinstance(entry, torch.Tensor) else entry for entry in inputs])
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: plain(self, backend=compiler))
    monkeypatch.setattr(Machine, "lay_out", lambda self, rows, length: rows.padded(length, self.pad_id))
    torch.compiler.reset()
    pretrain(tiny_recipe(data, STAGES, *PLAN, "machine.compile=true"), tmp_path)
    parts = 3  # embeddings, both layers, head
    assert len(given) == 3 * parts
    for number, tokens in enumerate((6 * 16, 10 * 32, 8 * 32)):
        embeddings, layer, _ = given[parts * number : parts * (number + 1)]
        assert (tokens,) in embeddings and (tokens, 16) in layer
    assert all(isinstance(size, int) for sizes in given for entry in sizes for size in entry)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_stages_learn_the_same(data, tmp_path):
    pretrain(tiny_recipe(data, STAGES, *PLAN), tmp_path / "plain")
    pretrain(tiny_recipe(data, STAGES, *PLAN, "machine.compile=true"), tmp_path / "compiled")
    losses = [
        [line["mlm_loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if line["split"] == "train"]
        for name in ("plain", "compiled")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_stage_has_one_recording_and_one_compilation(data, tmp_path, monkeypatch):
    shapes, resets = [], []
    recorded, reset = graphs_file._Recording.__init__, torch.compiler.reset

    def watched(self, run, batch, denominators, pool):
        shapes.append(tuple(batch.tokens.ids.shape))
        recorded(self, run, batch, denominators, pool)

    monkeypatch.setattr(graphs_file._Recording, "__init__", watched)
    monkeypatch.setattr(torch.compiler, "reset", lambda: (resets.append(1), reset()))
    monkeypatch.setattr(torch._dynamo.config, "error_on_recompile", True)  # of sizes that vary
    settings = ("stages=[{tokens=1000, batch_size=12, length=16}]", "plan.tokens=3000", "plan.log_steps=1")
    pretrain(tiny_recipe(data, *settings, "machine.device=cuda", "machine.dtype=float32"), tmp_path / "cuda")
    assert shapes == [(12 * 16,), (8 * 32,)] and len(resets) == 1
    monkeypatch.undo()
    pretrain(tiny_recipe(data, *settings, "machine.device=cpu"), tmp_path / "cpu")
    losses = [
        [line["mlm_loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if line["split"] == "train"]
        for name in ("cuda", "cpu")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_recipe_s_stages_are_read_written_and_shown(data, run, tmp_path):
    path = tmp_path / "staged.toml"
    path.write_text(
        f'data = "{data}"\nbatch_size = 32\n[plan]\ntokens = 1_200_000\n'
        "[[stages]]\ntokens = 500_000\nbatch_size = 8\nlength = 64\n"
    )
    recipe = load(PretrainRecipe, "pretrain", str(path)).settings
    assert [(stage.batch_size, stage.rows.length, stage.end) for stage in recipe.all_stages] == [
        (8, 64, 500_000), (32, 128, float("inf")),
    ]  # fmt: skip
    path.write_text(to_toml(recipe))
    assert load(PretrainRecipe, "pretrain", str(path)).settings == recipe
    assert facts(read_runs([run])[0])["Batch"] == (
        "6 rows of 16 tokens for 300 tokens, then 10 rows of 32 tokens for 500 tokens, then 8 rows of 32 tokens"
    )


@pytest.mark.parametrize(
    ("plan", "steps"),
    [(Plan(tokens=2000), [4, 2, 4]), (Plan(steps=10), [4, 2, 4]), (Plan(hours=1.0), [4, 2, None])],
)
def test_steps_of_stages_with_full_rows(data, plan, steps):
    """Ends at 384 of 300 tokens, 1,024 of 800 and 2,048 of 2,000, in steps of 96, 320 and 256."""
    assert steps_of_stages(tiny_recipe(data, STAGES, "plan.tokens=2000").all_stages, plan) == steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("stages=[{tokens=0, length=16}]",), r"stages\[0\]\.tokens = 0: .*greater than or equal to 1"),
        (("stages=[{length=16}]",), r"stages\[0\]\.tokens: needs a value"),
        (("stages=[{tokens=9}]",), r"stages\[0\]: names neither batch_size nor length"),
        (("stages=[{tokens=9, batchsize=8}]",), r"stages\[0\]\.batchsize: .*did you mean stages\[0\]\.batch_size\?"),
        (("stages=[{tokens=9, rows=8}]",), r"stages\[0\]\.rows: .*there are tokens, batch_size, length"),
        (("stages={tokens=9, length=16}",), r"stages = .*: not a list of tables; \[\[stages\]\] in a recipe"),
        (("stages=[5]",), r"stages\[0\] = 5: not a table; \[\[stages\]\] in a recipe, or "
         r"stages='\[\{tokens=…, batch_size=…, length=…\}\]'$"),
        (("stages.tokens=9",), r"stages = .*: not a list of tables; \[\[stages\]\] in a recipe"),
        (("stages=[{tokens=9, length=16}, {tokens=9, length=65}]",), r"stages\[1\]\.length = 65 is beyond .*64 pos"),
        (("stages=[{tokens=9, length=32}]", "rows.length=65"), r"rows\.length = 65 is beyond the model's 64"),
        (("stages=[{tokens=800, length=16}, {tokens=700, batch_size=2}]", "plan.tokens=1500"),
         r"stages: 1,500 tokens together leave nothing of plan\.tokens = 1,500 to the last stage.*; shorten one"),
        (("stages=[{tokens=1_000_000, length=16}]", "plan.steps=100"), r"leave nothing of plan\.steps = 100 to"),
        (("stages=[{tokens=90, length=16}]", "model.type_vocab_size=1"), r"rows\.kind = 'two_segments': .*windows"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_are_refused(data, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        tiny_recipe(data, *settings)
    assert len(str(caught.value).splitlines()) <= 2


def test_other_stages_are_another_run_and_a_place_that_no_stage_has_is_damage(data, run, tmp_path):
    with pytest.raises(UserError, match=r"belongs to another run \(stages: another one\)"):
        pretrain(tiny_recipe(data, *PLAN, *CHANGING), copy_until(run, 99, tmp_path / "other"))
    for position in ((0, 0, 6, 2), (0, 0, 6), (0, 0, 6, 7), (0, 0, 6, 0, 0)):
        folder = copy_until(run, 1, tmp_path / f"damaged-{position[-1]}-{len(position)}") / "checkpoints/step-00000001"
        state = json.loads((folder / "state.json").read_text()) | {"position": list(position)}
        (folder / "state.json").write_text(json.dumps(state))
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["state.json"] = sha256_file(folder / "state.json")
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match="every checkpoint is damaged"):
            pretrain(tiny_recipe(data, STAGES, *PLAN, *CHANGING), folder.parents[1])
