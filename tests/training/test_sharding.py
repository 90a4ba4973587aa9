"""Runs whose weights are dealt to ranks (machine.shard): as one process trains, in a part of its memory."""

import gc
import json
import os
import shutil
import signal
import socket
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed.fsdp  # here once, and not in each of the processes that are forked

from bertsmith.convert.export import ExportSettings, export_run
from bertsmith.errors import UserError
from bertsmith.evals.pinned import probes_of
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.mlm import MaskedTokens
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import read_manifest
from bertsmith.tasks import quick_glue
from bertsmith.text.shards import open_data
from bertsmith.training import checkpoints
from bertsmith.training.batches import RowStream, masked_batch
from bertsmith.training.machine import choose_machine
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import load_run
from bertsmith.training.pretrain import pretrain
from bertsmith.training.ranks import ALONE, Ranks
from bertsmith.training.runner import Runner
from bertsmith.training.staged_rows import build_collator
from tests.families import FAMILIES
from tests.tasks.texts.toy_glue import write_glue
from tests.toys import tiny_recipe
from tests.training.ranks_at_work import fork_ranks, run_ranks
from tests.training.test_ranks import EVERY_STEP, MODERN, flat, losses_of

SHARD = "machine.shard=true"
RTD = (*EVERY_STEP, "objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "objective.generator.rate=0.5")
RECIPES = {
    "mlm, averages": (*EVERY_STEP, "average_decay=0.9"),
    "rtd": RTD,
}
MORE_RECIPES = {
    "modern, micro-batches": (*EVERY_STEP[:4], *MODERN, "machine.micro_batch_rows=2"),
    "roberta": (*EVERY_STEP, *FAMILIES["roberta"].model),
    "distilbert": (*EVERY_STEP, *FAMILIES["distilbert"].model),
    "one segment": (*EVERY_STEP, "model.type_vocab_size=1", "rows.kind=windows"),
    "deberta v3": (*EVERY_STEP, "objective.kind=rtd", *FAMILIES["deberta-v2"].model, *FAMILIES["deberta-v2"].generator),
    "mask decoder": (*EVERY_STEP, *FAMILIES["deberta-v2"].model, "model.enhanced_mask_decoder=true"),
    "deberta, own projections": (
        *EVERY_STEP,
        *FAMILIES["deberta-v2"].model,
        "model.share_att_key=false",
        "model.conv_kernel_size=3",
        "model.embedding_size=8",
        "model.position_biased_input=true",
    ),
    "everything shared": (*RTD, "objective.generator.sharing=everything"),
    "disentangled": (*RTD, "objective.generator.sharing=gradient_disentangled"),
    "two towers": (*RTD, "objective.kind=electric", "objective.generator.kind=two_towers"),
    "stages": (*EVERY_STEP, "stages=[{tokens=1024, length=16, batch_size=24}]", "batch_size=12"),
    "muon": (*EVERY_STEP[:4], *MODERN, "optimizer.kind=muon"),
    "normuon": (*EVERY_STEP, "optimizer.kind=muon", "optimizer.neuron_beta=0.95"),
}


def tensors_of(run: Path, step: int = 20) -> dict[str, torch.Tensor]:
    found = checkpoints.read(checkpoint_folders(run)[step])
    return {**found.model, **found.optimizer}


def assert_alike(run: Path, alone: Path, tensors: bool = True, within: float = 1e-5) -> None:
    """Hold two runs of 20 steps to the same losses and norms of gradients, and weights and optimizer state after."""
    losses, of_one = (torch.tensor(flat(losses_of(folder))) for folder in (run, alone))
    assert len(losses) == len(of_one) > 40
    torch.testing.assert_close(losses, of_one, rtol=within, atol=0)
    found, expected = tensors_of(run), tensors_of(alone)
    assert found.keys() == expected.keys()
    for name, tensor in found.items() if tensors else ():
        torch.testing.assert_close(tensor, expected[name], rtol=within, atol=within, msg=f"{run.name}, {name}")


def train_sharded(size: int, recipes: dict[str, tuple[str, ...]], data: Path, folder: Path) -> None:
    plan = [{"run": str(folder / f"sharded {name}"), "settings": (*recipe, SHARD)} for name, recipe in recipes.items()]
    ended = run_ranks(size, plan, folder, data)
    assert [process.status for process in ended] == [0] * size, "\n".join(process.error for process in ended)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> Path:
    """A folder with each recipe's run by two sharded ranks, and by one process."""
    folder = tmp_path_factory.mktemp("runs")
    train_sharded(2, RECIPES, data, folder)
    for name, recipe in RECIPES.items():
        pretrain(tiny_recipe(data, *recipe), folder / name)
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_two_ranks_train_as_one_process_does(name, runs):
    assert_alike(runs / f"sharded {name}", runs / name)
    folder = checkpoint_folders(runs / f"sharded {name}")[20]
    parts = [f"{kind}-0000{number}-of-00002.safetensors" for kind in ("model", "optimizer") for number in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == [*sorted(["manifest.json", *parts]), "state.json"]
    sizes = [(folder / part).stat().st_size for part in parts]
    assert max(sizes[:2]) < 1.1 * min(sizes[:2]), "each rank writes its rows alone"


def test_what_reads_a_checkpoint_reads_a_sharded_one(runs, tmp_path):
    """Written anew by one process, the same weights give the same files; the run of one process gives the same to
    rounding. So with the newest checkpoint, the mean of two and the moving average."""
    run, whole = runs / "sharded mlm, averages", tmp_path / "whole"
    shutil.copytree(run, whole)
    for step, folder in checkpoint_folders(run).items():
        found = checkpoints.read(folder)
        module = torch.nn.Module()
        for name, tensor in found.model.items():
            *parents, own = name.split(".")
            place = module
            for parent in parents:
                place = place.get_submodule(parent) if hasattr(place, parent) else _added(place, parent)
            place.register_parameter(own, torch.nn.Parameter(tensor))
        optimizer = torch.optim.SGD(module.parameters())
        for name, tensor in found.optimizer.items():
            weight, _, key = name.rpartition(".")
            optimizer.state[module.get_parameter(weight)][key] = tensor
        shutil.rmtree(whole / "checkpoints" / folder.name)
        checkpoints.save(whole, found.state, module, optimizer)
        assert (whole / "checkpoints" / folder.name / "model.safetensors").is_file(), step
    for name, options in {
        "newest": ExportSettings(), "mean": ExportSettings(mean_of=2), "averaged": ExportSettings(averaged=True),
    }.items():  # fmt: skip
        exported = [export_run(each, tmp_path / each.name / name, options=options) for each in (run, whole)]
        weights = [(folder / "model.safetensors").read_bytes() for folder in exported]
        assert weights[0] == weights[1]
    alone = load_run(runs / "mlm, averages").weights
    for name, weight in load_run(run).weights.items():
        torch.testing.assert_close(weight, alone[name], rtol=1e-5, atol=1e-5)


def _added(module: torch.nn.Module, name: str) -> torch.nn.Module:
    module.add_module(name, torch.nn.Module())
    return module.get_submodule(name)


def test_a_damaged_part_is_reported_and_the_checkpoint_before_used(runs, tmp_path, capsys):
    run = shutil.copytree(runs / "sharded rtd", tmp_path / "run")
    part = run / "checkpoints/step-00000020/optimizer-00002-of-00002.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    assert checkpoints.load_newest(run).state.step == 10
    assert f"{part}: damaged (its hash is not the one in manifest.json)" in capsys.readouterr().err
    unread = checkpoints.read(part.parent, verify=False)
    name = next(name for name in unread.optimizer if name.endswith("token.weight.exp_avg"))
    assert len(unread.optimizer.read(name, Ranks(0, 2))) == 43, "the first rank's rows lie in the first file"
    with pytest.raises(UserError, match=r"optimizer-00002-of-00002.safetensors: damaged"):
        unread.optimizer.read(name, Ranks(1, 2))
    part.unlink()
    assert checkpoints.load_newest(run).state.step == 10
    assert checkpoints.load_newest(run, to_resume=False).state.step == 20, "of the model all parts are there"
    (part.parent / "manifest.json").write_text("{")
    checkpoints.remove_newer(run, checkpoints.read(run / "checkpoints/step-00000010"))
    assert list(checkpoint_folders(run)) == [10], "no part is left behind"


def test_rows_are_read_for_any_number_of_ranks(runs):
    found = checkpoints.read(checkpoint_folders(runs / "sharded rtd")[20]).model
    for name in ("encoder.embeddings.token.weight", "encoder.embeddings.segment.weight", "head.output.bias"):
        for size in (1, 2, 3, 50, 100):
            ranks = [Ranks(rank, size) for rank in range(size)]
            pieces = [found.read(name, rank) for rank in ranks]
            assert torch.equal(torch.cat(pieces), found[name])
            assert [len(piece) for piece in pieces] == [len(found.shapes_of(rank)[name]) for rank in ranks]


def held_bytes(data: Path, settings: tuple[str, ...], out: Path, ranks: Ranks) -> None:
    """Write the bytes of all tensors that this process holds after two steps, for the objective and its optimizer."""
    recipe, opened = tiny_recipe(data, *settings), open_data(data)
    others = all_tensors()  # of tests before; some of them have no storage that can be asked for
    before = set(map(id, others))
    torch.manual_seed(0)
    objective = recipe.objective.build(recipe.model, MaskingVocabulary.of(opened.tokenizer))
    runner = Runner(objective, choose_machine(recipe.machine, ranks=ranks), recipe.machine.shard)
    optimizer = recipe.make_optimizer(runner.weights, dealt=runner.sharding.dealt if runner.sharding else None)
    stream = RowStream(opened, "train", recipe.rows, recipe.seed)
    rows = next(stream.first(recipe.batch_size, recipe.batch_size))
    batch = masked_batch(stream, build_collator(recipe, opened.tokenizer), rows, 0, progress=0.0)
    for _ in range(2):
        runner.gradients(runner.prepare(batch, 32))
        runner.clip_gradients(1.0)
        optimizer.step()
    del rows, batch, stream, opened
    held = {}
    trained = [*objective.parameters(), *runner.weights.parameters()]
    for tensor in [*all_tensors(), *trained, *(each.grad for each in trained)]:
        local = getattr(tensor, "_local_tensor", tensor)
        if id(tensor) not in before and id(local) not in before and not local.is_meta:
            storage = local.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
    (out / f"{ranks.size}-{ranks.rank}.json").write_text(json.dumps(sum(held.values())))


def all_tensors() -> list[torch.Tensor]:
    gc.collect()
    return [
        thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided
    ]


@pytest.mark.parametrize("kind", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_a_rank_holds_its_part_of_weights_gradients_and_optimizer_state(kind, data, tmp_path):
    settings = ("model.hidden_size=48", "model.num_hidden_layers=3", f"optimizer.kind={kind}")
    for size, more in ((1, ()), (2, (SHARD,))):
        ended = fork_ranks(size, partial(held_bytes, data, (*settings, *more), tmp_path), tmp_path)
        assert [process.status for process in ended] == [0] * size, ended
    alone, *dealt = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert max(dealt) <= 0.55 * alone, (alone, dealt)


@pytest.mark.slow
def test_a_run_goes_on_sharded_and_not(data, tmp_path):
    """Two sharded ranks are asked to stop, then one process, and two ranks end the run."""
    run, alone, recipe = tmp_path / "run", tmp_path / "alone", RECIPES["mlm, averages"]
    sharded = {"run": str(run), "settings": (*recipe, SHARD)}
    stopped = run_ranks(2, [sharded | {"happens": {1: ["signal", 6, int(signal.SIGTERM)]}}], tmp_path, data)
    assert [ended.status for ended in stopped] == [128 + signal.SIGTERM] * 2, stopped
    whole = {"run": str(run), "settings": recipe, "happens": {0: ["signal", 6, int(signal.SIGTERM)]}}
    assert [ended.status for ended in run_ranks(1, [whole], tmp_path, data)] == [128 + signal.SIGTERM]
    assert list(checkpoint_folders(run)) == [10, 12]
    assert [ended.status for ended in run_ranks(2, [sharded], tmp_path, data)] == [0, 0]
    pretrain(tiny_recipe(data, *recipe), alone)
    assert_alike(run, alone)
    assert read_manifest(run, "pretrain")["ranks"] == [2, 1]


@pytest.mark.parametrize(
    ("settings", "happens", "status", "says"),
    [
        (["optimizer.kind=adafactor"], {}, {2, 1}, "optimizer.kind = 'adafactor': looks at more than a weight's rows"),
        (
            [],
            {1: ["memory", 3]},
            {2, 1},
            "rank 1 of 2 (HOST): out of memory with 4 rows at once; the run goes on from its last checkpoint with "
            "machine.micro_batch_rows=2",
        ),
        pytest.param(
            [],
            {1: ["signal", 6, 9]},
            {1, -9},
            "rank 0 of 2 (HOST): working with the other ranks failed",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_what_ends_one_rank_ends_all_and_is_said_once(settings, happens, status, says, data, tmp_path):
    job = {"run": str(tmp_path / "run"), "settings": ["plan.steps=2000", SHARD, *settings], "happens": happens}
    ended = run_ranks(2, [job], tmp_path, data)
    assert {process.status for process in ended} == status, ended
    said = [line for process in ended for line in process.error.splitlines() if "rank " in line or "Error" in line]
    assert len(said) == 1 and says.replace("HOST", socket.gethostname()) in said[0], ended


def test_one_process_has_nobody_to_share_with(data, tmp_path):
    with pytest.raises(UserError, match=r"machine.shard = true: there is one process, .* torchrun --nproc-per-node N"):
        pretrain(tiny_recipe(data, SHARD), tmp_path / "run")


def test_rows_are_dealt_as_fsdp_deals_them():
    assert ALONE.rows(7) == slice(0, 7)
    assert [Ranks(rank, 4).rows(5) for rank in range(4)] == [slice(0, 2), slice(2, 4), slice(4, 5), slice(5, 5)]


@pytest.mark.slow
def test_other_objectives_and_parts_of_it_train_as_in_one_process(data, tmp_path):
    train_sharded(2, MORE_RECIPES, data, tmp_path)
    for name, recipe in MORE_RECIPES.items():
        pretrain(tiny_recipe(data, *recipe), tmp_path / name)
        assert_alike(tmp_path / f"sharded {name}", tmp_path / name)


@pytest.mark.slow
def test_any_number_of_ranks_goes_on(data, tmp_path):
    """Three ranks, four of which some have no rows of a small weight, and one that is not sharded."""
    run, alone = tmp_path / "run", tmp_path / "alone"
    recipe = (*RECIPES["rtd"], "batch_size=12")
    for size, step in ((3, 6), (4, 12), (1, None)):
        job = {"run": str(run), "settings": (*recipe, SHARD) if size > 1 else recipe}
        stop = {} if step is None else {"happens": {size - 1: ["signal", 6, int(signal.SIGTERM)]}}
        ended = run_ranks(size, [job | stop], tmp_path, data)
        assert [process.status for process in ended] == [0 if step is None else 128 + signal.SIGTERM] * size, ended
    pretrain(tiny_recipe(data, *recipe), alone)
    assert_alike(run, alone)


@pytest.mark.slow
def test_a_rank_killed_while_it_writes_leaves_the_checkpoint_before(data, tmp_path):
    run, alone = tmp_path / "run", tmp_path / "alone"
    job = {"run": str(run), "settings": (*RECIPES["rtd"], SHARD)}

    def work(ranks: Ranks) -> None:
        write, calls = checkpoints._write, []

        def killed(*arguments):
            calls.append(0)
            if len(calls) == 4 and ranks.rank == 1:  # the optimizer's of the second checkpoint
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments)

        checkpoints._write = killed
        pretrain(tiny_recipe(data, *job["settings"]), run, ranks=ranks)

    first, second = fork_ranks(2, work, tmp_path)
    assert (first.status, second.status) == (1, -signal.SIGKILL)
    assert "working with the other ranks failed" in first.error.splitlines()[-1]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000010"]
    assert [process.status for process in run_ranks(2, [job], tmp_path, data)] == [0, 0]
    pretrain(tiny_recipe(data, *RECIPES["rtd"]), alone)
    for name, tensor in tensors_of(run).items():
        torch.testing.assert_close(tensor, tensors_of(alone)[name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("given", [(), (SHARD,)], ids=["whole", "sharded"])
def test_gradients_that_are_not_finite_on_one_rank_are_skipped_by_all(given, data, tmp_path):
    run = tmp_path / "run"

    def work(ranks: Ranks) -> None:
        plain, calls = MaskedTokens.total, []

        def sometimes(self, losses, counts):
            calls.append(0)
            return plain(self, losses, counts) * (float("nan") if len(calls) == 3 and ranks.rank == 1 else 1.0)

        MaskedTokens.total = sometimes
        pretrain(tiny_recipe(data, *EVERY_STEP, *given), run, ranks=ranks)

    ended = fork_ranks(2, work, tmp_path)
    assert [process.status for process in ended] == [0, 0], ended
    skipped = [line["skipped_steps"] for line in read_metrics(run / "metrics.jsonl") if line["split"] == "train"]
    assert skipped == [0, 0, *[1] * 18]
    assert all(tensor.isfinite().all() for tensor in tensors_of(run).values())


@pytest.mark.slow
def test_runs_begin_with_a_sharded_one(runs, data, tmp_path):
    """By `init`, sharded again or not, and by `branch`, where the optimizer comes with it."""
    run = runs / "sharded mlm, averages"
    more = ("plan.steps=30", "plan.checkpoint_steps=30", "plan.evaluate_steps=30")
    recipe = (*EVERY_STEP[4:], *more, f"init={run}", "plan.log_steps=1")
    constant = (*EVERY_STEP[4:], *more, "plan.log_steps=1", "schedule.kind=wsd")
    stable = tmp_path / "stable"
    job = {"run": str(stable), "settings": (*constant, "plan.checkpoint_steps=20", "plan.keep_checkpoints=0", SHARD)}
    branch = (*constant, f"branch={stable}@20")
    plan = [
        job,
        {"run": str(tmp_path / "sharded init"), "settings": (*recipe, SHARD)},
        {"run": str(tmp_path / "sharded branch"), "settings": (*branch, SHARD)},
    ]
    ended = run_ranks(2, plan, tmp_path, data)
    assert [process.status for process in ended] == [0, 0], "\n".join(process.error for process in ended)
    for name, settings in (("init", recipe), ("branch", branch)):
        pretrain(tiny_recipe(data, *settings), tmp_path / name)
        found, expected = tensors_of(tmp_path / f"sharded {name}", 30), tensors_of(tmp_path / name, 30)
        for key, tensor in found.items():
            torch.testing.assert_close(tensor, expected[key], rtol=1e-5, atol=1e-5, msg=f"{name}, {key}")


@pytest.mark.slow
def test_probes_have_the_weights_whole(data, tmp_path, monkeypatch):
    """The pinned loss, which the ranks share out, and GLUE, of which each fine-tunes on its tasks."""
    settings = [text for text in quick_glue.QUICK_SETTINGS if not text.startswith(("train_examples=", "seeds="))]
    monkeypatch.setattr(quick_glue, "QUICK_SETTINGS", (*settings, "train_examples=20", "seeds=2", "check_counts=false"))
    glue = write_glue(tmp_path, "rte", "sts-b")
    recipe = tiny_recipe(data, *EVERY_STEP, f"glue={glue}")
    sharded = tiny_recipe(data, *EVERY_STEP, f"glue={glue}", SHARD)

    def work(ranks: Ranks) -> None:
        probes = [*probes_of(sharded, ranks), *quick_glue.glue_probes(sharded, ranks)]
        pretrain(sharded, tmp_path / "sharded", probes=probes, ranks=ranks)

    ended = fork_ranks(2, work, tmp_path)
    assert [process.status for process in ended] == [0, 0], ended
    pretrain(recipe, tmp_path / "alone", probes=[*probes_of(recipe), *quick_glue.glue_probes(recipe)])
    last, expected = (read_metrics(tmp_path / name / "metrics.jsonl")[-1] for name in ("sharded", "alone"))
    assert last.keys() == expected.keys() >= {"pinned_loss", "glue_rte", "glue_stsb"}
    assert last["pinned_loss"] == pytest.approx(expected["pinned_loss"], rel=1e-5)
    assert last["glue_stsb"] == pytest.approx(expected["glue_stsb"], rel=0.05)
