"""Exact match and F1 of answer texts, as SQuAD 1.1 and MRQA 2019 count them.

Sources: evaluate-v1.1.py of SQuAD and mrqa_official_eval.py of mrqa/MRQA-Shared-Task-2019, whose formulas are the same.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextScore(NamedTuple):
    """Of one answer, each from 0 to 1."""

    exact: float
    f1: float


def normalize(text: str) -> str:
    """Return a text in lower case, without ASCII punctuation and English articles, words separated by one space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def score_text(predicted: str, gold: Sequence[str], both_empty: float = 0.0) -> TextScore:
    """Return the best of each measure over the gold answers, of which there is at least one.

    Args:
        both_empty: F1 where nothing is left of prediction and answer after normalisation. The script of SQuAD 1.1 gives
            0 even though the two match exactly, that of 2.0 gives 1.
    """
    given, wanted = normalize(predicted), [normalize(answer) for answer in gold]
    exact = float(given in wanted)
    return TextScore(exact, max(_f1(given.split(), answer.split(), both_empty) for answer in wanted))


def _f1(given: list[str], wanted: list[str], both_empty: float) -> float:
    """Return harmonic mean of the shares of words that are in the other text too; a word counts as often as it is
    there."""
    if not given and not wanted:
        return both_empty
    shared = sum((Counter(given) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def percent(scores: Iterable[float], total: int) -> float:
    """Return the sum as a percentage of `total`, which is at least 1."""
    return 100.0 * sum(scores) / total


def score_answers(gold: Mapping[str, Sequence[str]], predicted: Mapping[str, str]) -> dict[str, float]:
    """Return `exact_match` and `f1` in percent, over all of `gold`; a question without a prediction counts as wrong.

    Args:
        gold: the answers by question id, at least one for each.
        predicted: a text by question id; other ids are passed over.
    """
    scores = [score_text(predicted[id], answers) for id, answers in gold.items() if id in predicted]
    return {
        "exact_match": percent((score.exact for score in scores), len(gold)),
        "f1": percent((score.f1 for score in scores), len(gold)),
    }
