"""Linear layers."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ...core.ops import create
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module


class Identity(Module):
    """Returns its input; takes any arguments and ignores them, as in torch."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input


class Linear(Module):
    """y = x W^T + b.  x: (..., in_features), W: (out_features, in_features) -> (..., out_features)

    W and b are drawn from U(-k, k), k = 1 / sqrt(in_features).
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        made = {"device": device, "dtype": dtype}
        self.weight = Parameter(create.zeros(out_features, in_features, **made))
        self.bias = Parameter(create.zeros(out_features, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        init.uniform_fan_in_(self.bias, self.weight)

    def forward(self, input):
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_k = x1 W_k x2 + b_k.

    x1: (..., in1), x2: (..., in2), W: (out, in1, in2) -> (..., out); all from U(-k, k),
    k = 1 / sqrt(in1)
    """

    def __init__(
        self, in1_features, in2_features, out_features, bias=True, device=None, dtype=None
    ):
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        made = {"device": device, "dtype": dtype}
        self.weight = Parameter(create.zeros(out_features, in1_features, in2_features, **made))
        self.bias = Parameter(create.zeros(out_features, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1, input2):
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self):
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
