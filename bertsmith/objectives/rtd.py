"""Replaced-token detection, ELECTRA: a small generator fills masks, and the encoder finds what it got wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import check
from bertsmith.encoders.config import EncoderConfig, Precision
from bertsmith.encoders.encoder import ReplacedTokenModel
from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.reference_flops import Pass
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives import rtd_networks
from bertsmith.objectives.generator import (
    Generator,
    GeneratorOutput,
    GeneratorSettings,
    MaskedTokenGenerator,
    TwoTowerGenerator,
    UniformGenerator,
)
from bertsmith.objectives.masking import (
    MaskingCollator,
    MaskingObjectiveSettings,
    MaskingSettings,
    MaskingVocabulary,
    MaskMeasuring,
    PredictionTargets,
    prediction_targets,
)
from bertsmith.objectives.objective import (
    Batch,
    Losses,
    PretrainingObjective,
    PretrainingSettings,
    TrainedWeights,
)
from bertsmith.text.segments import PackedRows

NETWORKS = ("discriminator", "generator")
"""Names of the two networks, and of their folders in an export."""


@settings
class ReplacedTokensSettings(MaskingObjectiveSettings):
    """The ELECTRA objective."""

    kind: Literal["rtd"] = setting("rtd", "rtd: find the tokens that a generator has replaced (ELECTRA)")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens the generator predicts and replaces")
    generator: GeneratorSettings = setting(GeneratorSettings(), "what replaces them")
    generator_weight: float = setting(1.0, "of the generator's loss in the sum", ge=0)
    discriminator_weight: float = setting(50.0, "of the discriminator's loss in the sum", ge=0)
    head: ClassVar[HeadName] = "replaced_tokens"
    headline: ClassVar[str] = "rtd_auc"
    perplexities: ClassVar[tuple[str, ...]] = ("mlm_loss", "cloze_loss")
    titles: ClassVar[Mapping[str, str]] = {
        "mlm_loss": "Generator's masked-token loss, nats",
        "mlm_accuracy": "Generator's masked-token accuracy",
        "mlm_perplexity": "Generator's masked-token perplexity",
        "cloze_loss": "Loss of the two towers, nats a token",
        "cloze_perplexity": "Perplexity of the two towers",
        "cloze_accuracy": "Accuracy of the two towers",
        "sampled_accuracy": "Share of drawn tokens that are the original",
        "rtd_loss": "Discriminator's loss, nats a token",
        "rtd_accuracy": "Discriminator's accuracy",
        "rtd_precision": "Discriminator's precision",
        "rtd_recall": "Discriminator's recall",
        "rtd_auc": "Discriminator's AUC",
        "replaced_share": "Share of replaced tokens",
    }

    def check_fits(self, config: EncoderConfig, compat: bool = False) -> None:
        """See `PretrainingSettings`, as for all that follow."""
        super().check_fits(config, compat)
        self.generator.encoder_config(config)
        if self.generator.kind != "two_towers":
            return
        if not config.takes_windows:
            raise ValueError("objective.generator.kind = 'two_towers': needs model.kind = 'classic'")
        if self.generator.sharing == "everything":
            raise ValueError("objective.generator.sharing = 'everything': two towers are no discriminator; share less")

    def baseline(self, batches: Sequence[Batch]) -> float:
        return 0.5

    def networks(self, config: EncoderConfig, weights: Mapping[str, Tensor]) -> list[TrainedWeights]:
        discriminator = rtd_networks.split_discriminator(weights, self.generator)
        networks = [TrainedWeights(NETWORKS[0], config, self.head, discriminator, self.energies)]
        if generator := rtd_networks.split_generator(weights):
            generator_config, disentangles = self.generator.encoder_config(config), self.generator.disentangles
            networks.append(
                TrainedWeights(NETWORKS[1], generator_config, "masked_tokens", generator, is_disentangled=disentangles)
            )
        return networks

    @property
    def unexported(self) -> Mapping[str, str]:
        if self.generator.kind != "two_towers":
            return {}
        return {"two towers": "the generator, since no Hugging Face class is like its two towers"}

    def has_networks_of(self, other: Any) -> bool:
        return self.kind == other.kind and all(
            getattr(self.generator, name) == getattr(other.generator, name)
            for name in ("kind", *rtd_networks.SIZE_SETTINGS)
        )

    def other_networks(self, config: EncoderConfig, networks: Sequence[Any], init: str, is_run: bool) -> list[Any]:
        return rtd_networks.choose_generator(self.generator, config, networks, init, is_run)

    @classmethod
    def fit_to(
        cls, given: Mapping[str, Any], config: EncoderConfig, networks: Sequence[Any], trained: Any
    ) -> dict[str, dict[str, Any]]:
        settings = rtd_networks.generator_like(
            given.get("generator"), config, networks, getattr(trained, "generator", None)
        )
        return {"generator": settings} if settings else {}

    def reference_passes(self, config: Any, length: int, vocab_size: int) -> list[Pass] | None:
        if self.generator.kind == "two_towers":
            return None
        passes = [Pass(config, length, vocab_size, discriminates=True)]
        if self.generator.kind == "masked_tokens":
            passes.append(Pass(self.generator.encoder_config(config), length, vocab_size))
        return passes

    def rate_of(self, name: str) -> float:
        is_shared = self.generator.disentangles and name == rtd_networks.GENERATOR_TABLE
        return self.generator.rate if name.startswith("generator.") and not is_shared else 1.0

    def measuring(self) -> dict[str, Any]:
        sampling = {name: getattr(self.generator, name) for name in ("temperature", "disallow_correct")}
        return asdict(MaskMeasuring(masking=self.masking, **sampling))

    @classmethod
    def from_networks(cls, networks: Sequence[Any], measuring: Mapping[str, Any]) -> PretrainingSettings | None:
        if networks[0].head != "replaced_tokens" or networks[0].is_energy_head:
            return None
        if [network.head for network in networks[1:]] != ["masked_tokens"]:
            raise ValueError(
                "a discriminator without the generator that it was trained beside; name the run, or a folder that "
                "holds the folders discriminator and generator"
            )
        masking, temperature, disallow_correct = vars(check(MaskMeasuring, dict(measuring))).values()
        generator = GeneratorSettings(sharing="nothing", temperature=temperature, disallow_correct=disallow_correct)
        return cls(masking=masking, generator=generator)

    def build_from(self, networks: Sequence[Any], vocabulary: MaskingVocabulary) -> "ReplacedTokens":
        discriminator, generator = networks
        objective = ReplacedTokens(discriminator.settings, vocabulary, self, generator.settings)
        objective.load_state_dict(rtd_networks.join_networks(discriminator.weights, generator.weights, self.generator))
        return objective

    def init_from(
        self, initial: dict[str, Tensor], trained: Mapping[str, Tensor], generator: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        weights = rtd_networks.split_discriminator(initial, self.generator) | dict(trained)
        new = [] if any(name.startswith("head.") for name in trained) else ["replaced-token head"]
        if generator is not None and self.generator.kind == "masked_tokens":
            return rtd_networks.join_networks(weights, generator, self.generator), new
        new += [] if self.generator.kind == "uniform" else ["generator"]
        return rtd_networks.with_new_generator(weights, initial, self.generator), new

    def build(self, config: EncoderConfig, vocabulary: MaskingVocabulary) -> "ReplacedTokens":
        return ReplacedTokens(config, vocabulary, self)

    def collator(self, vocabulary: MaskingVocabulary, length: int, compat: bool = False) -> "ReplacedTokensCollator":
        return ReplacedTokensCollator(self.masking, vocabulary, length, compat)


class ReplacedTokensCollator(MaskingCollator):
    """A masking collator that keeps the rows' ids, and adds the targets "draws" [N, K], a number for each mask that
    decides its replacement, and "maskable" [N], how many tokens may be masked."""

    def __call__(self, rows: PackedRows, rng: np.random.Generator, progress: float = 0.0) -> Batch:
        """See `Collator`."""
        batch = super().__call__(rows, rng, progress)
        return replace(batch, original_ids=torch.from_numpy(rows[0].astype(np.int64)))

    def more_targets(self, ids: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        draws = rng.random((len(lengths), self.max_predictions), dtype=np.float32)
        candidates = ~np.isin(ids, self.vocabulary.never_masked)
        return {"draws": draws, "maskable": np.add.reduceat(candidates, np.cumsum(lengths) - lengths, dtype=np.int64)}


class ReplacedTokens(ReplacedTokenModel, PretrainingObjective):
    """A discriminator (`encoder`, `head`) and its generator's own parts, trained together.

    Source: ELECTRA, arXiv 2003.10555, section 2; google-research/electra, run_pretraining.py, PretrainingModel.
    """

    settings: ReplacedTokensSettings

    def __init__(
        self,
        config: EncoderConfig,
        vocabulary: MaskingVocabulary,
        settings: ReplacedTokensSettings,
        generator_config: EncoderConfig | None = None,
    ):
        """Build both networks; `generator_config`: of a trained generator, in place of a fraction of `config`."""
        super().__init__(config, vocabulary.size, settings.energies)
        self.generator = _build_generator(settings.generator, config, vocabulary, generator_config)
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
        """Return sums whose means are the measures of `titles`, losses in nats.

        The generator's are over predicted tokens (of two towers over all that may be masked), the discriminator's over
        real tokens, [CLS] and [SEP] included. rtd_precision and rtd_recall are of replaced tokens; rtd_auc is over all
        pairs of a replaced and an original token within a micro-batch.
        """
        masked = prediction_targets(batch)
        generated = self.generator.fill(batch, masked, self.encoder)
        tokens, replaced = _replace(batch, masked, generated.sampled)
        logits, labels = self.logits_and_labels(tokens, masked, replaced, generated)
        real = tokens.valid_mask()
        discriminated = _discriminator_losses(logits, labels, torch.ones_like(logits) if real is None else real.float())
        counts = {**generated.losses.counts, **discriminated.counts, **self.counts(batch)}
        return Losses({**generated.losses.sums, **discriminated.sums}, counts)

    def logits_and_labels(
        self, tokens: Tokens, masked: PredictionTargets, replaced: Tensor, generated: GeneratorOutput
    ) -> tuple[Tensor, Tensor]:
        """Return logits and labels of each token, [T] float32 each: is it `replaced`?"""
        return self.logits(tokens).float(), replaced

    def logits(self, tokens: Tokens) -> Tensor:
        return self.head(self.hidden(tokens))

    def hidden(self, tokens: Tokens) -> Tensor:
        """Return the discriminator's vectors: [T] → [T, D]."""
        disentangles = self.settings.generator.disentangles
        base = self.generator.table(self.encoder).detach() if disentangles else None
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
    settings: GeneratorSettings,
    config: EncoderConfig,
    vocabulary: MaskingVocabulary,
    generator_config: EncoderConfig | None,
) -> Generator:
    if settings.kind == "uniform":
        return UniformGenerator(settings, vocabulary.size)
    if settings.kind == "two_towers":
        return TwoTowerGenerator(settings, config, vocabulary.size, vocabulary.never_masked)
    return MaskedTokenGenerator(settings, generator_config or settings.encoder_config(config), vocabulary.size)


def _replace(batch: Batch, masked: PredictionTargets, sampled: Tensor) -> tuple[Tokens, Tensor]:
    """Return the original rows with `sampled` at the masked positions, and where that changed them: [T] float32.

    A position that is drawn twice, as only compat does, gets the whole-number mean of its two ids, which is some third
    token. Source: google-research/electra, pretrain/pretrain_helpers.py, scatter_update.
    """
    original, weights = batch.original_ids, masked.weights.long()
    assert original is not None, "the collator keeps them"
    zeros = torch.zeros_like(original)
    times = zeros.scatter_add(0, masked.positions, weights)
    ids = zeros.scatter_add(0, masked.positions, sampled * weights) // times.clamp(min=1)
    ids = torch.where(times > 0, ids, original)
    return batch.tokens.with_ids(ids), torch.ne(ids, original).float()


def _discriminator_losses(logits: Tensor, replaced: Tensor, real: Tensor) -> Losses:
    """Return the discriminator's loss and measures; all arguments are [T] float32."""
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
