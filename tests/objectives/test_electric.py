"""Two towers and Electric: what each place may know, the noise's probabilities, and the question asked."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives import rtd_networks
from bertsmith.objectives.electric import Electric, ElectricSettings
from bertsmith.objectives.generator import GeneratorSettings
from bertsmith.objectives.masking import MaskingSettings, MaskingVocabulary, prediction_targets
from bertsmith.objectives.rtd import ReplacedTokens, ReplacedTokensSettings
from bertsmith.randomness import derived_rng
from tests.objectives.cuts import check_cuts
from tests.toys import packed_rows, random_tokens

ENCODER = BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, embedding_size=16, max_position_embeddings=40,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3,
)  # fmt: skip
VOCABULARY = MaskingVocabulary(size=50, mask_id=4, never_masked=(0, 2, 3, 4))
LENGTHS = [20, 7, 40, 3, 12, 40]
SHARINGS = ("embeddings", "gradient_disentangled", "nothing")


def objective(cls=Electric, sharing="embeddings", prob=0.15):
    torch.manual_seed(0)
    settings_class = ElectricSettings if cls is Electric else ReplacedTokensSettings
    settings = settings_class(
        masking=MaskingSettings(prob=prob),
        generator=GeneratorSettings(kind="two_towers", hidden_fraction=0.5, sharing=sharing),
    )
    return cls(ENCODER, VOCABULARY, settings)


def batch(model, seed=0, compat=False):
    collator = model.settings.collator(VOCABULARY, 40, compat)
    return collator(packed_rows(random_tokens(LENGTHS, 50)), derived_rng(seed, "masks"))


def noise(model, question):
    """[T, V] float64: the generator's probabilities at every place of the original rows."""
    tokens = question.tokens.with_ids(random_tokens(LENGTHS, 50).ids)
    with torch.no_grad():
        vectors = model.generator.vectors(tokens, model.encoder)
        scores = vectors @ model.generator.table(model.encoder).T + model.generator.head.bias
    return scores.double().softmax(dim=1)


@pytest.mark.parametrize("padded", [False, True])
def test_a_place_depends_on_all_others_of_its_row_and_not_on_its_own_token(padded):
    model = objective()
    tokens = random_tokens(LENGTHS, 50)
    rows = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    if padded:
        tokens = tokens.padded(40, pad_id=0)
    embedded = model.encoder.embeddings(tokens).detach().requires_grad_()
    model.encoder.embeddings.forward = lambda tokens: embedded
    vectors = model.generator.vectors(tokens, model.encoder)
    real = torch.arange(tokens.num_tokens) if tokens.valid_mask() is None else tokens.valid_mask().nonzero()[:, 0]
    for index in (0, 5, 19, 21, 26, 40, 66, 67, 68, 80):
        place = real[index]
        (gradient,) = torch.autograd.grad(vectors[place].square()[:3].sum(), embedded, retain_graph=True)
        seen = gradient.abs().sum(dim=1)[real] > 0
        expected = rows == rows[index]
        expected[index] = False
        assert torch.equal(seen, expected)
        assert padded is False or gradient.abs().sum(dim=1)[~tokens.valid_mask()].sum() == 0


@pytest.mark.parametrize("cls", [Electric, ReplacedTokens])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_the_generators_losses_are_those_of_its_probabilities(cls, sharing):
    model = objective(cls, sharing, prob=0.3).eval()
    question, original = batch(model), random_tokens(LENGTHS, 50).ids
    means, probabilities = model.losses(question).means(), noise(model, question)
    maskable = torch.from_numpy(~np.isin(original.numpy(), VOCABULARY.never_masked))
    expected = -probabilities[torch.arange(len(original)), original].log()[maskable].mean()
    assert means["cloze_loss"] == pytest.approx(expected.item(), rel=1e-5)
    best = probabilities.argmax(dim=1) == original
    assert means["cloze_accuracy"] == pytest.approx(best[maskable].double().mean().item())
    assert model.counts(question) == {"rtd_loss": len(original), "cloze_loss": maskable.sum().item()}
    total = model.total(model.losses(question), model.counts(question)).item()
    assert total == pytest.approx(means["cloze_loss"] + 50 * means["rtd_loss"], rel=1e-5)


@pytest.mark.parametrize("compat", [False, True])
def test_the_question_is_whether_a_token_is_noise(compat):
    """Against the formula of the paper, dense and in float64."""
    model = objective(prob=0.3).eval()
    question, original = batch(model, compat=compat), random_tokens(LENGTHS, 50).ids
    energies = []
    logits = model.logits
    model.logits = lambda tokens: energies.append((tokens.ids, logits(tokens))) or energies[-1][1]
    means, probabilities = model.losses(question).means(), noise(model, question)
    ids, energy = energies[0]
    log_noise = probabilities[torch.arange(len(ids)), ids].log()
    asks = torch.zeros(len(ids), dtype=torch.float64)
    asks[prediction_targets(question).positions] = 1.0
    assert compat or (asks.bool() & (ids == original)).any()  # noise that happens to be the original is noise
    corrected = energy.detach().double() + log_noise + math.log(0.3 / 0.7)
    expected = F.binary_cross_entropy_with_logits(corrected, asks)
    assert means["rtd_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert means["replaced_share"] == pytest.approx(asks.mean().item())


def test_the_noise_has_no_gradient_through_the_discriminators_loss():
    model = objective()
    model.total(model.losses(batch(model)), {"rtd_loss": 1.0, "cloze_loss": math.inf}).backward()
    for name, parameter in model.generator.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name
    assert model.head.dense.weight.grad.any()


@pytest.mark.parametrize("cls", [Electric, ReplacedTokens])
def test_how_a_batch_is_cut_changes_nothing(cls):
    model = objective(cls)
    check_cuts(model, batch(model), apart=("rtd_auc",))


def test_it_learns():
    model = objective()
    question = batch(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = model.losses(question).means()
    for _ in range(100):
        optimizer.zero_grad()
        losses = model.losses(question)
        model.total(losses, model.counts(question)).backward()
        optimizer.step()
    after = model.losses(question).means()
    assert after["cloze_loss"] < 0.7 * before["cloze_loss"]
    assert after["rtd_loss"] < 0.8 * before["rtd_loss"]


@pytest.mark.slow
def test_energies_learn_the_datas_probabilities():
    """Two tokens, one three times as likely: at the optimum −energy is the logarithm of a probability."""
    torch.manual_seed(0)
    model = objective()
    rng = np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(250):
        words = np.where(rng.random((64, 1)) < 0.75, 10, 11)
        ids = np.concatenate([np.full((64, 1), 2), words, np.full((64, 1), 3)], axis=1).ravel()
        tokens = Tokens.pack(ids, np.zeros(192), np.full(64, 3))
        question = model.settings.collator(VOCABULARY, 3)(packed_rows(tokens), derived_rng(step, "masks"))
        # One place a row, always asked; half of the rows keep it, as if one of two places were masked.
        keep = torch.from_numpy(rng.random((64, 1)) < 0.5)
        question.targets["weights"][keep] = 0.0
        question.targets["positions"][keep] = 0
        question.targets["labels"][keep] = 2
        original = torch.from_numpy(ids)
        question = replace(question, tokens=tokens.with_ids(original))
        optimizer.zero_grad()
        losses = model.losses(question)
        model.total(losses, model.counts(question)).backward()
        optimizer.step()
    with torch.no_grad():
        rows = Tokens.pack(np.array([2, 10, 3, 2, 11, 3]), np.zeros(6), np.array([3, 3]))
        energy = model.eval().logits(rows)
    difference = (energy[4] - energy[1]).item()  # the prior's odds cancel
    assert difference == pytest.approx(math.log(3), abs=0.35)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"generator\.kind = 'uniform': Electric needs"):
        ElectricSettings(generator=GeneratorSettings(kind="uniform"))
    with pytest.raises(ValueError, match=r"needs model\.kind = 'classic'"):
        ElectricSettings().check_fits(ModernBertConfig())
    tied = ElectricSettings(generator=GeneratorSettings(kind="two_towers", sharing="everything"))
    with pytest.raises(ValueError, match="share less"):
        tied.check_fits(ENCODER)
    assert rtd_networks.split_generator(objective().state_dict()) == {}


def test_a_share_of_noise_that_changes_is_refused():
    with pytest.raises(ValueError, match=r"masking.final_prob"):
        ElectricSettings(masking=MaskingSettings(final_prob=0.1))


@pytest.mark.parametrize("rule", [{"temperature": 0.5}, {"disallow_correct": True}], ids=str)
def test_noise_of_another_probability_than_the_generators_is_refused_but_as_the_reference_has_it(rule):
    [(name, value)] = rule.items()
    towers = GeneratorSettings(kind="two_towers", **rule)
    with pytest.raises(ValueError, match=rf"objective\.generator\.{name} = {value}: Electric .*compat=true"):
        ElectricSettings(generator=towers).check_fits(ENCODER)
    ElectricSettings(generator=towers).check_fits(ENCODER, compat=True)
    ReplacedTokensSettings(generator=towers).check_fits(ENCODER)  # which asks for no probability
