"""Rows that hold int8 weights and do integer arithmetic."""

from zoo.blocks.int8.execution import reference_execution, runs_fast

__all__ = ["reference_execution", "runs_fast"]
