"""Object detection: boxes of a network's raw output, what is kept of them, and the losses that teach them."""
