"""Replaced-token detection: what is replaced, what is lost, what is shared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

from bertsmith.encoders.bert import BertConfig, MaskedTokenHead, ReplacedTokenHead
from bertsmith.encoders.encoder import Encoder
from bertsmith.objectives import rtd_networks
from bertsmith.objectives.generator import GeneratorSettings
from bertsmith.objectives.masking import MaskingSettings, MaskingVocabulary, prediction_targets
from bertsmith.objectives.objective import Batch, denominators_of
from bertsmith.objectives.rtd import (
    ReplacedTokens,
    ReplacedTokensSettings,
)
from bertsmith.randomness import derived_rng
from tests.objectives.cuts import check_cuts
from tests.toys import packed_rows, random_tokens

VOCABULARY = MaskingVocabulary(50, 4, (0, 2, 3, 4))
ENCODER = BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, embedding_size=16, max_position_embeddings=40,
    hidden_dropout_prob=0, attention_probs_dropout_prob=0, initializer_range=0.3,
)  # fmt: skip
SHARINGS = ("embeddings", "gradient_disentangled", "nothing", "everything")
LENGTHS = [20, 7, 40, 3, 12, 40]


def objective(prob: float = 0.15, **generator_settings) -> ReplacedTokens:
    torch.manual_seed(0)
    settings = ReplacedTokensSettings(
        masking=MaskingSettings(prob=prob), generator=GeneratorSettings(hidden_fraction=0.5, **generator_settings)
    )
    return ReplacedTokens(ENCODER, VOCABULARY, settings)


def batch(model: ReplacedTokens, seed: int = 0, compat: bool = False) -> Batch:
    collator = model.settings.collator(VOCABULARY, 40, compat)
    return collator(packed_rows(random_tokens(LENGTHS, 50)), derived_rng(seed, "masks"))


def watch(model: ReplacedTokens) -> list:
    """What the discriminator was given and what it said, at each call from now on."""
    seen, logits = [], model.logits

    def noted(tokens):
        seen.append((tokens.ids, logits(tokens)))
        return seen[-1][1]

    model.logits = noted
    return seen


def test_only_asked_places_change_and_specials_never():
    model = objective(prob=0.4)
    question, original = batch(model), random_tokens(LENGTHS, 50).ids
    seen = watch(model)
    means = model.losses(question).means()
    changed = seen[0][0] != original
    wanted = prediction_targets(question)
    assert set(changed.nonzero()[:, 0].tolist()) <= set(wanted.positions.tolist())
    assert 0 < changed.sum() == pytest.approx(means["replaced_share"] * len(original))
    # A sampled token that is the original is no replacement.
    assert changed.sum() == len(wanted.positions) * (1 - means["sampled_accuracy"])


@pytest.mark.parametrize("sharing", SHARINGS)
def test_losses_are_those_of_the_two_networks_run_plainly(sharing):
    """Against separate modules with the exported weights, dense scores and sklearn's measures."""
    model = objective(sharing=sharing, prob=0.3).eval()
    weights = dict(model.state_dict())
    discriminator = Plain(ENCODER, ReplacedTokenHead(ENCODER))
    discriminator.load_state_dict(rtd_networks.split_discriminator(weights, model.settings.generator))
    own = model.settings.generator.encoder_config(ENCODER)
    filler = Plain(own, MaskedTokenHead(own, VOCABULARY.size))
    filler.load_state_dict(rtd_networks.split_generator(weights))

    question, seen = batch(model), watch(model)
    with torch.no_grad():
        means = model.losses(question).means()
        wanted = prediction_targets(question)
        scores = (
            filler.head(filler.encoder(question.tokens)) @ filler.encoder.embeddings.token.weight.T + filler.head.bias
        )
        expected = F.cross_entropy(scores[wanted.positions], wanted.labels)
        logits = discriminator.head(discriminator.encoder(question.tokens.with_ids(seen[0][0])))
    assert means["mlm_loss"] == pytest.approx(expected.item(), rel=1e-5)
    best = scores[wanted.positions].argmax(dim=1)
    assert means["mlm_accuracy"] == pytest.approx((best == wanted.labels).float().mean().item())
    torch.testing.assert_close(logits, seen[0][1], rtol=1e-5, atol=1e-5)
    replaced = (seen[0][0] != random_tokens(LENGTHS, 50).ids).numpy()
    guessed = (logits > 0).numpy()
    loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(replaced).float())
    assert means["rtd_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert means["rtd_accuracy"] == pytest.approx(accuracy_score(replaced, guessed))
    assert means["rtd_precision"] == pytest.approx(precision_score(replaced, guessed))
    assert means["rtd_recall"] == pytest.approx(recall_score(replaced, guessed))
    assert means["rtd_auc"] == pytest.approx(roc_auc_score(replaced, logits.numpy()))
    assert means["replaced_share"] == pytest.approx(replaced.mean())
    total = model.total(model.losses(question), model.counts(question)).item()
    assert total == pytest.approx(means["mlm_loss"] + 50 * means["rtd_loss"], rel=1e-5)


class Plain(torch.nn.Module):
    def __init__(self, settings: BertConfig, head: torch.nn.Module):
        super().__init__()
        self.encoder, self.head = Encoder(settings, VOCABULARY.size), head
        self.eval()


@pytest.mark.parametrize("sharing", SHARINGS)
def test_how_a_batch_is_cut_changes_neither_loss_nor_gradient(sharing):
    model = objective(sharing=sharing, prob=0.3)
    check_cuts(model, batch(model), apart=("rtd_auc",))


def test_which_network_moves_which_table():
    """No gradient comes through the sample; the two losses meet in what is shared and nowhere else."""

    def moved(model: ReplacedTokens, loss: str) -> dict[str, bool]:
        model.zero_grad()
        model.losses(batch(model)).sums[loss].backward()
        return {
            name: parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            for name, parameter in model.named_parameters()
        }

    table, own = "encoder.embeddings.token.weight", "generator.embeddings.token.weight"
    for sharing in SHARINGS:
        model = objective(sharing=sharing)
        by_rtd, by_mlm = moved(model, "rtd_loss"), moved(model, "mlm_loss")
        assert by_rtd[table]
        assert by_mlm[table] == (sharing in ("embeddings", "everything"))
        assert not any(did for name, did in by_rtd.items() if name.startswith("generator."))
        assert by_mlm["encoder.layers.0.attention.dense.weight"] == (sharing == "everything")
        assert (own in by_mlm) == (sharing in ("nothing", "gradient_disentangled"))
        assert by_mlm.get(own, True)


@pytest.mark.parametrize(
    ("kind", "sharing"),
    [*(("masked_tokens", sharing) for sharing in SHARINGS), *(("two_towers", sharing) for sharing in SHARINGS[:3])],
)
def test_its_rate_is_of_what_the_generator_does_not_share(kind, sharing):
    model = objective(kind=kind, sharing=sharing, rate=0.25)
    rates = {name: model.settings.rate_of(name) for name, _ in model.named_parameters()}
    slow = {name for name, rate in rates.items() if rate == 0.25}
    assert {rate for name, rate in rates.items() if name not in slow} == {1.0}
    table = "generator.embeddings.token.weight"
    assert slow == {name for name in rates if name.startswith("generator.")} - (
        {table} if sharing == "gradient_disentangled" else set()
    )
    assert (table in slow) == (sharing == "nothing")
    assert all(name.startswith("generator.head.") for name in slow) == (sharing == "everything")


def test_a_disentangled_discriminator_starts_on_the_generators_vectors():
    model = objective(sharing="gradient_disentangled")
    assert not model.encoder.embeddings.token.weight.any()
    exported = rtd_networks.split_discriminator(model.state_dict(), model.settings.generator)
    assert torch.equal(exported["encoder.embeddings.token.weight"], model.generator.embeddings.token.weight)


def test_a_generator_of_its_own_has_a_table_of_its_own_width():
    model = objective(sharing="nothing")
    assert model.generator.embeddings.token.weight.shape == (50, 16)  # half of 32
    assert isinstance(model.generator.trunk.projection, torch.nn.Identity)
    assert objective().generator.table(objective().encoder).shape == (50, 16)  # the discriminator's embedding_size


def test_sizes_of_the_reference():
    small = BertConfig(hidden_size=256, num_hidden_layers=12, embedding_size=128)
    own = GeneratorSettings().encoder_config(small)
    assert (own.hidden_size, own.num_hidden_layers, own.heads, own.feed_forward, own.embedding) == (64, 12, 1, 256, 128)
    base = GeneratorSettings(hidden_fraction=1 / 3).encoder_config(BertConfig(hidden_size=768))
    assert (base.hidden_size, base.heads, base.feed_forward, base.embedding) == (256, 4, 1024, 768)


@pytest.mark.parametrize("disallow_correct", [False, True])
def test_a_uniform_generator_learns_nothing(disallow_correct):
    model = objective(kind="uniform", disallow_correct=disallow_correct, prob=0.5)
    assert not [name for name, _ in model.named_parameters() if name.startswith("generator.")]
    means = model.losses(batch(model)).means()
    assert "mlm_loss" not in means
    assert not disallow_correct or means["sampled_accuracy"] == 0
    check_cuts(model, batch(model), apart=("rtd_auc",))
    assert rtd_networks.split_generator(model.state_dict()) == {}


def test_training_and_evaluation_draw_the_same():
    model = objective()
    assert model.losses(batch(model)).means() == model.eval().losses(batch(model)).means()
    other = batch(model)
    other.targets["draws"] = 1 - other.targets["draws"]
    assert model.losses(other).means()["rtd_loss"] != model.losses(batch(model)).means()["rtd_loss"]


def test_compat_gives_a_place_drawn_twice_the_mean_of_both_ids():
    model = objective(prob=0.6)
    question = batch(model, compat=True)
    wanted = prediction_targets(question)
    drawn: list[torch.Tensor] = []
    fill = model.generator.fill

    def noted(*arguments):
        filled = fill(*arguments)
        drawn.append(filled.sampled)
        return filled

    model.generator.fill, seen = noted, watch(model)
    model.losses(question)
    places, sampled = wanted.positions.numpy(), drawn[0].numpy()
    twice = [place for place in set(places) if (places == place).sum() > 1]
    assert len(twice) > 5
    for place in set(places):
        assert seen[0][0][place] == sampled[places == place].sum() // (places == place).sum()


def test_rows_of_special_tokens_only_are_judged_and_nothing_else():
    model = objective()
    rows = np.array([2, 3, 2, 3]), np.zeros(4), np.array([2, 2])
    question = model.settings.collator(VOCABULARY, 8)(rows, derived_rng(0, "masks"))
    losses = model.losses(question)
    assert denominators_of(model, question) == {"rtd_loss": 4, "mlm_loss": 1}
    assert losses.means()["replaced_share"] == 0
    assert torch.isfinite(model.total(losses, denominators_of(model, question)))
    assert np.isnan(losses.means()["rtd_recall"]) and np.isnan(losses.means()["rtd_auc"])


def test_weights_of_the_two_losses():
    model = objective()
    model.settings = replace(model.settings, generator_weight=3.0, discriminator_weight=7.0)
    question = batch(model)
    losses = model.losses(question)
    means = losses.means()
    total = model.total(losses, model.counts(question)).item()
    assert total == pytest.approx(3 * means["mlm_loss"] + 7 * means["rtd_loss"], rel=1e-5)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_both_networks_learn(sharing):
    """One batch, by heart."""
    model = objective(sharing=sharing)
    question = batch(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = model.losses(question).means()
    for _ in range(60):
        optimizer.zero_grad()
        losses = model.losses(question)
        model.total(losses, model.counts(question)).backward()
        optimizer.step()
    after = model.losses(question).means()
    assert after["mlm_loss"] < 0.7 * before["mlm_loss"]
    assert after["rtd_loss"] < 0.3
    assert after["rtd_auc"] > 0.9
