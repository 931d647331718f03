"""For another process: the first use of int8 and fused networks in an unusual state, each state in a fork."""

from __future__ import annotations

import os
import warnings

import torch

import zoo
from networks import pictures, small
from zoo.engine.cpu import codes, onednn, packed

STATES = ("autocast", "dtype", "device")


def first_use(state: str) -> None:
    """What is tried once on this processor is found as in any other state."""
    model = small("mobilenetv2_cifar")
    x, int8, fused = pictures(model, 2), zoo.compress(model, "int8", calibration=pictures(model)), zoo.fuse(model)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=state == "autocast"):
        if state == "dtype":
            torch.set_default_dtype(torch.float64)
        if state == "device":
            torch.set_default_device("meta")
        int8(x), fused(x)
        assert packed.available() and onednn.widest_weight() and onednn.has_post_op("gelu")
        assert codes._quantizer() is codes._by_quantized_tensor


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for state in STATES:
        child = os.fork()  # torch is imported, and nothing has run
        if child == 0:
            first_use(state)
            print(state, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
