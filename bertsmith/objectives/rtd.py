"""Replaced-token detection, ELECTRA: a small generator fills masks, and the encoder finds what it got wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.costs import Precision
from bertsmith.encoders.networks import ReplacedTokenModel
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.generator import GeneratorOutput, GeneratorSettings, MaskedTokenGenerator, UniformGenerator
from bertsmith.objectives.masking import (
    MaskedPositions,
    MaskingCollator,
    MaskingSettings,
    MaskingVocabulary,
    masked_positions,
)
from bertsmith.objectives.objective import Batch, Losses, PackedRows, TrainedWeights
from bertsmith.objectives.towers import TwoTowerGenerator

NETWORKS = ("discriminator", "generator")
"""Names of the two networks, and of their folders in an export."""


@settings
class ReplacedTokensSettings:
    """The ELECTRA objective."""

    kind: Literal["rtd"] = setting("rtd", "rtd: find the tokens that a generator has replaced (ELECTRA)")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens the generator predicts and replaces")
    generator: GeneratorSettings = setting(GeneratorSettings(), "what replaces them")
    generator_weight: float = setting(1.0, "of the generator's loss in the sum", ge=0)
    discriminator_weight: float = setting(50.0, "of the discriminator's loss in the sum", ge=0)
    head: ClassVar[str] = "replaced_tokens"
    headline: ClassVar[str] = "rtd_auc"
    perplexities: ClassVar[tuple[str, ...]] = ("mlm_loss", "cloze_loss")
    metric_prefix: ClassVar[str] = ""
    energies: ClassVar[bool] = False
    """What the head's logits are; see `ReplacedTokenModel`."""

    def check_fits(self, encoder: EncoderConfig, compat: bool = False, timed: bool = False) -> None:
        """See `PretrainingSettings`, as for all that follow."""
        self.masking.check_fits(compat, timed)
        self.generator.encoder(encoder)
        if self.generator.kind != "two_towers":
            return
        if not encoder.takes_windows:
            raise ValueError("objective.generator.kind = 'two_towers': needs model.kind = 'classic'")
        if self.generator.sharing == "everything":
            raise ValueError("objective.generator.sharing = 'everything': two towers are no discriminator; share less")

    def max_predictions(self, length: int) -> int:
        return self.masking.max_predictions(length)

    def baseline(self, batches: Sequence[Batch]) -> float:
        return 0.5

    def networks(self, encoder: EncoderConfig, weights: Mapping[str, Tensor]) -> list[TrainedWeights]:
        discriminator = discriminator_weights(weights, self)
        networks = [TrainedWeights(NETWORKS[0], encoder, self.head, discriminator, self.energies)]
        if generator := generator_weights(weights):
            networks.append(TrainedWeights(NETWORKS[1], self.generator.encoder(encoder), "masked_tokens", generator))
        return networks

    def has_networks_of(self, other: Any) -> bool:
        names = ("kind", "hidden_fraction", "layers_fraction", "sharing")
        return self.kind == other.kind and all(
            getattr(self.generator, name) == getattr(other.generator, name) for name in names
        )

    def init_from(
        self, drawn: dict[str, Tensor], trained: Mapping[str, Tensor], generator: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        weights = discriminator_weights(drawn, self) | dict(trained)
        new = [] if any(name.startswith("head.") for name in trained) else ["replaced-token head"]
        if self.generator.kind == "uniform":
            return weights, new
        if self.generator.kind == "two_towers":
            return beside_towers(weights, drawn, self), [*new, "generator"]
        if generator is None:
            generator, new = new_generator_weights(drawn, weights, self), [*new, "generator"]
        return joined_weights(weights, generator, self), new

    def build(self, encoder: EncoderConfig, vocabulary: MaskingVocabulary) -> "ReplacedTokens":
        return ReplacedTokens(encoder, vocabulary, self)

    def collator(self, vocabulary: MaskingVocabulary, length: int, compat: bool = False) -> "ReplacedTokensCollator":
        return ReplacedTokensCollator(self.masking, vocabulary, length, compat)


class ReplacedTokensCollator(MaskingCollator):
    """Masks rows, keeps their ids, and adds the targets "draws" [N, K], a number for each mask that decides what will
    replace it, and "maskable" [N], how many tokens may be masked."""

    def __call__(self, rows: PackedRows, generator: np.random.Generator, progress: float = 0.0) -> Batch:
        """See `Collator`."""
        batch = super().__call__(rows, generator, progress)
        return replace(batch, original_ids=torch.from_numpy(rows[0].astype(np.int64)))

    def more_targets(
        self, ids: np.ndarray, lengths: np.ndarray, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        draws = generator.random((len(lengths), self.budget), dtype=np.float32)
        candidates = ~np.isin(ids, self.vocabulary.never_masked)
        return {"draws": draws, "maskable": np.add.reduceat(candidates, np.cumsum(lengths) - lengths, dtype=np.int64)}


class ReplacedTokens(ReplacedTokenModel):
    """A discriminator (`encoder`, `head`) and what its generator has of its own, trained together.

    Source: ELECTRA, arXiv 2003.10555, section 2; google-research/electra, run_pretraining.py, PretrainingModel.
    """

    def __init__(self, encoder: EncoderConfig, vocabulary: MaskingVocabulary, settings: ReplacedTokensSettings):
        super().__init__(encoder, vocabulary.size, settings.energies)
        self.generator = _build_generator(settings.generator, encoder, vocabulary)
        if settings.generator.disentangles:
            nn.init.zeros_(self.encoder.embeddings.token.weight)
        self.settings = settings

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"rtd_loss": batch.tokens.row_lengths.sum()} | self.generator.counts(batch)

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        means = {name: losses.sums[name] / count for name, count in denominators.items()}
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
        masked = masked_positions(batch)
        generated = self.generator.fill(batch, masked, self.encoder)
        tokens, replaced = _replace(batch, masked, generated.sampled)
        logits, labels = self.logits_and_labels(tokens, masked, replaced, generated)
        real = tokens.valid_mask()
        judged = _judge(logits, labels, torch.ones_like(logits) if real is None else real.float())
        counts = {**generated.losses.counts, **judged.counts, **self.counts(batch)}
        return Losses({**generated.losses.sums, **judged.sums}, counts)

    def logits_and_labels(
        self, tokens: Tokens, masked: MaskedPositions, replaced: Tensor, generated: GeneratorOutput
    ) -> tuple[Tensor, Tensor]:
        """Return logits and labels of each token, [T] float32 each: is it `replaced`?"""
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
        predicted = self.settings.masking.max_predictions(length) / length
        return discriminator + self.generator.activation_bytes_per_token(settings, predicted, length, precision)


def _build_generator(
    settings: GeneratorSettings, encoder: EncoderConfig, vocabulary: MaskingVocabulary
) -> MaskedTokenGenerator | TwoTowerGenerator | UniformGenerator:
    if settings.kind == "uniform":
        return UniformGenerator(settings, vocabulary.size)
    if settings.kind == "two_towers":
        return TwoTowerGenerator(settings, encoder, vocabulary.size, vocabulary.never_masked)
    return MaskedTokenGenerator(settings, encoder, vocabulary.size)


def _replace(batch: Batch, masked: MaskedPositions, sampled: Tensor) -> tuple[Tokens, Tensor]:
    """Return the original rows with `sampled` at the masked positions, and where that changed them: [T] float32.

    A position that is drawn twice, as only compat does, gets the whole-number mean of its two ids, which is some third
    token. Source: google-research/electra, pretrain/pretrain_helpers.py, scatter_update.
    """
    original, weights = batch.original_ids, masked.weights.long()
    zeros = torch.zeros_like(original)
    times = zeros.scatter_add(0, masked.positions, weights)
    ids = zeros.scatter_add(0, masked.positions, sampled * weights) // times.clamp(min=1)
    ids = torch.where(times > 0, ids, original)
    return batch.tokens.with_ids(ids), (ids != original).float()


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
