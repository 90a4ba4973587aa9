"""Replaced-token detection as DeBERTaV3 trains it: gradient-disentangled embeddings, a generator of half the layers."""

from dataclasses import replace

import pytest
import torch

from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.objectives import rtd_networks
from bertsmith.objectives.generator import GeneratorSettings
from bertsmith.objectives.masking import prediction_targets
from bertsmith.objectives.rtd import ReplacedTokens, ReplacedTokensSettings
from tests.objectives.cuts import check_cuts
from tests.objectives.test_rtd import SHARINGS, VOCABULARY, batch, watch

ENCODER = DebertaConfig(
    hidden_size=32, num_hidden_layers=4, num_attention_heads=2, max_position_embeddings=40, position_buckets=8,
    hidden_dropout_prob=0, attention_probs_dropout_prob=0, initializer_range=0.3,
)  # fmt: skip


DECODING = replace(ENCODER, enhanced_mask_decoder=True)


def objective(sharing: str = "gradient_disentangled", encoder: DebertaConfig = DECODING) -> ReplacedTokens:
    torch.manual_seed(0)
    generator = GeneratorSettings(hidden_fraction=1.0, layers_fraction=0.5, sharing=sharing)
    return ReplacedTokens(encoder, VOCABULARY, ReplacedTokensSettings(generator=generator))


def test_the_generator_has_half_of_the_layers_and_distances_of_its_own():
    stack = objective().generator.trunk
    assert len(stack.layers) == 2 and stack.distances.table.weight.shape == (16, 32)


@pytest.mark.parametrize("encoder", [ENCODER, DECODING], ids=["last layer", "mask decoder"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_the_exported_networks_are_those_that_were_trained(sharing, encoder):
    model = objective(sharing, encoder).eval()
    with torch.no_grad():  # as after some steps
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    weights = dict(model.state_dict())
    discriminator = ReplacedTokenModel(encoder, VOCABULARY.size).eval()
    discriminator.load_state_dict(rtd_networks.split_discriminator(weights, model.settings.generator))
    own = model.settings.generator.encoder_config(encoder)
    generator = MaskedTokenModel(own, VOCABULARY.size).eval()
    generator.load_state_dict(rtd_networks.split_generator(weights))
    question, seen = batch(model), watch(model)
    with torch.no_grad():
        means = model.losses(question).means()
        [(ids, logits)] = seen
        torch.testing.assert_close(discriminator.logits(question.tokens.with_ids(ids)), logits, rtol=1e-5, atol=1e-5)
        masked = prediction_targets(question)
        scores = generator.scores(question.tokens, masked.positions)
    assert torch.nn.functional.cross_entropy(scores, masked.labels).item() == pytest.approx(means["mlm_loss"], rel=1e-5)


def test_the_discriminator_s_loss_moves_its_own_difference_and_not_the_generator_s_table():
    model, table = objective(), "embeddings.token.weight"
    for loss, moved, still in (
        ("rtd_loss", f"encoder.{table}", f"generator.{table}"),
        ("mlm_loss", f"generator.{table}", f"encoder.{table}"),
    ):
        model.zero_grad()
        model.losses(batch(model)).sums[loss].backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert gradients[moved].abs().sum() > 0
        assert gradients[still] is None or not gradients[still].any()


@pytest.mark.parametrize("encoder", [ENCODER, DECODING], ids=["last layer", "mask decoder"])
def test_how_a_batch_is_cut_changes_neither_loss_nor_gradient(encoder):
    model = objective(encoder=encoder)
    check_cuts(model, batch(model), apart=("rtd_auc",))
