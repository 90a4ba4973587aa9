"""ELECTRA's generator, which replaces masked tokens for the discriminator to find.

One of two towers reads from the left and from the right, and neither tower ever sees the token in question. So it
predicts every token of an unmasked row in one pass, and its probabilities hold at every place, as Electric needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.attention import CAUSAL, REVERSE_CAUSAL
from bertsmith.encoders.bert import MaskedTokenHead
from bertsmith.encoders.config import EncoderConfig, Precision
from bertsmith.encoders.encoder import Encoder, TransformerStack
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.cross_entropy import TokenTargets, VocabularyCrossEntropy, sample, sample_uniformly
from bertsmith.objectives.masking import PredictionTargets
from bertsmith.objectives.objective import Batch, Losses

LEARNT = ("kind = masked_tokens", "kind = two_towers")
"""The generators that have weights."""


@settings
class GeneratorSettings:
    """The generator's sizes, beside the discriminator's, and its sampling."""

    kind: Literal["masked_tokens", "two_towers", "uniform"] = setting(
        "masked_tokens",
        "masked_tokens: a masked-token model; two_towers: one that reads from the left and one that reads from the "
        "right, which never see the token itself; uniform: any token is as likely, and nothing is learnt",
    )
    hidden_fraction: float = setting(
        0.25, "its hidden_size as a fraction of the discriminator's", gt=0, le=1, only=LEARNT
    )
    layers_fraction: float = setting(1.0, "its layers as a fraction of the discriminator's", gt=0, le=1, only=LEARNT)
    sharing: Literal["embeddings", "gradient_disentangled", "nothing", "everything"] = setting(
        "embeddings",
        "with the discriminator. embeddings: token, position and segment vectors; gradient_disentangled: the "
        "discriminator uses the generator's token vectors plus what it learns itself, and moves only that; nothing: "
        "each its own, as wide as its layers; everything: one network of full size plays both parts",
        only=LEARNT,
    )
    rate: float = setting(
        1.0,
        "learning rate of the weights that it does not share, times the schedule's; with sharing = everything, of its "
        "head alone",
        gt=0,
        only=LEARNT,
    )
    temperature: float = setting(1.0, "divides the scores before a token is drawn", gt=0, only=LEARNT)
    disallow_correct: bool = setting(False, "never draw the original token")

    @property
    def tags(self) -> set[str]:
        return {f"kind = {self.kind}"}

    @property
    def disentangles(self) -> bool:
        """Whether the discriminator's token vectors are the generator's plus its own (DeBERTaV3, arXiv 2111.09543)."""
        return self.sharing == "gradient_disentangled" and self.kind != "uniform"

    def encoder_config(self, discriminator_config: EncoderConfig) -> EncoderConfig:
        """Return the settings of the generator's encoder; heads and feed-forward size follow from its width.

        Raises:
            ValueError: no such encoder can be.
        Source: google-research/electra, run_pretraining.py, get_generator_config.
        """
        if self.sharing == "everything":
            return discriminator_config
        hidden_size = max(1, round(discriminator_config.hidden_size * self.hidden_fraction))
        try:
            return replace(  # type: ignore[type-var]  # each architecture's is a dataclass
                discriminator_config,
                hidden_size=hidden_size,
                num_hidden_layers=max(1, round(discriminator_config.num_hidden_layers * self.layers_fraction)),
                num_attention_heads=None,
                intermediate_size=None,
                embedding_size=hidden_size if self.sharing == "nothing" else discriminator_config.embedding,
            )
        except ValueError as error:
            raise ValueError(
                f"objective.generator.hidden_fraction = {self.hidden_fraction} and layers_fraction = "
                f"{self.layers_fraction}: {error}"
            ) from None


class GeneratorOutput(NamedTuple):
    """A generator's losses, and its tokens for the masked positions."""

    losses: Losses
    sampled: Tensor
    """[M] int64, the tokens that it drew."""
    log_prob: Callable[[Tensor], Tensor] | None = None
    """ids [T] → [T] float32: the logarithm of their probability at each place, in nats and without a gradient; of two
    towers only, which know every place."""


class Generator(nn.Module, ABC):
    """The base of generators, as one without weights has it."""

    embeddings: nn.Module | None
    """The generator's own embeddings; None where it has none, or the discriminator's."""

    def __init__(self, settings: GeneratorSettings):
        super().__init__()
        self.settings = settings

    def table(self, discriminator: Encoder) -> Tensor:
        """Return the vocabulary's vectors: [V, E]."""
        embeddings: Any = self.embeddings or discriminator.embeddings
        return embeddings.token.weight

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """See `Objective.counts`, of its own loss."""
        return {}

    @abstractmethod
    def fill(self, batch: Batch, masked: PredictionTargets, discriminator: Encoder) -> GeneratorOutput:
        """Return its losses, and a token for each masked position."""

    def flops_per_token(self, discriminator_config: EncoderConfig, share_predicted: float, length: int) -> float:
        """Count the forward pass, for one token of a row of `length` tokens."""
        return 0.0

    def activation_bytes_per_token(
        self, discriminator_config: EncoderConfig, share_predicted: float, length: int, precision: Precision
    ) -> float:
        """Count the activations kept for the backward pass, for one token of a row of `length` tokens."""
        return 0.0


class MaskedTokenGenerator(Generator):
    """The parts of a masked-token model that the discriminator does not lend it."""

    def __init__(self, settings: GeneratorSettings, config: EncoderConfig, vocab_size: int):
        super().__init__(settings)
        self.config = config
        shares_embeddings = settings.sharing in ("embeddings", "everything")
        self.embeddings = None if shares_embeddings else config.build_embeddings(vocab_size)
        self.trunk = None if settings.sharing == "everything" else TransformerStack(config)
        self.head = config.masked_token_head(vocab_size)
        self.cross_entropy = VocabularyCrossEntropy(settings.temperature, settings.disallow_correct)

    def vectors(self, tokens: Tokens, positions: Tensor, discriminator: Encoder) -> Tensor:
        """Return the head's vectors of masked `tokens` at `positions` ([M], into the flat tokens): [M, E]."""
        embedded = (self.embeddings or discriminator.embeddings)(tokens)
        stack = self.trunk or discriminator
        return stack.masked_token_vectors(embedded, tokens, positions, self.head)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"mlm_loss": batch.targets["weights"].sum()}

    def fill(self, batch: Batch, masked: PredictionTargets, discriminator: Encoder) -> GeneratorOutput:
        labels, weights = masked.labels, masked.weights
        vectors, table = self.vectors(batch.tokens, masked.positions, discriminator), self.table(discriminator)
        targets = TokenTargets(labels, weights, masked.pick(batch.targets["draws"]), likeliest=True)
        predicted = self.cross_entropy.predict(vectors, table, self.head.bias, targets)
        sums = {
            "mlm_loss": predicted.loss,
            "mlm_accuracy": ((predicted.likeliest == labels) * weights).sum(),
            "sampled_accuracy": ((predicted.sampled == labels) * weights).sum(),
        }
        assert predicted.sampled is not None, "the targets have draws"
        return GeneratorOutput(Losses(sums, dict.fromkeys(sums, self.counts(batch)["mlm_loss"])), predicted.sampled)

    def flops_per_token(self, discriminator_config: EncoderConfig, share_predicted: float, length: int) -> float:
        head = share_predicted * self.config.masked_token_head_flops(len(self.head.bias))
        return self.config.flops_per_token(length) + self.config.mask_decoder_flops(length) + head

    def activation_bytes_per_token(
        self, discriminator_config: EncoderConfig, share_predicted: float, length: int, precision: Precision
    ) -> float:
        head = share_predicted * self.config.masked_token_head_bytes(precision)
        head += self.config.mask_decoder_bytes(length, precision)
        return self.config.activation_bytes_per_token(length, precision) + head


class UniformGenerator(Generator):
    """A generator to which any token is as likely; nothing is learnt."""

    def __init__(self, settings: GeneratorSettings, vocab_size: int):
        super().__init__(settings)
        self.vocab_size = vocab_size

    def fill(self, batch: Batch, masked: PredictionTargets, discriminator: Encoder) -> GeneratorOutput:
        draws = masked.pick(batch.targets["draws"])
        sampled = sample_uniformly(draws, masked.labels, self.vocab_size, self.settings.disallow_correct)
        correct = ((sampled == masked.labels) * masked.weights).sum()
        return GeneratorOutput(
            Losses({"sampled_accuracy": correct}, {"sampled_accuracy": masked.weights.sum()}), sampled
        )


class TwoTowerGenerator(Generator):
    """Two stacks of layers that attend to one side each, and a head on both together.

    Source: Electric, arXiv 2012.08561, section 3; google-research/electra, run_pretraining.py,
    TwoTowerClozeTransformer.
    """

    def __init__(
        self,
        settings: GeneratorSettings,
        discriminator_config: EncoderConfig,
        vocab_size: int,
        never_masked: tuple[int, ...],
    ):
        super().__init__(settings)
        own = settings.encoder_config(discriminator_config)
        self.embeddings = None if settings.sharing == "embeddings" else own.build_embeddings(vocab_size)
        self.left_to_right = TransformerStack(own, CAUSAL)
        self.right_to_left = TransformerStack(own, REVERSE_CAUSAL)
        self.head = MaskedTokenHead(own, vocab_size, 2 * own.hidden_size)  # type: ignore[arg-type]  # BERT's takes windows
        self.cross_entropy = VocabularyCrossEntropy()
        self.never_masked: Tensor
        self.register_buffer("never_masked", torch.tensor(never_masked), persistent=False)

    def vectors(self, tokens: Tokens, discriminator: Encoder) -> Tensor:
        """Return the head's vectors of the tokens before and after each position: [T, E]."""
        embedded = (self.embeddings or discriminator.embeddings)(tokens)
        before = self.left_to_right.encode(embedded, tokens).roll(1, dims=0)
        after = self.right_to_left.encode(embedded, tokens).roll(-1, dims=0)
        before = before.index_fill(0, tokens.row_starts, 0.0)  # nothing crosses a row
        after = after.index_fill(0, tokens.row_starts + tokens.row_lengths - 1, 0.0)
        return self.head(torch.cat([before, after], dim=1))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"cloze_loss": batch.targets["maskable"].sum()}

    def fill(self, batch: Batch, masked: PredictionTargets, discriminator: Encoder) -> GeneratorOutput:
        """Return loss and accuracy over all tokens that may be masked, and tokens sampled for the masked ones."""
        assert batch.original_ids is not None, "the collator keeps them"
        tokens = batch.tokens.with_ids(batch.original_ids)
        candidates = (~torch.isin(tokens.ids, self.never_masked)).float()
        vectors, table, bias = self.vectors(tokens, discriminator), self.table(discriminator), self.head.bias
        predicted = self.cross_entropy.predict(
            vectors, table, bias, TokenTargets(tokens.ids, candidates, likeliest=True)
        )
        vectors, table = vectors.detach().float(), table.detach()

        def log_prob(ids: Tensor) -> Tensor:
            return (vectors * table[ids]).sum(dim=1) + bias.detach()[ids] - predicted.normalizers

        with torch.no_grad():
            scores = nn.functional.linear(vectors[masked.positions], table, bias).float()
            draws = masked.pick(batch.targets["draws"])
            sampled = sample(scores, draws, masked.labels, self.settings.temperature, self.settings.disallow_correct)
        count = self.counts(batch)["cloze_loss"]
        sums = {
            "cloze_loss": predicted.loss,
            "cloze_accuracy": ((predicted.likeliest == tokens.ids) * candidates).sum(),
            "sampled_accuracy": ((sampled == masked.labels) * masked.weights).sum(),
        }
        counts = {"cloze_loss": count, "cloze_accuracy": count, "sampled_accuracy": masked.weights.sum()}
        return GeneratorOutput(Losses(sums, counts), sampled, log_prob)

    def flops_per_token(self, discriminator_config: EncoderConfig, share_predicted: float, length: int) -> float:
        """Count the forward pass, for one token of a row of `length` tokens, of which it sees half on average. Sampling
        projects the vocabulary once more."""
        own = self.settings.encoder_config(discriminator_config)
        towers = 2 * own.flops_per_token(length / 2)
        dense, output = 4.0 * own.hidden_size * own.embedding, 2.0 * own.embedding * len(self.head.bias)
        return towers + dense + (1 + share_predicted / 3) * output

    def activation_bytes_per_token(
        self, discriminator_config: EncoderConfig, share_predicted: float, length: int, precision: Precision
    ) -> float:
        own = self.settings.encoder_config(discriminator_config)
        head = own.masked_token_head_bytes(precision) + precision.size * own.hidden_size
        return 2 * own.activation_bytes_per_token(length, precision) + head
