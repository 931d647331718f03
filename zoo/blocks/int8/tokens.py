"""Integer weights for streams of tokens: products and tables.

Codes have one scale and zero point an edge (static), or one scale a token, found as it comes (dynamic): then a token's
largest value is 127 away from the zero point 128.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8 import arithmetic, onednn
from zoo.blocks.int8.arithmetic import Edge
from zoo.blocks.int8.codes import scaled_codes, whole_codes
from zoo.blocks.int8.execution import plain, runs_fast
from zoo.blocks.int8.layer import MAX_PACKS, Int8Layer, Int8Module

CENTRE = Edge(1.0, 128)  # of a token's codes, before its own scale


class TokenLinear(Int8Layer):
    """A linear layer on every token: (..., C) to (..., O). `activation` follows it."""

    has_bias = True

    def __init__(self, in_features: int, out_features: int, *, activation: str = "none") -> None:
        super().__init__(in_features, out_features, linear=True, activation=activation)

    def product(self, x: Tensor, source: Edge | None, target: Edge | None = None) -> Tensor:
        """Floats, or codes on `source`, to codes on `target`, or to floats where it is None.

        Where `source` is None every token has a scale of its own.
        """
        if not runs_fast(x.device) or not x.numel():
            y = self._plainly(x, source, target)
            return y.view(*x.shape[:-1], y.shape[-1])
        flat = x.detach().reshape(-1, x.shape[-1])  # codes have no gradients, and scales in place can have none
        if source is None:
            y = self._by_token(flat)
        else:
            codes = flat if flat.dtype == torch.uint8 else whole_codes(flat.float(), source)
            y = self._packed(source, target)(codes)
        return y.view(*x.shape[:-1], y.shape[-1])

    def _by_token(self, x: Tensor) -> Tensor:
        x = x.float()
        scale = token_scale(x)
        y = self._packed(None, None)(scaled_codes(x, scale, CENTRE.zero))
        return _activate_(torch.addcmul(self.bias, y, scale, out=y), self.activation)

    def _packed(self, source: Edge | None, target: Edge | None) -> Callable[[Tensor], Tensor]:
        self.renew()
        key = ("tokens", source, target)
        call = self._calls.get(key)
        if call is None:
            with torch.inference_mode(False), torch.no_grad():
                call = self._bind_tokens(source, target)
            while len(self._calls) >= MAX_PACKS:
                self._calls.pop(next(iter(self._calls)), None)
            self._calls[key] = call
        return call

    def _bind_tokens(self, source: Edge | None, target: Edge | None) -> Callable[[Tensor], Tensor]:
        edge, activation = (CENTRE, "none") if source is None else (source, self.activation)
        bias = torch.zeros_like(self.bias) if source is None else self.bias
        if int(self.weight.abs().max()) > onednn.widest_weight() or not onednn.has_post_op(activation):
            return self._in_floats(edge, bias, activation, target)
        tensors = (self.weight, self.scale, bias)
        if onednn.trusted():
            return onednn.linear(*tensors, edge, target, activation)
        # Without VNNI oneDNN's convolutions are quicker than its products, even where the activation is not in them:
        # by a seventh, for one token two or three times.
        if activation in onednn.POST_OPS:
            return onednn.linear_by_convolution(*tensors, edge, target, activation)
        before = onednn.linear_by_convolution(*tensors, edge, None, "none")

        def product(codes: Tensor) -> Tensor:
            y = _activate_(before(codes), activation)
            return y if target is None else whole_codes(y, target)

        return product

    def _in_floats(self, edge: Edge, bias: Tensor, activation: str, target: Edge | None) -> Callable[[Tensor], Tensor]:
        """For weights that this host's operators cannot take: as quick as float32, and as large."""
        onednn.warn_of_reference()
        real = self.weight.float() * (edge.scale * self.scale)[:, None]

        def product(codes: Tensor) -> Tensor:
            y = arithmetic.activate(F.linear(codes.float().sub_(edge.zero), real, bias), activation)
            return y if target is None else whole_codes(y, target)

        return product

    def _plainly(self, x: Tensor, source: Edge | None, target: Edge | None) -> Tensor:
        numerics = plain()
        if source is None:
            multiply = multiply_by_token if numerics is arithmetic else numerics.multiply_floats
            y = multiply(x, self.weight, self.scale, self.bias if self.has_bias else None)
            return arithmetic.activate(y, self.activation)
        codes = x if x.dtype == torch.uint8 else numerics.quantize(x, source)
        if numerics is not arithmetic and not self.has_bias:
            return numerics.multiply_floats(numerics.dequantize(codes, source), self.weight, self.scale, None)
        y = arithmetic.activate(numerics.multiply(codes, source, self.weight, self.scale, self.bias), self.activation)
        return y if target is None else numerics.quantize(y, target)


def _activate_(x: Tensor, activation: str) -> Tensor:
    """`arithmetic.activate`, in place where it is a GELU: memory for a second `x` costs more than itself."""
    form = onednn.GELUS.get(activation)
    return arithmetic.activate(x, activation) if form is None else torch.ops.aten.gelu_(x, approximate=form)  # type: ignore[no-any-return]


class TokenTable(TokenLinear):
    """A table of vectors, each with its own scale: ids (B, N) to floats (B, N, D), and products with all of it."""

    has_bias = False

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__(dim, vocabulary)
        del self.bias
        self._zeros: Tensor | None = None

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """Zeros: a tied head has no bias."""
        if self._zeros is None or self._zeros.device != self.scale.device:
            self._zeros = torch.zeros_like(self.scale)
        return self._zeros

    def _underived(self) -> dict[str, object]:
        return {**super()._underived(), "_zeros": None}

    def forward(self, ids: Tensor) -> Tensor:  # type: ignore[override]
        return self.weight[ids].float() * self.scale[ids][..., None]


class StaticEdges(Int8Module):
    """A row whose inner edges were ranged beforehand."""

    edges: Tensor

    edge_count: int

    def finish(self) -> None:
        """The last step of its float form's `__init__`."""
        self.register_buffer("edges", torch.tensor([[1.0, 0.0]] * self.edge_count, dtype=torch.float32))
        self._read_edges: tuple[Edge, ...] | None = None

    def forget(self) -> None:
        super().forget()
        self._read_edges = None

    def _underived(self) -> dict[str, object]:
        return {"_read_edges": None}

    @property
    def edge_list(self) -> tuple[Edge, ...]:
        self.renew()
        if self._read_edges is None:
            self._read_edges = tuple(Edge(scale, int(zero)) for scale, zero in self.edges.tolist())
        return self._read_edges

    def products(self) -> list[tuple[TokenLinear, Edge]]:
        """The layers that read codes, and on which edge."""
        raise TypeError(f"{type(self).__name__} does not say what it multiplies.")


def token_scale(x: Tensor) -> Tensor:
    """(..., C) floats to the scale of each token's codes, (..., 1)."""
    return x.abs().amax(-1, keepdim=True).clamp_min_(1e-12).mul_(1.0 / 127)


def multiply_by_token(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """The dynamic product in plain operators: (..., C) floats to (..., O)."""
    of_token = token_scale(x.float())
    codes = (x.float() / of_token).round_().clamp_(-128, 127)
    with arithmetic.exact(x.device):
        sums = F.linear(codes, weight.float())
    sums = sums * scale
    return sums * of_token if bias is None else torch.addcmul(bias, sums, of_token)
