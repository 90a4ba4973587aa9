"""Replaced-token detection, ELECTRA: a small generator fills masks, and the encoder finds what it got wrong."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.costs import Precision
from bertsmith.encoders.networks import ReplacedTokenModel
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.generator import Filled, GeneratorSettings, MaskedTokenGenerator, UniformGenerator
from bertsmith.objectives.masking import Asked, MaskingSettings, Rule, Vocabulary, asked, mask_tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.objectives.towers import TwoTowerGenerator


@settings
class ReplacedTokensSettings:
    """The ELECTRA objective."""

    kind: Literal["rtd"] = setting("rtd", "rtd: find the tokens that a generator has replaced (ELECTRA)")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens the generator predicts and replaces")
    generator: GeneratorSettings = setting(GeneratorSettings(), "what replaces them")
    generator_weight: float = setting(1.0, "of the generator's loss in the sum", ge=0)
    discriminator_weight: float = setting(50.0, "of the discriminator's loss in the sum", ge=0)
    head: ClassVar[str] = "replaced_tokens"
    energies: ClassVar[bool] = False
    """What the head's logits are; see `ReplacedTokenModel`."""


class ReplacedTokens(ReplacedTokenModel):
    """A discriminator (`encoder`, `head`) and what its generator has of its own, trained together.

    Source: ELECTRA, arXiv 2003.10555, section 2; google-research/electra, run_pretraining.py, PretrainingModel.
    """

    def __init__(
        self, encoder: EncoderConfig, vocabulary: Vocabulary, settings: ReplacedTokensSettings, compat: bool = False
    ):
        super().__init__(encoder, vocabulary.size, settings.energies)
        self.generator = _build_generator(settings.generator, encoder, vocabulary)
        if settings.generator.disentangles:
            nn.init.zeros_(self.encoder.embeddings.token.weight)
        self.vocabulary = vocabulary
        self.settings = settings
        self.compat = compat

    def corrupt(self, tokens: Tokens, length: int, generator: np.random.Generator, progress: float = 0.0) -> Batch:
        """Mask packed rows, with a number for each mask that decides what will replace it; `length` is that of the
        longest row there can be, in tokens."""
        masking, ids = self.settings.masking, tokens.ids.numpy()
        batch = mask_tokens(
            tokens, self.vocabulary, Rule(masking, masking.budget(length), self.compat, progress), generator
        )
        draws = generator.random(batch.targets["weights"].shape, dtype=np.float32)
        maskable = np.add.reduceat(~np.isin(ids, self.vocabulary.never_masked), tokens.row_starts, dtype=np.int64)
        targets = {"draws": torch.from_numpy(draws), "maskable": torch.from_numpy(maskable)}
        return Batch(batch.tokens, batch.targets | targets)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"rtd_loss": float(batch.tokens.row_lengths.sum())} | self.generator.counts(batch)

    def total(self, losses: Losses, counts: Mapping[str, float | Tensor]) -> Tensor:
        means = {name: losses.sums[name] / count for name, count in counts.items()}
        total = self.settings.discriminator_weight * means.pop("rtd_loss")
        return total + self.settings.generator_weight * sum(means.values())  # of the generator's: one, or none

    def losses(self, batch: Batch) -> Losses:
        """Sums over their counts are:

        mlm_loss, mlm_accuracy   of the generator, a predicted token; the loss in nats. Two towers predict all that may
                                 be masked, and have cloze_loss and cloze_accuracy instead
        sampled_accuracy         how often the token it drew is the original
        rtd_loss, rtd_accuracy   of the discriminator, a real token, [CLS] and [SEP] included; the loss in nats
        rtd_precision            replaced tokens among those that it takes for replaced
        rtd_recall               those that it takes for replaced among the replaced
        rtd_auc                  how often it finds a replaced token likelier replaced than an original one, over all
                                 pairs within a micro-batch
        replaced_share           of the real tokens
        """
        wanted = asked(batch)
        filled = self.generator.fill(batch, wanted, self.encoder)
        tokens, replaced = _replace(batch.tokens, wanted, filled.sampled)
        logits, answers = self.question(tokens, wanted, replaced, filled)
        real = tokens.valid_mask()
        judged = _judge(logits, answers, torch.ones_like(logits) if real is None else real.float())
        return Losses({**filled.losses.sums, **judged.sums}, {**filled.losses.counts, **judged.counts})

    def question(self, tokens: Tokens, wanted: Asked, replaced: Tensor, filled: Filled) -> tuple[Tensor, Tensor]:
        """Logits and the right answers to them for each token, [T] float32 each: is it `replaced`?"""
        return self.logits(tokens).float(), replaced

    def logits(self, tokens: Tokens) -> Tensor:
        return self.head(self.hidden(tokens))

    def hidden(self, tokens: Tokens) -> Tensor:
        """[T] → [T, D], of the discriminator."""
        base = None
        if self.settings.generator.disentangles:
            base = self.generator.embeddings.token.weight.detach()
        return self.encoder.encode(self.encoder.embeddings(tokens, base), tokens)

    def flops_per_token(self, length: int) -> float:
        settings = self.encoder.settings
        discriminator = settings.flops_per_token(length) + settings.replaced_token_head_flops()
        predicted = self.settings.masking.share_predicted(length)
        return discriminator + self.generator.flops_per_token(settings, predicted, length)

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        settings = self.encoder.settings
        discriminator = settings.activation_bytes_per_token(length, precision)
        discriminator += settings.replaced_token_head_bytes(precision)
        predicted = self.settings.masking.budget(length) / length
        return discriminator + self.generator.activation_bytes_per_token(settings, predicted, length, precision)


def _build_generator(
    settings: GeneratorSettings, encoder: EncoderConfig, vocabulary: Vocabulary
) -> MaskedTokenGenerator | TwoTowerGenerator | UniformGenerator:
    if settings.kind == "uniform":
        return UniformGenerator(settings, vocabulary.size)
    if settings.kind == "two_towers":
        return TwoTowerGenerator(settings, encoder, vocabulary.size, vocabulary.never_masked)
    return MaskedTokenGenerator(settings, encoder, vocabulary.size)


def _replace(masked: Tokens, wanted: Asked, sampled: Tensor) -> tuple[Tokens, Tensor]:
    """The original rows with `sampled` at the asked places, and where that changed them: [T] float32.

    A place that is asked twice, as only compat does, gets the whole-number mean of its two ids, which is some third
    token. Source: google-research/electra, pretrain/pretrain_helpers.py, scatter_update.
    """
    original = masked.ids.scatter(0, wanted.places, wanted.labels)
    weights = wanted.weights.long()
    zeros = torch.zeros_like(original)
    times = zeros.scatter_add(0, wanted.places, weights)
    ids = zeros.scatter_add(0, wanted.places, sampled * weights) // times.clamp(min=1)
    ids = torch.where(times > 0, ids, original)
    return masked.with_ids(ids), (ids != original).float()


def _judge(logits: Tensor, replaced: Tensor, real: Tensor) -> Losses:
    """The discriminator's loss and measures; all arguments [T] float32."""
    loss = F.binary_cross_entropy_with_logits(logits, replaced, weight=real, reduction="sum")
    logits = logits.detach()
    suspected, replaced = (logits > 0) * real, replaced * real
    found, num_real, num_replaced = (suspected * replaced).sum(), real.sum(), replaced.sum()
    originals = torch.where((real - replaced) > 0, logits, float("inf")).sort().values
    below = torch.searchsorted(originals, logits) + torch.searchsorted(originals, logits, right=True)
    sums = {
        "rtd_loss": loss,
        "rtd_accuracy": ((suspected == replaced) * real).sum(),
        "rtd_precision": found,
        "rtd_recall": found,
        "rtd_auc": (below * replaced).sum() / 2,
        "replaced_share": num_replaced,
    }
    counts = {
        "rtd_loss": num_real,
        "rtd_accuracy": num_real,
        "rtd_precision": suspected.sum(),
        "rtd_recall": num_replaced,
        "rtd_auc": num_replaced * (num_real - num_replaced),
        "replaced_share": num_real,
    }
    return Losses(sums, counts)


_TABLE = "encoder.embeddings.token.weight"

_PLACES = {"encoder.embeddings.": "generator.embeddings.", "encoder.": "generator.trunk.", "head.": "generator.head."}
"""Where the parts of a generator of its own are among the weights of `ReplacedTokens`; the first that fits."""

_SHARED = {"embeddings": ("encoder.embeddings.",), "everything": ("encoder.",)}
"""By `sharing`: what a generator has only once with the discriminator."""


def discriminator_weights(weights: Mapping[str, Tensor], settings: ReplacedTokensSettings) -> dict[str, Tensor]:
    """ "encoder.…" and "head.…" out of the weights of `ReplacedTokens`, as a model of its own has them."""
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("generator.")}
    if settings.generator.disentangles:
        own[_TABLE] = own[_TABLE] + weights["generator.embeddings.token.weight"]
    return own


def has_two_towers(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights of `ReplacedTokens` have such a generator."""
    return any(name.startswith("generator.left_to_right.") for name in weights)


def generator_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ "encoder.…" and "head.…" of the generator as a masked-token model of its own; empty where it learns nothing, or
    is none, as two towers."""
    if has_two_towers(weights):
        return {}
    own = {
        name.replace(place, ours, 1): tensor
        for name, tensor in weights.items()
        for ours, place in _PLACES.items()
        if name.startswith(place)
    }
    if not own:
        return {}
    lent = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    if any(name.startswith("generator.trunk.") for name in weights):  # the discriminator lends its embeddings only
        lent = {name: tensor for name, tensor in lent.items() if name.startswith("encoder.embeddings.")}
    return lent | own


def new_generator_weights(
    weights: Mapping[str, Tensor], discriminator: Mapping[str, Tensor], settings: ReplacedTokensSettings
) -> dict[str, Tensor]:
    """The generator out of the initial `weights` of `ReplacedTokens`, beside a `discriminator` that is trained already:
    its own parts as they were drawn, the embeddings the discriminator's where it shares them at all."""
    sharing = settings.generator.sharing
    borrowed = () if sharing == "nothing" else _SHARED.get(sharing, _SHARED["embeddings"])
    own = generator_weights(weights)
    return {name: discriminator[name] if name.startswith(borrowed) else tensor for name, tensor in own.items()}


def joined_weights(
    discriminator: Mapping[str, Tensor], generator: Mapping[str, Tensor], settings: ReplacedTokensSettings
) -> dict[str, Tensor]:
    """The weights of `ReplacedTokens` whose networks these are: the inverse of `discriminator_weights` and
    `generator_weights`.

    Raises:
        ValueError: they differ in what they share.
    """
    weights, shared = dict(discriminator), _SHARED.get(settings.generator.sharing, ())
    for name, tensor in generator.items():
        if not name.startswith(shared):
            ours = next(ours for ours in _PLACES if name.startswith(ours))
            weights[name.replace(ours, _PLACES[ours], 1)] = tensor
        elif not torch.equal(tensor, discriminator[name]):
            raise ValueError(f"the generator's {name} is not the discriminator's")
    if generator and settings.generator.sharing == "gradient_disentangled":
        weights[_TABLE] = weights[_TABLE] - generator[_TABLE]
    return weights


def beside_towers(
    discriminator: Mapping[str, Tensor], weights: Mapping[str, Tensor], settings: ReplacedTokensSettings
) -> dict[str, Tensor]:
    """The weights of `ReplacedTokens` with this discriminator and, out of other such `weights`, their two towers."""
    towers = {name: tensor for name, tensor in weights.items() if name.startswith("generator.")}
    joined = dict(discriminator) | towers
    if settings.generator.sharing == "gradient_disentangled":
        joined[_TABLE] = joined[_TABLE] - towers["generator.embeddings.token.weight"]
    return joined
