"""Check that a network is what its spec says: it is handed on only if its spec rebuilds it, with the very answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from zoo.model.build import Model, build, copy_metadata, from_state, is_whole
from zoo.model.finite import check_values
from zoo.spec import ModelSpec, SpecError

Signature = tuple[str, tuple[int, ...]]  # dtype, shape

_SCALARS = (bool, int, float, str, type(None), torch.dtype)
_ALIKE = {"float32": 1e-5, "int8": 2e-2}  # of the largest output; two executions of one network differ by less


class EditedModel(ValueError):
    """A network that its spec does not rebuild; says the row, and what differs."""


def rebuildable(model: Model, what: str, *, float32: bool = False) -> Model:
    """The model, for `what` ("fuse") to make another of; one with plain weights where it has masks or parametrizations.

    Every row is compared with what the spec builds: classes, settings, keys and shapes; and every value is finite.
    Masks of `torch.nn.utils.prune`, parametrizations and weight norms count as the weights that they give in eval mode.
    A hook, or a method of an instance, is an edit where it changes the answer to a random input; one that only looks is
    left out of what is made. With `float32`, half precision is widened, and the result is in eval mode.

    Raises EditedModel, a ValueError, that names the row which differs; ValueError for what is no zoo model.
    """
    if not is_whole(model):
        raise ValueError(
            f"{what} takes a zoo model (from zoo.create, zoo.build or zoo.load), not {type(model).__name__}: of a "
            "wrapper (DDP, torch.compile) give the model inside, of features the whole network; a timm or torchvision "
            "network becomes one with zoo.adopt."
        )
    raw, state = model.state_dict(), effective_state(model)
    _check_rows(model, state)
    _check_stored(model)
    if any(value.is_meta for value in state.values()):
        key = next(key for key, value in state.items() if value.is_meta)
        raise EditedModel(f"{key} of {model.spec.name!r} is on the meta device and has no values for {what}.")
    check_values(state, model.spec.name)
    _check_steady(model, {key: value for key, value in state.items() if key not in raw})
    if float32 and any(part.training for part in model.modules()):
        model = copy.deepcopy(model).eval()  # calls in train mode would change the statistics of what was given
    hooked = _hooked(model)
    other = state.keys() != raw.keys() or (float32 and bool(_moved(model, state)))
    if not (hooked or other):
        return model
    twin = _twin(model, state, float32=float32)
    if hooked:
        _check_hooks(model, twin, hooked)
    return twin if other else model


def effective_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with the weights that masks, parametrizations and weight norms give, under their plain keys."""
    state = model.state_dict()
    for path, part in model.named_modules():
        for name, value, leaves in _given(part):
            prefix = f"{path}." if path else ""
            gone = [key for key in state if key.startswith(tuple(f"{prefix}{leaf}" for leaf in leaves))]
            for key in gone:
                del state[key]
            state[f"{prefix}{name}"] = value
    return state


def _twin(model: Model, state: Mapping[str, Tensor], *, float32: bool) -> Model:
    """The network that the spec builds around these tensors, which are shared."""
    values = {key: value.detach() for key, value in state.items()}
    if float32:
        moved = _moved(model, values)
        values = {key: value.float() if key in moved else value for key, value in values.items()}
    return copy_metadata(from_state(model.spec, values), model)


def signatures(state: Mapping[str, Tensor]) -> dict[str, Signature]:
    """Key -> (dtype, shape), in the words of `kinds.model_state`."""
    return {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in state.items()}


def _given(part: nn.Module) -> Iterator[tuple[str, Tensor, tuple[str, ...]]]:
    """(name of a tensor that is made when it is read, its value, what it is made of)."""
    with torch.no_grad():
        if _parametrized(part):
            for name, made in part.parametrizations.items():  # type: ignore[operator, union-attr]
                with evaluating(made):
                    value = getattr(part, name).detach()
                yield name, value, (f"parametrizations.{name}.",)
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                name = hook._tensor_name  # type: ignore[attr-defined]
                mask, whole = getattr(part, f"{name}_mask"), getattr(part, f"{name}_orig")
                # a product would leave negative zeros
                yield name, whole.detach().masked_fill(mask == 0, 0.0), (f"{name}_orig", f"{name}_mask")
            elif isinstance(hook, WeightNorm):
                yield hook.name, hook.compute_weight(part).detach(), (f"{hook.name}_g", f"{hook.name}_v")
            elif isinstance(hook, SpectralNorm):
                value = hook.compute_weight(part, do_power_iteration=False).detach()
                yield hook.name, value, (f"{hook.name}_orig", f"{hook.name}_u", f"{hook.name}_v")


def _check_rows(model: Model, state: Mapping[str, Tensor]) -> None:
    try:
        expected, promised = _expected(model.spec)
    except SpecError as error:
        raise EditedModel(f"The model's spec does not build: {error}") from None
    rows, names = dict(model.named_children()), [row.name for row in model.spec]
    if list(rows) != names:
        odd = [name for name in (*rows, *names) if (name in rows) != (name in names)]
        raise _untrue(model, odd[0] if odd else next(iter(rows)), "its rows are others, or in another order")
    outside = [key for key in state if key.partition(".")[0] not in rows]
    if outside:
        raise _untrue(model, outside[0], "it belongs to no row")
    found = _described(model)
    for path in {**expected, **found}:
        if found.get(path) != expected.get(path):
            here, there = _told(found.get(path), "gone"), _told(expected.get(path), "there")
            raise _untrue(model, path.partition(".")[0], f"{path} is {here}, not {there}")
    have = signatures(state)
    for key in {**promised, **have}:
        if key not in have or key not in promised:
            raise _untrue(model, key.partition(".")[0], f"{key} is {'missing' if key in promised else 'not expected'}")
        (dtype, shape), (other, usual) = have[key], promised[key]
        if shape != usual or (dtype != other and not {dtype, other} <= {"float16", "bfloat16", "float32", "float64"}):
            told = f"{key} is {dtype} of shape {shape}, not {other} of shape {usual}"
            raise _untrue(model, key.partition(".")[0], told)


def _check_stored(model: Model) -> None:
    """A hook on the state dict could give other values than those that the network computes with."""
    held = dict(chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)))
    for key, value in model.state_dict(keep_vars=True).items():
        if held.get(key) is not value:
            raise _untrue(model, key.partition(".")[0], f"a hook on its state dict changes {key}")


def _check_steady(model: Model, given: Mapping[str, Tensor]) -> None:
    """A parametrization that draws random numbers gives another weight at each call."""
    again = effective_state(model) if given else {}
    for key, value in given.items():
        if not torch.allclose(value, again[key]):
            raise _untrue(model, key.partition(".")[0], f"{key} has other values each time that it is read")


def check_float32(model: Model) -> None:
    """Raise EditedModel, naming the row, for a network that was moved to another precision."""
    state = model.state_dict()
    for key in _moved(model, state):
        raise EditedModel(
            f"Row {key.partition('.')[0]!r} of {model.spec.name!r} was moved to {str(state[key].dtype)[6:]}; files "
            "hold float32 (and int8 where the spec says so): call model.float() first."
        )


def _moved(model: Model, state: Mapping[str, Tensor]) -> list[str]:
    """The keys of floats that have another precision than the spec says."""
    _, promised = _expected(model.spec)
    usual = {key: dtype for key, (dtype, _) in promised.items()}
    return [
        key
        for key, value in state.items()
        if value.is_floating_point() and str(value.dtype)[6:] != usual.get(key, "float32")
    ]


@lru_cache(maxsize=16)
def _expected_of(text: str) -> tuple[dict[str, Any], dict[str, Signature]]:
    promised = build(ModelSpec.loads(text), device="meta")
    return _described(promised), signatures(promised.state_dict())


def _expected(spec: ModelSpec) -> tuple[dict[str, Any], dict[str, Signature]]:
    """What `build(spec)` gives: path -> class and settings, and the tensors."""
    return _expected_of(spec.dumps())


def _described(model: nn.Module) -> dict[str, Any]:
    """Path -> class and settings of all rows and all below them: what repr shows, and what it leaves out (`skip`)."""
    return {
        path: (_class_of(part), part.extra_repr(), _settings(part))
        for path, part in model.named_modules()
        if path and "parametrizations" not in path.split(".")
    }


def _told(described: Any, otherwise: str) -> str:
    if described is None:
        return otherwise
    kind, shown, settings = described
    return f"{kind.__qualname__}({shown}) {settings}"


def _class_of(part: nn.Module) -> type[nn.Module]:
    return type(part).__bases__[0] if _parametrized(part) else type(part)


def _parametrized(part: nn.Module) -> bool:
    """As `parametrize.is_parametrized`, without the cost of an attribute that is not there."""
    return "parametrizations" in part._modules and parametrize.is_parametrized(part)


def _settings(part: nn.Module) -> dict[str, Any]:
    return {
        key: value
        for key, value in sorted(vars(part).items())
        if not key.startswith("_") and key != "training" and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, _SCALARS)


def _hooked(model: Model) -> list[str]:
    """What has a hook of somebody's, or a method of its own; "" is the model itself."""
    known = (BasePruningMethod, WeightNorm, SpectralNorm)
    return [
        path
        for path, part in model.named_modules()
        if part._forward_hooks
        or any(not isinstance(hook, known) for hook in part._forward_pre_hooks.values())
        or _has_own_methods(part)
    ]


def _has_own_methods(part: nn.Module) -> bool:
    """Whether a function in the instance takes the place of a method of its class; what `part.compile()` makes may."""
    own = (name for name, value in vars(part).items() if callable(value) and name != "_compiled_call_impl")
    return any(hasattr(type(part), name) for name in own)


def _check_hooks(model: Model, plain: Model, hooked: list[str]) -> None:
    where = next((path for path in hooked if path), "")
    row = where.partition(".")[0] or model.spec.rows[0].name
    try:
        alike = _answer_alike(model, plain)
    except Exception as error:  # a hook may raise anything
        raise _untrue(model, row, f"a hook on {where or 'the model'} fails: {error}") from None
    if not alike:
        raise _untrue(model, row, f"a hook, or a method of its own, on {where or 'the model'} changes the answer")


def _answer_alike(model: Model, plain: Model) -> bool:
    """Whether both answer a random input alike, alone and in a batch, each part in the mode of `plain`, eval."""
    spec = model.spec
    device = next((value.device for value in plain.state_dict().values()), torch.device("cpu"))
    dtype = next((v.dtype for v in plain.parameters()), torch.float32)
    x, more = (
        one.to(device, dtype if one.dtype == torch.float32 else None)
        for one in (spec.input.probe(), spec.input.probes())
    )
    found, expected = list[Tensor](), list[Tensor]()
    with torch.no_grad(), evaluating(model):
        for given in (x, more):
            found += _tensors(model(given))
            expected += _tensors(plain(given))
    near = _ALIKE["int8" if any(row.precision != "float32" for row in spec) else "float32"]
    return len(found) == len(expected) and all(
        one.shape == other.shape and bool((one - other).abs().max() <= near * other.abs().max().clamp_min(1e-12))
        for one, other in zip(found, expected, strict=True)
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode while open; afterwards each part's own mode, and the tensors that masks and weight norms left in it."""
    parts = list(module.modules())
    training = [part for part in parts if part.training]
    left = [(part, name, value) for part in parts for name, value in vars(part).items() if isinstance(value, Tensor)]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for part, name, value in left:
            vars(part)[name] = value


def _tensors(answer: Any) -> list[Tensor]:
    if isinstance(answer, list):  # of detections, what they were made of
        return [answer.answer]  # type: ignore[attr-defined]
    return [answer] if isinstance(answer, Tensor) else [answer[name] for name in answer]


def _untrue(model: Model, row: str, why: str) -> EditedModel:
    return EditedModel(
        f"Row {row!r} of {model.spec.name!r} is not what the spec says: {why}. Files, passes, exports and runtimes "
        "rebuild a network from its spec alone: undo the change, or make it with zoo.edit."
    )
