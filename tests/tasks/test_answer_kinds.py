"""What each kind of answer owns: its description, what a model learns, and what it says."""

import numpy as np
import pytest
import torch

from bertsmith.tables.labels import label_of
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.task_spec import answer_kind_of

LABELS = ("cold", "very  warm")
KINDS = {
    "one label": (OneLabel(LABELS), [label_of("very warm"), label_of("cold")], ["very warm", "cold"]),
    "any labels": (AnyLabels(LABELS), [[label_of("very warm"), label_of("cold")], []], ["cold,very warm", ""]),
    "number": (Number(low=1.0, high=5.0), [1.0, 4.0], ["1", "4"]),
}


@pytest.mark.parametrize("name", KINDS)
def test_gold_answers_are_read_learnt_and_written(name):
    kind, cells, texts = KINDS[name]
    gold = kind.gold(cells)
    assert gold.dtype == kind.dtype and kind.gold_texts(gold) == texts
    scores = np.zeros((2, kind.num_outputs), dtype=np.float32)
    if name == "one label":
        scores[[0, 1], gold] = 3
    elif name == "any labels":
        scores = np.where(gold, 3, -3).astype(np.float32)
    else:
        scores[:, 0] = kind.learnt(gold)
        assert scores[:, 0].tolist() == [0, 0.75]
    np.testing.assert_array_equal(kind.decode(scores), gold)
    answers = {"answers": torch.from_numpy(kind.learnt(gold))}
    worse = torch.from_numpy(scores[::-1].copy())
    assert kind.loss(torch.from_numpy(scores), answers) < kind.loss(worse, answers) and kind.loss_count(answers) == 2
    assert kind.spread(scores, gold) > kind.spread(np.tile(scores[:1], (2, 1)), gold) == pytest.approx(0)


@pytest.mark.parametrize("name", KINDS)
def test_a_manifest_describes_it(name):
    kind, _, _ = KINDS[name]
    assert answer_kind_of(**kind.to_json()) == kind


def test_an_exported_number_is_on_the_tasks_scale():
    kind, weights = (
        Number(low=1.0, high=5.0),
        {"head.output.weight": torch.ones(1, 2), "head.output.bias": torch.ones(1)},
    )
    exported, names = kind.exported(weights | {"encoder.x": torch.zeros(1)})
    assert names == ("score",) and exported["head.output.weight"].tolist() == [[4, 4]]
    assert exported["head.output.bias"].item() == 5 and "encoder.x" in exported
    assert OneLabel(LABELS).exported(weights) == (weights, LABELS)
