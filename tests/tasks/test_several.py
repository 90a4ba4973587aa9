"""Several tasks in one run: shares and epochs as laws, a journey of three tasks, one of them taken out again."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import bertsmith
from bertsmith.cli.show import show
from bertsmith.config.loading import Loaded, load
from bertsmith.console.shell import command
from bertsmith.convert.export import export_run
from bertsmith.encoders.bert import ElectraClassificationHead
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.objectives.objective import Losses
from bertsmith.tasks.finetune import finetune, score_table
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.multi_task import MultiTask, MultiTaskModel, MultiTrainSet
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.runs import load_trial, read_run_recipe
from bertsmith.tasks.texts.text_task import Classification, TextDataset
from bertsmith.tasks.trial import TrialContext, build_objective
from bertsmith.training.machine import MachineSettings, choose_machine
from tests.tasks.test_trial import TOY, rows_of
from tests.tasks.texts.test_classification import NARROW
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, write_task
from tests.tasks.words.toy_tagging import write_tagging
from tests.toys import WORDS

TASKS = ("custom", "chunk", "sts-b")


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    make_model(folder)
    write_task(folder)
    write_tagging(folder)
    write_glue(folder, "sts-b")
    return folder


def recipe_of(folder: Path, *overrides: str) -> Loaded:
    base = [
        f"several.tasks={list(TASKS)}", f"model={folder / 'model'}", f"data={folder}", "seeds=2", "epochs=10",
        f"several.folders.custom={folder / 'task'}", f"several.folders.chunk={folder / 'tagging'}", "batch_size=8",
        "sequence_length=32", "layerwise_lr_decay=1", "schedule.learning_rate=3e-3", "machine.device=cpu",
    ]  # fmt: skip
    if not any(text.startswith("several.tasks=") and "sts-b" not in text for text in overrides):
        base.append("check_counts=false")
    return load(FinetuneRecipe, "finetune", "several", [*base, *overrides])


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    finetune(recipe_of(toy), out)
    return out


def split_of(*sizes: int, power: float = 0.75) -> MultiTrainSet:
    splits = {f"task{size}": TextDataset(TOY, rows_of([4 + n % 3 for n in range(size)]), np.arange(size))
              for size in sizes}  # fmt: skip
    return MultiTrainSet(splits, power)


def drawn(split: MultiTrainSet, number: int, seed: int = 0) -> list[tuple[str, list[int]]]:
    """Each batch's task and examples."""
    batches = [batch for batch, _ in islice(split.batches(8, seed), number)]
    return [(batch.task, batch.targets["answers"].tolist()) for batch in batches]


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_a_tasks_share_of_the_batches_is_its_size_to_the_power(power):
    split = split_of(20, 80, 320, power=power)
    number = 3000
    found = Counter(task for task, _ in drawn(split, number))
    weights = np.array([20, 80, 320]) ** power
    for size, share in zip((20, 80, 320), weights / weights.sum(), strict=True):
        deviation = (share * (1 - share) / number) ** 0.5
        assert abs(found[f"task{size}"] / number - share) < 4 * deviation


def test_every_example_of_a_task_is_seen_before_any_comes_again():
    batches = drawn(split_of(20, 80), 60)
    for size in (20, 80):
        seen = [answer for task, answers in batches if task == f"task{size}" for answer in answers]
        assert len(seen) > size
        counts = np.bincount(seen, minlength=size)
        assert counts.max() - counts.min() <= 1
        assert sorted(seen[:size]) == list(range(size))


def test_the_draws_are_the_seeds():
    split = split_of(20, 80)
    assert drawn(split, 40, seed=1) == drawn(split, 40, seed=1) != drawn(split, 40, seed=2)


def test_a_step_of_one_task_leaves_the_other_heads_alone():
    torch.manual_seed(0)
    encoder = Encoder(NARROW, 50)
    parts = {
        name: Classification(encoder, ElectraClassificationHead(NARROW, 20), TOY.answers) for name in ("a-1", "b.2")
    }
    objective = MultiTaskModel(encoder, parts).eval()
    split = MultiTrainSet({name: TextDataset(TOY, rows_of([5] * 16), np.arange(16)) for name in parts}, 1.0)
    batch = next(split.batches(8, 0))[0]
    task = batch.task
    losses, counts = objective.losses(batch), objective.counts(batch)
    assert counts == {f"{task}.loss": 8.0}
    objective.total(losses, counts).backward()
    for other, part in parts.items():
        gradients = [parameter.grad for parameter in part.head.parameters()]
        assert all(gradient is not None for gradient in gradients)
        assert any(gradient.any() for gradient in gradients) == (other == task)
    alone = parts[task].losses(batch)
    torch.testing.assert_close(losses.means()[f"{task}.loss"], alone.means()["loss"])
    weights = objective.state_dict()
    assert {key.split(".head.")[0] for key in weights if not key.startswith("encoder.")} == {"heads.a-1", "heads.b_2"}


def test_a_batch_and_its_parts_say_which_task_they_are_of():
    split = MultiTrainSet({name: TextDataset(TOY, rows_of([5] * 16), np.arange(16)) for name in ("a", "b")}, 1.0)
    batches = [batch.to(torch.device("cpu")) for batch, _ in islice(split.batches(8, 0), 20)]
    parts = [part for batch in batches for part in batch.split(3)]
    assert {batch.task for batch in batches} == {part.task for part in parts} == {"a", "b"}


def test_losses_of_different_names_add_up():
    one, two = (Losses({name: torch.tensor(2.0)}, {name: 4.0}) for name in ("a.loss", "b.loss"))
    assert (one + two + one).means() == {"a.loss": 0.5, "b.loss": 0.5}
    assert (one + two + one).counts == {"a.loss": 8.0, "b.loss": 4.0}


def test_every_task_is_scored_and_the_mean_of_the_headlines_is_first(run, capsys):
    results = json.loads((run / "results.json").read_text())
    names = list(results["summary"])
    assert names[:2] == ["mean", "custom.accuracy"] and {"chunk.f1", "sts-b.spearman"} < set(names)
    for trial in results["trials"]:
        scores = trial["metrics"]
        assert list(scores) == names
        assert min(scores[name] for name in ("custom.accuracy", "chunk.f1", "sts-b.spearman")) > 0.8
        headlines = [scores[name] for name in ("custom.accuracy", "chunk.f1", "sts-b.spearman")]
        assert scores["mean"] == pytest.approx(sum(headlines) / 3)
    lines = [json.loads(line) for line in (run / "trials/seed-0/metrics.jsonl").read_text().splitlines()]
    assert {"custom.loss", "chunk.loss", "sts-b.loss"} <= lines[-1].keys() | lines[0].keys()
    found = {f"{path.parent.name}/{path.name}" for path in (run / "trials/seed-0").glob("*/*")}
    assert found == {"custom/predictions-dev.tsv", "chunk/predictions-dev.txt", "sts-b/predictions-dev.tsv"}
    assert command("bertsmith", *show(str(run))) == f"bertsmith export {run} {run}-hf --task custom"
    assert "sts-b.spearman" in capsys.readouterr().out


def test_scores_have_a_table_a_task(toy, run):
    lines = [line.split() for line in score_table(finetune(recipe_of(toy), run))]
    assert ["several", "mean"] in lines
    assert [line[:2] for line in lines if line[0] in TASKS] == [
        ["custom", "accuracy"], ["chunk", "f1"], ["sts-b", "spearman"],
    ]  # fmt: skip
    assert sum(line[:2] == ["seed", "1"] for line in lines) == 4


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(toy, run, tmp_path):
    finetune(recipe_of(toy, "seeds=1"), tmp_path)
    weights = [folder / "trials/seed-0/model.safetensors" for folder in (tmp_path, run)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    with pytest.raises(UserError, match=r"another run \(several.power: 0.75 → 0.5\)"):
        finetune(recipe_of(toy, "several.power=0.5"), run)


def test_a_head_begins_as_it_would_alone(toy):
    recipe, start = recipe_of(toy).settings, open_pretrained_encoder(toy / "model")
    task = load_task(recipe)
    context = TrialContext(recipe, task, start, choose_machine(MachineSettings(device="cpu")), task.encode(start))
    weights = build_objective(context, 0).state_dict()
    assert torch.equal(weights["heads.custom.head.dense.weight"], start.weights["head.dense.weight"])
    assert all(torch.equal(weights[name], start.weights[name]) for name in weights if name.startswith("encoder."))


def test_each_task_is_weighed_and_held_out_by_its_own_numbers(toy):
    start = open_pretrained_encoder(toy / "model")

    def check(*overrides: str) -> MultiTask:
        recipe = recipe_of(toy, *overrides).settings
        task = load_task(recipe)
        task.check(start)
        return task

    with pytest.raises(UserError, match="class_weights: sts-b has no classes to weigh"):
        check("class_weights=balanced")
    both = "several.tasks=['custom','chunk']"
    splits = check(both, "class_weights=balanced").encode(start).train.datasets
    assert all("weights" in split.batch(np.arange(4)).targets for split in splits.values())
    with pytest.raises(UserError, match=r"custom.weights = .*: only for a custom task; leave it out"):
        load(FinetuneRecipe, "finetune", "several", ["model=m", "data=d", "custom.weights.with=5"])
    splits = check(both, "custom.weights.with=5").encode(start).train.datasets
    assert ["weights" in split.batch(np.arange(4)).targets for split in splits.values()] == [True, False]
    with pytest.raises(UserError, match=r"early_stopping.share = 0.02: of 24 training examples that holds out 0"):
        check("early_stopping.share=0.02")


def test_it_stops_early_by_the_mean_over_what_is_held_out_of_each_task(toy, tmp_path):
    stopping = ["early_stopping.share=0.2", "early_stopping.every=0.25", "early_stopping.patience=3", "seeds=1"]
    finetune(recipe_of(toy, *stopping, "epochs=20"), tmp_path)
    results = json.loads((tmp_path / "trials/seed-0/results.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "trials/seed-0/metrics.jsonl").read_text().splitlines()]
    looks = [line for line in lines if line["split"] == "heldout"]
    assert len(looks) > 3 and {"mean", "custom.accuracy", "chunk.f1", "sts-b.spearman"} <= looks[0].keys()
    kept = results["early_stopping"]
    assert kept["score"] == max(look["mean"] for look in looks) > 0.7
    assert kept["held_out"] == 40 + 40 + 5
    dev = [line.split("\t") for line in (toy / "task/dev.tsv").read_text().splitlines()[1:]]
    answers = bertsmith.load(tmp_path, device="cpu", task="custom").classify([text for text, _ in dev])
    right = [answer.label == label for answer, (_, label) in zip(answers, dev, strict=True)]
    assert sum(right) / len(right) == pytest.approx(results["metrics"]["custom.accuracy"])


def test_one_task_exported_answers_in_transformers_as_here(run, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = f"{WORDS[0]} {WORDS[10]} {WORDS[40]}"
    for task, kind in (("custom", "SequenceClassification"), ("chunk", "TokenClassification")):
        out = export_run(run, tmp_path / task, task=task)
        assert open_pretrained_encoder(out).finetuned_on == TASKS, "all of which its encoder has learnt"
        theirs, report = getattr(transformers, f"BertFor{kind}").from_pretrained(out, output_loading_info=True)
        assert not any(report.values()), report
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
        with torch.no_grad():
            logits = theirs.eval()(**tokenizer(text, return_tensors="pt")).logits[0]
        model = bertsmith.load(run, device="cpu", task=task)
        if task == "custom":
            answer = model.classify(text)
            assert logits.softmax(dim=0).tolist() == pytest.approx(list(answer.probs.values()), abs=1e-5)
        else:
            tags = [theirs.config.id2label[int(id)] for id in logits[1:-1].argmax(dim=1)]
            assert model.tag(text) == list(zip(text.split(), tags, strict=True))
    card = (tmp_path / "custom/README.md").read_text()
    assert "accuracy" in card and "chunk" not in card.partition("```")[0]
    low, high = (bertsmith.load(run, device="cpu", task="sts-b").classify(word, word).value for word in WORDS[5:16:10])
    assert 0 < low < 2.5 < high < 5


def test_a_trial_of_one_task_is_the_one_that_did_best_on_it(run):
    results = json.loads((run / "results.json").read_text())
    for task, metric in (("custom", "accuracy"), ("chunk", "f1")):
        trial = load_trial(run, task=task)
        scores = {found["seed"]: found["metrics"][f"{task}.{metric}"] for found in results["trials"]}
        assert scores[trial.seed] == max(scores.values())
        assert trial.recipe.task == trial.manifest["task"] == trial.results["task"] == task
        assert next(iter(trial.results["summary"])) == metric
        assert not any(name.startswith("heads.") for name in trial.network.weights)


def test_a_task_has_to_be_named_and_there(run, toy, tmp_path):
    for ask in (export_run, lambda run, _: bertsmith.load(run)):
        with pytest.raises(UserError, match=r"learnt several tasks; name one with --task .*: custom, chunk, sts-b$"):
            ask(run, tmp_path / "out")
    with pytest.raises(UserError, match=r"did not learn rte; --task is one of custom, chunk, sts-b"):
        load_trial(run, task="rte")
    with pytest.raises(UserError, match=r"--task rte is of use with a fine-tuning run of several tasks alone"):
        bertsmith.load(toy / "model", task="rte")
    assert read_run_recipe(run, "chunk").data == str(toy / "tagging")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("several.tasks=['rte']", "several.tasks: rte; name two at least"),
        ("several.tasks=['rte','rte']", "several.tasks: rte is there 2 times"),
        ("several.tasks=['rte','mprc']", "several.tasks: 'mprc' is not one of boolq, "),
        ("several.tasks=['rte','several']", "several.tasks: 'several' is not one of boolq, "),
        ("several.folders.sst-2=DIR", "several.folders.sst-2: several.tasks has no such task"),
        ("several.folders.squad-v1.1=DIR", "a name with a point in it goes into a table, as in several.folders="),
        ("several.power=2", "several.power = 2"),
    ],
)
def test_what_is_no_run_of_several_is_refused(toy, override, said):
    with pytest.raises(UserError) as refusal:
        recipe_of(toy, override)
    assert said in str(refusal.value)


def test_a_task_whose_files_are_not_there_is_named_with_its_setting(toy):
    asked = "several.tasks=['chunk','qqp','squad-v1.1']"
    recipe = recipe_of(toy, asked, "several.folders={chunk='nowhere'}").settings
    with pytest.raises(UserError) as refused:
        load_task(recipe)
    first, second = str(refused.value).splitlines()
    assert "nowhere" in first
    assert second == (
        "chunk is one of several.tasks (chunk, qqp, squad-v1.1): several.folders.chunk=… names its folder, "
        "\"several.tasks=['qqp', 'squad-v1.1']\" leaves it out"
    )
    recipe = recipe_of(toy, asked, f"several.folders={{chunk='{toy / 'tagging'}'}}").settings
    with pytest.raises(UserError, match=r"no folder QQP .*\nqqp is one of several\.tasks .* several\.folders\.qqp=…"):
        load_task(recipe)
