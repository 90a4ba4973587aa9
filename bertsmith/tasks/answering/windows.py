"""A question and a stretch of its context as one row; contexts that are too long come in several, overlapping.

[CLS] question [SEP] stretch of the context [SEP]

Rows are put together when they are asked for: what is kept are ids and character offsets of each context once, however
many questions are asked about it, and of each window three integers.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from bertsmith.console.progress import PATIENCE_SECONDS, progress_bar
from bertsmith.encoders.tokens import Tokens
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.rows import TextIds, encode_texts, join_rows
from bertsmith.tokenizers.tokenizer import Tokenizer

CONTEXTS_AT_ONCE = 256
"""Given to the tokenizer, whose objects take a hundred times the memory of what is kept of them."""

TOKENS_AT_ONCE = 1 << 20
"""Of windows, sorted together; a sort takes a hundred bytes for each."""


@dataclass(frozen=True)
class Windows:
    """The windows of questions' contexts, W of them."""

    question_ids: TextIds
    """Each cut to the longest that is allowed."""
    context_ids: TextIds
    offsets: np.ndarray
    """[T, 2] int32: where each token of the contexts begins and ends in its context, in characters."""
    context_of: np.ndarray  # [Q] int64
    question_of: np.ndarray
    """[W] int64, in ascending order."""
    starts: np.ndarray
    """[W] int64: the context's token that comes first in the window."""
    sizes: np.ndarray
    """[W] int64: how many of them are in it."""
    special_ids: tuple[int, int]  # [CLS], [SEP]
    num_truncated: int
    """Questions that lost their end."""
    num_separators: int = 1
    """[SEP] between question and context."""

    def __len__(self) -> int:
        return len(self.question_of)

    @cached_property
    def lengths(self) -> np.ndarray:
        """[W] int64, tokens of each row."""
        return self.context_places + self.sizes + 1

    @cached_property
    def context_places(self) -> np.ndarray:
        """[W] int64: the place in the row of the window's first token of the context."""
        return 1 + self.num_separators + self.question_ids.lengths[self.question_of]

    @cached_property
    def first_tokens(self) -> np.ndarray:
        """[W] int64: that first token's place among the tokens of all contexts."""
        return self.context_ids.starts[self.context_of[self.question_of]] + self.starts

    def take(self, windows: np.ndarray) -> Tokens:
        """Return the rows of these windows, in this order."""
        stretches = TextIds(self.context_ids.ids, self.first_tokens[windows], self.sizes[windows])
        questions = self.question_ids.take(self.question_of[windows])
        rows = join_rows([questions, stretches], self.special_ids, num_separators=self.num_separators)
        return Tokens.pack(rows.ids, rows.segment_ids, rows.lengths)

    def answer_places(self, window: int, answer: tuple[int, str]) -> tuple[int, int] | None:
        """Return first and last place in the window's row of the tokens that hold `answer`, (first character, text);
        None where one of them is not in the window."""
        context = self.context_of[self.question_of[window]]
        offsets = self.offsets[self.context_ids.starts[context] :][: self.context_ids.lengths[context]]
        start, text = answer
        first = int(np.searchsorted(offsets[:, 1], start, side="right"))
        last = int(np.searchsorted(offsets[:, 0], start + len(text), side="left")) - 1
        begin, end = self.starts[window], self.starts[window] + self.sizes[window]
        if not text or last < first or first < begin or last >= end:
            return None
        shift = int(self.context_places[window] - begin)
        return first + shift, last + shift

    def characters(self, window: int, first: int, last: int) -> slice:
        """Return where in the context the tokens from the row's place `first` to its place `last` are."""
        shift = int(self.first_tokens[window] - self.context_places[window])
        return slice(int(self.offsets[first + shift, 0]), int(self.offsets[last + shift, 1]))

    def is_max_context(self) -> np.ndarray:
        """Return [sum of `sizes`] bool: of all windows that a token of the context is in, whether this one has the most
        text on the token's shorter side (of equals, the first). Source: google-research/bert, run_squad.py,
        _check_is_max_context."""
        num_tokens = np.bincount(self.question_of, weights=self.sizes)
        block = (np.cumsum(num_tokens) // TOKENS_AT_ONCE)[self.question_of]
        bounds = [0, *(np.flatnonzero(np.diff(block)) + 1), len(self)]
        return np.concatenate([self._is_max_context(np.arange(*both)) for both in pairwise(bounds)])

    def _is_max_context(self, windows: np.ndarray) -> np.ndarray:
        """Return the same of these windows, which are all that their questions have."""
        all_sizes = self.sizes[windows]
        window = np.repeat(windows, all_sizes)
        within = np.arange(len(window)) - np.repeat(np.cumsum(all_sizes) - all_sizes, all_sizes)
        sizes = self.sizes[window]
        score = np.minimum(within, sizes - 1 - within) + 0.01 * sizes
        token = (self.question_of[window], self.starts[window] + within)
        best = np.lexsort((window, -score, token[1], token[0]))
        first = np.ones(len(best), dtype=bool)
        first[1:] = (np.diff(token[0][best]) != 0) | (np.diff(token[1][best]) != 0)
        chosen = np.zeros(len(best), dtype=bool)
        chosen[best[first]] = True
        return chosen


def cut_into_windows(
    questions: Questions, tokenizer: Tokenizer, length: int, stride: int = 128, question_length: int = 64
) -> Windows:
    """Return windows of rows of at most `length` tokens, each beginning `stride` tokens of the context after the one
    before; questions are cut to `question_length`. Raises ValueError where no context fits behind such a question.

    Source: google-research/electra, finetune/qa/qa_tasks.py.
    """
    num_specials = 2 + tokenizer.num_separators
    if length - num_specials - question_length < 1:
        raise ValueError(f"sequence_length = {length} has no room behind questions of {question_length} tokens")
    whole = encode_texts(questions.texts, tokenizer)
    question_ids = whole.cut(question_length)
    context_ids, offsets = _with_offsets(questions.contexts, tokenizer)
    context_of = np.array(questions.context_of, dtype=np.int64)
    totals = context_ids.lengths[context_of]  # [Q], tokens of each question's context
    room = length - num_specials - question_ids.lengths
    counts = 1 + np.maximum(0, -(-(totals - room) // np.minimum(stride, room)))  # [Q], windows of each question
    question_of = np.repeat(np.arange(len(questions)), counts)
    number = np.arange(len(question_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = number * np.minimum(stride, room)[question_of]
    sizes = np.minimum(room[question_of], totals[question_of] - starts)
    return Windows(
        question_ids, context_ids, offsets, context_of, question_of, starts, sizes,
        (tokenizer.cls_id, tokenizer.sep_id), int((whole.lengths > question_length).sum()),
        tokenizer.num_separators,
    )  # fmt: skip


def _with_offsets(texts: list[str], tokenizer: Tokenizer) -> tuple[TextIds, np.ndarray]:
    ids, offsets = [], []
    with progress_bar("reading contexts", len(texts), patience=PATIENCE_SECONDS) as bar:
        for start in range(0, len(texts), CONTEXTS_AT_ONCE):
            chunk = texts[start : start + CONTEXTS_AT_ONCE]
            for its_ids, its_offsets in tokenizer.encode_with_offsets(chunk):
                ids.append(its_ids)
                offsets.append(its_offsets)
            bar.update(start + len(chunk))
    lengths = np.array([len(part) for part in ids], dtype=np.int64)
    return TextIds(np.concatenate(ids), np.cumsum(lengths) - lengths, lengths), np.concatenate(offsets)
