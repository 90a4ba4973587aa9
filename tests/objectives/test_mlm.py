import numpy as np
import pytest
import torch

from bertsmith.encoders.bert import BertConfig
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.mlm import MaskedTokens, MaskedTokensSettings
from bertsmith.objectives.objective import Batch, denominators_of
from bertsmith.randomness import derived_rng
from tests.objectives.cuts import check_cuts
from tests.toys import packed_rows, random_tokens

VOCABULARY = MaskingVocabulary(50, 4, (0, 2, 3, 4))


def objective(dropout: float = 0.0) -> MaskedTokens:
    settings = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, embedding_size=16, max_position_embeddings=40,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    torch.manual_seed(0)
    return MaskedTokens(settings, VOCABULARY, MaskedTokensSettings())


def batch(model: MaskedTokens, seed: int = 0) -> Batch:
    collator = model.settings.collator(VOCABULARY, 40)
    return collator(packed_rows(random_tokens([20, 7, 40, 3, 12, 40], 50)), derived_rng(seed, "masks"))


def test_the_loss_is_cross_entropy_over_all_scores_at_masked_positions():
    """Against the plain way: scores at every token, then those that count are looked up."""
    model = objective().eval()
    asked = batch(model)
    losses = model.losses(asked)
    with torch.no_grad():
        everything = model.scores(asked.tokens, torch.arange(asked.tokens.num_tokens)).log_softmax(-1)
    total = correct = count = 0.0
    for row in range(asked.tokens.num_rows):
        for position, label, weight in zip(
            *(asked.targets[k][row] for k in ("positions", "labels", "weights")), strict=True
        ):
            place = int(asked.tokens.row_starts[row] + position)
            total -= float(weight * everything[place, label])
            correct += float(weight) * (everything[place].argmax() == label)
            count += float(weight)
    means = losses.means()
    assert means["mlm_loss"] == pytest.approx(total / count, rel=1e-5)
    assert means["mlm_accuracy"] == pytest.approx(correct / count)
    assert model.counts(asked)["mlm_loss"] == count


def test_how_a_batch_is_cut_changes_neither_loss_nor_gradient():
    model = objective()
    check_cuts(model, batch(model))


def test_masks_follow_from_the_generator():
    model = objective()
    one, two = batch(model), batch(model)
    assert torch.equal(one.tokens.ids, two.tokens.ids)
    other = batch(model, seed=1)
    assert not torch.equal(one.tokens.ids, other.tokens.ids)


def test_a_row_of_special_tokens_only_asks_nothing():
    model = objective()
    rows = np.array([2, 3]), np.zeros(2), np.array([2])
    asked = model.settings.collator(VOCABULARY, 8)(rows, derived_rng(0, "masks"))
    assert denominators_of(model, asked)["mlm_loss"] == 1
    losses = model.losses(asked)
    assert model.total(losses, denominators_of(model, asked)).item() == 0.0
