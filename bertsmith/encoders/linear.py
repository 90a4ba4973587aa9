"""Dense layers of one input, computed as one product."""

from torch import nn


class JointLinear(nn.Linear):
    """Several dense layers of one input whose weights lie one below the other, `parts` of the same size: [T, D] → [T,
    parts · out_features]. An optimizer that looks at matrices as a whole takes each by itself."""

    def __init__(self, in_features: int, out_features: int, parts: int, bias: bool = True):
        super().__init__(in_features, parts * out_features, bias)
        self.parts = parts
