"""Journeys that begin with somebody's weights: what went out comes back in, and what does not fit is named."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bertsmith.config.loading import load
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.training import checkpoints
from bertsmith.training.initial import open_init
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import load_run
from bertsmith.training.pretrain import initial_objective, pretrain
from bertsmith.training.recipe import PretrainRecipe
from tests.toys import WORDS, tiny_recipe, write_corpus

SHARINGS = ("embeddings", "gradient_disentangled", "nothing", "everything")
ELECTRA = ("objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "model.embedding_size=8")
ELECTRIC = ("objective.kind=electric", *ELECTRA[1:], "objective.generator.sharing=nothing")
UNIFORM = ("objective.kind=rtd", "objective.generator.kind=uniform")


@pytest.fixture(scope="module")
def bert(data, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("bert")
    pretrain(tiny_recipe(data), run)
    return run


@pytest.fixture(scope="module")
def electra(data, tmp_path_factory) -> Path:
    """An exported pair."""
    folder = tmp_path_factory.mktemp("electra")
    pretrain(tiny_recipe(data, *ELECTRA), folder / "run")
    return export_run(folder / "run", folder / "pair")


NARROW = ("model.num_attention_heads=1", "objective.masking.random_token_prob=0.1")


@pytest.fixture(scope="module")
def one_headed(data, tmp_path_factory) -> Path:
    """A BERT that a generator may be as wide as."""
    run = tmp_path_factory.mktemp("one-headed")
    pretrain(tiny_recipe(data, *NARROW), run)
    return run


@pytest.fixture(scope="module")
def first_runs(data, tmp_path_factory) -> Callable[[str], tuple[Path, list[str]]]:
    """Return how networks are shared → a run that ended, "run" in a folder, and its settings."""

    @functools.cache
    def run_of(sharing: str) -> tuple[Path, list[str]]:
        settings = [] if sharing == "none" else [*ELECTRA, f"objective.generator.sharing={sharing}"]
        settings += ["model.hidden_dropout_prob=0.1", "model.initializer_range=0.2"]
        folder = tmp_path_factory.mktemp(sharing)
        pretrain(tiny_recipe(data, *settings), folder / "run")
        return folder / "run", settings

    return run_of


def held_out(run: Path) -> list[dict[str, float]]:
    return [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "heldout"]


def initial_weights(recipe: PretrainRecipe, data: Path) -> dict[str, torch.Tensor]:
    return initial_objective(recipe, Tokenizer.load(data)).state_dict()


# Law: a run's end, whichever way it went, is the next one's beginning.


@pytest.mark.parametrize("way", ["run", "export"])
@pytest.mark.parametrize("sharing", ["none", *SHARINGS])
def test_a_continued_run_begins_where_the_first_one_ended(data, first_runs, tmp_path, sharing, way):
    ended, settings = first_runs(sharing)
    start = ended if way == "run" else export_run(ended, tmp_path / "exported")
    pretrain(tiny_recipe(data, *settings, f"init={start}", "plan.steps=1"), tmp_path / "second")
    last, first = held_out(ended)[-1], held_out(tmp_path / "second")[0]
    assert first["step"] == 0 and first["tokens"] == 0
    losses = [name for name in last if name.endswith("_loss")]
    assert losses and all(first[name] == pytest.approx(last[name], rel=1e-5) for name in losses)


def test_it_is_resumed_bit_for_bit_and_its_model_is_part_of_what_it_is(data, bert, tmp_path):
    recipe = tiny_recipe(data, f"init={bert}", "plan.keep_checkpoints=0")
    pretrain(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for later in sorted((tmp_path / "resumed" / "checkpoints").iterdir())[1:]:
        shutil.rmtree(later)
    pretrain(recipe, tmp_path / "resumed")
    ends = [checkpoints.load_newest(tmp_path / run).model for run in ("whole", "resumed")]
    assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())
    assert [line["step"] for line in held_out(tmp_path / "resumed")] == [0, 6, 12]

    shutil.copytree(bert, tmp_path / "moved")
    pretrain(tiny_recipe(data, f"init={tmp_path / 'moved'}", "plan.keep_checkpoints=0"), tmp_path / "whole")
    for other in (tiny_recipe(data, f"init={tmp_path / 'whole'}"), tiny_recipe(data)):
        with pytest.raises(UserError, match=r"belongs to another run \(init: "):
            pretrain(other, tmp_path / "resumed")


@pytest.mark.parametrize(
    "settings",
    [
        ("objective.kind=electric", "objective.generator.hidden_fraction=0.5"),
        ("objective.kind=rtd", "objective.generator.kind=two_towers", "objective.generator.hidden_fraction=0.5"),
        (*ELECTRA, "model.kind=modern", "model.local_attention=4", "model.num_attention_heads=2"),
    ],
    ids=["electric", "two towers", "modern, a borrowed table"],
)
def test_a_run_goes_on_with_all_of_its_weights_also_those_that_no_export_has(data, tmp_path, capsys, settings):
    pretrain(tiny_recipe(data, *settings), tmp_path / "first")
    capsys.readouterr()
    pretrain(tiny_recipe(data, *settings, f"init={tmp_path / 'first'}", "plan.steps=6"), tmp_path / "second")
    said = capsys.readouterr().err
    assert "dropped: nothing" in said and "new, with random weights: nothing" in said
    last, first = held_out(tmp_path / "first")[-1], held_out(tmp_path / "second")[0]
    assert all(first[name] == pytest.approx(last[name], rel=1e-5) for name in last if name.endswith("_loss"))


# A new head learns first, alone.


@pytest.mark.parametrize("settings", [(), ("optimizer.bias_correction=true", "optimizer.weight_decay=0.5")])
def test_a_new_head_learns_alone_until_its_warm_up_ends(data, electra, tmp_path, capsys, settings):
    recipe = tiny_recipe(
        data, "model.embedding_size=8", f"init={electra}", "head_warmup.steps=4", "plan.steps=8",
        "plan.checkpoint_steps=4", "plan.keep_checkpoints=0", "plan.log_steps=1", *settings,
    )  # fmt: skip
    pretrain(recipe, tmp_path / "run")
    said = capsys.readouterr().err
    assert "new, with random weights: masked-token head, which for 4 steps learns alone" in said
    warmed, end = (checkpoints.read(tmp_path / "run" / "checkpoints" / f"step-{step:08d}").model for step in (4, 8))
    start = open_init(str(electra)).network.weights
    drawn = initial_weights(recipe, data)
    assert {name.split(".")[0] for name in warmed} == {"encoder", "head"}
    for name, tensor in warmed.items():
        if name.startswith("encoder."):
            assert torch.equal(tensor, start[name]), name
        else:
            assert not torch.equal(tensor, drawn[name]), name
        assert not torch.equal(tensor, end[name]), name
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["split"] == "train"]
    assert [line["learning_rate"] for line in lines[:4]] == [1e-3] * 4
    assert lines[4]["learning_rate"] == pytest.approx(5e-3 * 0.5)


def test_a_warm_up_of_a_head_is_resumed_bit_for_bit(data, electra, tmp_path):
    recipe = tiny_recipe(
        data, "model.embedding_size=8", f"init={electra}", "head_warmup.steps=5", "plan.steps=8",
        "plan.checkpoint_steps=2", "plan.keep_checkpoints=0",
    )  # fmt: skip
    pretrain(recipe, tmp_path / "whole")
    for kept in (1, 3):  # the last one within the warm-up, and after it
        shutil.copytree(tmp_path / "whole", tmp_path / f"resumed-{kept}")
        for later in sorted((tmp_path / f"resumed-{kept}" / "checkpoints").iterdir())[kept:]:
            shutil.rmtree(later)
        pretrain(recipe, tmp_path / f"resumed-{kept}")
        ends = [checkpoints.load_newest(tmp_path / run).model for run in ("whole", f"resumed-{kept}")]
        assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())


def test_where_nothing_is_new_there_is_no_warm_up_of_a_head(data, bert, tmp_path, capsys):
    for name, settings in (("with", ("head_warmup.steps=4",)), ("without", ())):
        pretrain(tiny_recipe(data, f"init={bert}", "plan.steps=4", *settings), tmp_path / name)
    assert "learns alone" not in capsys.readouterr().err
    ends = [checkpoints.load_newest(tmp_path / run).model for run in ("with", "without")]
    assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())


def test_a_new_generator_learns_alone_beside_the_discriminator_that_is_known(data, bert, tmp_path):
    recipe = tiny_recipe(
        data, *ELECTRA[:2], f"init={bert}", "head_warmup.steps=4", "plan.steps=5", "plan.checkpoint_steps=4",
        "plan.keep_checkpoints=0",
    )  # fmt: skip
    pretrain(recipe, tmp_path / "run")
    start = load_run(bert).weights
    end = checkpoints.read(tmp_path / "run" / "checkpoints" / "step-00000004").model
    drawn = initial_weights(recipe, data)
    assert all(torch.equal(end[name], tensor) for name, tensor in start.items() if name.startswith("encoder."))
    for name in ("head.dense.weight", "generator.head.dense.weight"):
        assert not torch.equal(end[name], drawn[name])


def test_a_warm_up_of_a_head_may_last_longer_than_a_plan_in_tokens(data, electra, tmp_path, capsys):
    given = ("model.embedding_size=8", f"init={electra}")
    hours = ("plan.hours=0.0003", "stages=[{tokens=256, batch_size=4}]")  # as many steps as there is time for
    cases = (("plan.tokens=1000",), 50, True), (("plan.tokens=1000",), 1, False), (hours, 50, False)
    for number, (plan, steps, warned) in enumerate(cases):
        pretrain(tiny_recipe(data, *given, *plan, f"head_warmup.steps={steps}"), tmp_path / f"run-{number}")
        said = capsys.readouterr().err
        assert ("warning: head_warmup.steps = 50 of a plan of 4 steps, or more where rows" in said) == warned, said
        assert said.count("warning: head_warmup") == warned


def test_a_warm_up_of_a_head_ends_before_the_plan_does(data, electra, tmp_path):
    recipe = tiny_recipe(data, "model.embedding_size=8", f"init={electra}", "head_warmup.steps=50", "plan.steps=50")
    with pytest.raises(UserError, match="50 of a plan of 50 steps: only masked-token head would learn; lower it, or"):
        pretrain(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_init_a_warm_up_of_a_head_is_refused(data):
    with pytest.raises(UserError, match=r"head_warmup\.steps: without init all weights are new; leave it out"):
        tiny_recipe(data, "head_warmup.steps=4")


# What becomes of each part.


def test_a_head_of_another_meaning_is_not_taken(data, tmp_path, capsys):
    """An Electric's logits are energies, an ELECTRA's the log-odds of a replacement."""
    electric = ("objective.kind=electric", "objective.generator.hidden_fraction=0.5")
    for first, second in ((electric, UNIFORM), (UNIFORM, electric)):
        for folder in ("first", "second"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        pretrain(tiny_recipe(data, *first, "plan.steps=2"), tmp_path / "first")
        capsys.readouterr()
        pretrain(tiny_recipe(data, *second, f"init={tmp_path / 'first'}", "plan.steps=2"), tmp_path / "second")
        said = capsys.readouterr().err
        assert "dropped: replaced-token head" in said
        assert "new, with random weights: replaced-token head" in said


def test_a_bert_becomes_a_discriminator_with_a_new_generator(data, bert, tmp_path, capsys):
    trained = load_run(bert).weights
    for sharing in SHARINGS[:3]:
        settings = (
            *ELECTRA[:2],
            f"objective.generator.sharing={sharing}",
            "plan.steps=1",
            "schedule.learning_rate=1e-9",
        )
        recipe = tiny_recipe(data, *settings, f"init={bert}")
        run = tmp_path / sharing
        pretrain(recipe, run)
        said = capsys.readouterr().err
        assert "dropped: masked-token head" in said
        assert "new, with random weights: replaced-token head, generator" in said
        networks = {network.name: network for network in load_run(run).networks()}
        for name, tensor in networks["discriminator"].encoder_weights.items():
            torch.testing.assert_close(tensor, trained[name], rtol=0, atol=1e-6)
        lent = networks["generator"].weights["encoder.embeddings.position.weight"]
        same = lent.shape == (64, 16) and torch.allclose(lent, trained["encoder.embeddings.position.weight"], atol=1e-6)
        assert same == (sharing != "nothing")
        drawn = initial_weights(recipe, data)
        for name in ("generator.head.dense.weight", "head.dense.weight"):
            torch.testing.assert_close(load_run(run).weights[name], drawn[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_a_generator_as_wide_as_a_bert_begins_with_its_layers_and_head(
    data, one_headed, tmp_path, capsys, sharing, layers
):
    """Masked tokens first, then replaced ones: the generator's loss begins where the first run's ended. At a learning
    rate of next to nothing the weights stay what they began as."""
    capsys.readouterr()
    generator = ("hidden_fraction=1", f"layers_fraction={layers / 2}", f"sharing={sharing}")
    settings = ("objective.kind=rtd", *(f"objective.generator.{setting}" for setting in generator))
    recipe = tiny_recipe(data, *NARROW, *settings, f"init={one_headed}", "plan.steps=6", "schedule.learning_rate=1e-9")
    pretrain(recipe, tmp_path)
    said = capsys.readouterr().err.splitlines()
    kept = 2 if sharing == "everything" else layers
    assert f"  its first {kept} layers and its head are what the generator begins with" in said
    assert "  dropped: nothing" in said and "  new, with random weights: replaced-token head" in said
    begun, (before, after) = load_run(one_headed).weights, (held_out(run) for run in (one_headed, tmp_path))
    assert (after[0]["mlm_loss"] == pytest.approx(before[-1]["mlm_loss"], rel=1e-5)) == (kept == 2)
    networks = {network.name: network.weights for network in load_run(tmp_path).networks()}
    for name, tensor in networks["generator"].items():
        torch.testing.assert_close(tensor, begun[name], rtol=0, atol=1e-6)
    for name in (name for name in begun if name.startswith("encoder.")):
        torch.testing.assert_close(networks["discriminator"][name], begun[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "dropped", "new"),
    [
        (("model.embedding_size=8",), "replaced-token head, generator", "masked-token head"),
        ((*UNIFORM, "model.embedding_size=8"), "generator", "nothing"),
        (ELECTRA, "nothing", "nothing"),
    ],
)
def test_what_is_dropped_and_what_is_new_is_said(data, electra, tmp_path, capsys, settings, dropped, new):
    pretrain(tiny_recipe(data, *settings, f"init={electra}", "plan.steps=1"), tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert f"  dropped: {dropped}" in said and f"  new, with random weights: {new}" in said


def test_what_a_folder_of_somebodys_holds_besides_is_said(data, bert, tmp_path, capsys):
    weights = export_run(bert, tmp_path / "out") / "model.safetensors"
    others = {
        "cls.seq_relationship.weight": torch.zeros(2, 16), "cls.seq_relationship.bias": torch.zeros(2),
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "bert.pooler.dense.weight": torch.zeros(16, 16), "bert.pooler.dense.bias": torch.zeros(16),
    }  # fmt: skip
    safetensors.torch.save_file(safetensors.torch.load_file(weights) | others, weights)
    capsys.readouterr()
    pretrain(tiny_recipe(data, f"init={tmp_path / 'out'}", "plan.steps=1"), tmp_path / "run")
    assert "  dropped: pooler, next-sentence head, position_ids" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("first", "way", "dropped", "new"),
    [
        (UNIFORM, "run", "nothing", "generator"),
        ((*UNIFORM[:1], "objective.generator.kind=two_towers"), "run", "two towers", "generator"),
        (("objective.kind=electric",), "run", "replaced-token head, two towers", "replaced-token head, generator"),
        (("objective.kind=electric",), "export", "replaced-token head", "replaced-token head, generator"),
    ],
    ids=["uniform", "two towers", "electric", "electric, exported"],
)
def test_where_there_was_no_generator_of_masked_tokens_a_new_one_begins(
    data, tmp_path, capsys, first, way, dropped, new
):
    pretrain(tiny_recipe(data, *first, "model.embedding_size=8", "plan.steps=1"), tmp_path / "first")
    start = tmp_path / "first" if way == "run" else export_run(tmp_path / "first", tmp_path / "out")
    capsys.readouterr()
    recipe = tiny_recipe(data, *ELECTRA, f"init={start}", "plan.steps=1", "schedule.learning_rate=1e-9")
    pretrain(recipe, tmp_path / "second")
    said = capsys.readouterr().err.splitlines()
    assert f"  dropped: {dropped}" in said and f"  new, with random weights: {new}" in said
    before, after = (load_run(tmp_path / run).networks()[0].weights for run in ("first", "second"))
    taken = {name for name in before if name.startswith("encoder.") or "head" not in new}
    assert all(torch.allclose(after[name], before[name], rtol=0, atol=1e-6) for name in taken)


# What does not fit.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.hidden_size=32", "model.num_hidden_layers=3"),
         r"model\.hidden_size: 32 → 16.*model\.num_hidden_layers: 3 → 2"),
        (("model.max_position_embeddings=128", "rows.length=100"), r"model\.max_position_embeddings: 128 → 64"),
        (("init=",), r"init is empty.*init=PATH"),
        (("init=none",), r"init: none: no such folder"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused(data, bert, tmp_path, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        pretrain(tiny_recipe(data, f"init={bert}", *settings), tmp_path / "run")
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_begin_with_itself(data, bert):
    with pytest.raises(UserError, match="the run itself; leave init away"):
        pretrain(tiny_recipe(data, f"init={bert}"), bert, overwrite=True)
    assert checkpoint_folders(bert)


def test_a_generator_that_does_not_fit_or_is_missing(data, electra, tmp_path):
    for settings, message in (
        (
            (f"init={electra}", "objective.generator.hidden_fraction=1.0"),
            r"another generator .*its hidden_size: 16 → 8.*\); set objective\.generator\.hidden_fraction=0\.5$",
        ),
        (
            (f"init={electra}", "objective.generator.layers_fraction=0.5"),
            r"its num_hidden_layers: 1 → 2\); set objective\.generator\.layers_fraction=1\.0$",
        ),
        ((f"init={electra / 'discriminator'}",), r"without its generator; .*generator=PATH.*kind=uniform"),
    ):
        with pytest.raises(UserError, match=message):
            pretrain(tiny_recipe(data, *ELECTRA, *settings), tmp_path / "run")


def test_a_folded_table_asks_for_one_of_its_own(data, tmp_path):
    modern = (*ELECTRA, "model.kind=modern", "model.local_attention=4", "model.embedding_size=16")
    pretrain(tiny_recipe(data, *modern, "plan.steps=1"), tmp_path / "run")
    out = export_run(tmp_path / "run", tmp_path / "out")
    with pytest.raises(UserError, match=r"its embedding_size: 16 → 8\); set objective\.generator\.sharing=nothing$"):
        pretrain(tiny_recipe(data, *modern, f"init={out}"), tmp_path / "again")
    remedied = tiny_recipe(data, *modern, f"init={out}", "objective.generator.sharing=nothing", "plan.steps=1")
    pretrain(remedied, tmp_path / "again")


def test_networks_that_do_not_share_are_not_made_to(data, tmp_path):
    own = ("objective.kind=rtd", "objective.generator.hidden_fraction=1.0")
    pretrain(tiny_recipe(data, *own, "objective.generator.sharing=nothing"), tmp_path / "run")
    with pytest.raises(UserError, match=r"the generator's encoder\.embeddings\..* is not the discriminator's"):
        pretrain(tiny_recipe(data, *own, f"init={tmp_path / 'run'}"), tmp_path / "other")


# One's own words.


@pytest.fixture(scope="module")
def extended(data, tmp_path_factory) -> Path:
    """Text in which words of the old vocabulary are written together, a vocabulary with some of them, and its data."""
    folder = tmp_path_factory.mktemp("extended")
    corpus = write_corpus(folder, documents=200, seed=1)
    for path in corpus.iterdir():
        path.write_text(path.read_text().replace("ba ", "bacedi ").replace("ce ", "ceba "))
    pieces = folder / "vocab.txt"
    pieces.write_text("\n".join([*SPECIAL_TOKENS, ".", *WORDS, *(f"##{word}" for word in WORDS)]) + "\n")
    settings = [f"corpus={corpus}", "workers=1", "heldout_fraction=0.1"]
    prepare(load(PrepareRecipe, "prepare", "text", [*settings, f"vocab={pieces}"]).settings, folder / "before")
    recipe = load(TokenizerRecipe, "prepare", "text", [*settings, f"extend={pieces}", "size=168"]).settings
    train_tokenizer(recipe, folder / "vocab")
    prepare(load(PrepareRecipe, "prepare", "text", [*settings, f"vocab={folder / 'vocab'}"]).settings, folder / "data")
    return folder


@pytest.mark.parametrize("settings", [(), ELECTRA, ELECTRIC], ids=["bert", "electra", "electric"])
def test_new_words_begin_as_the_means_of_their_pieces(extended, tmp_path, capsys, settings):
    pretrain(tiny_recipe(extended / "before", *settings), tmp_path / "first")
    again = tiny_recipe(
        extended / "data", *settings, f"init={tmp_path / 'first'}", "plan.steps=1", "schedule.learning_rate=1e-9"
    )
    pretrain(again, tmp_path / "second")
    assert "2 tokens are new" in capsys.readouterr().err
    old, new = Tokenizer.load(tmp_path / "first"), Tokenizer.load(tmp_path / "second")
    before, after = (load_run(tmp_path / run).weights for run in ("first", "second"))
    assert [new.token(id) for id in range(old.vocab_size, new.vocab_size)] == ["bacedi", "ceba"]
    bias = "generator.head.bias" if settings else "head.bias"
    for name in {"encoder.embeddings.token.weight", "generator.embeddings.token.weight", bias} & before.keys():
        torch.testing.assert_close(after[name][: old.vocab_size], before[name], rtol=0, atol=1e-6)
        ids = [old.id(piece) for piece in ("ba", "##ce", "##di")]
        torch.testing.assert_close(after[name][new.id("bacedi")], before[name][ids].mean(dim=0), rtol=0, atol=1e-6)


def test_data_of_a_smaller_vocabulary_is_refused(extended, tmp_path):
    pretrain(tiny_recipe(extended / "data", "plan.steps=4"), tmp_path / "larger")
    with pytest.raises(UserError, match=r"its vocabulary is neither .* vocab=.*larger, .*extend="):
        pretrain(tiny_recipe(extended / "before", f"init={tmp_path / 'larger'}"), tmp_path / "smaller")
