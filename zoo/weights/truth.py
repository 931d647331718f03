"""The truth of a spec: a model is saved only if its spec rebuilds it."""

from __future__ import annotations

from typing import Any

import torch.nn as nn

from zoo.build import Model, build, is_whole
from zoo.spec import SpecError
from zoo.weights.header import FileError, Signature, differences, first_few

_SCALARS = (bool, int, float, str, type(None))


def check_truth(model: Model) -> None:
    """Compare a model with what its spec builds: rows, classes, every setting, and keys, dtypes and shapes.

    Raises FileError naming the row that was edited. Weights may be on any device.
    """
    if not is_whole(model):
        raise FileError(
            f"Only a zoo model can be saved (from zoo.create, zoo.build or zoo.load), not a {type(model).__name__}; of "
            "a wrapper (DDP, torch.compile) save the model inside, of features the whole network, a timm or "
            "torchvision network becomes one with zoo.adopt."
        )
    try:
        promised = build(model.spec, device="meta").float()  # whatever torch's default dtype is
    except SpecError as error:
        raise FileError(f"The model's spec does not build: {error}") from None
    rows, expected_rows = dict(model.named_children()), dict(promised.named_children())
    if list(rows) != list(expected_rows):
        odd = [name for name in (*rows, *expected_rows) if (name in rows) != (name in expected_rows)]
        raise _untrue(model, odd[0] if odd else next(iter(rows)), "its rows are others, or in another order")
    outside = [key for key in signatures(model) if key.partition(".")[0] not in rows]
    if outside:
        raise _untrue(model, outside[0], "it belongs to no row")
    for name, row in rows.items():
        _check_row(model, name, row, expected_rows[name])


def signatures(module: nn.Module) -> dict[str, Signature]:
    """Key -> (dtype, shape) of a module's state dict, in the words of `kinds.model_state`."""
    state = module.state_dict()
    return {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in state.items()}


def _check_row(model: Model, name: str, row: nn.Module, expected_row: nn.Module) -> None:
    found, expected = _described(row), _described(expected_row)
    for path in {**expected, **found}:
        if found.get(path) != expected.get(path):
            where = f"{name}.{path}".rstrip(".")
            raise _untrue(model, name, f"{where} is {found.get(path, 'gone')}, not {expected.get(path, 'there')}")
    have, want = signatures(row), signatures(expected_row)
    moved = {dtype for key, (dtype, _) in have.items() if key in want and want[key][0] != dtype}
    if moved and have.keys() == want.keys() and all(have[key][1] == want[key][1] for key in have):
        raise FileError(
            f"Row {name!r} of {model.spec.name!r} was moved to {', '.join(sorted(moved))}; files hold float32 "
            "(and int8 where the spec says so): call model.float() first."
        )
    lines = differences(want, have)
    if lines:
        raise _untrue(model, name, first_few(lines))
    empty = [key for key, value in row.state_dict().items() if value.is_meta]
    if empty:
        raise FileError(f"{name}.{empty[0]} is on the meta device and has no values; nothing can be saved.")


def _described(module: nn.Module) -> dict[str, str]:
    """Path -> class and settings of a module and all below it: what repr shows, and what it leaves out (`skip`)."""
    return {
        path: f"{type(part).__qualname__}({part.extra_repr()}) {_settings(part)}"
        for path, part in module.named_modules()
    }


def _settings(module: nn.Module) -> dict[str, Any]:
    return {
        key: value
        for key, value in sorted(vars(module).items())
        if not key.startswith("_") and key != "training" and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, _SCALARS) or (isinstance(value, tuple) and all(isinstance(v, _SCALARS) for v in value))


def _untrue(model: Model, row: str, why: str) -> FileError:
    return FileError(
        f"Row {row!r} of {model.spec.name!r} is not what the spec says: {why}. A file is rebuilt from its spec alone: "
        "undo the change (after torch.nn.utils.prune: prune.remove), or make it with zoo.edit."
    )
