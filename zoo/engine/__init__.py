"""How int8, qat and fused rows compute: one row, one leaf, one protocol for each execution of int8.

`cpu/` alone knows oneDNN, packed weights, lists of calls and what this processor can do.
"""

from zoo.engine.execution import reference_execution, runs_fast

__all__ = ["reference_execution", "runs_fast"]
