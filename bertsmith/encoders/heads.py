"""Heads that sit on any encoder; those of an architecture's own are in its file."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.initialization import initialize

HeadName = Literal["masked_tokens", "replaced_tokens", "classification", "tagging", "answering"]
"""The head of a network; each is described in `bertsmith.hub.heads`."""

JOINT_WIDTH = 512
"""Width of the layers between two vectors and a logit, whatever the encoder's width."""


class PlainClassificationHead(nn.Module):
    """One dense layer: [N, D] → [N, C], as the reference fine-tunes, or of tokens, as in Hugging Face's Bert- and
    ElectraForTokenClassification.

    Source: google-research/electra, finetune/classification/classification_tasks.py and, without dropout,
    finetune/tagging/tagging_tasks.py, get_prediction_module.
    """

    def __init__(
        self, settings: EncoderConfig, num_labels: int, dropout_prob: float = 0.1, init_range: float | None = None
    ):
        """Draw the weights: cut at two standard deviations of `init_range`, or as the reference's framework does."""
        super().__init__()
        self.dropout = nn.Dropout(dropout_prob)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        if init_range is None:
            nn.init.xavier_uniform_(self.output.weight)
            nn.init.zeros_(self.output.bias)
        else:
            initialize(self.output, init_range)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.output(self.dropout(vectors))


class PlainReplacedTokenHead(PlainClassificationHead):
    """One dense layer, as Hugging Face's …ForTokenClassification with one label: [T, D] → [T] logits."""

    def __init__(self, settings: EncoderConfig):
        super().__init__(settings, num_labels=1, dropout_prob=0.0, init_range=settings.initializer_range)

    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward(vectors)[:, 0]


class JointAnswerHead(nn.Module):
    """A head for answers whose end depends on their beginning: dense, GELU, dense on the beginning's vector next to
    each token's; for the logit of no answer, on [CLS]'s vector next to the beginning's expected one.

    The dense layer on two vectors is the sum of one on each, so that no vectors are concatenated in memory.

    Source: google-research/electra, finetune/qa/qa_tasks.py, get_prediction_module.
    """

    def __init__(self, settings: EncoderConfig, may_have_none: bool):
        """Draw the weights; `may_have_none` says whether a question may be without an answer."""
        super().__init__()
        size = settings.hidden_size
        self.start = nn.Linear(size, 1)
        self.end_dense = nn.Linear(2 * size, JOINT_WIDTH)
        self.end = nn.Linear(JOINT_WIDTH, 1)
        if may_have_none:
            self.none_dense = nn.Linear(2 * size, JOINT_WIDTH)
            self.none = nn.Linear(JOINT_WIDTH, 1)
        for name, parameter in self.named_parameters():  # the framework's default in the reference
            (nn.init.zeros_ if name.endswith(".bias") else nn.init.xavier_uniform_)(parameter)

    def start_logits(self, vectors: Tensor) -> Tensor:
        """Return where an answer begins: [T, D] → [T]."""
        return self.start(vectors)[:, 0]

    def token_sums(self, vectors: Tensor) -> Tensor:
        """Return each token's part of the sum, wherever the answer begins: [T, D] → [T, JOINT_WIDTH]."""
        return F.linear(vectors, self.end_dense.weight[:, vectors.shape[1] :])

    def end_logits(self, token_sums: Tensor, beginnings: Tensor) -> Tensor:
        """Return where an answer ends, [N, L], of `token_sums`, padded to [N, L, JOINT_WIDTH], and of the vectors
        [N, D] where answers begin."""
        start_sums = F.linear(beginnings, self.end_dense.weight[:, : beginnings.shape[1]], self.end_dense.bias)
        return self.end(F.gelu(token_sums + start_sums[:, None]))[..., 0]

    def null_logits(self, first: Tensor, beginnings: Tensor) -> Tensor:
        """Return the logits that there is no answer, [N], of [CLS]'s vectors and the expected ones of beginnings, each
        [N, D]."""
        size = first.shape[1]
        hidden = F.linear(first, self.none_dense.weight[:, :size], self.none_dense.bias)
        return self.none(F.gelu(hidden + F.linear(beginnings, self.none_dense.weight[:, size:])))[:, 0]
