"""Pooling of uint8 codes."""

from zoo.blocks.flat import Step
from zoo.blocks.int8.arithmetic import Size
from zoo.blocks.int8.execution import plain
from zoo.blocks.int8.rows import Bind, Int8Row


class Int8MaxPool(Int8Row):
    """The largest code of each window is the code of the largest value: (B, C, H, W), one edge for both ends."""

    def __init__(self, *, kernel_size: int = 3, stride: int = 2, emits: str = "float32") -> None:
        super().__init__(edges=1, emits=emits)
        self.kernel_size, self.stride = kernel_size, stride

    def wire(self, bind: Bind, size: Size) -> Step:
        (edge,), largest = self.edge_list, plain().largest
        return lambda x: largest(x, edge, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, {super().extra_repr()}"


class Int8GlobalPool(Int8Row):
    """Mean over height and width of uint8 codes: (B, C, H, W) to (B, C)."""

    def __init__(self, *, emits: str = "float32") -> None:
        super().__init__(edges=2, emits=emits)

    def wire(self, bind: Bind, size: Size) -> Step:
        (source, target), numerics = self.edge_list, plain()
        return lambda x: numerics.quantize(numerics.mean(x, source), target)
