"""`w4`: see `weight_only.py`."""

from functools import partial

from zoo.passes import weight_only
from zoo.passes.weight_only import carry, respec

__all__ = ["carry", "plan", "respec"]

plan = partial(weight_only.plan, "w4")
