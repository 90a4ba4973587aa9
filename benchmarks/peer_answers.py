"""Extractive question answering as `transformers`' own scripts do it: overlapping windows, a start and an end logit."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import train_and_predict
from bertsmith.scoring.text_answers import score_answers
from bertsmith.tasks.published.squad import Questions, read_questions
from bertsmith.tasks.recipe import FinetuneRecipe

BEST = 20
"""Starts and ends of a window that are combined."""

STRIDE, LONGEST_ANSWER = 128, 30
"""In tokens; here the stride is how much two windows have in common."""


def answer_scores(recipe: FinetuneRecipe, files: tuple[Path, Path], seed: int) -> dict[str, float]:
    """`exact_match` and `f1` on the second of the files, as fractions of 1, after training on the first."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, default_data_collator

    train, dev = (read_questions(path, training=training) for path, training in zip(files, (True, False), strict=True))
    tokenizer = AutoTokenizer.from_pretrained(recipe.model)
    torch.manual_seed(seed)
    model = AutoModelForQuestionAnswering.from_pretrained(recipe.model)
    train_windows, dev_windows = (_windows(asked, tokenizer, recipe.sequence_length) for asked in (train, dev))
    features = [
        _inputs(train_windows, number) | _labels(train, train_windows, number)
        for number in range(len(train_windows["input_ids"]))
    ]
    asked = [_inputs(dev_windows, number) for number in range(len(dev_windows["input_ids"]))]

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        padded = tokenizer.pad([{name: row[name] for name in asked[0]} for row in rows], return_tensors="pt")
        places = default_data_collator([{name: row[name] for name in row if name not in asked[0]} for row in rows])
        return {**padded, **places}

    starts, ends = train_and_predict(model, features, asked, collate, recipe, seed)
    predicted = _answers(dev, dev_windows, starts, ends)
    gold = {id: [text for _, text in answers] for id, answers in zip(dev.ids, dev.answers, strict=True)}
    return {name: score / 100 for name, score in score_answers(gold, predicted).items()}


def _windows(asked: Questions, tokenizer: Any, length: int) -> Any:
    contexts = [asked.context(question) for question in range(len(asked))]
    return tokenizer(
        [text.strip() for text in asked.texts], contexts, truncation="only_second", max_length=length, stride=STRIDE,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip


def _inputs(windows: Any, number: int) -> dict[str, list[int]]:
    return {name: windows[name][number] for name in ("input_ids", "token_type_ids", "attention_mask")}


def _labels(asked: Questions, windows: Any, number: int) -> dict[str, int]:
    """The tokens where the first answer begins and ends; [CLS] where the window does not hold it whole."""
    start, text = asked.answers[windows["overflow_to_sample_mapping"][number]][0]
    offsets, parts = windows["offset_mapping"][number], windows.sequence_ids(number)
    inside = [place for place, part in enumerate(parts) if part == 1]
    first = [place for place in inside if offsets[place][0] <= start < offsets[place][1]]
    last = [place for place in inside if offsets[place][0] < start + len(text) <= offsets[place][1]]
    found = (first[0], last[0]) if first and last else (0, 0)
    return {"start_positions": found[0], "end_positions": found[1]}


def _answers(asked: Questions, windows: Any, starts: np.ndarray, ends: np.ndarray) -> dict[str, str]:
    best: dict[int, tuple[float, str]] = defaultdict(lambda: (-np.inf, ""))
    for number, question in enumerate(windows["overflow_to_sample_mapping"]):
        offsets, parts = windows["offset_mapping"][number], windows.sequence_ids(number)
        inside = np.array([part == 1 for part in parts])
        start_logits, end_logits = (
            np.where(inside, logits[number, : len(parts)], -np.inf) for logits in (starts, ends)
        )
        for first in np.argsort(-start_logits)[:BEST]:
            for last in np.argsort(-end_logits)[:BEST]:
                score = start_logits[first] + end_logits[last]
                if first <= last < first + LONGEST_ANSWER and score > best[question][0]:
                    text = asked.context(question)[offsets[first][0] : offsets[last][1]]
                    best[question] = (float(score), text)
    return {id: best[question][1] for question, id in enumerate(asked.ids)}
