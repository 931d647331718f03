"""A language model as a runtime sees it: named tensors in, named tensors out, batch and number of tokens free.

Shapes: B texts, N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.engine.arithmetic import Size
from zoo.kinds import usual_size
from zoo.model.build import Model
from zoo.runtime.signature import Signature
from zoo.text.model import TextOutput, place


class NamedTensors(nn.Module):
    """The model between tuples of tensors, in the order of `inputs` and `outputs`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.inputs, self.outputs = names(model)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        found = self.model(*given)
        return tuple(found[name] for name in self.outputs)


class TextSignature(Signature):
    """The call and the answer of a language model: the first of several example texts is padded."""

    def shapes(self) -> Any:
        return (tuple(self.free() for _ in self.inputs),)

    def example(self, batch: int, size: Size | None = None) -> tuple[Tensor, ...]:
        return tuple(one.clone() for one in example(self.model, batch))

    def parts(self, found: Any, given: Sequence[Tensor]) -> list[Tensor]:
        """The main output, without padding."""
        every = (found,) if isinstance(found, Tensor) else tuple(found)
        return [answer_of(every, self.outputs, given[1])]


def signature(model: Model) -> TextSignature:
    named = NamedTensors(model)
    return TextSignature(named, model, named.inputs, named.outputs)


def names(model: Model) -> tuple[list[str], list[str]]:
    """What goes in and what comes out, in order."""
    inputs = ["input_ids", "attention_mask"]
    if model.spec.rows[0].args.get("token_types", 0) > 1:
        inputs.append("token_type_ids")
    found = {place(row) for row in model.spec}
    return inputs, [field.name for field in fields(TextOutput) if field.name in found]


def example(model: Model, batch: int, tokens: int = 0) -> tuple[Tensor, ...]:
    """(ids, mask and types) of `tokens`, by default as many as costs are told for; the first text is padded."""
    tokens = tokens or usual_size(model.spec)[0]
    generator = torch.Generator().manual_seed(0)
    low = model.spec.texts.padding + 1 if model.spec.texts.padding + 1 < model.spec.texts.vocabulary else 0
    ids = torch.randint(low, model.spec.texts.vocabulary, (batch, tokens), generator=generator)
    mask = torch.ones_like(ids)
    if batch > 1:
        mask[0, -(tokens // 4) :] = 0
    found = (ids.masked_fill(mask == 0, model.spec.texts.padding), mask, torch.zeros_like(ids))
    return found[: len(names(model)[0])]


def answer_of(outputs: tuple[Any, ...], named: list[str], mask: Tensor) -> Tensor:
    """The main output, zero where there is padding, since nobody reads what stands there."""
    found = TextOutput(**{"last_hidden_state": outputs[0], **dict(zip(named, outputs, strict=True))}).answer
    return found * mask[..., None] if found.dim() == 3 else found
