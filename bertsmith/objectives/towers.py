"""A generator of two towers: one reads from the left, one from the right, and neither ever sees the token in question.

So it predicts every token of an unmasked row in one pass, and its probabilities hold at every place, as Electric needs.
"""

import torch
from torch import Tensor, nn

from bertsmith.encoders.attention import CAUSAL, REVERSE_CAUSAL
from bertsmith.encoders.bert import MaskedTokenHead
from bertsmith.encoders.config import EncoderConfig, Precision
from bertsmith.encoders.encoder import Encoder, TransformerStack
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.cross_entropy import TokenTargets, VocabularyCrossEntropy, sample
from bertsmith.objectives.generator import Generator, GeneratorOutput, GeneratorSettings
from bertsmith.objectives.masking import PredictionTargets
from bertsmith.objectives.objective import Batch, Losses


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
