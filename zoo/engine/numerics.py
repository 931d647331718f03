"""What an execution of int8 is: one protocol, which the reference, this processor and every exporter implement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from zoo.engine.arithmetic import QParams, Size

if TYPE_CHECKING:
    from zoo.engine.int8.layer import Int8Layer
    from zoo.engine.int8.tokens import TokenLinear


class Numerics(Protocol):
    """How int8 rows compute. Codes are uint8; `source`, `target` and `qparams` say how codes are read.

    Shapes: B batch, C and O channels, H and W height and width.
    """

    def quantize(self, x: Tensor, qparams: QParams) -> Tensor:
        """Floats to codes."""

    def dequantize(self, codes: Tensor, qparams: QParams) -> Tensor:
        """Codes to floats."""

    def layer(
        self,
        leaf: Int8Layer,
        x: Tensor,
        source: QParams,
        target: QParams | None,
        skip: Tensor | None = None,
        skip_qparams: QParams | None = None,
        after: str = "none",
    ) -> Tensor:
        """One layer with its activation, from codes to codes, or to floats where `target` is None.

        `skip` codes are added before rounding, and the activation called `after` follows that sum.
        """

    def tokens(self, leaf: TokenLinear, x: Tensor, source: QParams | None, target: QParams | None) -> Tensor:
        """A linear layer on every token, (..., C) floats or codes to (..., O); each token has its own scale where
        `source` is None."""

    def vector(self, leaf: Int8Layer, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats, with its activation."""

    def squeezed(self, leaf: Int8Layer, x: Tensor) -> Tensor:
        """The layer on the mean over height and width: (B, C, H, W) floats to (B, O) floats."""

    def mean(self, codes: Tensor, source: QParams) -> Tensor:
        """(B, C, H, W) codes to (B, C) floats."""

    def largest(self, codes: Tensor, qparams: QParams, kernel_size: int, stride: int) -> Tensor:
        """(B, C, H, W) codes to the largest code of each window."""

    def add(
        self, x: Tensor, source: QParams, other: Tensor, other_source: QParams, activation: str, target: QParams
    ) -> Tensor:
        """The sum of two maps of codes, and the activation, to codes on `target`."""

    def concat(self, codes: Sequence[Tensor], sources: Sequence[QParams], target: QParams) -> Tensor:
        """Maps of codes, each on its own of `sources`, along the channels, to codes on `target`."""

    def moved(self, codes: Tensor, qparams: QParams, move: Callable[[Tensor], Tensor]) -> Tensor:
        """What `move` makes of a map, all of whose values come from it as they are: codes on the same edge."""

    def upsample(self, codes: Tensor, qparams: QParams, size: Size, mode: str) -> Tensor:
        """(B, C, H, W) codes to (B, C, *size) on the same edge."""
