"""The door to the processor: oneDNN's operators, packed weights, lists of calls, and floats where integers saturate."""
