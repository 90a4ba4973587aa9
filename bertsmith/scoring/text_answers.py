"""Exact match and F1 of answer texts, as SQuAD 1.1 and MRQA 2019 count them, and SQuAD 2.0, where some questions have
no answer; there also the best thresholds for saying so.

Sources: evaluate-v1.1.py of SQuAD and mrqa_official_eval.py of mrqa/MRQA-Shared-Task-2019, whose formulas are the same;
evaluate-v2.0.py of SQuAD, which google-research/electra carries as finetune/qa/squad_official_eval.py.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

NULL_THRESHOLD = 1.0
"""The script's default: odds that are probabilities are never above it."""


class TextScore(NamedTuple):
    """Scores of one answer, each from 0 to 1."""

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


def score_answers(gold: Mapping[str, Sequence[str]], predicted: Mapping[str, str]) -> dict[str, float]:
    """Return `exact_match` and `f1` in percent, over all of `gold`; a question without a prediction counts as wrong.

    Args:
        gold: the answers by question id, at least one for each.
        predicted: a text by question id; other ids are passed over.
    """
    scores = {id: score_text(predicted[id], answers) for id, answers in gold.items() if id in predicted}
    means = _means(list(gold), scores)
    return {"exact_match": means["exact"], "f1": means["f1"]}


def score_answerable(
    gold: Mapping[str, Sequence[str]],
    predicted: Mapping[str, str],
    null_odds: Mapping[str, float] | None = None,
    threshold: float = NULL_THRESHOLD,
) -> dict[str, float]:
    """Return what the script writes, under its names, in percent: `exact`, `f1`, `total`; the same with `HasAns_` and
    `NoAns_` in front over the questions with and without an answer, where there are any; with odds `best_exact`,
    `best_f1` and the thresholds that give them, `best_exact_thresh` and `best_f1_thresh`.

    Args:
        gold: the answers by question id; none where the question has no answer.
        predicted: a text by question id, "" for no answer. A question that is not there counts as wrong, with or
            without an answer (the script leaves it out of the totals, then ends with a KeyError).
        null_odds: for each predicted id how likely the question has no answer; any number, the more the likelier.
        threshold: beyond it a question counts as given no answer, whatever text was predicted.
    """
    raw = {id: _score(predicted[id], answers) for id, answers in gold.items() if id in predicted}
    final = dict(raw)
    if null_odds is not None:
        for id in raw:
            if null_odds[id] > threshold:
                correct = float(not gold[id])
                final[id] = TextScore(correct, correct)
    scores = _means(list(gold), final)
    for prefix, has_answer in (("HasAns", True), ("NoAns", False)):
        ids = [id for id, answers in gold.items() if bool(answers) == has_answer]
        if ids:
            scores |= {f"{prefix}_{name}": value for name, value in _means(ids, final).items()}
    if null_odds is None:
        return scores
    for name in TextScore._fields:
        measure = {id: getattr(score, name) for id, score in raw.items()}
        best, at = _best_threshold(gold, predicted, measure, null_odds)
        scores |= {f"best_{name}": best, f"best_{name}_thresh": at}
    return scores


def _score(predicted: str, answers: Sequence[str]) -> TextScore:
    """Score a text. Answers of which normalisation leaves nothing count as none, and none is the same as an empty
    text."""
    return score_text(predicted, [answer for answer in answers if normalize(answer)] or [""], both_empty=1.0)


def _means(ids: Sequence[str], scores: Mapping[str, TextScore]) -> dict[str, float]:
    """Return the scores of these questions in percent, 0 of those that have none, and their number."""
    sums = (sum(scores[id][place] for id in ids if id in scores) for place in range(2))
    exact, f1 = (100.0 * total / len(ids) for total in sums)
    return {"exact": exact, "f1": f1, "total": len(ids)}


def _best_threshold(
    gold: Mapping[str, Sequence[str]],
    predicted: Mapping[str, str],
    measure: Mapping[str, float],
    null_odds: Mapping[str, float],
) -> tuple[float, float]:
    """Return the greatest mean of `measure` that a threshold on the odds gives, in percent, and that threshold.

    Starts from no answer to anything, which is the threshold 0 in the script, and lets answers in by rising odds. Equal
    odds are told apart by their order in `null_odds`: the script may stop between two of them, where no threshold can.
    """
    score = best = float(sum(1 for id in measure if not gold[id]))
    at = 0.0
    for id in sorted(null_odds, key=null_odds.__getitem__):
        if id not in measure:
            continue
        if gold[id]:
            score += measure[id]
        elif predicted[id]:
            score -= 1.0
        if score > best:
            best, at = score, null_odds[id]
    return 100.0 * best / len(gold), at
