"""The copies of a network that exports change, layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from zoo.engine.arithmetic import Range
from zoo.engine.execution import executing
from zoo.engine.numerics import Numerics
from zoo.kinds import residual
from zoo.model.build import Model
from zoo.model.layers import Visit, visit_layers
from zoo.printable import printable

_MOST = 1e30  # beyond it float32 has no scale for 256 codes


@contextmanager
def settled(model: Model, numerics: Numerics, settle: Visit) -> Iterator[Model]:
    """A copy on the CPU whose layers `settle` has changed for an export: it lives while `numerics` execute.

    What `settle` leaves in a layer, only these numerics can read: a copy that outlived it would be run by others.
    """
    with executing(numerics), torch.inference_mode(False), torch.no_grad():
        ready = copy.deepcopy(model).cpu().eval()
        visit_layers(ready, settle)
        for name, seen in seen_in_sums(ready).items():
            added = residual(ready.spec[name])
            assert added is not None
            layer: Any = ready.get_submodule(f"{name}.{added.part}")
            layer.summand = seen
        yield ready


def seen_in_sums(model: Model) -> dict[str, Range]:
    """Row -> the range that calibration has seen of what its shortcut is added to; other rows are left out.

    Raises ValueError for what is no range.
    """
    passes = model.made.get("passes", [])
    told: Any = next((one.get("sums", {}) for one in reversed(passes) if one.get("pass") == "int8"), {})
    rows = [row for row in model.spec.rows if row.precision == "int8" and residual(row)]
    if isinstance(told, dict) and all(_is_range(told[row.name]) for row in rows if row.name in told):
        return {row.name: (float(told[row.name][0]), float(told[row.name][1])) for row in rows if row.name in told}
    raise ValueError(
        f"{printable(model.spec.name)}: its int8 pass says sums: {printable(repr(told), 100)}, which is not a range "
        "(low, high) for each row. Compress the float network again."
    )


def _is_range(told: Any) -> bool:
    if not isinstance(told, (list, tuple)) or len(told) != 2 or not all(isinstance(end, (int, float)) for end in told):
        return False
    return -_MOST < told[0] <= told[1] < _MOST
