"""Whether one tensor of answers is another, but for roundings."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from zoo.files import FileError
from zoo.spec import ModelSpec

ALIKE = 0.98  # cosine of the outputs of networks with integers in two executions: a unit here and there
CLOSE = 1e-3  # of float networks, relative to the largest output


def check_alike(found: Tensor, expected: Tensor, spec: ModelSpec, by: str) -> None:
    """Raise FileError unless what `by` answers is what the network does, but for roundings."""
    if any(row.precision.startswith(("int8", "w")) for row in spec):
        one = expected[0].numel() == 1  # a logit alone has no direction
        measured = (
            _near(found, expected) if one else float(cosine_similarity(found.flatten(1), expected.flatten(1)).min())
        )
        right = measured >= ALIKE
    else:
        measured = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        right = measured <= CLOSE
    if not right:
        raise FileError(
            f"{by} gives other answers than {spec.name} (they differ by {measured:.3g}): use another runtime."
        )


def _near(found: Tensor, expected: Tensor) -> float:
    """1 where logits are equal, less by their distance over the largest of them, or over 1 where all are smaller."""
    return 1 - float((found - expected).abs().max() / expected.abs().max().clamp_min(1.0))
