"""A small change of an encoder: BERT with a squared ReLU for its GELU (Primer, arXiv 2109.08668).

bertsmith pretrain bert-tiny --plugin examples/squared_relu.py model.kind=squared_relu data=data/text --out runs/squared
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.attention import FULL, AttentionWindow
from bertsmith.encoders.bert import BertConfig, BertLayer, FeedForward
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.registry import ENCODERS


@ENCODERS.register
@settings
class SquaredReluConfig(BertConfig):
    """The settings of the recipe's table `model`, and the layers that they build."""

    kind: Literal["squared_relu"] = setting("squared_relu", "squared_relu: BERT's, with a squared ReLU")

    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        layer = BertLayer(self, window)
        layer.feed_forward = SquaredRelu(self)
        layer.feed_forward.apply(lambda module: initialize(module, self.initializer_range))
        return layer


class SquaredRelu(FeedForward):
    """Two dense layers with a squared ReLU between: [T, D] → [T, D]."""

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(F.relu(self.expand(x)).square()))
