"""The int8 layers of a network with the edges that they read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoo.engine.arithmetic import QParams, Size
from zoo.model.build import Model

Visit = Callable[[Any, QParams, "QParams | None"], None]


def visit_layers(model: Model, visit: Visit) -> None:
    """Call `visit(layer, source, target)` once for every part of the int8 rows; `target` is None where floats go out.

    Edges are read here, while the tensors have values: in an export they have none.
    """
    done: set[int] = set()

    def see(part: Any, size: Size, source: QParams, target: QParams | None, *rest: Any) -> Callable[..., Tensor]:
        if id(part) not in done:
            done.add(id(part))
            visit(part, source, target)
        return lambda *x: x[0]

    module: Any
    for row, module in zip(model.spec.rows, model.children(), strict=True):
        if row.precision == "int8" and hasattr(module, "build_forward"):
            module.build_forward(see, (1, 1), *[(1, 1)] * len(row.taps))
        elif row.precision == "int8" and hasattr(module, "products"):
            for layer, source in module.products():
                see(layer, (1, 1), source, None)
        if hasattr(module, "qparams"):
            module.qparams  # noqa: B018
