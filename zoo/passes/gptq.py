"""Learned rounding: the int8 codes of each layer, chosen so that their errors cancel on calibration inputs.

The weights of one input after another become codes, and the weights of the next input make up for what was lost so far
(GPTQ: Frantar et al., 2023; OBQ: Frantar and Alistarh, 2022). With the cost as the square of `lost @ upper`, for
`hessian = upper @ upper'`, that is to round each coordinate of it in turn (Chen et al., 2025), without an inverse.

Layers go in their order, on what the network with the codes before them gives. Shapes as in `quadratic.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from zoo.engine.arithmetic import quantize_weight
from zoo.model.build import Model
from zoo.passes.data import Batch
from zoo.passes.gram import cholesky
from zoo.passes.places import Place, own_system, places
from zoo.passes.stream import Stream

BLOCK = 64  # inputs whose losses reach each other one by one; they reach later blocks together


@torch.inference_mode()
def learned_codes(
    model: Model, names: Collection[str], batches: Sequence[Batch], widest: int, *, corrected: bool
) -> dict[str, Tensor]:
    """Key of an int8 weight -> its codes (O, C, ...), of every layer that multiplies in the rows called `names`.

    `corrected`: whether biases will make up for the mean error, which then costs nothing.
    """
    state, codes = model.state_dict(), {}
    stream = Stream(copy.deepcopy(model), batches)
    while stream.row is not None:
        for place in places(model.spec[stream.row]) if stream.row in names else ():
            codes[f"{stream.row}.{place.layer.int8_path}weight"] = _codes(stream, state, place, widest, corrected)
        stream.step()
    return codes


def _codes(stream: Stream, state: dict[str, Tensor], place: Place, widest: int, corrected: bool) -> Tensor:
    """The layer's codes; its module in the stream computes with them from now on."""
    assert stream.row is not None
    system = own_system(stream, state, place, biased=corrected and place.biased)
    folded, bias = place.folded(state)
    weight = place.start(state)  # (G, O, C)
    scale = quantize_weight(folded, widest)[1].double().view(*weight.shape[:2], 1)
    codes = gptq(weight, scale, system.hessian, widest)
    rounded = codes * scale
    bias = bias.double().view(rounded.shape[:2]) + ((weight - rounded) * system.taken).sum(-1)
    place.set(stream.model.get_submodule(stream.row), state, rounded, bias, codes != 0)
    return codes.reshape(folded.shape).to(torch.int8)


def gptq(weight: Tensor, scale: Tensor, hessian: Tensor, widest: int = 127) -> Tensor:
    """Codes (G, O, C) in -widest..widest for `weight` (G, O, C) in steps of `scale` (G, O, 1), all in float64.

    No output costs more than with the nearest codes. Inputs of most curvature go first: the others can make up for what
    they lose. Zeros stay, and so does an output's largest weight, which `scale` comes from: training that starts from
    the codes finds the same scale again.
    """
    order = hessian.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True, stable=True)  # (G, C)
    columns, square = order[:, None].expand_as(weight), order[:, None].expand_as(hessian)
    nearest = (weight / scale).round().clamp(-widest, widest)
    usual, ordered = nearest.gather(-1, columns), weight.gather(-1, columns)
    fixed = (ordered == 0) | (usual.abs() == widest)
    upper = cholesky(hessian.gather(-1, square).gather(-2, square.mT).flip(-1, -2)).flip(-1, -2)
    pull = upper / upper.diagonal(dim1=-2, dim2=-1)[..., None, :]
    codes, lost = torch.zeros_like(weight), torch.zeros_like(weight)
    for start in range(0, weight.shape[-1], BLOCK):
        wanted = ordered[..., start : start + BLOCK] + lost[..., :start] @ pull[..., :start, start : start + BLOCK]
        for at in range(start, start + wanted.shape[-1]):
            now = slice(at, at + 1)
            own = wanted[..., at - start, None] + lost[..., start:at] @ pull[..., start:at, now]
            code = (own / scale).round().clamp(-widest, widest)
            codes[..., now] = torch.where(fixed[..., now], usual[..., now], code)
            lost[..., now] = ordered[..., now] - codes[..., now] * scale
    found = torch.zeros_like(codes).scatter(-1, columns, codes)

    def cost(codes: Tensor) -> Tensor:
        away = weight - codes * scale
        return ((away @ hessian) * away).sum(-1, keepdim=True)

    return torch.where(cost(found) < cost(nearest), found, nearest)
