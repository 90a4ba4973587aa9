"""Several corpora in training: their shares, their order, and what is measured of each."""

import itertools
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.cli.show import show
from bertsmith.config.loading import apply_overrides, load
from bertsmith.console.progress import format_count
from bertsmith.errors import UserError
from bertsmith.evals.pinned import probes_of
from bertsmith.planning.estimate import estimate
from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
from bertsmith.reports.charts import curve_charts
from bertsmith.reports.runs import read_runs
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import read_manifest
from bertsmith.text import shards
from bertsmith.text.layouts import layout
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.segments import RowSettings, assemble
from bertsmith.text.shards import Data, Shard, open_data
from bertsmith.text.weights import training_shares
from bertsmith.training import epochs
from bertsmith.training.batches import RowReader, RowStream
from bertsmith.training.epochs import describe_mix, planned_epochs, row_means
from bertsmith.training.held_out_text import held_out_text
from bertsmith.training.loop import State
from bertsmith.training.machine import choose_machine
from bertsmith.training.metrics import read_metrics
from bertsmith.training.mixing import MixedRows, rows_of_each
from bertsmith.training.models import open_model
from bertsmith.training.pretrain import pretrain
from bertsmith.training.runner import Runner
from bertsmith.training.schedules import Plan
from bertsmith.training.staged_rows import StagedRows, build_collator
from bertsmith.training.stages import Stage
from tests.toys import WORDS, tiny_recipe, write_vocabulary

LENGTH = 32
ROWS = RowSettings(length=LENGTH)
WEB, NOTES = WORDS[:50], WORDS[50:]
WEIGHTS = "weights={web=0.7, notes=0.3}"
SETTINGS = ("plan.steps=12", "plan.checkpoint_steps=4", "plan.keep_checkpoints=0", "plan.log_steps=1", WEIGHTS)


def write(path: Path, words: list[str], documents: int, longest: int) -> Path:
    """JSON lines of documents of up to `longest` words, of these words alone."""
    rng = np.random.default_rng(documents)
    texts = (" ".join(rng.choice(words, int(rng.integers(2, longest)))) for _ in range(documents))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """Web text of many shards, whose documents fill rows, with few notes, which do not: `mix`, and each alone."""
    folder = tmp_path_factory.mktemp("mix")
    vocab = write_vocabulary(folder)
    web = write(folder / "web.jsonl", WEB, 420, 120)
    notes = write(folder / "notes.jsonl", NOTES, 150, 20)

    def make(name: str, corpus: str) -> None:
        given = [f"corpus={corpus}", f"vocab={vocab}", "workers=1", "heldout_fraction=0.15"]
        prepare(load(PrepareRecipe, "prepare", "jsonl", given).settings, folder / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PART_BYTES", 2000)
        patch.setattr(shards, "SHARD_TOKENS", 1500)
        make("mix", f"[{web}, {notes}]")
        make("web", str(web))
        make("notes", str(notes))
    yield folder


@pytest.fixture(scope="module")
def mix(folder) -> Data:
    return open_data(folder / "mix")


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> Path:
    """A finished run, with checkpoints after 4, 8 and 12 steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    recipe = tiny_recipe(folder / "mix", *SETTINGS)
    pretrain(recipe, out, probes=probes_of(recipe))
    return out


def mixed(data: Data, web: float, seed: int = 0) -> MixedRows:
    return MixedRows(data, {"web": web, "notes": 1 - web}, ROWS, seed, compat=False)


def count(data: Data, ids: np.ndarray) -> tuple[int, int]:
    """Count the words of web and of notes, by what they are."""
    words = [data.tokenizer.token(int(each)) for each in ids]
    return sum(word in WEB for word in words), sum(word in NOTES for word in words)


@pytest.mark.parametrize("web", [0.7, 0.5, 0.03, 0.98])
@pytest.mark.parametrize("size", [1, 8, 48])
def test_shares_of_the_tokens_are_kept_over_short_windows(mix, web, size):
    """To a row of rounding, and what rows of a batch differ from their mean by."""
    seen = np.zeros(2)
    for number, (rows, position) in enumerate(itertools.islice(mixed(mix, web).batches(size), 60)):
        assert len(rows.lengths) == size
        seen += count(mix, rows.ids)
        assert seen.tolist() == [position[3], position[7]]
        assert abs(seen[0] - web * seen.sum()) <= 2 * LENGTH + size * 4, f"after batch {number + 1}"
    assert size == 1 or abs(seen[0] / seen.sum() - web) < 0.02


@given(
    st.lists(st.tuples(st.floats(0.001, 1), st.integers(0, 10**6), st.floats(1, 512)), min_size=1, max_size=8),
    st.integers(1, 512),
)
def test_a_batch_has_its_rows_whatever_was_read_before(corpora, size):
    weights, tokens, means = (np.array(column) for column in zip(*corpora, strict=True))
    shares = weights / weights.sum()
    rows = rows_of_each(shares, tokens, means.tolist(), size)
    assert sum(rows) == size and min(rows) >= 0
    total = tokens.sum() + sum(np.array(rows) * means)
    behind = shares * total - tokens - np.array(rows) * means  # tokens that are lacking
    for number in range(len(rows)):  # what has had too much gets none
        assert rows[number] == 0 or behind[number] >= -(len(rows) + 1) * means.max(), "but for rounding"


def test_each_corpus_comes_as_it_does_alone(folder, mix):
    """The same rows in the same order, over the ends of groups and epochs."""
    batches = list(itertools.islice(mixed(mix, 0.6).batches(24), 80))
    position = batches[-1][1]
    assert position[0] == 0 and position[1] >= 1 and position[4] >= 2, "groups of web, epochs of notes"
    seen = Counter(np.concatenate([rows.ids for rows, _ in batches]).tolist())
    expected: Counter[int] = Counter()
    for name, place in (("web", position[:3]), ("notes", position[4:7])):
        reader = RowReader(RowStream(open_data(folder / name), "train", ROWS, seed=0))
        while reader.position != place:
            expected.update(assemble(reader.take(1), reader.stream.specials).ids.tolist())
    assert seen == expected


def test_without_weights_each_text_is_seen_equally_often(mix):
    shares = training_shares(mix, {})
    assert shares["web"] == pytest.approx(mix.corpora["web"].num_tokens("train") / mix.num_tokens("train"))
    rows = MixedRows(mix, shares, ROWS, 0, compat=False)
    for _, position in rows.batches(16):
        done = [position[place] / mix.corpora[name].num_tokens("train") for place, name in ((3, "web"), (7, "notes"))]
        if done[0] >= 1.5:
            break
    assert done[1] == pytest.approx(done[0], abs=0.1)


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_mix_entered_in_its_middle_goes_on_the_same(mix, cut):
    whole = list(itertools.islice(mixed(mix, 0.8).batches(24), cut + 6))
    position = whole[cut - 1][1]
    entered = mixed(mix, 0.8)
    entered.check(position, 24 * cut)
    for (rows, place), (expected, there) in zip(itertools.islice(entered.batches(24, position), 6), whole[cut:]):  # noqa: B905
        assert place == there and np.array_equal(rows.ids, expected.ids)


def test_positions_that_cannot_be_are_refused(mix):
    rows = mixed(mix, 0.5)
    rows.check((), 0)
    rows.check((0, 0, 4, 100, 0, 0, 4, 100), 8)
    for position, num_rows in (
        ((0, 0, 4), 8), ((0, 0, 4, -1, 0, 0, 4, 0), 8),
        ((0, 9, 4, 1, 0, 0, 4, 1), 8), ((), 8),
    ):  # fmt: skip
        with pytest.raises(UserError):
            rows.check(position, num_rows)


def test_stages_of_rows_keep_the_shares_and_go_on_with_the_next_group(mix):
    recipe = tiny_recipe(mix.path, "stages=[{tokens=2000, batch_size=16, length=16}]", "plan.steps=40", WEIGHTS)
    rows = StagedRows(mix, recipe)
    state = State()
    for batch, position in rows.batches(0, state):
        state.step, state.tokens, state.position = state.step + 1, state.tokens + batch.tokens.num_tokens, position
        if state.tokens >= 2000:
            break
    before, _ = state.position[:-1], rows.check(state)
    for _, position in itertools.islice(rows.batches(1, state), 20):
        text = position[3] + position[7]
        assert abs(position[3] - 0.7 * text) <= 3 * LENGTH
    assert position[-1] == 1 and position[1] > before[1] and position[4] > before[4]
    assert position[3] > before[3] and position[7] > before[7]


def walk(rows: StagedRows, most: float = math.inf) -> State:
    """Read a run's batches to its end, or for `most` steps."""
    state, plan = State(), rows.recipe.plan
    for number, stage in enumerate(rows.stages):
        for batch, position in rows.batches(number, state):
            state.step, state.tokens, state.position = state.step + 1, state.tokens + batch.tokens.num_tokens, position
            if state.tokens >= stage.end or state.progress(plan) >= 1 or state.step >= most:
                break
        if state.step >= most:
            break
    return state


def test_a_stage_of_longer_rows_before_shorter_ones_is_no_damage(mix):
    settings = ("stages=[{tokens=6000, length=64}]", "rows.length=16", "plan.steps=40")
    rows = StagedRows(mix, tiny_recipe(mix.path, *settings, "weights={web=0.98, notes=0.02}"))
    found = [walk(rows, step) for step in (19, 20, 22)]
    for state in found:
        rows.check(state)
    state = found[-1]
    text = state.position[3] + state.position[7]
    assert state.position[-1] == 1 and text > state.step * 8 * 16, "more than in so many of the shorter rows"
    with pytest.raises(UserError, match=r"position .* after [\d,]+ tokens"):
        rows.check(State(state.step, text - 1, 0.0, state.position))


def test_a_stage_keeps_a_group_of_which_nothing_was_read(mix):
    rows = mixed(mix, 0.5)
    assert rows.next_group((0, 0, 4, 100, 1, 0, 0, 0)) == (0, 1, 0, 100, 1, 0, 0, 0)


@pytest.mark.parametrize("step", [4, 8])
def test_a_stopped_run_goes_on_to_the_same_bytes(folder, run, tmp_path, step):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for later, path in checkpoint_folders(again).items():
        if later > step:
            shutil.rmtree(path)
    recipe = tiny_recipe(folder / "mix", *SETTINGS)
    pretrain(recipe, again, probes=probes_of(recipe))
    for name in ("model.safetensors", "optimizer.safetensors"):
        last = Path("checkpoints", "step-00000012", name)
        assert (again / last).read_bytes() == (run / last).read_bytes()
    losses = [[line for line in read_metrics(each / "metrics.jsonl") if line["split"] == "heldout"]
              for each in (run, again)]  # fmt: skip
    assert [line["web.mlm_loss"] for line in losses[0]] == [line["web.mlm_loss"] for line in losses[1]]


def test_other_weights_are_another_run(folder, run):
    with pytest.raises(UserError, match=r"weights\.notes: 0\.3 → 0\.4; weights\.web: 0\.7 → 0\.6\)"):
        pretrain(tiny_recipe(folder / "mix", *SETTINGS[:-1], "weights={web=0.6, notes=0.4}"), run)
    recipe = tiny_recipe(folder / "mix", *SETTINGS[:-1], "weights={web=7, notes=3}")
    assert pretrain(recipe, run)["steps"] == 12, "what counts are the shares"
    assert read_manifest(run, "pretrain")["identity"]["weights"] == {"web": 0.7, "notes": 0.3}


def evaluate(run: Path, *asked: str) -> dict[str, float]:
    settings = apply_overrides(EvaluateSettings, {}, ["machine.device=cpu", *asked]).settings
    return evaluate_model(open_model(run), settings).to_json()["heldout"]


def test_measures_of_each_corpus_are_those_of_a_folder_of_it_alone(folder, mix, run):
    logged = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "heldout"][-1]
    assert evaluate(run) == pytest.approx({name: logged[name] for name in evaluate(run)}, abs=1e-6)
    tokens = {name: mix.corpora[name].num_tokens("heldout") for name in ("web", "notes")}
    alone = {name: evaluate(run, f"data={folder / name}") for name in tokens}
    for name, measures in alone.items():
        assert {"mlm_loss", "mlm_accuracy", "mlm_perplexity", "pinned_loss", "pinned_bits_per_byte"} <= measures.keys()
        assert {key: logged[f"{name}.{key}"] for key in measures} == pytest.approx(measures, abs=1e-6)
    for key in ("mlm_loss", "mlm_accuracy"):
        expected = sum(alone[name][key] * tokens[name] for name in tokens) / sum(tokens.values())
        assert logged[key] == pytest.approx(expected, abs=1e-6), "in proportion to the held-out tokens"
    assert logged["mlm_perplexity"] == pytest.approx(math.exp(logged["mlm_loss"]), rel=1e-6)
    assert min(measures["pinned_loss"] for measures in alone.values()) < logged["pinned_loss"]
    assert logged["pinned_loss"] < max(measures["pinned_loss"] for measures in alone.values())


def test_a_chart_has_the_corpora_beside_all_text(run):
    charts = {chart.title: chart for chart in curve_charts(read_runs([run]))}
    labels = [trace["name"] for trace in charts["Masked-token loss, nats"].figure["data"]]
    assert [label.partition(" · ")[2] for label in labels] == ["", "held-out", "held-out · web", "held-out · notes"]
    assert not [title for title in charts if title.startswith("web")]


def test_what_is_said_of_a_run(folder, mix, run, tmp_path, capsys):
    pretrain(tiny_recipe(folder / "mix", "plan.steps=6"), tmp_path / "run")
    said = capsys.readouterr().err
    shares = training_shares(mix, {})
    seen = StagedRows(mix, tiny_recipe(mix.path, "plan.steps=6")).epochs
    assert seen["web"] == pytest.approx(seen["notes"])
    each = (f"{name} {shares[name]:.3g} ({seen[name]:.2g} epochs)" for name in ("web", "notes"))
    assert f"mix: {', '.join(each)}\n" in said
    assert "  web: loss " in said and "  notes: loss " in said
    assert describe_mix({"web": 0.5, "notes": 0.5}, {"web": 5, "notes": 50}).endswith(
        "notes 0.5 (50 epochs); beyond 4 epochs text teaches less each time: give notes a lower weight, or more text"
    )
    assert describe_mix({"web": 0.25, "notes": 0.75}, None) == "mix: web 0.25, notes 0.75"


def test_a_corpus_of_which_nothing_is_held_out_is_said(mix, capsys):
    recipe = tiny_recipe(mix.path, WEIGHTS)
    collator = build_collator(recipe, mix.tokenizer)
    expected = held_out_text(mix, recipe, collator)
    assert "held out" not in capsys.readouterr().err
    content = json.loads(json.dumps(mix.manifest))
    content["corpora"][1]["shards"]["heldout"] = 0
    content["shards"]["heldout"] = content["shards"]["heldout"][: content["corpora"][0]["shards"]["heldout"]]
    found = held_out_text(Data(mix.path, content), recipe, collator)
    assert list(found.batches) == ["web"] and found.tokens["notes"] == 0 < found.num_rows
    said = capsys.readouterr().err
    assert "mix: nothing is held out of notes, which no held-out loss is about;" in said
    assert "no evaluation" not in said and said.count("\n") == 1
    objective = recipe.objective.build(recipe.model, collator.vocabulary)
    runner = Runner(objective, choose_machine(recipe.machine, 0))
    both, web = (text.measure(runner, LENGTH) for text in (expected, found))
    assert web["mlm_loss"] == web["web.mlm_loss"] == both["web.mlm_loss"] != both["mlm_loss"]


def test_lines_of_averaged_weights_name_measures_alike(folder, tmp_path, capsys):
    pretrain(tiny_recipe(folder / "mix", "plan.steps=2", "average_decay=0.9"), tmp_path / "run")
    said = capsys.readouterr().err.splitlines()
    for begin in ("step 2: held-out ", "  web: ", "  notes: "):
        line = next(line for line in reversed(said) if begin in line)
        assert re.search(r"(?<!averaged )\bloss \d", line) and "averaged loss " in line, line


def test_show_says_the_shares_and_tokens_of_each(folder, mix, capsys):
    show(str(folder / "mix"))
    said = capsys.readouterr().out
    for name, share in training_shares(mix, {}).items():
        tokens = {split: format_count(mix.corpora[name].num_tokens(split)) for split in ("train", "heldout")}
        line = next(line for line in said.splitlines() if f"corpus {name} " in line)
        assert f"{share:.3g} of training (no weight: in proportion to its tokens)" in line
        assert f"train tokens {tokens['train']}, heldout tokens {tokens['heldout']}, " in line


def test_plan_says_the_epochs_of_each(folder, mix):
    found = estimate("bert-tiny", [f"data={folder / 'mix'}", "plan.steps=2", WEIGHTS])
    shares = {"web": 0.7, "notes": 0.3}
    stages, plan = [Stage(found.stages[0].batch_size, RowSettings(), math.inf)], Plan(steps=2)
    assert found.mix == describe_mix(shares, planned_epochs(mix, shares, stages, plan))
    assert estimate("bert-tiny", [f"data={folder / 'web'}"]).mix is None
    with pytest.raises(UserError, match=r"^weights: .*web is of one corpus; leave them out$"):
        estimate("bert-tiny", [f"data={folder / 'web'}", WEIGHTS])


@pytest.mark.parametrize(
    "chosen",
    [
        ("rows.length=16", "plan.steps=40"),
        ("rows.length=64", "plan.steps=40", "rows.kind=windows"),
        ("rows.length=16", "plan.steps=60", "stages=[{tokens=6000, length=64, batch_size=16}]"),
        ("rows.length=64", "plan.tokens=20000", "stages=[{tokens=6000, length=16}]"),
        ("rows.length=32", "plan.steps=40", "compat=true"),
    ],
)
def test_the_epochs_that_are_said_are_those_that_are_seen(mix, chosen):
    recipe = tiny_recipe(mix.path, WEIGHTS, *chosen)
    rows = StagedRows(mix, recipe)
    state = walk(rows)
    rows.check(state)
    seen = {"web": state.position[3], "notes": state.position[7]}
    streams = {name: RowStream(own, "train", recipe.rows, 0, recipe.compat) for name, own in mix.corpora.items()}
    for name, stream in streams.items():
        there = mix.corpora[name].num_tokens("train") * row_means(stream.data, recipe.rows, recipe.compat).used
        assert rows.epochs[name] == pytest.approx(seen[name] / there, rel=0.1)


@pytest.mark.parametrize("kind", ["two_segments", "windows"])
@pytest.mark.parametrize("compat", [False, True])
def test_what_rows_hold_on_average_is_what_they_hold(mix, kind, compat):
    settings = RowSettings(kind=kind, length=24)
    for own in mix.corpora.values():
        rows = tokens = text = 0
        stream = RowStream(own, "train", settings, 1, compat)
        reader = RowReader(stream)
        while not reader.position[0]:
            part = reader.take(1)
            rows, text = rows + 1, text + len(part[0].ids)
            tokens += len(assemble(part, stream.specials).ids)
        means = row_means(own, settings, compat)
        assert means.text == pytest.approx(text / rows, rel=0.05)
        assert means.specials == pytest.approx((tokens - text) / rows, rel=0.05)
        assert means.used == pytest.approx(text / own.num_tokens("train"), rel=0.05)


def test_a_sample_is_of_whole_documents_none_twice(monkeypatch):
    monkeypatch.setattr(epochs, "SAMPLED_TOKENS", 30)
    ends = np.cumsum(np.random.default_rng(0).integers(1, 60, 40)).astype(np.uint32)
    shard = Shard(np.arange(ends[-1]).astype(np.uint32), ends, ends)
    found = list(epochs._samples(shard))
    places = [place for part in found for place in part.tokens.tolist()]
    assert len(set(places)) == len(places) and places[-1] > ends[-1] * 0.7
    for part in found:
        assert part.tokens[0] in (0, *ends) and part.tokens[-1] + 1 in ends and len(part.tokens) >= 30
        assert part.document_ends[-1] == len(part.tokens)
        np.testing.assert_array_equal(part.line_ends, part.document_ends)


@pytest.mark.parametrize(
    ("weights", "data", "message"),
    [
        ("{web=0.7, note=0.3}", "mix", r"^weights\.'?note'?: no corpus of .*mix; there are web, notes$"),
        ("{web=0.7}", "mix", "^weights: has none for notes; give each of web, notes one$"),
        ("{web=1, notes=0}", "mix", r"^weights\.notes = 0\.0: above 0; to leave a corpus out, prepare without it$"),
        ("{web=1, notes=-2}", "mix", r"^weights\.notes = -2\.0: above 0"),
        ("{web=1, notes=1e-14}", "mix", r"^weights\.notes = 1e-14: no token beside the others' weights"),
        ("{web='a'}", "mix", r"^weights\.web = 'a': "),
        ("{web=1}", "web", "^weights: .*web is of one corpus; leave them out$"),
    ],
)
def test_weights_that_cannot_be_are_a_line(folder, tmp_path, weights, data, message):
    with pytest.raises(UserError, match=message):
        pretrain(tiny_recipe(folder / data, f"weights={weights}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_the_preparation_are_the_defaults(mix):
    corpora = [{**each, "weight": weight} for each, weight in zip(mix.manifest["corpora"], (3, 1), strict=True)]
    weighted = Data(mix.path, mix.manifest | {"corpora": corpora})
    assert training_shares(weighted, {}) == {"web": 0.75, "notes": 0.25}
    assert training_shares(weighted, {"web": 1, "notes": 1}) == {"web": 0.5, "notes": 0.5}


@pytest.mark.slow
def test_two_ranks_train_on_the_same_mix(folder, run, tmp_path):
    from tests.training.ranks_at_work import run_ranks

    jobs = [{"run": str(tmp_path / "run"), "settings": [*SETTINGS, *_NO_DROPOUT]}]
    ended = run_ranks(2, jobs, tmp_path, folder / "mix")
    assert [process.status for process in ended] == [0, 0], ended
    pretrain(tiny_recipe(folder / "mix", *SETTINGS, *_NO_DROPOUT), tmp_path / "alone")
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("run", "alone")]
    assert [line.get("tokens") for line in lines[0]] == [line.get("tokens") for line in lines[1]]
    names = ("mlm_loss", "web.mlm_loss", "notes.mlm_loss")
    losses = ([line[name] for line in each for name in names if name in line] for each in lines)
    assert next(losses) == pytest.approx(next(losses), rel=1e-5)


_NO_DROPOUT = ("model.hidden_dropout_prob=0", "model.attention_probs_dropout_prob=0")
