"""A model's scores of windows → the best answers of each question, in the context's own characters."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from bertsmith.encoders.tokens import copy_to
from bertsmith.tasks.answering.answering import Answering, Spans
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.windows import Windows
from bertsmith.tasks.rows import scored
from bertsmith.training.machine import Machine

MIN_ANSWERS = 20  # of fewer many may begin at one place by chance


class SpanAnswer(NamedTuple):
    """A model's answer to a question."""

    text: str
    """A stretch of the context; "" where the context has no answer."""
    start: int | None
    """The character of the context that it begins with."""
    score: float | None
    """Score of the likeliest span: the greater, the likelier, of a joint head a log-probability; None of an empty
    context."""
    null_odds: float | None = None
    """The greater, the less there is an answer; None of a model that was not fine-tuned to say so."""
    prob: float | None = None
    """Probability of the likeliest span, in the part of the context that was read at once; None without a score."""


def find_candidates(objective: Answering, windows: Windows, machine: Machine, top_k: int = 1) -> Spans:
    """Return the best spans of each window that begin where it has more context than the question's other windows."""
    shape = (len(windows), top_k)
    starts, ends = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    scores, log_totals = np.full(shape, -np.inf, dtype=np.float32), np.zeros(len(windows), dtype=np.float32)
    null_scores = np.zeros(len(windows), dtype=np.float32) if objective.may_have_none else None
    is_max_context = windows.is_max_context()
    for chosen, tokens, window_scores in scored(objective, windows, machine):
        may_begin = copy_to(torch.from_numpy(_grid(is_max_context, windows, chosen, tokens.max_seqlen)), machine.device)
        with machine.inference():
            spans = objective.spans(window_scores, tokens, may_begin, top_k)
        num_found = spans.scores.shape[1]
        for array, values in zip((starts, ends, scores), spans[:3], strict=True):
            array[chosen, :num_found] = values.cpu().numpy()
        log_totals[chosen] = spans.log_totals if isinstance(spans.log_totals, float) else spans.log_totals.cpu().numpy()
        if null_scores is not None:
            null_scores[chosen] = window_scores.null_scores.cpu().numpy()
    return Spans(starts, ends, scores, log_totals, null_scores)


def best_answers(candidates: Spans, windows: Windows, questions: Questions, top_k: int = 1) -> list[list[SpanAnswer]]:
    """Return the `top_k` best answers to each question, of all its windows, the best first; none where
    its context has no token."""
    scores = candidates.scores.ravel()
    window = np.repeat(np.arange(len(windows)), candidates.scores.shape[1])
    question = windows.question_of[window]
    order = np.lexsort((-scores, question))
    order = order[np.isfinite(scores[order])]
    bounds = np.searchsorted(question[order], np.arange(len(questions) + 1))
    starts, ends = candidates.starts.ravel(), candidates.ends.ravel()

    def answer(number: int, at: int) -> SpanAnswer:
        place = windows.characters(window[at], starts[at], ends[at])
        score = float(scores[at])
        prob = math.exp(min(0.0, score - float(candidates.log_totals[window[at]])))
        return SpanAnswer(questions.context(number)[place], place.start, score, prob=prob)

    return [
        [answer(number, at) for at in order[begin : min(end, begin + top_k)]]
        for number, (begin, end) in enumerate(pairwise(bounds))
    ]


def spread_of_places(best: list[list[SpanAnswer]], questions: Questions) -> float | None:
    """Return the share of answers that begin elsewhere in their contexts than most do; None where that shows nothing,
    since there are few, or the right ones begin alike too."""
    share = _share_elsewhere([answers[0].start for answers in best if answers])
    gold_share = _share_elsewhere([answers[0][0] for answers in questions.answers if answers])
    return share if gold_share is not None and gold_share > 0.1 else None


def _share_elsewhere(starts: Sequence[int | None]) -> float | None:
    return 1 - max(Counter(starts).values()) / len(starts) if len(starts) >= MIN_ANSWERS else None


def null_odds(candidates: Spans, windows: Windows, best: list[list[SpanAnswer]], joint: bool) -> np.ndarray:
    """Return [Q] float64: the greater, the less each question has an answer. The least that any of its windows says,
    since the others may only not have it; where the head is not joint, less the score of the question's best answer.

    Source: google-research/electra, finetune/qa/qa_metrics.py, write_predictions.
    """
    first = np.searchsorted(windows.question_of, np.arange(len(best)))
    least = np.minimum.reduceat(candidates.null_scores.astype(np.float64), first)
    return least if joint else least - [answers[0].score if answers else 0.0 for answers in best]


def _grid(is_max_context: np.ndarray, windows: Windows, chosen: np.ndarray, length: int) -> np.ndarray:
    """Return [n, length] bool: which places of the chosen windows' rows are tokens of the context that
    `is_max_context` has."""
    behind = np.cumsum(windows.sizes)
    places = windows.context_places
    grid = np.zeros((len(chosen), length), dtype=bool)
    for row, window in enumerate(chosen):
        size, place = windows.sizes[window], places[window]
        grid[row, place : place + size] = is_max_context[behind[window] - size : behind[window]]
    return grid
