"""Masking: which tokens are predicted, and their replacements. On the host, in numpy: a batch is masked before it is
cut into micro-batches, so that the cut changes nothing."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch, PretrainingSettings
from bertsmith.text.segments import PackedRows
from bertsmith.tokenizers.word_bounds import WordBounds


@settings
class MaskingSettings:
    """The share of masked tokens and their replacement; the defaults are the reference's."""

    prob: float = setting(0.15, "share of a row's tokens that are predicted", gt=0, lt=1)
    final_prob: float | None = setting(
        None, "that share at the plan's end, towards which it changes linearly; left out: it stays. In a plan of hours "
        "it follows the clock, so that another run has other masks", gt=0, lt=1
    )  # fmt: skip
    whole_words: bool = setting(False, "predict all pieces of a word or none")
    mask_token_prob: float = setting(0.85, "probability that a predicted token becomes [MASK]", ge=0, le=1)
    random_token_prob: float = setting(
        0.0, "probability that it becomes a random token; otherwise it stays", ge=0, le=1
    )

    def __post_init__(self) -> None:
        if self.mask_token_prob + self.random_token_prob > 1:
            raise ValueError("mask_token_prob and random_token_prob add up to more than 1")

    def max_predictions(self, length: int) -> int:
        """Return the most predictions in a row of `length` tokens: 19 at 128, 79 at 512; of a share that changes, at
        its largest.

        Source: google-research/electra, configure_pretraining.py, max_predictions_per_seq.
        """
        return max(1, int((max(self.prob, self.final_prob or 0.0) + 0.005) * length))

    def check_fits(self, compat: bool) -> None:
        """Raises ValueError where masks like these cannot be drawn as the reference does."""
        if compat and self.whole_words:
            raise ValueError("objective.masking.whole_words: the reference draws single tokens; leave compat out")

    def describe(self) -> str:
        """Return in words how many tokens are predicted at the plan's end, and their replacements."""
        share = self.final_prob or self.prob
        replaced = f"{self.mask_token_prob:.0%} as [MASK], {self.random_token_prob:.0%} at random"
        return f"{share:.0%} of them predicted ({replaced})"

    def prob_at(self, progress: float) -> float:
        """Return the share at this progress of the plan, from 0 to 1."""
        return self.prob if self.final_prob is None else self.prob + (self.final_prob - self.prob) * progress

    def share_predicted(self, length: int) -> float:
        """Return predictions for each token of a row of `length` tokens, averaged over the plan."""
        ends = (self.prob, self.prob if self.final_prob is None else self.final_prob)
        return sum(max(1, int((prob + 0.005) * length)) for prob in ends) / (2 * length)


@settings
class MaskMeasuring:
    """Settings that decide which tokens are masked and replaced when held-out text is measured."""

    masking: MaskingSettings = setting(MaskingSettings(), "which tokens are predicted")
    temperature: float = setting(1.0, "of a generator: divides the scores before a token is drawn", gt=0)
    disallow_correct: bool = setting(False, "of a generator: never draw the original token")


class MaskingObjectiveSettings(PretrainingSettings):
    """The base of settings with a table `masking`."""

    masking: MaskingSettings

    def check_fits(self, config: EncoderConfig, compat: bool = False) -> None:
        self.masking.check_fits(compat)

    def max_predictions(self, length: int) -> int:
        return self.masking.max_predictions(length)

    def describe_measuring(self) -> str:
        return self.masking.describe()


class Masked(NamedTuple):
    """Masked rows and what was there before; K is the most predictions in a row."""

    ids: np.ndarray
    """[T], with replacements."""
    positions: np.ndarray
    """[N, K] int64, counted within the row; 0 where the weight is 0."""
    labels: np.ndarray
    """[N, K] int64, the original ids."""
    weights: np.ndarray
    """[N, K] float32, 1 for a prediction and 0 for a place the row does not use."""


class MaskingVocabulary(NamedTuple):
    """The vocabulary's ids that masking depends on."""

    size: int
    mask_id: int = 0
    never_masked: tuple[int, ...] = ()
    """[CLS], [SEP], [PAD], [MASK]."""
    word_bounds: WordBounds | None = None
    """Which tokens begin a word; only masking by whole words asks for it."""

    @classmethod
    def of(cls, tokenizer: Any, size: int | None = None) -> "MaskingVocabulary":
        """Return the ids of a tokenizer; `size`: of token tables that are larger than its vocabulary."""
        size = size or tokenizer.vocab_size
        return cls(size, tokenizer.mask_id, tokenizer.control_ids, tokenizer.word_bounds)


class MaskingPolicy(NamedTuple):
    """How to mask: the settings, the most predictions K in a row, whether to draw with replacement as the reference
    does, and how much of the plan is done, from 0 to 1."""

    settings: MaskingSettings
    max_predictions: int
    compat: bool = False
    progress: float = 0.0


def mask(
    ids: np.ndarray,
    lengths: np.ndarray,
    vocabulary: MaskingVocabulary,
    policy: MaskingPolicy,
    rng: np.random.Generator,
) -> Masked:
    """Mask packed rows: `ids` [T], `lengths` [N].

    A row of n tokens, special ones included, gets round(prob × n) predictions, at least 1 and at most K, but never more
    than it has candidates. By whole words it gets as many fewer as the last word drawn has pieces within that number,
    if not all are. Source: google-research/electra, pretrain/pretrain_helpers.py, mask.
    """
    settings, max_predictions, compat, progress = policy
    row_starts = np.cumsum(lengths) - lengths
    wanted = np.clip(np.rint(settings.prob_at(progress) * lengths), 1, max_predictions).astype(np.int64)  # [N]
    candidate = ~np.isin(ids, vocabulary.never_masked)
    num_candidates = np.add.reduceat(candidate, row_starts, dtype=np.int64)
    wanted = np.where(num_candidates == 0, 0, wanted)
    if compat:
        positions = _with_replacement(candidate, row_starts, num_candidates, max_predictions, rng)
    else:
        wanted = np.minimum(wanted, num_candidates)
        words = _words(ids, candidate, row_starts, vocabulary) if settings.whole_words else np.arange(len(ids))
        keys = rng.random(words[-1] + 1, dtype=np.float32)[words]
        positions = _without_replacement(candidate, keys, lengths, max_predictions)
    used = np.arange(max_predictions) < wanted[:, None]  # [N, K]
    if settings.whole_words and not compat:
        used &= ~_cut_word(words, row_starts[:, None] + positions, wanted)
    positions = np.where(used, positions, 0)
    places = row_starts[:, None] + positions
    labels = ids[places].astype(np.int64)

    uniform = rng.random(places.shape, dtype=np.float32)
    to_mask = used & (uniform < settings.mask_token_prob)
    to_random = used & ~to_mask & (uniform < settings.mask_token_prob + settings.random_token_prob)
    masked = ids.copy()
    if settings.random_token_prob:
        masked[places[to_random]] = rng.integers(vocabulary.size, size=int(to_random.sum()))
    masked[places[to_mask]] = vocabulary.mask_id  # last: a position drawn twice is masked if either draw says so
    return Masked(masked, positions, labels, used.astype(np.float32))


class MaskingCollator:
    """A collator that masks rows; the targets "positions", "labels" and "weights" [N, K] are those of `Masked`."""

    def __init__(self, settings: MaskingSettings, vocabulary: MaskingVocabulary, length: int, compat: bool = False):
        """Set the most predictions in a row from `length`, its most tokens."""
        self.settings, self.vocabulary, self.compat = settings, vocabulary, compat
        self.max_predictions = settings.max_predictions(length)

    def __call__(self, rows: PackedRows, rng: np.random.Generator, progress: float = 0.0) -> Batch:
        """See `Collator`."""
        ids, segment_ids, lengths = rows
        policy = MaskingPolicy(self.settings, self.max_predictions, self.compat, progress)
        masked = mask(ids, lengths, self.vocabulary, policy, rng)
        targets = {"positions": masked.positions, "labels": masked.labels, "weights": masked.weights}
        targets |= self.more_targets(ids, lengths, rng)
        tokens = Tokens.pack(masked.ids, segment_ids, lengths)
        return Batch(tokens, {name: torch.from_numpy(target) for name, target in targets.items()})

    def more_targets(self, ids: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return targets besides the masks, of rows that are not masked yet."""
        return {}


class PredictionTargets(NamedTuple):
    """The predictions to make for a batch of masked rows, flat."""

    positions: Tensor
    """[M] int64, into the flat tokens."""
    labels: Tensor
    """[M] int64, the original ids."""
    weights: Tensor
    """[M] float32, 0 where a row has fewer predictions than K; such positions are a row's first."""
    used: Tensor | None
    """[N × K] bool: which of the [N, K] targets are here; None: all of them."""

    def pick(self, target: Tensor) -> Tensor:
        """Return a target [N, K] of the batch flat, as `positions` is: [M]."""
        return target.flatten() if self.used is None else target.flatten()[self.used]


def prediction_targets(batch: Batch) -> PredictionTargets:
    """Return the predictions that a `MaskingCollator` chose: of packed rows only those that count; of padded ones all,
    so that shapes stay as they are, for the compiler."""
    in_rows, labels, weights = (batch.targets[name] for name in ("positions", "labels", "weights"))
    positions = batch.tokens.row_starts[:, None] + in_rows
    used = weights.flatten() > 0 if batch.tokens.valid_mask() is None else None
    pick = PredictionTargets(positions, labels, weights, used).pick
    return PredictionTargets(pick(positions), pick(labels), pick(weights), used)


def _without_replacement(
    candidate: np.ndarray, keys: np.ndarray, lengths: np.ndarray, max_predictions: int
) -> np.ndarray:
    """Return the candidates with the smallest of `keys` ([T] float32, below 1), in the order of those keys: [N, K]."""
    longest = int(lengths.max())
    spread = np.full((len(lengths), max(longest, max_predictions)), 2.0, dtype=np.float32)  # after every candidate
    filled = np.arange(spread.shape[1]) < lengths[:, None]
    spread[filled] = np.where(candidate, keys, 2.0)
    smallest = np.argpartition(spread, max_predictions - 1, axis=1)[:, :max_predictions]
    order = np.argsort(np.take_along_axis(spread, smallest, axis=1), axis=1)
    return np.take_along_axis(smallest, order, axis=1)


def _words(ids: np.ndarray, candidate: np.ndarray, row_starts: np.ndarray, vocabulary: MaskingVocabulary) -> np.ndarray:
    """Return each token's word, counted over all rows; a special token is a word: [T] int64."""
    assert vocabulary.word_bounds is not None
    begins = vocabulary.word_bounds.starts(ids) | ~(candidate & np.roll(candidate, 1))
    begins[row_starts] = True
    return np.cumsum(begins) - 1


def _cut_word(words: np.ndarray, places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the pieces, among the first `wanted` [N] of `places` [N, K], of a word that is not there in full: [N, K]
    bool."""
    chosen = words[np.minimum(places, len(words) - 1)]
    used = np.arange(places.shape[1]) < wanted[:, None]
    last = chosen[np.arange(len(chosen)), np.maximum(wanted - 1, 0)]
    of_last = used & (chosen == last[:, None])
    return of_last & (of_last.sum(axis=1) < np.bincount(words)[last])[:, None]


def _with_replacement(
    candidate: np.ndarray,
    row_starts: np.ndarray,
    num_candidates: np.ndarray,
    max_predictions: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return K draws from each row's candidates: [N, K]."""
    places = np.flatnonzero(candidate)
    first = np.cumsum(num_candidates) - num_candidates
    drawn = (rng.random((len(row_starts), max_predictions)) * num_candidates[:, None]).astype(np.int64)
    chosen = np.minimum(first[:, None] + drawn, max(0, len(places) - 1))
    return places[chosen] - row_starts[:, None] if len(places) else np.zeros_like(chosen)
