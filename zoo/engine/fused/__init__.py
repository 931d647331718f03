"""Rows for float32 inference: batch norm folded in, weights packed for oneDNN, activation and sum fused."""
