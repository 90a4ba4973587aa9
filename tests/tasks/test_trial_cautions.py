"""What a trial is warned of, task by task, and that one which has learnt is warned of nothing."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bertsmith.config.loading import load
from bertsmith.scoring.word_lines import Word
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.answering.best_answers import SpanAnswer, spread_of_places
from bertsmith.tasks.answering.question_task import constant_answer_score as constant_of_questions
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.cautions import caution_of, spread_of, stood_still
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.metrics import is_constant
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.words.sentences import ENTITY_METRICS, PLAIN_METRICS, Sentences
from bertsmith.tasks.words.tag_task import majority_tag_score as constant_of_tags
from tests.tasks.answering.toy_questions import ask, squad
from tests.tasks.texts.test_multi_label import write_topics
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, write_task
from tests.tasks.words.toy_tagging import write_tagging

ACCURACY = TaskSpec("a", ("accuracy", "mcc"), OneLabel(("x", "y", "z")))
MCC = TaskSpec("a", ("mcc",), OneLabel(("x", "y")))
NUMBERS = TaskSpec("a", ("pearson",), Number(high=10.0))
LABELS = TaskSpec("a", ("f1_micro",), AnyLabels(("x", "y", "z")))


@pytest.mark.parametrize(
    ("score", "constant", "same", "spread", "says"),
    [
        (0.7, 0.7, True, 0.0, "every dev prediction is the same (accuracy 0.7000); more epochs"),
        (0.702, 0.7, False, 0.4,
         "accuracy 0.7020 on dev is no better than always giving the same answer, which has 0.7"),
        (0.4, 0.7, False, None, "accuracy 0.4000 on dev is no better than"),
        (0.8, 0.7, False, 0.002, "outputs for all dev rows are nearly alike (their spread is 0.002; 0.01 is lit"),
        (0.7, 0.7, False, 0.002, "which has 0.7000, and outputs for all dev rows are nearly alike"),
        (0.71, 0.7, False, 0.3, None), (1.0, 0.995, False, 0.1, None), (0.05, 0.0, False, 0.02, None),
        (1.0, None, True, 0.0, None), (0.0, None, False, 0.0, None),
    ],
)  # fmt: skip
def test_what_is_said_of_a_look(score, constant, same, spread, says):
    found = caution_of("accuracy", score, constant, same, spread)
    assert found is None if says is None else says in found and "\n" not in found


def test_the_spread_is_of_all_rows_however_they_come():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 2, 3], 50).astype(np.float32)
    expected = np.sqrt(probs.astype(np.float64).var(axis=0).sum())
    assert spread_of([probs]) == pytest.approx(expected) == spread_of([probs[:7], probs[7:8], probs[8:]])
    assert spread_of([np.tile([[0.1, 0.9]], (9, 1))]) == pytest.approx(0, abs=1e-7) and spread_of([]) == 0


def look_at(task, scores, answers):
    kind, metric = task.answers, task.metrics[0]
    scores, gold = np.array(scores, dtype=np.float32), np.array(answers)
    same = is_constant(kind.decode(scores))
    return SimpleNamespace(constant=kind.majority_score(metric, gold), same=same, spread=kind.spread(scores, gold))


def test_the_commonest_answer_of_each_kind_of_texts():
    classes = [[3, 0, 0], [0, 3, 0], [0, 0, 3], [3, 0, 0]]
    found = look_at(ACCURACY, classes, [0, 1, 1, 1])
    assert (found.constant, found.same) == (0.75, False) and found.spread > 0.5
    assert look_at(MCC, [[1, 0], [0, 1]], [0, 1]).constant == 0
    assert look_at(ACCURACY, classes, [2, 2, 2, 2]).constant is None, "dev has one class alone"
    nearly = look_at(ACCURACY, [[0, 0, 0.001], [0, 0.001, 0], [0.001, 0, 0], [0, 0, 0.001]], [0, 1, 2, 0])
    assert nearly.spread < 0.001 and not nearly.same
    numbers = look_at(NUMBERS, [[0.50], [0.5001], [0.4999], [0.50]], [0.0, 10.0, 2.0, 8.0])
    assert numbers.constant == 0 and numbers.spread < 1e-3
    assert look_at(NUMBERS, [[0.1], [0.9], [0.3], [0.7]], [0.0, 10.0, 2.0, 8.0]).spread > 0.5
    assert look_at(NUMBERS, [[0.1], [0.9]], [4.0, 4.0]).constant is None


def test_the_best_of_constant_sets_of_labels():
    """Micro F1 of giving x to all: 2·3 / (4 + 5); of x and y: 2·4 / (8 + 5); of all three: 2·5 / (12 + 5)."""
    answers = [[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0]]
    found = look_at(LABELS, [[1, -1, -1], [1, 1, -1], [1, -1, 1], [-1, -1, -1]], np.array(answers, dtype=bool))
    assert found.constant == pytest.approx(6 / 9) and not found.same
    assert look_at(LABELS, [[-5, -5, -5]] * 4, np.array(answers, dtype=bool)).same


def test_the_commonest_tag():
    def sentences(*tags):
        return Sentences(Path("dev.txt"), [[Word(1, ["w", tag]) for tag in some] for some in tags])

    assert constant_of_tags(
        TaskSpec("a", PLAIN_METRICS, OneLabel(("A", "B"))), sentences("AB", "AAB")
    ) == pytest.approx(3 / 5)
    entities = TaskSpec("a", ENTITY_METRICS, OneLabel(("O", "B-X")))
    always_x = 2 * 1 / (1 + 3)
    assert constant_of_tags(entities, sentences(["O", "O", "B-X"])) == always_x
    assert constant_of_tags(entities, sentences(["O", "O"])) is None


def test_the_commonest_answer_to_questions():
    assert constant_of_questions({"1": ["red cat"], "2": ["red cat", "dog"], "3": ["owl"], "4": []}) == pytest.approx(
        1 / 2
    )
    assert constant_of_questions({"1": [], "2": [], "3": ["cat"]}) == pytest.approx(2 / 3), "no answer is one too"
    assert constant_of_questions({"1": ["cat"], "2": ["dog", "cat"]}) is None


def test_answers_that_all_begin_at_one_place():
    asked = Questions()
    for number in range(40):
        asked.add(str(number), "q", f"{number} a b", [(number % 7, "a")])
    best = [[SpanAnswer("x", 0 if number else 3, 1.0)] for number in range(40)]
    assert spread_of_places(best, asked) == pytest.approx(1 / 40)
    assert spread_of_places(best[:9], asked) is None, "too few to tell"
    asked.answers = [[(0, "a")]] * 40
    assert spread_of_places(best, asked) is None, "and so they should"


@pytest.mark.parametrize(
    ("scores", "constant", "num_examples", "says"),
    [
        ([0.7, 0.7, 0.703, 0.702], 0.7, 40, "on held-out examples has stood still at 0.7020 for 4 evaluations"),
        ([0.5, 0.8, 0.61, 0.61, 0.611, 0.61], 0.5, 40, "after it had been at 0.800; more epochs"),
        ([0.6, 0.6, 0.6, 0.6], 0.5, 400, "stood still at 0.6000 for 4 evaluations; more epochs"),
        ([0.6, 0.6, 0.6, 0.6], 0.5, 40, None), ([0.5, 0.9, 0.9, 0.9, 0.9], 0.5, 400, None),
        ([0.7, 0.7, 0.7], 0.7, 400, None), ([0.7] * 9, None, 400, None), ([0.997] * 4, 0.99, 400, None),
    ],
)  # fmt: skip
def test_scores_that_stand_still(scores, constant, num_examples, says):
    found = stood_still("accuracy", scores, constant, num_examples)
    assert found is None if says is None else says in found


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    make_model(folder)
    write_task(folder).rename(folder / "texts")
    write_task(folder, numbers=True).rename(folder / "numbers")
    write_topics(folder)
    write_tagging(folder)
    write_glue(folder, "sts-b")
    (folder / "questions").mkdir()
    for split, asked in (("train", ask(300, 0)), ("dev", ask(60, 1))):
        (folder / f"questions/{split}.json").write_text(squad(asked))
    return folder


KINDS = {
    "texts": ("custom", "data=texts"), "numbers": ("custom", "data=numbers", "custom.kind=regression"),
    "topics": ("custom", "data=topics", "custom.kind=multi-label", "epochs=12"),
    "tags": ("custom", "data=tagging", "custom.kind=tagging", "epochs=6"),
    "questions": ("squad-v1.1", "data=questions", "answering.question_length=8", "epochs=8", "sequence_length=48"),
    "several": ("several", "data=texts", 'several.tasks=["custom", "chunk"]', "several.folders.custom=texts",
                "several.folders.chunk=tagging", "epochs=6"),
}  # fmt: skip
UNTAUGHT = ("schedule.learning_rate=1e-9", "epochs=0.1", "optimizer.weight_decay=0")


def run_of(toys: Path, kind: str, out: Path, *overrides: str) -> list[str]:
    """Train, and return what the trial was warned of."""
    task, *settings = KINDS[kind]
    inside = [f"{key}={toys / value}" if key == "data" or "folders" in key else f"{key}={value}"
              for key, value in (setting.split("=", 1) for setting in settings)]  # fmt: skip
    base = [f"model={toys / 'model'}", "seeds=1", "epochs=5", "batch_size=8", "sequence_length=32",
            "layerwise_lr_decay=1", "schedule.learning_rate=3e-3", "machine.device=cpu",
            *inside, *overrides]  # fmt: skip
    finetune(load(FinetuneRecipe, "finetune", task, base), out)
    return json.loads((out / "trials/seed-0/results.json").read_text())["cautions"]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in ("topics", "several") else kind for kind in KINDS]
)
def test_a_model_that_was_not_taught_is_warned_of_and_one_that_has_learnt_is_not(toys, tmp_path, capsys, kind):
    cautions = run_of(toys, kind, tmp_path / "untaught", *UNTAUGHT)
    shown = capsys.readouterr().err
    assert len(cautions) == (2 if kind == "several" else 1)
    for caution in cautions:
        assert "is no better than" in caution or "nearly alike" in caution or "is the same" in caution
        assert f"seed 0: {caution}\n" in shown and "more epochs or another learning rate" in caution
    assert run_of(toys, kind, tmp_path / "random", *UNTAUGHT, "random_weights=true") == []  # a baseline need not learn
    assert run_of(toys, kind, tmp_path / "taught") == []
    assert "learning rate" not in capsys.readouterr().err


def test_a_score_that_stands_still_is_said_where_there_are_several_looks(toys, tmp_path, capsys):
    stopping = ("early_stopping.share=0.2", "early_stopping.every=0.04", "early_stopping.patience=9", "epochs=0.4")
    cautions = run_of(toys, "texts", tmp_path, "schedule.learning_rate=1e-9", *stopping)
    assert len(cautions) == 2 and "accuracy on held-out examples has stood still at" in cautions[1]
    assert f"seed 0: {cautions[1]}\n" in capsys.readouterr().err
