"""All code that depends on the processor: oneDNN, packed weights, cached lists of calls, and float fallbacks."""
