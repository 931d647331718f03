"""The kinds that join branches of a network."""

from __future__ import annotations

from zoo.kinds.kind import Kind

GRAPH: tuple[Kind, ...] = (
    Kind(
        "branch",
        {},
        lambda args: (),
        rank=0,
        macs_and_shape=lambda args, shape, tapped: (0, tapped),
        edges=lambda args: ("tap0",),
        precisions=("float32", "int8", "qat"),
        taps=lambda args: 1,
        branches=True,
        reduction=lambda args, reduction, tapped: tapped,
    ),
)
