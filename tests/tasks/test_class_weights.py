"""Weights of classes: whose they are, what they do, and where there are none."""

import tomllib

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

import bertsmith
from bertsmith.config.loading import check, rows, to_toml
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task import check_weights, class_weights
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.runner import Runner
from tests.tasks.texts.test_columns import write
from tests.tasks.texts.test_multi_label import write_topics
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, toy_recipe
from tests.tasks.words.toy_tagging import write_tagging

CLASSES = TaskSpec("custom", ("accuracy",), OneLabel(("a", "b", "c")))
LABELS = TaskSpec("custom", ("f1_micro",), AnyLabels(("a", "b", "c")))


def settings(*overrides):
    return toy_recipe("model", "data", *overrides).settings


def test_balanced_is_scikit_learns():
    answers = np.array([0] * 7 + [1] * 2 + [2])
    found = class_weights(settings("class_weights=balanced"), CLASSES, np.bincount(answers), len(answers))
    np.testing.assert_allclose(found, compute_class_weight("balanced", classes=np.arange(3), y=answers), rtol=1e-6)


def test_balanced_labels_have_as_much_weight_as_their_absence():
    found = class_weights(settings("class_weights=balanced"), LABELS, np.array([2, 5, 10]), 10)
    np.testing.assert_allclose(found * [2, 5, 9], [8, 5, 0.9], rtol=1e-6)  # one that all have keeps a little


def test_ones_own_and_none():
    own = settings("custom.weights.b=2", "custom.weights.c=0.5")
    assert class_weights(own, CLASSES, np.array([1, 1, 1]), 3).tolist() == [1, 2, 0.5]
    assert class_weights(settings(), CLASSES, np.array([1, 1, 1]), 3) is None


def test_any_label_can_be_weighed_on_the_command_line_and_show_says_so():
    loaded = toy_recipe("model", "data", 'custom.weights={"B-X y" = 2}')
    assert loaded.settings.custom.weights == {"B-X y": 2.0}
    assert check(FinetuneRecipe, tomllib.loads(to_toml(loaded.settings))) == loaded.settings
    origins = {row.key: row.origin for row in rows(loaded)}
    assert origins["custom.weights"] == "command line" and origins["custom.second_text"] == "default"


@pytest.mark.parametrize(
    ("overrides", "task", "message"),
    [
        (["custom.weights.d=2"], CLASSES, r"custom.weights: 'd' is no label of the task; there are a, b, c"),
        (["custom.weights.a=2", "class_weights=balanced"], CLASSES, r"give one of them"),
        (
            ["class_weights=balanced"],
            TaskSpec("sts-b", ("pearson",), Number()),
            r"class_weights: sts-b has no classes to weigh",
        ),
        (
            ["custom.weights.a=2"],
            TaskSpec("custom", ("pearson",), Number()),
            r"custom.weights: custom has no classes to weigh",
        ),
    ],
)
def test_what_is_refused(overrides, task, message):
    with pytest.raises(UserError, match=message):
        check_weights(settings(*overrides), task)


@pytest.mark.parametrize("weight", ["0", "-1", '"much"'])
def test_a_weight_is_a_number_above_0(weight):
    with pytest.raises(UserError, match=r"custom"):
        settings(f"custom.weights.a={weight}")


@pytest.mark.parametrize("task", ["cola", "sts-b"])
def test_glues_classes_are_weighed_and_its_numbers_not(tmp_path, task):
    model, data = make_model(tmp_path), write_glue(tmp_path / "glue", task)
    recipe = toy_recipe(model, data, f"task={task}", "class_weights=balanced", "check_counts=false", "epochs=0.1")
    if task == "sts-b":
        with pytest.raises(UserError, match="no classes to weigh"):
            finetune(recipe, tmp_path / "run")
        return
    splits = load_task(recipe.settings).encode(open_pretrained_encoder(model))
    batch = splits.train.batch(np.arange(len(splits.train.lengths)))
    assert batch.targets["weights"].sum() == pytest.approx(len(splits.train.lengths))
    assert "weights" not in splits.dev["", ""].batch(np.arange(2)).targets


def test_a_rare_class_is_found_where_it_counts_for_more(tmp_path):
    """One word is of one class nine times in ten and of the other once."""
    lines = ["sentence\tlabel", *["the\tusual"] * 45, *["the\trare"] * 5]
    data = write(tmp_path, lines, lines)
    found = {}
    for weights in ("none", "balanced"):
        recipe = toy_recipe(
            make_model(tmp_path), data, f"class_weights={weights}", "seeds=1", "batch_size=50", "epochs=40"
        )
        finetune(recipe, tmp_path / weights)
        found[weights] = bertsmith.load(tmp_path / weights, device="cpu").classify("the").probs["rare"]
    assert found["none"] == pytest.approx(0.1, abs=0.05) and found["balanced"] == pytest.approx(0.5, abs=0.1)


def test_balanced_in_the_batches_of_tags_and_of_labels(tmp_path):
    model = make_model(tmp_path)
    for kind, data in (("tagging", write_tagging(tmp_path)), ("multi-label", write_topics(tmp_path))):
        task = load_task(toy_recipe(model, data, f"custom.kind={kind}", "class_weights=balanced").settings)
        train = task.encode(open_pretrained_encoder(model)).train
        targets = train.batch(np.arange(len(train.lengths))).targets
        answers, weights = targets["answers"], targets["weights"]
        if kind == "tagging":
            sums = [float(weights[answers == tag].sum()) for tag in range(len(task.spec.labels))]
            assert sums == pytest.approx([int((answers >= 0).sum()) / len(sums)] * len(sums), rel=1e-4)
            assert not weights[answers < 0].any()
        else:
            torch.testing.assert_close((weights * answers).sum(dim=0), (~answers).sum(dim=0).float())
            assert (weights[~answers] == 1).all()


def test_tags_are_weighed_and_micro_batches_add_up(tmp_path):
    model, data = make_model(tmp_path), write_tagging(tmp_path)
    recipe = toy_recipe(model, data, "custom.kind=tagging", 'custom.weights={"B-X" = 3, O = 0.25}').settings
    task, start = load_task(recipe), open_pretrained_encoder(model)
    torch.manual_seed(0)
    objective = task.objective(start, Encoder(start.settings, start.vocab_size)).eval()
    train = task.encode(start).train
    batch = train.batch(np.arange(7))
    ids = {label: id for id, label in enumerate(task.spec.labels)}
    weights = torch.ones(len(ids))
    weights[ids["B-X"]], weights[ids["O"]] = 3, 0.25
    scores, answers = [], []
    for row in range(7):
        one = train.batch(np.array([row]))
        scores.append(objective.scores(one.tokens).detach())
        answers.append(one.targets["answers"][0, : one.tokens.max_seqlen].long())
    expected = torch.nn.functional.cross_entropy(torch.cat(scores), torch.cat(answers), weights)
    for micro_batch_rows in (2, 7):
        runner = Runner(objective, choose_machine(MachineSettings(device="cpu", micro_batch_rows=micro_batch_rows)))
        losses = runner.gradients(runner.prepare(batch, batch.tokens.max_seqlen))
        assert losses.means()["loss"] == pytest.approx(float(expected), rel=1e-5)
        assert float(objective.counts(batch)["loss"]) == pytest.approx(float(losses.counts["loss"]))
