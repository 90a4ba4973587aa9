import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.objectives.masking import MaskingPolicy, MaskingSettings, MaskingVocabulary, mask
from bertsmith.randomness import derived_rng
from bertsmith.tokenizers.word_bounds import WordBounds

VOCABULARY = MaskingVocabulary(size=1000, mask_id=4, never_masked=(0, 2, 3, 4))


def rows(lengths: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """[CLS] words [SEP], end to end."""
    rng = np.random.default_rng(seed)
    ids = [np.concatenate([[2], rng.integers(5, 1000, length - 2), [3]]) for length in lengths]
    return np.concatenate(ids).astype(np.uint16), np.array(lengths)


def masked(lengths, settings=None, compat=False, max_predictions=None, seed=0):
    settings = settings or MaskingSettings()
    ids, lengths = rows(lengths)
    max_predictions = max_predictions or settings.max_predictions(int(lengths.max()))
    return (
        ids,
        lengths,
        mask(ids, lengths, VOCABULARY, MaskingPolicy(settings, max_predictions, compat), derived_rng(seed, "masks")),
    )


@given(st.lists(st.integers(2, 128), min_size=1, max_size=10), st.booleans(), st.integers(0, 9))
def test_a_row_gets_its_number_of_predictions_and_special_tokens_none(lengths, compat, seed):
    ids, lengths, result = masked(lengths, compat=compat, max_predictions=19, seed=seed)
    starts = np.cumsum(lengths) - lengths
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        used = result.weights[row] == 1
        wanted = min(19, max(1, int(np.rint(0.15 * length))))
        assert used.sum() == (0 if length == 2 else wanted if compat else min(wanted, length - 2))
        positions = result.positions[row][used]
        assert np.all((positions > 0) & (positions < length - 1))
        assert np.array_equal(result.labels[row][used], ids[start + positions])
        assert compat or len(set(positions)) == len(positions)
        assert not result.positions[row][~used].any()
    changed = np.flatnonzero(result.ids != ids)
    predicted = (starts[:, None] + result.positions)[result.weights == 1]
    assert set(changed) <= set(predicted)


def test_the_budget_is_the_references():
    assert [MaskingSettings().max_predictions(length) for length in (128, 512)] == [19, 79]


def test_replacement_shares_lie_in_a_band():
    settings = MaskingSettings(mask_token_prob=0.8, random_token_prob=0.1)
    ids, lengths, result = masked([128] * 2000, settings)
    starts = np.cumsum(lengths) - lengths
    places = (starts[:, None] + result.positions)[result.weights == 1]
    before, after = ids[places], result.ids[places]
    n = len(places)
    for share, expected in (
        (np.mean(after == 4), 0.8),
        (np.mean((after != 4) & (after != before)), 0.1 * 999 / 1000),
        (np.mean(after == before), 0.1 + 0.1 / 1000),
    ):
        assert abs(share - expected) < 3.29 * np.sqrt(expected * (1 - expected) / n) + 1e-3


def test_the_references_share_of_masks_lies_in_a_band():
    """85 % [MASK] and never a random token, at positions that were drawn once; the others stay as they are."""
    ids, lengths, result = masked([128] * 2000, compat=True)
    starts = np.cumsum(lengths) - lengths
    places = (starts[:, None] + result.positions)[result.weights == 1]
    once = np.flatnonzero(np.bincount(places) == 1)
    before, after = ids[once], result.ids[once]
    share = np.mean(after == VOCABULARY.mask_id)
    assert abs(share - 0.85) < 3.29 * np.sqrt(0.85 * 0.15 / len(once))
    assert np.array_equal(after[after != VOCABULARY.mask_id], before[after != VOCABULARY.mask_id])


def test_positions_are_uniform_over_candidates():
    _, _, result = masked([22] * 20_000, max_predictions=3)
    counts = np.bincount(result.positions[result.weights == 1], minlength=22)
    expected = counts.sum() / 20
    assert counts[0] == counts[21] == 0
    assert np.all(np.abs(counts[1:21] - expected) < 4.5 * np.sqrt(expected))


def test_drawing_with_replacement_touches_the_references_number_of_positions():
    """17.7 distinct positions of 19 draws in a full row of two segments (125 candidates)."""
    _, _, result = masked([127] * 4000, compat=True, max_predictions=19)
    distinct = np.array([len(set(row)) for row in result.positions])
    assert distinct.mean() == pytest.approx(125 * (1 - (1 - 1 / 125) ** 19), abs=3.29 * distinct.std() / np.sqrt(4000))


def test_shares_above_one_are_refused():
    with pytest.raises(ValueError, match="more than 1"):
        MaskingSettings(mask_token_prob=0.9, random_token_prob=0.2)


IS_CONTINUATION = np.arange(1000) >= 700
PIECES = MaskingVocabulary(1000, 4, (0, 2, 3, 4), WordBounds.of_marked(IS_CONTINUATION))


@given(st.lists(st.integers(2, 128), min_size=1, max_size=10), st.integers(0, 99))
def test_whole_words_are_predicted_whole_or_not_at_all(lengths, seed):
    settings = MaskingSettings(whole_words=True)
    ids, lengths = rows(lengths, seed)
    result = mask(
        ids,
        lengths,
        PIECES,
        MaskingPolicy(settings, settings.max_predictions(int(lengths.max()))),
        derived_rng(seed, "masks"),
    )
    starts = np.cumsum(lengths) - lengths
    predicted = np.zeros(len(ids), dtype=bool)
    predicted[(starts[:, None] + result.positions)[result.weights == 1]] = True
    special = np.isin(ids, PIECES.never_masked)
    begins = ~IS_CONTINUATION[ids] | np.isin(np.arange(len(ids)), starts + 1)  # none goes on with [CLS]
    words = np.cumsum(begins | special)
    for word in np.unique(words[predicted]):
        assert predicted[words == word].all()
    wanted = np.minimum(np.clip(np.rint(0.15 * lengths), 1, settings.max_predictions(int(lengths.max()))), lengths - 2)
    longest = np.bincount(words).max()
    missing = wanted - result.weights.sum(axis=1)
    assert ((missing >= 0) & (missing < longest)).all()


def test_whole_words_leave_no_word_out():
    """Long words too: a piece in the middle of one is predicted about as often as a word of its own."""
    settings = MaskingSettings(whole_words=True)
    ids, lengths = rows([128] * 3000)
    result = mask(ids, lengths, PIECES, MaskingPolicy(settings, 19), derived_rng(0, "masks"))
    predicted = np.zeros(len(ids), dtype=bool)
    predicted[((np.arange(3000) * 128)[:, None] + result.positions)[result.weights == 1]] = True
    share = {piece: predicted[IS_CONTINUATION[ids] == piece].mean() for piece in (False, True)}
    assert share[True] == pytest.approx(share[False], rel=0.12)
    assert predicted.mean() == pytest.approx(19 / 128, rel=0.05)


def test_a_share_that_falls():
    settings = MaskingSettings(prob=0.3, final_prob=0.1)
    ids, lengths = rows([128] * 20)
    assert settings.max_predictions(128) == 39
    for progress, expected in ((0.0, 38), (0.5, 26), (1.0, 13)):
        policy = MaskingPolicy(settings, settings.max_predictions(128), progress=progress)
        result = mask(ids, lengths, VOCABULARY, policy, derived_rng(0, "masks"))
        assert result.weights.shape == (20, 39)
        assert (result.weights.sum(axis=1) == expected).all()
    assert settings.share_predicted(128) == (39 + 13) / 256
    assert MaskingSettings().share_predicted(128) == 19 / 128
