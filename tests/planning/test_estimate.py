"""`bertsmith plan`: its counts against the reference's, torch's own and what training really keeps."""

import contextlib
import json
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from bertsmith.cli.answers import print_estimate
from bertsmith.cli.planning import plan
from bertsmith.config.loading import shipped_recipes
from bertsmith.encoders import relative
from bertsmith.encoders.config import Precision, training_flops
from bertsmith.encoders.initialization import shapes_only
from bertsmith.errors import UserError
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import Batch, PretrainingObjective
from bertsmith.planning.estimate import Assumptions, estimate
from bertsmith.planning.footprint import StepMemory
from bertsmith.planning.gpus import GPUS, find_gpus
from bertsmith.planning.reduction import seconds_of_reduction
from bertsmith.randomness import derived_rng
from bertsmith.training.optimizers.optimizer import set_learning_rate
from tests.toys import make_data, packed_rows, random_tokens, tiny_recipe

VOCABULARY = MaskingVocabulary(500, 4, (0, 1, 2, 3, 4))
LENGTH = 128


@pytest.mark.parametrize("recipe", shipped_recipes("pretrain"))
def test_every_shipped_recipe_can_be_planned_without_data(recipe, capsys):
    found = estimate(recipe)
    assert found.vocab_size == 30_522
    assert sum(found.parameters.values()) == 2 * found.parameters["total"]
    assert len(found.gpus) == len(GPUS)
    assert json.loads(json.dumps(found.published_flops))["electra_small"] == pytest.approx(1.2937e18, rel=1e-4)
    print_estimate(found)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 + 3 + len(GPUS)
    assert max(map(len, lines)) <= 160


@pytest.mark.parametrize(
    ("recipe", "body", "head"),
    [
        ("electra-small-owt", 13_483_008, 66_049),
        ("electra-base", 108_891_648, 591_361),
        ("electra-large", 334_092_288, 1_050_625),
    ],
)
def test_the_reference_s_parameters(recipe, body, head):
    parameters = estimate(recipe).parameters
    assert (parameters["embeddings"] + parameters["layers"], parameters["head"]) == (body, head)


@pytest.mark.parametrize(
    ("recipe", "overrides", "published"),
    [
        ("electra-small-owt", [], "electra_small"),
        ("electra-base", [], "electra_base"),
        ("electra-large", [], "electra_400k"),
        ("electra-large", ["plan.steps=1_750_000"], "electra_1.75M"),
        ("bert-small-owt", ["plan.steps=1_450_000"], "bert_small"),
        ("bert-base", ["rows.length=512"], "bert_base"),
        ("bert-large", ["rows.length=512"], "bert_large"),
    ],
)
def test_a_recipe_of_a_published_model_has_its_published_count(recipe, overrides, published):
    found = estimate(recipe, overrides)
    assert found.reference_flops == pytest.approx(found.published_flops[published], rel=1e-9)


DEBERTA = ("model.kind=deberta", "model.position_buckets=16", "model.conv_kernel_size=3")
DECODING = (*DEBERTA, "model.enhanced_mask_decoder=true")


def objective(kind: str, prob: float, *overrides: str) -> tuple[PretrainingObjective, Batch]:
    recipe = tiny_recipe(
        Path("data"), f"objective.kind={kind}", "model.hidden_size=64", "model.num_attention_heads=4",
        "model.embedding_size=32", f"model.max_position_embeddings={LENGTH}", f"rows.length={LENGTH}",
        f"model.hidden_dropout_prob={prob}", f"model.attention_probs_dropout_prob={prob}", *overrides,
    )  # fmt: skip
    torch.manual_seed(0)
    rows = packed_rows(random_tokens([LENGTH] * 8, VOCABULARY.size))
    batch = recipe.objective.collator(VOCABULARY, LENGTH)(rows, derived_rng(0, "masks"))
    return recipe.objective.build(recipe.model, VOCABULARY), batch


def product_added(total: torch.Size, first: torch.Size, second: torch.Size, **_: object) -> int:
    return 2 * first[0] * first[1] * second[1]


IN_PLACE = {torch.ops.aten.addmm_: product_added}
"""A product that torch's counter does not know by itself."""


@pytest.mark.parametrize("kind", ["mlm", "rtd"])
def test_operations_are_those_that_torch_counts(kind):
    """Both leave out what is done to single elements. With dropout, since torch has no count of the fused attention
    that the CPU takes without."""
    model, batch = objective(kind, prob=0.1)
    model.train()
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
        model.total(model.losses(batch), model.counts(batch)).backward()
    ours = training_flops(model.flops_per_token(LENGTH)) * batch.tokens.num_tokens
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.001)


@pytest.mark.parametrize("kind", ["mlm", "rtd"])
@pytest.mark.parametrize(
    "overrides", [DEBERTA, (*DEBERTA, 'model.pos_att_type=["c2p"]'), (*DEBERTA, "model.pos_att_type=[]"), DECODING]
)
def test_operations_of_deberta_are_too_but_for_what_rows_share(kind, overrides, monkeypatch):
    """By the difference of eight rows and two, since the vectors of distances are projected once for all. Each token
    has products with all distances, as on a GPU: in blocks on the CPU they are fewer."""
    monkeypatch.setattr(relative, "_BLOCK", LENGTH)
    model, batch = objective(kind, 0.1, *overrides)
    model.train()
    counted = []
    for part in (next(batch.split(2)), batch):
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
            model.total(model.losses(part), model.counts(part)).backward()
        counted.append(counter.get_total_flops())
    ours = training_flops(model.flops_per_token(LENGTH)) * 6 * LENGTH
    assert ours == pytest.approx(counted[1] - counted[0], rel=0.001)


@pytest.mark.parametrize("kind", ["mlm", "rtd"])
@pytest.mark.parametrize("prob", [0.0, 0.1])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("overrides", [(), DEBERTA, DECODING], ids=["classic", "deberta", "mask decoder"])
def test_bytes_kept_for_the_backward_pass_are_those_that_autograd_saves(kind, prob, half, overrides):
    """In float32 all but token ids and the like; in half precision the CPU keeps some inputs of norms in 16 bits which
    a GPU keeps in 32."""
    model, batch = objective(kind, prob, *overrides)
    few, many = (_saved_bytes(model, part, half) for part in (next(batch.split(2)), batch))
    measured = (many - few) / (6 * LENGTH)
    assert model.activation_bytes_per_token(LENGTH, Precision(half, cuda=False)) == pytest.approx(
        measured, rel=0.15 if half else 0.03
    )


def _saved_bytes(model: PretrainingObjective, batch: Batch, half: bool) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if half else contextlib.nullcontext()
    with saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        losses = model.train().losses(batch)
        total = model.total(losses, model.counts(batch))
    assert total.requires_grad
    return sum(storage.nbytes() for address, storage in saved.items() if address not in own)


def test_time_and_cost_follow_from_operations_and_assumptions():
    found = estimate("bert-base", [], Assumptions(utilisation=0.5, gpus=["a100"], price=2.0))
    (on,) = found.gpus
    assert on.seconds == pytest.approx(found.flops / (0.5 * 312e12))
    assert on.cost == pytest.approx(on.seconds / 3600 * 2)
    assert on.tokens == pytest.approx(found.tokens) == 256 * 128 * 1_000_000


def test_many_gpus_share_a_batch_and_spend_time_on_gradients():
    alone, together = (
        estimate("bert-base", [], Assumptions(utilisation=0.5, gpus=["a100"], num_gpus=count)) for count in (1, 16)
    )
    (one,), (of_sixteen,) = alone.gpus, together.gpus
    assert (one.reducing, one.memory.num_rows, of_sixteen.memory.num_rows) == (0, 256, 16)
    gradients = 4 * alone.parameters["total"]
    # Around a ring of 8 each byte passes a link 2 × 7/8 times, and one of two machines once.
    seconds = 2 * 7 / 8 * gradients / (0.7 * 300e9) + gradients / (0.7 * 12.5e9)
    step = 16 * 128 * alone.flops_per_token / (0.5 * 312e12)
    assert of_sixteen.reducing == pytest.approx(seconds / (seconds + step))
    assert of_sixteen.seconds == pytest.approx(one.seconds / 16 / (1 - of_sixteen.reducing))
    assert of_sixteen.cost == pytest.approx(16 * of_sixteen.seconds / 3600 * 1.5)


@pytest.mark.slow
def test_two_processes_of_this_machine_sum_gradients():
    assert 0.005 < seconds_of_reduction() < 30


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["l4"], ["L4"]),
        (["RTX"], ["RTX3090", "RTX4090"]),
        (["rtx 4090", "h200", "h"], ["RTX4090", "H200", "H100-80GB"]),
        ([], [gpu.name for gpu in GPUS]),
    ],
)
def test_a_gpu_is_found_by_its_name_or_the_beginning_of_it(asked, found):
    assert [gpu.name for gpu in find_gpus(asked)] == found


def test_a_plan_in_hours_reaches_other_tokens_on_each_gpu():
    found = estimate("bert-mini", ["plan.hours=2"], Assumptions(gpus=["T4", "H200"]))
    assert found.flops is None and found.tokens is None and found.reference_flops is None
    slow, fast = found.gpus
    assert slow.seconds == fast.seconds == 7200
    assert slow.tokens < fast.tokens == pytest.approx(7200 * fast.tokens_per_second)


def test_a_plan_in_tokens_is_whole_steps():
    found = estimate("bert-base", ["plan.tokens=100_000"])
    assert (found.steps, found.tokens) == (4, 4 * 256 * 128)


STAGES = "stages=[{tokens=50_000_000, batch_size=64, length=64}, {tokens=100_000_000, batch_size=32, length=512}]"


def test_a_plan_of_stages_is_the_sum_of_its_stages_and_takes_the_memory_of_the_largest(capsys):
    assumed = Assumptions(utilisation=0.5, gpus=["a100"])
    found = estimate("electra-small-owt", [STAGES, "plan.tokens=400_000_000"], assumed)
    short, long, last = found.stages
    assert (short.steps, short.tokens) == (12_208, 12_208 * 64 * 64), "50 M tokens in whole steps"
    assert (long.batch_size, long.length, long.steps) == (32, 512, 6_104), "up to 150 M tokens"
    assert (last.batch_size, last.length) == (128, 128) and found.steps == short.steps + long.steps + last.steps
    assert found.tokens == short.tokens + long.tokens + last.steps * 128 * 128
    assert 0 <= found.tokens - 400_000_000 < 128 * 128
    alone = [
        estimate("electra-small-owt", [f"batch_size={rows}", f"rows.length={length}"], assumed)
        for rows, length in ((64, 64), (32, 512), (128, 128))
    ]
    flops = sum(one.flops_per_token * stage.tokens for one, stage in zip(alone, found.stages, strict=True))
    assert found.flops == pytest.approx(flops) and found.flops_per_token == pytest.approx(flops / found.tokens)
    reference = sum(one.reference_flops_per_token * s.tokens for one, s in zip(alone, found.stages, strict=True))
    assert found.reference_flops == pytest.approx(reference)
    assert found.gpus[0].seconds == pytest.approx(flops / (0.5 * 312e12))
    assert found.gpus[0].memory == max((one.gpus[0].memory for one in alone), key=lambda memory: memory.total)
    assert found.memory_on_cpu == max((one.memory_on_cpu for one in alone), key=lambda memory: memory.process)
    print_estimate(found)
    assert "12,208 steps × 64 rows × 64 tokens + 6,104 steps × 32 rows × 512 tokens + " in capsys.readouterr().out


def test_in_hours_a_gpu_goes_through_the_stages_as_far_as_it_comes(capsys):
    found = estimate("electra-small-owt", [STAGES, "plan.hours=1"], Assumptions(gpus=["T4", "H200"]))
    assert [stage.steps for stage in found.stages] == [12_208, 6_104, None] and found.tokens is None
    slow, fast = found.gpus
    rates = [
        {on.name: on.tokens_per_second for on in estimate("electra-small-owt", [f"rows.length={length}"]).gpus}
        for length in (64, 512, 128)
    ]
    assert slow.tokens == pytest.approx(3600 * rates[0]["T4"]) and slow.tokens < 50e6, "still in the first"
    left = 3600 - 50e6 / rates[0]["H200"] - 100e6 / rates[1]["H200"]
    assert left > 0 and fast.tokens == pytest.approx(150e6 + left * rates[2]["H200"])
    print_estimate(found)
    assert "1 hours of steps of 64 rows × 64 tokens (50.0 M tokens), then" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("optimizer.kind=adafactor",),
        ("optimizer.kind=muon",),
        ("optimizer.kind=muon", "optimizer.neuron_beta=0.95"),
        ("average_decay=0.99",),
        ("optimizer.kind=muon", "optimizer.neuron_beta=0.95", "average_decay=0.99", "model.kind=modern"),
    ],
)
def test_the_bytes_of_weights_gradients_and_optimizer_are_those_of_a_real_one(settings):
    recipe = tiny_recipe(Path("none"), *settings)
    with shapes_only():
        planned = recipe.objective.build(recipe.model, VOCABULARY)
    promised = StepMemory(recipe, planned).footprint(Precision(half=False, cuda=False)).state
    model = recipe.objective.build(recipe.model, VOCABULARY)
    optimizer = recipe.make_optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer, 1e-3)
    optimizer.step()
    held = [tensor for state in optimizer.state.values() for tensor in state.values() if tensor.ndim]
    held += [tensor for parameter in model.parameters() for tensor in (parameter, parameter.grad)]
    assert promised == sum(tensor.untyped_storage().nbytes() for tensor in held)
    assert len(optimizer.state) == len(list(model.parameters()))


def test_rows_at_once_are_halved_until_they_fit_and_a_model_may_not_fit_at_all():
    small, large = estimate("electra-large", [], Assumptions(gpus=["RTX4090", "H200"])).gpus
    assert small.memory.num_rows < large.memory.num_rows < 2048
    for on, gpu in ((small, 24e9), (large, 141e9)):
        assert on.memory.total == on.memory.state + on.memory.kept + on.memory.passing <= 0.9 * gpu
        assert on.memory.total + on.memory.kept > 0.9 * gpu, "twice the rows would fit as well"
    huge = estimate("bert-large", ["model.hidden_size=8192"], Assumptions(gpus=["L4"]))
    assert huge.gpus[0].memory is None and huge.gpus[0].seconds is None
    print_estimate(huge)


def test_a_gpu_without_bfloat16_trains_in_float32_or_not_at_all():
    (old,) = estimate("bert-base", [], Assumptions(gpus=["v100"])).gpus
    assert (old.dtype, old.peak_flops) == ("float32", 15.7e12)
    (none,) = estimate("bert-base", ["machine.dtype=bfloat16"], Assumptions(gpus=["v100"])).gpus
    assert none.memory is None and none.peak_flops is None


def test_the_vocabulary_is_the_data_s_unless_another_is_given(tmp_path):
    data = make_data(tmp_path)
    overrides = [f"data={data.path}"]
    found = estimate("bert-tiny", overrides)
    assert found.vocab_size == data.tokenizer.vocab_size
    assert found.data_tokens == data.num_tokens("train")
    assert estimate("bert-tiny", overrides, Assumptions(vocab_size=1000)).vocab_size == 1000
    assert "there is no" in estimate("bert-tiny", [f"data={tmp_path}/none"]).vocab_source


@pytest.mark.parametrize(
    ("overrides", "assumed", "parts"),
    [
        ([], {"utilisation": 2.0}, ["--utilisation 2", "at most 1"]),
        ([], {"utilisation": float("nan")}, ["--utilisation nan"]),
        ([], {"price": -1.0}, ["--price -1"]),
        ([], {"vocab_size": 0}, ["--vocab-size 0"]),
        ([], {"num_gpus": 0}, ["--gpus 0", "at least 1"]),
        ([], {"num_gpus": 7}, ["batch_size = 64: cannot be dealt evenly to 7 ranks", "70"]),
        ([], {"network": 0.0}, ["--network 0"]),
        ([], {"gpus": ["H1000"]}, ["H1000", "did you mean"]),
        ([], {"gpus": [""]}, ["there are", "A100-80GB"]),
        (["model.hiden_size=3"], {}, ["model.hidden_size"]),
        (["rows.length=600"], {}, ["600", "512"]),
        (["data=tests"], {}, ["tests", "manifest.json"]),
    ],
)
def test_what_cannot_be_is_said(overrides, assumed, parts):
    with pytest.raises(UserError) as caught:
        estimate("bert-tiny", overrides, Assumptions(**assumed))
    assert all(part in str(caught.value) for part in parts), caught.value


def test_json_is_all_there_is_on_standard_output(capsys):
    plan("electra-small-owt", gpu=["h100"], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"]["total"] == 14_196_219
    assert found["gpus"][0]["memory"]["num_rows"] == 128
    plan("electra-small-owt", gpu=["h100"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: bertsmith pretrain electra-small-owt data=DATA")


@pytest.mark.parametrize(
    ("recipe", "millions"), [("modern-7x256", 12), ("modern-small", 24), ("modern-19x512", 58), ("modern-base", 134)]
)
def test_modern_encoders_have_ettins_sizes(recipe, millions):
    assert round(estimate(recipe).parameters["total"] / 1e6) == millions


def test_left_out_the_utilisation_follows_from_the_width():
    narrow, wide = estimate("electra-small-owt"), estimate("bert-base")
    assert (narrow.utilisation, wide.utilisation) == (pytest.approx(0.1), pytest.approx(0.3))
    assert estimate("bert-base", [], Assumptions(utilisation=0.5)).utilisation == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("bert-tiny", "batch_size=16"),
        ("bert-tiny",),  # of two micro-batches
        ("bert-mini", "batch_size=16"),
        ("modern-7x256", "batch_size=16", "rows.length=128"),
    ],
)
def test_the_memory_of_a_process_on_the_cpu_is_as_promised(overrides):
    """It is the whole process's peak, a checkpoint and an evaluation included."""
    from benchmarks.footprint import measure_process

    figures = measure_process(*overrides, steps=20)
    assert figures["promised / process"] == pytest.approx(1, abs=0.2), figures
