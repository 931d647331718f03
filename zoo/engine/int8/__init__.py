"""Rows that hold int8 weights and do integer arithmetic."""
