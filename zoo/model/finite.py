"""Find damaged values: not finite, or scales and variances of the wrong sign."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.blocks.traced import traced
from zoo.printable import printable

if TYPE_CHECKING:
    from zoo.model.build import Model

POSITIVE, NOT_NEGATIVE = "scale", "running_var"  # the last part of a key
_TOLD = 5  # indices in a message
_TOGETHER = 2**16  # values that are copied to be looked at in one go

_LIBRARY = torch.library.Library("zoo", "FRAGMENT")


def check_small(state: Mapping[str, Tensor], name: str) -> None:
    """Raise ValueError, naming the row, for damaged values in tensors of one axis: scales, biases, norms, statistics.

    All of them are looked at in one go, so it takes a fraction of a millisecond.
    """
    small = {key: value for key, value in state.items() if value.dim() <= 1}
    _check({key: value for key, value in small.items() if _has_values(value)}, name)


def check_values(state: Mapping[str, Tensor], name: str, *, beside: Collection[str] = ()) -> None:
    """The same for all tensors but those called `beside`. Large ones are summed, as long as it takes to read them."""
    check_small(state, name)
    for key, value in state.items():
        if key not in beside and _has_values(value) and value.dim() > 1 and not _sum_is_finite(value):
            _check({key: value}, name)


def is_finite(x: Tensor) -> bool:
    """Whether all values are finite in float32. Where torch traces or captures, they cannot be read: True.

    The sum comes first, in a fraction of the time: it is finite only if all values are, and seldom overflows then.
    """
    if traced() or x.is_meta or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
        return True
    return math.isfinite(x.sum(dtype=torch.float32).item()) or bool(x.float().isfinite().all())


def check_finite(name: str, x: Tensor, unit: str) -> None:
    """Raise ValueError for a batch `x` that is not finite, with the index of each bad example; `unit`: "pictures".

    `torch.compile` keeps the check as one operator of its graph. Exports and `torch.jit.trace` leave it out.
    """
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        torch.ops.zoo.check_finite(x, name, unit)
    elif not is_finite(x):
        _refuse(name, x, unit)


def _refuse(name: str, x: Tensor, unit: str) -> None:
    bad = (~x.float().isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    told = ", ".join(map(str, bad[:_TOLD])) + (", ..." if len(bad) > _TOLD else "")
    raise ValueError(
        f"{printable(name, 100)}: this batch of {len(x)} {unit} has nan or infinity at index {told}. int8 and fused "
        f"rows would give ordinary answers to these. Find out where the values come from, or leave these {unit} out."
    )


def check_answer(model: Any, answer: Any, *given: Any, **named: Any) -> None:
    """Raise ValueError for an answer that is not finite, with the row in which that begins."""
    answer = getattr(answer, "answer", answer)  # of detections, what they were made of
    if bool(answer.isfinite().all()):
        return
    row = first_bad_row(model, *given, **named)
    where = "what it was given is not finite" if row == "input" else f"row {row!r} is the first whose output is not"
    told = f"; {where}" if row is not None else ""
    raise ValueError(f"{model.spec.name} gives an answer that is not finite{told}: its weights are damaged.")


def first_bad_row(model: Model, *given: Any, **named: Any) -> str | None:
    """The first row whose output is not finite; "input" for the input itself, None where all are."""
    if not all(_finite(one) for one in (*given, *named.values())):
        return "input"
    found: list[str] = []

    def look(name: str, y: object) -> None:
        if not _finite(y):
            found.append(name)

    handles = [
        row.register_forward_hook(lambda _, __, y, name=name: look(name, y)) for name, row in model.named_children()
    ]
    try:
        with torch.no_grad():
            model(*given, **named)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _finite(value: object) -> bool:
    return not isinstance(value, Tensor) or not value.is_floating_point() or bool(value.isfinite().all())


def _has_values(value: Tensor) -> bool:
    return value.is_floating_point() and not value.is_meta and value.numel() > 0


def _sum_is_finite(value: Tensor) -> bool:
    """Whether the sum is finite. It never is with nan or inf; without, it may still overflow.

    numpy sums on one thread: in a process forked from one that has used torch's threads, torch would wait for them.
    """
    value = value.detach()
    if value.device.type != "cpu" or value.dtype == torch.bfloat16:
        return bool(value.sum(dtype=torch.float32).isfinite())
    with np.errstate(all="ignore"):
        return bool(np.isfinite(value.numpy().sum(dtype=np.float32)))


def _check(tensors: Mapping[str, Tensor], name: str) -> None:
    """Together first, one by one only where something is wrong."""
    if not tensors or (_all(tensors, torch.isfinite) and _signs(tensors)):
        return
    for key, value in tensors.items():
        leaf = key.rpartition(".")[2]
        for right, what in (
            (value.isfinite(), "not finite"),
            (value > 0 if leaf == POSITIVE else value == value, "not above 0"),
            (value >= 0 if leaf == NOT_NEGATIVE else value == value, "negative"),
        ):
            if not bool(right.all()):
                row, _, path = key.partition(".")
                bad = value[~right]
                raise ValueError(
                    f"Row {row!r} of {name} is damaged: {path} has {len(bad)} of {value.numel():,} values that are "
                    f"{what}, {float(bad[0]):g} among them."
                )


def _signs(tensors: Mapping[str, Tensor]) -> bool:
    scales = {key: value for key, value in tensors.items() if key.endswith(POSITIVE)}
    variances = {key: value for key, value in tensors.items() if key.endswith(NOT_NEGATIVE)}
    return _all(scales, lambda together: together > 0) and _all(variances, lambda together: together >= 0)


def _all(tensors: Mapping[str, Tensor], test: Any) -> bool:
    by_place: dict[Any, list[Tensor]] = {}
    for value in tensors.values():
        flat = value.detach().reshape(-1)
        if len(flat) <= _TOGETHER:
            by_place.setdefault((value.device, value.dtype), []).append(flat)
        elif not all(bool(test(part).all()) for part in flat.split(_TOGETHER)):  # without a copy of many scales
            return False
    return all(bool(test(torch.cat(parts)).all()) for parts in by_place.values())


def _define_operator() -> None:
    """`torch.ops.zoo.check_finite`: without an answer, and with an effect, so that no compiler leaves it out."""
    _LIBRARY.define("check_finite(Tensor x, str name, str unit) -> ()")
    operator = torch.ops.zoo.check_finite.default

    def run(x: Tensor, name: str, unit: str) -> None:
        if not is_finite(x):
            _refuse(name, x, unit)

    _LIBRARY.impl("check_finite", run, "CompositeExplicitAutograd")
    torch.library.register_fake("zoo::check_finite", lambda x, name, unit: None, lib=_LIBRARY)
    with suppress(ImportError, AttributeError):  # torch has no public name for it
        from torch._higher_order_ops import effects

        effects._register_effectful_op(operator, effects._EffectType.ORDERED)


_define_operator()
