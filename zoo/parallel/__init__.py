"""Training on several processes, on PyTorch's own engines."""
