"""Heads that find an answer in a text: where it begins, where it ends, whether there is none."""

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderSettings
from bertsmith.encoders.heads import ModernClassificationHead, TaggingHead

JOINT_WIDTH = 512
"""Of the layers between two vectors and a logit, whatever the encoder's width."""


def plain_answer_head(settings: EncoderSettings, family: str) -> nn.Module:
    """That of Hugging Face's …ForQuestionAnswering, [T, D] → [T, 2], logits of a beginning and of an end: one dense
    layer without dropout, of a ModernBERT behind its head of dense, GELU and norm."""
    if family == "modernbert":
        return ModernClassificationHead(settings, 2, dropout_prob=0.0)
    return TaggingHead(settings, 2, dropout_prob=0.0)


class JointAnswerHead(nn.Module):
    """Where the answer ends depends on where it begins: dense, GELU, dense on the beginning's vector beside each
    token's. Whether there is none: the same on [CLS]'s vector beside the beginning's expected one.

    The dense layer on two vectors is the sum of one on each, so that no vector is laid beside another in memory.

    Source: google-research/electra, finetune/qa/qa_tasks.py, get_prediction_module.
    """

    def __init__(self, settings: EncoderSettings, may_have_none: bool):
        """`may_have_none`: whether a question may be without an answer."""
        super().__init__()
        size = settings.hidden_size
        self.start = nn.Linear(size, 1)
        self.end_dense = nn.Linear(2 * size, JOINT_WIDTH)
        self.end = nn.Linear(JOINT_WIDTH, 1)
        if may_have_none:
            self.none_dense = nn.Linear(2 * size, JOINT_WIDTH)
            self.none = nn.Linear(JOINT_WIDTH, 1)
        for layer in self.children():  # the framework's default in the reference
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def starts(self, vectors: Tensor) -> Tensor:
        """[T, D] → [T] logits."""
        return self.start(vectors)[:, 0]

    def of_tokens(self, vectors: Tensor) -> Tensor:
        """[T, D] → [T, JOINT_WIDTH]: what each token adds to the dense layer, wherever the answer begins."""
        return F.linear(vectors, self.end_dense.weight[:, vectors.shape[1] :])

    def ends(self, of_tokens: Tensor, beginnings: Tensor) -> Tensor:
        """[N, L] logits, of `of_tokens` in a grid [N, L, JOINT_WIDTH] and the vectors [N, D] where answers begin."""
        of_starts = F.linear(beginnings, self.end_dense.weight[:, : beginnings.shape[1]], self.end_dense.bias)
        return self.end(F.gelu(of_tokens + of_starts[:, None]))[..., 0]

    def nones(self, first: Tensor, beginnings: Tensor) -> Tensor:
        """[N] logits that there is no answer, of [CLS]'s vectors and the expected ones of beginnings, each [N, D]."""
        size = first.shape[1]
        hidden = F.linear(first, self.none_dense.weight[:, :size], self.none_dense.bias)
        return self.none(F.gelu(hidden + F.linear(beginnings, self.none_dense.weight[:, size:])))[:, 0]
