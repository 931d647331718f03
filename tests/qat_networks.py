"""Networks in quantization-aware training, and a training of a few steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from networks import pictures
from zoo.engine import reference_execution
from zoo.model.build import Model
from zoo.passes.compress import compress

OPTIMIZERS: dict[str, Callable] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=1e-4),
    "adamw": lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.01),
}


def train(model: Model, make: Callable, steps: int = 3, batch: int = 4) -> list[float]:
    """A few steps on the same random pictures and classes; the losses."""
    optimizer, losses = make(model.parameters()), []
    x = pictures(model, batch)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        y = model(x)
        y = y if y.dim() == 2 else y.mean((2, 3)) if y.dim() == 4 else y.mean(1)  # of pixels, of boxes
        loss = F.cross_entropy(y, torch.arange(batch) % y.shape[1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


def rows_agree(qat: Model, x: torch.Tensor) -> None:
    """Row by row on the same input, the same codes as the int8 conversion, to one unit an edge."""
    int8 = compress(qat, "int8")
    floats = x
    given = {"input": (x, x)}  # row -> what it gives in training, and as the int8 row gives it
    with torch.inference_mode(), reference_execution():
        for row, ours, theirs in zip(qat.spec.rows, qat.children(), int8.children(), strict=True):
            taps = [given[tap] for tap in row.taps]
            found, expected = ours(floats, *(one for one, _ in taps)), theirs(x, *(one for _, one in taps))
            x = floats = expected
            given[row.name] = (floats, x)
            if expected.dtype == torch.uint8:
                floats = theirs.dequantize(expected)
                given[row.name] = (floats, x)
                scale, zero = theirs.edges[-1]
                codes = found / scale + zero
                assert (codes - codes.round()).abs().max() < 1e-3, row.name
                off = (codes.round() - expected).abs()
                inside = len(theirs.edges) > 2  # float sums may turn an inner code, which may turn two of the row's
                assert off.max() <= 1 + inside and (off > 1).float().mean() < 1e-3, row.name
            elif row.precision == "float32" or row.kind in ("classifier", "segmentation_head"):
                near = 1e-4 * float(expected.abs().max())
                if row.precision != "float32":  # the int8 row's bias is a whole number of products
                    near += 0.5 * float(theirs.edges[0, 0] * theirs.fc.scale.max())
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=near)
            else:
                assert (found - expected).abs().max() <= 1.001 * theirs.edges[-1, 0], row.name
