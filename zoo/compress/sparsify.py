"""`sparse`: single weights set to zero by magnitude. The spec does not change; the file packs the zeros.

Zeros do not run faster below 80 to 90% on a CPU: this variant is about size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.build import Model, describe, from_state
from zoo.compress.decision import Decision
from zoo.spec import ModelSpec

SCOPES = ("global", "layer")


class Sparsifier:
    """Prunes weights by magnitude while anybody's loop trains: call `step(done, total)` behind each optimiser step.

    `sparsity` is the share of zeros among the weights of convolutions and linear layers, reached by the cubic schedule
    of Zhu and Gupta, 2017, between the shares `begin` and `end` of the steps; masks are renewed every `every` steps and
    hold to the last. `scope` "global" ranks all weights together, "layer" each layer by itself. `begin == end == 0` is
    one-shot.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sparsity: float = 0.8,
        scope: str = "global",
        begin: float = 0.0,
        end: float = 0.5,
        every: int = 50,
    ) -> None:
        _check(sparsity, scope)
        if not 0 <= begin <= end <= 1:
            raise ValueError(f"The schedule runs from begin to end, 0 <= {begin} <= {end} <= 1.")
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"Masks are renewed every so many steps, at least 1, not {every!r}.")
        self.sparsity, self.scope = sparsity, scope
        self.begin, self.end, self.every = begin, end, every
        tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
        named = {n: p for n, p in model.named_parameters() if all(p is not table for table in tables)}
        self.weights = _prunable(named)
        if not self.weights:
            raise ValueError("The model has no float weights of convolutions or linear layers to make sparse.")
        self.masks: dict[str, Tensor] = {}
        self._finished = False

    @classmethod
    def holding(cls, model: nn.Module) -> Sparsifier:
        """One that keeps the zeros that `model` has now, and makes no more: for fine-tuning what is sparse already."""
        held = cls(model)
        held.masks = {name: weight.detach() != 0 for name, weight in held.weights.items()}
        held._finished = True
        return held

    def target(self, done: int, total: int) -> float:
        """The share of zeros due after `done` of `total` steps."""
        if total < 1 or done < 0:
            raise ValueError(f"Steps are counted as done of total, not {done!r} of {total!r}.")
        position = done / total
        if position < self.begin:
            return 0.0
        if position >= self.end:
            return self.sparsity
        return self.sparsity * (1 - (1 - (position - self.begin) / (self.end - self.begin)) ** 3)

    def step(self, done: int, total: int) -> None:
        """Renew the masks where the schedule asks for it, and hold the masked weights at zero."""
        due = self.target(done, total)
        final = due == self.sparsity
        if due > 0 and not self._finished and (final or done % self.every == 0):
            self.masks = magnitude_masks(self.weights, due, self.scope)
            self._finished = final
        self.apply()

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs: the masks, and whether they are final."""
        return {"masks": self.masks, "finished": self._finished}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.masks, self._finished = dict(state["masks"]), state["finished"]

    def apply(self) -> None:
        """Set what is masked to zero."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                weight = self.weights[name]
                weight.masked_fill_(~mask.to(weight.device), 0.0)  # a product would leave negative zeros


def magnitude_masks(weights: Mapping[str, Tensor], sparsity: float, scope: str) -> dict[str, Tensor]:
    """Key -> mask (bool) that keeps the largest weights; exactly the asked share goes, ties by position."""
    with torch.no_grad():
        if scope == "layer":
            return {name: _largest(w.abs().flatten(), sparsity).view(w.shape) for name, w in weights.items()}
        together = _largest(torch.cat([w.abs().flatten() for w in weights.values()]), sparsity)
        parts = together.split([w.numel() for w in weights.values()])
        return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}


def plan(model: Model, data: Any = None, *, sparsity: float = 0.8, scope: str = "global") -> Decision:
    """Ask for a share of zeros, once; which weights go follows from their magnitudes alone."""
    _check(sparsity, scope)
    narrow = sorted({row.precision for row in model.spec} - {"float32"})
    if narrow:
        raise ValueError(f"{model.spec.name} is {narrow[0]} already; make the float network sparse, then int8.")
    return Decision("sparse", {"sparsity": sparsity, "scope": scope}, {"sparsity": sparsity, "scope": scope})


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    return spec


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """The state with the smallest weights at zero; weights already zero stay so, and count."""
    weights = {key: state[key] for key in state if key in _layer_weights(spec)}
    masks = magnitude_masks(_prunable(weights), decision.choices["sparsity"], decision.choices["scope"])
    return {key: t.masked_fill(~masks[key], 0.0) if key in masks else t.clone() for key, t in state.items()}


def _layer_weights(spec: ModelSpec) -> set[str]:
    """The keys of weights that multiply: of no table of words or positions, which are looked up."""
    return {
        f"{row.name}.{layer.path}{'conv.' if layer.norm else ''}weight"
        for row in spec
        for layer in kinds.KINDS[row.kind].layers(kinds.arguments(row))
        if not layer.table
    }


def merge_masks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which `torch.nn.utils.prune`'s `weight_orig` and `weight_mask` are one weight again."""
    out = {}
    for key, tensor in state.items():
        if key.endswith("_mask") and f"{key[:-5]}_orig" in state:
            continue
        plain = key.removesuffix("_orig")
        mask = state.get(f"{plain}_mask") if plain != key else None
        out[key if mask is None else plain] = tensor if mask is None else tensor.masked_fill(mask == 0, 0.0)
    return out


def unmasked(model: Model) -> Model:
    """The model itself, or, where `torch.nn.utils.prune` has masked it, one with the masks applied."""
    state = merge_masks(model.state_dict())
    if state.keys() == model.state_dict().keys():
        return model
    return describe(from_state(model.spec, state), model)


def _check(sparsity: float, scope: str) -> None:
    if not isinstance(sparsity, (int, float)) or not 0 < sparsity < 1:
        raise ValueError(f"Sparsity is a share between 0 and 1, not {sparsity!r}.")
    if scope not in SCOPES:
        raise ValueError(f"Unknown scope {scope!r}; choose one of {SCOPES}.")


def _prunable(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights = {name: p for name, p in parameters.items() if name.rpartition(".")[2] == "weight"}
    return {name: p for name, p in weights.items() if p.ndim >= 2 and p.is_floating_point()}


def _largest(magnitudes: Tensor, sparsity: float) -> Tensor:
    mask = torch.ones_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = False
    return mask
