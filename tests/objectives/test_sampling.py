"""Sampling follows softmax, without the original token where that is asked."""

import numpy as np
import torch
from scipy.stats import chisquare

from bertsmith.objectives.cross_entropy import BLOCK, find, sample, sample_uniformly

COUNT = 200_000
SCORES = torch.tensor([1.0, -2.0, 0.3, 2.2, float("-inf"), 0.0])


def draw(label: int = 3, **rule) -> np.ndarray:
    """How often each token came."""
    draws = torch.rand(COUNT, generator=torch.Generator().manual_seed(0))
    found = sample(SCORES.expand(COUNT, -1), draws, torch.full((COUNT,), label), **rule)
    return np.bincount(found.numpy(), minlength=len(SCORES))


def agrees(counts: np.ndarray, probabilities: torch.Tensor) -> bool:
    possible = probabilities.numpy() > 0
    assert counts[~possible].sum() == 0
    return chisquare(counts[possible], COUNT * probabilities.double().numpy()[possible], sum_check=False).pvalue > 1e-3


def test_as_softmax_with_a_temperature():
    for temperature in (1.0, 0.5, 3.0):
        expected = (SCORES / temperature).softmax(0)
        assert agrees(draw(temperature=temperature), expected)
    assert not agrees(draw(temperature=0.9), SCORES.softmax(0))


def test_as_the_greatest_of_scores_plus_gumbel_noise():
    """The reference's way, in numpy; source: google-research/electra, pretrain/pretrain_helpers.py."""
    uniform = np.random.default_rng(0).random((COUNT, len(SCORES)))
    gumbel = -np.log(-np.log(uniform + 1e-9) + 1e-9)
    frequencies = np.bincount((SCORES.numpy() + gumbel).argmax(axis=1), minlength=len(SCORES)) / COUNT
    np.testing.assert_allclose(draw() / COUNT, frequencies, atol=0.005)


def test_never_the_original_token():
    counts = draw(disallow_correct=True)
    expected = SCORES.clone()
    expected[3] = float("-inf")
    assert agrees(counts, expected.softmax(0))


def test_the_ends_of_the_scale_are_possible_tokens():
    ends = torch.tensor([0.0, 1.0 - 2**-24])
    for scores in (SCORES, SCORES.flip(0), torch.tensor([float("-inf"), 0.0, float("-inf")])):
        found = sample(scores.expand(2, -1), ends, torch.zeros(2, dtype=torch.int64))
        assert torch.isfinite(scores[found]).all()
    assert sample_uniformly(ends, torch.tensor([0, 9]), 10, False).tolist() == [0, 9]
    assert sample_uniformly(ends, torch.tensor([0, 9]), 10, True).tolist() == [1, 8]


def test_uniformly():
    draws = torch.rand(COUNT, generator=torch.Generator().manual_seed(0))
    for disallow, expected in ((False, [1] * 7), (True, [1, 1, 0, 1, 1, 1, 1])):
        counts = np.bincount(sample_uniformly(draws, torch.full((COUNT,), 2), 7, disallow), minlength=7)
        probabilities = torch.tensor(expected) / sum(expected)
        assert agrees(counts, probabilities)


def test_a_vocabulary_of_several_blocks():
    scores = torch.randn(1, 3 * BLOCK + 5, generator=torch.Generator().manual_seed(0))
    draws = torch.rand(COUNT // 10, generator=torch.Generator().manual_seed(1))
    found = find(scores.softmax(dim=1).expand(len(draws), -1), draws)
    cumulated = scores[0].double().softmax(dim=0).cumsum(dim=0)
    expected = torch.searchsorted(cumulated, draws.double(), right=True)
    assert (found == expected).float().mean() > 0.999
    assert (found - expected).abs().max() <= 1
