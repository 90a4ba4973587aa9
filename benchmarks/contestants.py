"""The training step of bertsmith and of `transformers`: the same network, on the same random rows.

`transformers` has `ElectraForMaskedLM` (`BertForMaskedLM` where embeddings are as wide as the layers, or the class of
the network's kind, of DeBERTa with DeBERTaV3's settings) with its dense scores over the vocabulary, and
`torch.optim.AdamW`; for ELECTRA it is that as the generator, with Gumbel noise at the masked positions, and
`ElectraForPreTraining` on the same embeddings.
"""

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # each contestant has a process of its own on the CPU, and in it imports what it needs
    from bertsmith.objectives.masking import MaskingVocabulary
    from bertsmith.objectives.objective import Batch, PretrainingObjective

MASK_ID, DISCRIMINATOR_WEIGHT = 103, 50.0

LAYERS = ("ElectraLayer", "BertLayer", "RobertaLayer", "DebertaV2Layer")
OTHER_PARTS = (
    "ElectraEmbeddings", "BertEmbeddings", "ElectraGeneratorPredictions", "ElectraDiscriminatorPredictions",
    "BertLMPredictionHead",
)  # fmt: skip
"""Of transformers, what is compiled: on the CPU the layers, on a GPU what we compile ourselves."""

DEBERTA_V3 = {
    "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 256, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "position_biased_input": False,
}  # fmt: skip
"""The published models' settings, which are our defaults."""


@dataclass(frozen=True)
class Network:
    """What both train, and on rows of which length."""

    hidden_size: int
    num_hidden_layers: int
    embedding_size: int | None = None
    generator_fraction: float | None = None
    """Of the hidden size, for ELECTRA; None: masked tokens are predicted, and that is all."""
    dropout_prob: float = 0.1
    length: int = 128
    vocab_size: int = 30_522
    kind: str = "classic"
    """Of the encoder: classic, roberta or deberta."""

    @property
    def predictions(self) -> int:
        """In a row; as `MaskingSettings.max_predictions` has it."""
        return max(1, int(0.155 * self.length))

    def random_rows(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and segment ids, [rows, length] each."""
        rng = np.random.default_rng(0)
        segments = np.broadcast_to(np.arange(self.length) >= self.length // 2, (rows, self.length)).astype(np.int64)
        return rng.integers(1000, self.vocab_size, (rows, self.length)), segments


class Bertsmith:
    """Our side: `objective`, its `runner` and `optimizer` as `pretrain` makes them. Takes all rows at once on a GPU and
    4,096 tokens on the CPU, or half where memory runs out."""

    def __init__(self, network: Network, rows: int, device: str, compiled: bool):
        from bertsmith.randomness import derived_rng
        from bertsmith.text.segments import PackedRows
        from bertsmith.training.machine import MachineSettings, choose_machine
        from bertsmith.training.optimizers.adamw import AdamWSettings
        from bertsmith.training.optimizers.optimizer import build_optimizer, set_learning_rate
        from bertsmith.training.runner import Runner

        self.network, self.length = network, network.length
        self.objective = build_objective(network)
        self.runner = Runner(self.objective, choose_machine(MachineSettings(device=device, compile=compiled)))
        self.optimizer = build_optimizer(self.objective, AdamWSettings())
        set_learning_rate(self.optimizer, 1e-4)
        self.objective.train()
        ids, segments = network.random_rows(rows)
        self.rows = PackedRows(ids.ravel(), segments.ravel(), np.full(rows, network.length))
        self.batch = self.make_batch(self.rows, derived_rng(0, "masks"))

    def make_batch(self, rows: Any, rng: np.random.Generator) -> "Batch":
        """Return masked rows."""
        return self.objective.settings.collator(masking_vocabulary(self.network), self.length)(rows, rng)

    def step(self) -> None:
        from bertsmith.training.optimizers.optimizer import clip_gradients

        self.runner.gradients(self.runner.prepare(self.batch, self.length))
        clip_gradients(self.objective, 1.0)
        self.optimizer.step()

    def rest(self) -> None:
        """Give up the memory that is held between steps."""
        if self.runner.cuda_graphs is not None:
            self.runner.cuda_graphs.forget()

    @property
    def rows_at_once(self) -> int:
        return self.runner.micro_batch_rows or self.batch.tokens.num_rows


def build_objective(network: Network) -> "PretrainingObjective":
    from bertsmith.encoders.registry import ENCODERS
    from bertsmith.objectives.generator import GeneratorSettings
    from bertsmith.objectives.mlm import MaskedTokensSettings
    from bertsmith.objectives.rtd import ReplacedTokensSettings

    settings = MaskedTokensSettings()
    if network.generator_fraction:
        generates = GeneratorSettings(hidden_fraction=network.generator_fraction)
        settings = ReplacedTokensSettings(generator=generates, discriminator_weight=DISCRIMINATOR_WEIGHT)
    encoder = ENCODERS[network.kind](
        hidden_size=network.hidden_size,
        num_hidden_layers=network.num_hidden_layers,
        embedding_size=network.embedding_size,
        hidden_dropout_prob=network.dropout_prob,
        attention_probs_dropout_prob=network.dropout_prob,
    )
    return settings.build(encoder, masking_vocabulary(network))


def masking_vocabulary(network: Network) -> "MaskingVocabulary":
    from bertsmith.objectives.masking import MaskingVocabulary

    return MaskingVocabulary(network.vocab_size, MASK_ID, (0,))


class Transformers:
    """The peer, in micro-batches of the same number of tokens as ours, which suits it too."""

    def __init__(self, network: Network, rows: int, device: str, compiled: bool):
        from bertsmith.training.runner import CPU_MICRO_BATCH_TOKENS

        self.device, self.rows = torch.device(device), rows
        on_cpu = self.device.type == "cpu"
        self.rows_at_once = min(rows, max(1, CPU_MICRO_BATCH_TOKENS // network.length)) if on_cpu else rows
        self.model = (Electra(network) if network.generator_fraction else masked_token_model(network)).to(self.device)
        if compiled:
            for module in self.model.modules():
                if type(module).__name__ in (LAYERS if on_cpu else LAYERS + OTHER_PARTS):
                    module.compile()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, eps=1e-6, weight_decay=0.01, fused=None if on_cpu else True
        )
        self.model.train()
        ids, segments = (torch.from_numpy(values) for values in network.random_rows(rows))
        chosen = torch.rand(rows, network.length).argsort(dim=1)[:, : network.predictions]
        self.inputs = {
            "input_ids": ids.scatter(1, chosen, MASK_ID),
            "token_type_ids": segments,
            "labels": torch.full_like(ids, -100).scatter(1, chosen, ids.gather(1, chosen)),
        }
        if network.kind == "roberta":
            del self.inputs["token_type_ids"]  # its tokenizers give none
        if on_cpu:  # on a GPU, where it would cost the fastest attention, rows being full makes it needless
            self.inputs["attention_mask"] = torch.ones_like(ids)
        if network.generator_fraction:
            self.inputs["chosen"] = chosen
        self.inputs = {name: values.to(self.device) for name, values in self.inputs.items()}

    def step(self) -> None:
        while True:
            try:
                self._gradients()
                break
            except torch.OutOfMemoryError:
                if self.rows_at_once == 1:
                    raise
            self.rows_at_once //= 2
            self.optimizer.zero_grad(set_to_none=True)
            torch.compiler.reset()  # as `Machine` does: shapes stay fixed ones
            torch.cuda.empty_cache()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def rest(self) -> None:
        """Nothing is held."""

    def _gradients(self) -> None:
        half = torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else contextlib.nullcontext()
        for start in range(0, self.rows, self.rows_at_once):
            part = {name: values[start : start + self.rows_at_once] for name, values in self.inputs.items()}
            with half:
                loss = self.model(**part).loss
            (loss * len(part["labels"]) / self.rows).backward()


def masked_token_model(network: Network, hidden_size: int | None = None) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM, ElectraConfig, ElectraForMaskedLM

    shape = transformers_shape(network, hidden_size)
    if network.kind == "roberta":
        from transformers import RobertaConfig, RobertaForMaskedLM

        positions = {"max_position_embeddings": 514, "type_vocab_size": 1}
        return RobertaForMaskedLM(RobertaConfig(**shape, **positions))
    if network.kind == "deberta":
        from transformers import DebertaV2Config, DebertaV2ForMaskedLM

        return DebertaV2ForMaskedLM(DebertaV2Config(**shape, **DEBERTA_V3))
    if "embedding_size" in shape:
        return ElectraForMaskedLM(ElectraConfig(**shape))
    return BertForMaskedLM(BertConfig(**shape))


class Electra(nn.Module):
    """ELECTRA from transformers' classes, which have its two networks and no training of them together."""

    def __init__(self, network: Network):
        super().__init__()
        from transformers import ElectraConfig, ElectraForPreTraining

        self.generator = masked_token_model(network, round(network.generator_fraction * network.hidden_size))
        self.discriminator = ElectraForPreTraining(ElectraConfig(**transformers_shape(network)))
        self.discriminator.electra.embeddings = self.generator.electra.embeddings

    def forward(self, input_ids: Tensor, labels: Tensor, chosen: Tensor, **rest: Tensor) -> SimpleNamespace:
        """`chosen` [N, K] are the masked positions of each row."""
        found = self.generator(input_ids=input_ids, labels=labels, **rest)
        with torch.no_grad():
            scores = found.logits[torch.arange(len(chosen), device=chosen.device)[:, None], chosen]  # [N, K, V]
            drawn = (scores - torch.empty_like(scores).exponential_().log()).argmax(dim=-1)
        replaced_ids = input_ids.scatter(1, chosen, drawn)
        originals = input_ids.scatter(1, chosen, labels.gather(1, chosen))
        judged = self.discriminator(input_ids=replaced_ids, labels=(replaced_ids != originals).long(), **rest)
        return SimpleNamespace(loss=found.loss + DISCRIMINATOR_WEIGHT * judged.loss)


def transformers_shape(network: Network, hidden_size: int | None = None) -> dict[str, int | float]:
    """Configuration of the network, or of one with other `hidden_size` on embeddings of the same width."""
    own = hidden_size or network.hidden_size
    shape = {
        "vocab_size": network.vocab_size, "hidden_size": own, "num_hidden_layers": network.num_hidden_layers,
        "intermediate_size": 4 * own, "num_attention_heads": max(1, own // 64),
        "hidden_dropout_prob": network.dropout_prob, "attention_probs_dropout_prob": network.dropout_prob,
    }  # fmt: skip
    if network.embedding_size or network.generator_fraction:
        shape["embedding_size"] = network.embedding_size or network.hidden_size
    return shape


CONTESTANTS = {"bertsmith": Bertsmith, "transformers": Transformers}
