"""`sparse`: single weights set to zero by magnitude. The spec does not change; the file packs the zeros.

Zeros do not run faster below 80 to 90% on a CPU: this variant is about size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.utils import parametrize

from zoo import kinds
from zoo.model.build import Model
from zoo.passes import Scope, Sparse
from zoo.passes.data import as_calibration
from zoo.passes.decision import Decision
from zoo.passes.evidence import distinct
from zoo.passes.one_shot import has_fours, one_shot
from zoo.passes.quadratic import four_groups, without_smallest
from zoo.spec import ModelSpec

ADVICE = "calibration= takes preprocessed inputs, a few dozen to a few hundred"


class Sparsifier:
    """Set the smallest weights to zero while any training loop trains (Zhu and Gupta, 2017).

    Call `step(done, total)` after each optimiser step. The share of zeros among the weights of convolutions and linear
    layers grows by the paper's cubic schedule. `begin == end == 0` is one-shot.

    Args:
        model (torch.nn.Module): any module with float convolutions or linear layers, not only a zoo model.
        sparsity (float): the share of zeros at the end, between 0 and 1. Default: 0.8.
        scope ("global" | "layer"): whether all weights are ranked together, or each layer by itself.
            Default: "global".
        begin (float): the share of the steps at which the zeros start to grow. Default: 0.0.
        end (float): the share of the steps at which `sparsity` is reached. Default: 0.5.
        every (int): steps from one renewal of the masks to the next. Default: 50.

    Raises:
        ValueError: an argument is out of range, the model has no such weights, or a layer is parametrized.

    Example:
        >>> model = torch.nn.Linear(64, 64)  # or a network
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> sparsifier = zoo.Sparsifier(model, sparsity=0.5, every=1)
        >>> for done in range(4):
        ...     model(torch.randn(2, 64)).sum().backward()
        ...     optimizer.step()
        ...     sparsifier.step(done + 1, 4)
        >>> float((model.weight == 0).float().mean())
        0.5
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sparsity: float = Sparse.sparsity,
        scope: Scope = Sparse.scope,
        begin: float = 0.0,
        end: float = 0.5,
        every: int = 50,
    ) -> None:
        Sparse(sparsity=sparsity, scope=scope)
        if not 0 <= begin <= end <= 1:
            raise ValueError(f"The schedule runs from begin to end, 0 <= {begin} <= {end} <= 1.")
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"Masks are renewed every so many steps, at least 1, not {every!r}.")
        self.sparsity, self.scope = sparsity, scope
        self.begin, self.end, self.every = begin, end, every
        if made := [path for path, part in model.named_modules() if parametrize.is_parametrized(part)]:
            raise ValueError(
                f"{made[0]} is parametrized: its zeros cannot be held in tensors that its weights follow from."
            )
        tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
        named = {n: p for n, p in model.named_parameters() if all(p is not table for table in tables)}
        self.weights = _prunable(named)
        if not self.weights:
            raise ValueError("The model has no float weights of convolutions or linear layers to make sparse.")
        self.masks: dict[str, Tensor] = {}
        self._finished = False

    @classmethod
    def holding(cls, model: nn.Module) -> Sparsifier:
        """Keep the zeros that a network has now, and make no more: for fine-tuning a sparse network.

        Args:
            model (torch.nn.Module): a module as for `Sparsifier`.

        Returns:
            A `Sparsifier` whose masks are final.

        Example:
            >>> model = zoo.create("resnet20-sparse")
            >>> sparsifier = zoo.Sparsifier.holding(model)
            >>> sparsifier.step(1, 10)  # after each optimiser step
        """
        held = cls(model)
        given = dict(model.named_buffers())  # the masks of torch.nn.utils.prune among them
        held.masks = {name: weight.detach() != 0 for name, weight in held.weights.items()}
        for name, mask in held.masks.items():
            if (masked := given.get(f"{name.removesuffix('_orig')}_mask")) is not None:
                mask &= masked != 0
        held._finished = True
        return held

    def target(self, done: int, total: int) -> float:
        """The share of zeros that the schedule asks for.

        Args:
            done (int): steps done.
            total (int): steps of the whole training.

        Returns:
            A share between 0 and `sparsity`.

        Raises:
            ValueError: `done` is negative, or `total` below 1.

        Example:
            >>> zoo.Sparsifier(zoo.create("resnet20"), sparsity=0.8, end=0.5).target(50, 100)
            0.8
        """
        if total < 1 or done < 0:
            raise ValueError(f"Steps are counted as done of total, not {done!r} of {total!r}.")
        position = done / total
        if position < self.begin:
            return 0.0
        if position >= self.end:
            return self.sparsity
        return self.sparsity * (1 - (1 - (position - self.begin) / (self.end - self.begin)) ** 3)

    def step(self, done: int, total: int) -> None:
        """Renew the masks if the schedule says so, and set the masked weights to zero.

        Args:
            done (int): optimiser steps done, this one included.
            total (int): optimiser steps of the whole training.

        Raises:
            ValueError: `done` is negative, or `total` below 1.

        Example:
            >>> zoo.Sparsifier(zoo.create("resnet20")).step(1, 100)
        """
        due = self.target(done, total)
        final = due == self.sparsity
        if due > 0 and not self._finished and (final or done % self.every == 0):
            self.masks = magnitude_masks(self.weights, due, self.scope)
            self._finished = final
        self.apply()

    def state_dict(self) -> dict[str, Any]:
        """The state that a restart needs.

        Returns:
            A dict of the masks, by the names of the weights, and whether they are final.

        Example:
            >>> sorted(zoo.Sparsifier(zoo.create("resnet20")).state_dict())
            ['finished', 'masks']
        """
        return {"masks": self.masks, "finished": self._finished}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state (Mapping[str, Any]): what `state_dict` returned.

        Example:
            >>> model = zoo.create("resnet20")
            >>> zoo.Sparsifier(model).load_state_dict(zoo.Sparsifier.holding(model).state_dict())
        """
        self.masks, self._finished = dict(state["masks"]), state["finished"]

    def apply(self) -> None:
        """Set the masked weights to zero; `step` calls it.

        Example:
            >>> zoo.Sparsifier.holding(zoo.create("resnet20-sparse")).apply()
        """
        with torch.no_grad():
            for name, mask in self.masks.items():
                weight = self.weights[name]
                weight.masked_fill_(~mask.to(weight.device), 0.0)  # a product would leave negative zeros


def magnitude_masks(weights: Mapping[str, Tensor], sparsity: float, scope: str) -> dict[str, Tensor]:
    """Key -> mask (bool) that keeps the largest weights; exactly the asked share goes, ties by position."""
    with torch.no_grad():
        if scope == "layer":
            return {name: without_smallest(w.abs(), round(sparsity * w.numel())) for name, w in weights.items()}
        magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
        together = without_smallest(magnitudes, round(sparsity * len(magnitudes)))
        parts = together.split([w.numel() for w in weights.values()])
        return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}


def plan(model: Model, options: Sparse | None = None, *, calibration: Any = None) -> Decision:
    """Which weights go: the smallest, or with inputs `calibration` those that the answers need least.

    Then the others are solved again, layer by layer, so that each gives what the dense one gives.
    """
    options = options or Sparse()
    narrow = sorted({row.precision for row in model.spec} - {"float32"})
    if narrow:
        raise ValueError(f"{model.spec.name} is {narrow[0]} already; make the float network sparse, then int8.")
    if options.pattern == "2:4" and ({"sparsity", "scope"} & set(options.given)):
        raise ValueError('pattern="2:4" says how many weights go, and where: leave out sparsity= and scope=.')
    state = model.state_dict()
    weights = _layer_weights(model.spec)
    there = _zeros(_prunable({key: state[key] for key in state if key in weights}))
    if options.pattern != "2:4" and there >= options.sparsity:
        raise ValueError(
            f"{model.spec.name} has {there:.0%} zeros already, and sparsity={options.sparsity:g} asks for no more: "
            "ask for a larger share."
        )
    recipe = asdict(options)
    if options.pattern == "2:4":
        recipe = {"pattern": options.pattern}
        if not any(has_fours(state[key].shape) for key in weights):
            raise ValueError(f'{model.spec.name} has no layer whose inputs are a multiple of 4 for pattern="2:4".')
    if calibration is None:
        return Decision("sparse", asdict(options), {**recipe, "by": "magnitude"})
    batches = distinct(as_calibration(calibration, ADVICE, model), model.spec, "a hundred or more")
    solved, told = one_shot(model, options, batches)
    return Decision("sparse", asdict(options), {**recipe, "by": "second_order", **told}, solved)


def _zeros(weights: Mapping[str, Tensor]) -> float:
    """The share of zeros in all of them together."""
    return sum(int((one == 0).sum()) for one in weights.values()) / max(1, sum(one.numel() for one in weights.values()))


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    return spec


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """The solved state, or the state with the smallest weights at zero; weights already zero stay so, and count."""
    if decision.state:
        return {key: decision.state.get(key, tensor).clone() for key, tensor in state.items()}
    of_layers = _layer_weights(spec)
    weights = _prunable({key: state[key] for key in state if key in of_layers})
    if decision.choices.get("pattern") == "2:4":
        masks = {key: four_mask(weight) for key, weight in weights.items() if has_fours(weight.shape)}
    else:
        masks = magnitude_masks(weights, decision.choices["sparsity"], decision.choices["scope"])
    return {key: t.masked_fill(~masks[key], 0.0) if key in masks else t.clone() for key, t in state.items()}


def four_mask(weight: Tensor) -> Tensor:
    """A mask (bool) that keeps the two largest of every four neighbouring inputs of a weight (O, C, ...)."""
    scores = weight.detach().abs().flatten(1)
    return four_groups(scores, weight[0, 0].numel()).view(weight.shape)


def _layer_weights(spec: ModelSpec) -> set[str]:
    """The keys of weights that multiply, and of a recommender's tables: of no table of words or positions."""
    tables = {
        f"{row.name}.{table.path}weight" for row in spec for table in kinds.KINDS[row.kind].tables(kinds.arguments(row))
    }
    return tables | {
        f"{row.name}.{layer.path}{'conv.' if layer.norm else ''}weight"
        for row in spec
        for layer in kinds.KINDS[row.kind].layers(kinds.arguments(row))
        if not layer.table
    }


def _prunable(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    leaves = ("weight", "weight_orig")  # the latter of a layer that torch.nn.utils.prune has masked
    weights = {name: p for name, p in parameters.items() if name.rpartition(".")[2] in leaves}
    return {name: p for name, p in weights.items() if p.ndim >= 2 and p.is_floating_point()}
