"""Quantized networks, and what it means that two executions agree."""

from __future__ import annotations

from daily import daily
from networks import EACH_CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL, pictures, small
from zoo.passes.compress import compress

# Weights of 7 bits on one processor and of 8 on the other, from network to network the other way round.
_EACH_WAY = [
    (name, reduce_range, ("vnni", "avx2")[(number + reduce_range) % 2])
    for number, name in enumerate(EACH_CONVOLUTIONAL)
    for reduce_range in (False, True)
]
EACH_WAY = daily(_EACH_WAY, [case for case in _EACH_WAY if case[0] in KINDS_OF_CONVOLUTIONAL])


def quantized(name: str, reduce_range: bool = False):
    model = small(name)
    return model, compress(model, "int8", calibration=pictures(model, 64), reduce_range=reduce_range)
