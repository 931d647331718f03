"""A network as an export sees it: what goes in and what comes out, by name, whatever the network is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import tasks
from zoo.engine.arithmetic import Size
from zoo.model.build import Model
from zoo.model.features import Features
from zoo.runtime.near import check_alike


@dataclass(frozen=True)
class Signature:
    """`module` takes the tensors `inputs` and gives the tensors `outputs`: pictures to the answer, or to the maps of
    a backbone, which are called as their rows; texts as the call and the answer of a language model name them."""

    module: nn.Module
    model: Model
    inputs: list[str]
    outputs: list[str]

    def __post_init__(self) -> None:
        self.module.training = self.model.training  # a new wrapper is in train mode, and torch's exports look at it

    def free(self) -> dict[int, Any]:
        """For torch.export: the axes whose length is free, the batch at least."""
        axes = self.model.spec.input.axes().items()
        return {axis: torch.export.Dim(name, max=most) for axis, (name, most) in axes}

    def shapes(self) -> Any:
        """`free` of every argument of the call."""
        return (self.free(),)

    def example(self, batch: int, size: Size | None = None) -> tuple[Tensor, ...]:
        """Random inputs, of the network's own size where none is given."""
        x = self.model.spec.input.example(batch, None if size is None else tuple(size))
        return (x.contiguous(),)

    def check(self, found: Any, given: Sequence[Tensor], by: str) -> None:
        """Raise FileError unless what `by` answers for the inputs `given` is what the network answers."""
        with torch.inference_mode():
            expected = self.module(*given)
        for one, other in zip(self.parts(found, given), self.parts(expected, given), strict=True):
            check_alike(one, other, self.model.spec, by)

    def parts(self, found: Any, given: Sequence[Tensor]) -> list[Tensor]:
        """What is compared of an answer: every tensor."""
        return [found] if isinstance(found, Tensor) else list(found)


def signature(model: Model, size: Size | None = None) -> Signature:
    """As the network's task has it, else its input. `size` is that of the examples, where it is not the usual one."""
    if tasks.of(model.spec).signature:
        return tasks.of(model.spec).fetch("signature")(model, size)  # type: ignore[no-any-return]
    return model.spec.input.fetch("signature")(model)  # type: ignore[no-any-return]


def plain(model: Model) -> Signature:
    """Of a network that takes one tensor."""
    outputs = model.feature_info.module_name() if isinstance(model, Features) else ["output"]
    return Signature(model, model, ["input"], outputs)
