"""Quantization parameters for what `arithmetic` leaves unrounded, for runtimes that want codes behind convolutions.

Where nobody has ranged those values, the range is the widest that makes a difference: beyond its ends, what follows is
clipped to the same code. The range that calibration has `seen` before a residual sum is some half as wide.
"""

from collections.abc import Callable

import torch

from zoo.engine.arithmetic import QParams, Range, activate

FUSED = ("none", "relu", "relu6")  # activations that need no codes before them: they only clip
_LEAST = 1e-6  # width of a range that nothing lies in


def activation_input_qparams(
    activation: str, target: QParams, skip_qparams: QParams | None = None, after: str = "none"
) -> QParams:
    """Parameters for the input of an activation.

    `target`: those of the activation's output, or with `skip_qparams` those behind the sum that follows.
    """
    return _activation_input(
        activation, target if skip_qparams is None else summand_qparams(skip_qparams, after, target)
    )


def summand_qparams(skip_qparams: QParams, after: str, target: QParams, seen: Range | None = None) -> QParams:
    """Parameters for what a skip with `skip_qparams` is added to.

    `after`: the activation behind the sum. `target`: parameters of the codes behind it. `seen`: see the module.
    """
    low, high = (target if after in FUSED else _activation_input(after, target)).ends
    least, most = skip_qparams.ends
    low, high = low - most, high - least
    if seen is None:
        return _qparams(low, high)
    scale = target.scale
    if scale == skip_qparams.scale and after in FUSED and seen[1] - seen[0] < 255.5 * scale:
        return QParams(scale, min(255, max(0, round(-seen[0] / scale))))  # the sum of two codes is then its own code
    return _qparams(max(low, seen[0]), min(high, seen[1]))


def _activation_input(activation: str, target: QParams) -> QParams:
    """The parameters of what goes into the activation: beyond their ends, codes on `target` are no longer others."""

    def reached(x: float) -> float:
        return float(activate(torch.tensor(x, dtype=torch.float64), activation))

    top = max(target.ends[1], _LEAST)
    high = _bisect(lambda x: reached(x) >= top, 0.0, top + 8.0)
    low = -_bisect(lambda x: abs(reached(-x)) <= target.scale / 2, 1.5, 16.0)
    return _qparams(low, high)


def _bisect(true_from: Callable[[float], bool], low: float, high: float) -> float:
    """Where between the ends a condition, once true, stays so."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if true_from(middle) else (middle, high)
    return high


def _qparams(low: float, high: float) -> QParams:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, _LEAST) / 255
    return QParams(scale, round(-low / scale))
