"""Faster engines behind the same call, and files for other systems: both by one standard ONNX export."""
