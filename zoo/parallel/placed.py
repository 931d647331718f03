"""A network whose rows lie on several devices, for inference: what a row takes moves to the row's device."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.model.build import Model
from zoo.model.defaults import check_device
from zoo.parallel.stages import cut, even_cuts


def place(model: Model, devices: Sequence[str | torch.device]) -> Model:
    """Put slices of a network's rows, of about equal multiply-accumulates, on the devices, in order.

    Args:
        model (Model): the network; it is changed in place.
        devices (Sequence[str | torch.device]): a device for each slice; a device may come several times.

    Returns:
        Model: the same network. Its call takes an input on any device, and answers on the last one.

    Raises:
        ValueError: there are more devices than rows.
    """
    parts = cut(model.spec, even_cuts(model.spec, len(devices)))
    for part, device in zip(parts, devices, strict=True):
        for row in part.rows:
            module = model.get_submodule(row.name).to(device)
            module.register_forward_pre_hook(_Move(torch.device(device)), with_kwargs=True)
    return model


def check_devices(devices: Any, others: Mapping[str, bool]) -> None:
    """Raise ValueError for devices that are none, and for `others`, options that do not go with several."""
    if isinstance(devices, str) or not isinstance(devices, Sequence) or not devices:
        raise ValueError(f'devices= is a list, such as ["cuda:0", "cuda:1"], not {devices!r}.')
    for one in devices:
        check_device(one)
    if both := [f"{name}=" for name, given in others.items() if given]:
        raise ValueError(f"devices= places the rows of a whole network in torch; leave out {', '.join(both)}.")


class _Move:
    """Moves the arguments of a row's call to its device; of a table on another one, a copy stays there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copies: dict[str, nn.Module] = {}

    def __call__(self, row: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        moved = {name: self._moved(name, one) for name, one in kwargs.items()}
        return tuple(self._moved("", one) for one in args), moved

    def _moved(self, name: str, given: Any) -> Any:
        if isinstance(given, Tensor):
            return given.to(self.device)
        if not isinstance(given, nn.Module) or next(given.parameters()).device == self.device:
            return given
        if name not in self._copies:
            copied = copy.deepcopy(given).to(self.device)
            copied._forward_pre_hooks.clear()
            self._copies[name] = copied
        return self._copies[name]
