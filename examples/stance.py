"""A task with a metric of its own: the stance of a text towards a target, scored as SemEval-2016 task 6 does, by the
mean of the F1 of "favor" and of "against"; "none" counts where it is taken for one of them.

bertsmith finetune custom --plugin examples/stance.py task=stance model=runs/bert data=data/stance --out runs/stance

data holds train.jsonl and dev.jsonl, a JSON object a line: {"target": "…", "text": "…", "stance": "favor"}.
"""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from bertsmith.tables.cells import given_text
from bertsmith.tables.files import read_table
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.custom import find_file
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.registry import TASKS
from bertsmith.tasks.task_spec import TaskData, TaskSpec
from bertsmith.tasks.texts.examples import Examples


def stance_f1(predicted: np.ndarray, answers: np.ndarray) -> float:
    """Return the mean F1 of the classes 0 and 1, both [N] class ids."""
    return float(f1_score(answers, predicted, labels=[0, 1], average="macro", zero_division=0.0))


def read_stance(recipe: Any) -> TaskData:
    """Read the task's files, given the whole recipe of `finetune`."""
    return TaskData(STANCE, *(_read(recipe, split) for split in ("train", "dev")))


def _read(recipe: Any, split: str) -> Examples:
    path = find_file(Path(recipe.data), split, (".jsonl",))
    cells = {"target": given_text, "text": given_text, "stance": STANCE.answers.gold_cell()}
    table = read_table(path, cells, skip_malformed=recipe.skip_malformed)
    return Examples(table.columns["target"], table.columns["text"], np.array(table.columns["stance"], dtype=np.int64))


STANCE = TaskSpec(
    "stance",
    ("stance_f1", "accuracy"),  # the first one is what results are compared by
    OneLabel(("against", "favor", "none")),
    columns=(("target", "text"),),
    read=read_stance,
)
METRICS.add("stance_f1", stance_f1)
TASKS.add("stance", STANCE)
