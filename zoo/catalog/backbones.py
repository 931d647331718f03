"""Which backbone a network is to stand on, of what its caller gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.spec import ModelSpec

if TYPE_CHECKING:
    from zoo.model.build import Model


def given(
    backbone: str | Model | None, weights: str | os.PathLike[str] | None, load: Callable[..., Model]
) -> Model | ModelSpec | None:
    """The network that another one stands on, or its spec where its weights are to be fresh; `load` is `zoo.create`.

    Raises ValueError for weights of what is no name.
    """
    if not isinstance(backbone, str):
        if weights is not None:
            raise ValueError("backbone_weights= is for a backbone= by its name.")
        return backbone
    name = registry.resolve(backbone)
    if weights is None and not name.tag and not name.passes:
        return registry.spec(name.arch)
    return load(backbone, weights="default" if weights is None else weights)


def spec_on(
    name: str | ModelSpec, body: Any, options: Mapping[str, Any], weights: Any, num_classes: int | None
) -> ModelSpec:
    """The spec of the network called `name` on that backbone, with fresh weights; `options` that are None are usual.

    Raises ValueError for a network that stands on none, or arguments that do not fit together.
    """
    options = {key: value for key, value in {"backbone": body, **options}.items() if value is not None}
    asked = next(iter(options))
    wanted = registry.resolve(name) if isinstance(name, str) else None
    if wanted is None or wanted.tag or wanted.passes or not options.keys() <= registry.options(wanted.arch):
        takers = [arch for arch in registry.MODELS if asked in registry.options(arch)]
        raise ValueError(f"{asked}= is for one of {takers} by its name, not for {str(name)[:100]!r}.")
    if weights not in ("default", None):
        raise ValueError(f"{asked}= is for fresh weights: those of a file have the backbone that they were trained on.")
    if body is not None:
        options["backbone"] = body if isinstance(body, ModelSpec) else getattr(body, "spec", None)
        if not isinstance(options["backbone"], ModelSpec):
            raise ValueError(f"backbone= takes the name of a network, or a zoo model, not {type(body).__name__}.")
        if narrow := sorted({row.precision for row in options["backbone"]} - {"float32"}):
            raise ValueError(
                f"backbone= takes a float network, and {options['backbone'].name} is {narrow[0]}: compress the whole "
                "network instead."
            )
    return registry.spec(wanted.arch, num_classes or None, **options)
