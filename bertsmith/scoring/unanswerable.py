"""Exact match and F1 where some questions have no answer in their text, and the best thresholds for saying so.

Source: evaluate-v2.0.py of SQuAD, which google-research/electra carries as finetune/qa/squad_official_eval.py.
"""

from collections.abc import Mapping, Sequence

from bertsmith.scoring.text_answers import TextScore, normalize, percent, score_text

NULL_THRESHOLD = 1.0
"""The script's default: odds that are probabilities are never above it."""


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
    present = [scores[id] for id in ids if id in scores]
    exact, f1 = ([score[place] for score in present] for place in range(2))
    return {"exact": percent(exact, len(ids)), "f1": percent(f1, len(ids)), "total": len(ids)}


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
