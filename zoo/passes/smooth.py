"""Outlier channels: what a norm multiplies a channel with moves into the weights that read it, before rounding.

One scale for all channels of an edge spends its codes on the largest. Dividing that channel, and multiplying the
weights' column, leaves the network as it is (SmoothQuant: Xiao et al., 2023; for convolutions behind a ReLU: Nagel et
al., 2019). Factors are powers of two, so the float network's answers keep their very bits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo import kinds
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes.data import Batch
from zoo.spec import ModelSpec

LEAST = 2  # exponent: channels within a factor of three of the others stay as they are

Smoothing = Mapping[str, list[int]]  # "row.norm1." -> the exponent of two that each channel is divided by


@dataclass(frozen=True)
class Pair:
    """A norm and the layers that alone read it, as prefixes of keys."""

    norm: str
    layers: tuple[str, ...]


def pairs(spec: ModelSpec, left_out: Collection[str] = ()) -> Iterator[Pair]:
    """Where scales can move inside of the rows: norms before a Transformer's products, batch norms before a ReLU."""
    for row in spec:
        if row.name in left_out or row.precision != "float32":
            continue
        for norm, layers in kinds.KINDS[row.kind].norm_readers(kinds.arguments(row)):
            yield Pair(f"{row.name}.{norm}", tuple(f"{row.name}.{layer}" for layer in layers))


def exponents(model: Model, batches: Sequence[Batch] | None, left_out: Collection[str] = ()) -> dict[str, list[int]]:
    """The channels that stand out, by what flows over `batches`, or without them by the norms' own weights."""
    state, found = model.state_dict(), {}
    wanted = list(pairs(model.spec, left_out))
    seen = _largest(model, wanted, batches) if batches is not None else {}
    for pair in wanted:
        flow = seen.get(pair.norm, _of_norm(state, pair.norm)).double()
        reads = torch.stack([_columns(state[_weight(state, layer)]) for layer in pair.layers]).amax(0).double()
        usable = (flow > 0) & (reads > 0)
        if not usable.any():
            continue
        wish = torch.zeros_like(flow)
        wish[usable] = (flow[usable] / reads[usable]).log2() / 2
        wish[usable] -= wish[usable].median()
        whole = wish.round().clamp(-20, 20).int()
        whole[whole.abs() < LEAST] = 0
        if whole.any():
            found[pair.norm] = whole.tolist()
    return found


def smoothed(state: Mapping[str, Tensor], spec: ModelSpec, smoothing: Smoothing) -> dict[str, Tensor]:
    """The state with these scales moved; the float network of it answers bit for bit alike."""
    out = dict(state)
    for pair in pairs(spec):
        if pair.norm not in smoothing:
            continue
        factor = torch.tensor(smoothing[pair.norm], device=state[f"{pair.norm}weight"].device).float().exp2()
        for leaf in ("weight", "bias"):
            if (key := f"{pair.norm}{leaf}") in state:
                out[key] = state[key] / factor
        for layer in pair.layers:
            key = _weight(state, layer)
            out[key] = state[key] * factor.view(1, -1, *[1] * (state[key].dim() - 2))
    return out


def _weight(state: Mapping[str, Tensor], layer: str) -> str:
    return f"{layer}conv.weight" if f"{layer}conv.weight" in state else f"{layer}weight"


def _columns(weight: Tensor) -> Tensor:
    """The largest magnitude of each input channel, (C,)."""
    return weight.detach().abs().transpose(0, 1).flatten(1).amax(1)


def _of_norm(state: Mapping[str, Tensor], norm: str) -> Tensor:
    """About the largest value that a norm gives: three deviations."""
    spread = 3 * state[f"{norm}weight"].detach().abs()
    return spread + state[f"{norm}bias"].detach().abs() if f"{norm}bias" in state else spread


def _largest(model: Model, wanted: Sequence[Pair], batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Norm -> the largest magnitude of each channel that its first reader takes."""
    seen: dict[str, Tensor] = {}

    def watch(pair: Pair) -> None:
        def look(_: object, given: tuple[Tensor, ...]) -> None:
            x = given[0].detach().float()
            now = x.abs().transpose(0, 1 if x.dim() == 4 else -1).flatten(1).amax(1).cpu()
            seen[pair.norm] = torch.maximum(now, seen.get(pair.norm, now))

        handles.append(model.get_submodule(pair.layers[0].removesuffix(".")).register_forward_pre_hook(look))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for pair in wanted:
            watch(pair)
        with torch.inference_mode():
            for batch in batches if wanted else ():
                answer(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return seen
