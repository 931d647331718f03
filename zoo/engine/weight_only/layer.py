"""Linear layers and tables with integer weights, for float inputs and outputs. Shapes: O outputs, I inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks import settled
from zoo.blocks.traced import traced
from zoo.engine.cpu import weight_only
from zoo.engine.cpu.weight_only import Packed, Pieces
from zoo.engine.execution import forced
from zoo.engine.leaf import Leaf
from zoo.engine.weight_only import bits
from zoo.kinds import GROUP


class W8Linear(Leaf):
    """int8 weights (O, I) with a scale for each output: (..., I) floats to (..., O) floats."""

    scale: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__(in_features, out_features, linear=True)
        self.in_features, self.out_features = in_features, out_features
        if not bias:
            self.register_buffer("bias", None)

    def _hold(self, shape: tuple[int, ...]) -> None:
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(shape[0], dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float32))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def codes(self) -> Tensor:
        """The weights as int8 (O, I), in units of the scale."""
        return self.weight

    def dequantized(self) -> Tensor:
        """The weights as floats (O, I)."""
        return self.codes().float() * self.scale[:, None]

    def bytes_read(self) -> int:
        """Bytes of weights that a product reads here: a byte for each weight, or four where floats are multiplied."""
        fast = self._is_fast(torch.empty(1))
        beside = sum(one.nbytes for one in (self.scale, self.bias) if one is not None)
        return self.in_features * self.out_features * (1 if fast else 4) + beside

    def enter(self, x: Tensor) -> Pieces | Tensor:
        """`x` as `product` takes it; layers of one width share it."""
        return weight_only.split(x) if self._is_fast(x) else x

    def product(self, x: Pieces | Tensor) -> Tensor:
        if isinstance(x, Tensor):
            return self._plain(x)
        packed = self.remember("packed", self._pack)
        return packed(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(self.enter(x))

    def _pack(self) -> Packed:
        return Packed(self.codes(), self.scale, self.bias)

    def _is_fast(self, x: Tensor) -> bool:
        if settled.state.get() is settled.OPEN:  # and nothing is traced or has gradients
            return x.is_cpu and weight_only.trusted()
        if not x.is_cpu or forced() or not weight_only.trusted():
            return False
        return x.numel() > 0 and not (x.requires_grad and torch.is_grad_enabled())

    def _plain(self, x: Tensor) -> Tensor:
        """By float weights, which are kept; a trace makes them itself."""
        weight = self.dequantized() if traced() else self.remember("floats", self.dequantized)
        return F.linear(x.float(), weight, self.bias)


class W4Linear(W8Linear):
    """Weights of 4 bits, two in a byte, as `bits` describes them."""

    step: Tensor
    shift: Tensor

    def _hold(self, shape: tuple[int, ...]) -> None:
        outputs, groups = shape[0], -(-shape[1] // GROUP)
        self.register_buffer("weight", torch.zeros(outputs, groups * GROUP // 2, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(outputs, dtype=torch.float32))
        self.register_buffer("step", torch.ones(outputs, groups, dtype=torch.uint8))
        self.register_buffer("shift", torch.zeros(outputs, groups, dtype=torch.int8))
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.float32))

    def codes(self) -> Tensor:
        return bits.codes(self.weight, self.step, self.shift, self.in_features)


class W8Table(W8Linear):
    """A table of vectors, each with its own scale: ids (B, N) to floats (B, N, I), and products with all of it."""

    is_table = True  # whose rows alone are read, unless a head is tied to it

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__(dim, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight[ids].float() * self.scale[ids][..., None]

    def scores(self, x: Tensor) -> Tensor:
        """(..., I) to a score for each vector (..., O)."""
        return self.product(self.enter(x))
