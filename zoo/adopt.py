"""`adopt`: someone's own network of timm or torchvision becomes one of the zoo's, ready for every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn

from zoo import registry
from zoo.build import Model, from_state
from zoo.spec import ModelSpec
from zoo.weights.foreign import TORCHVISION_INPUT, image_input
from zoo.weights.header import FileError
from zoo.weights.keys import from_timm, from_torchvision, known_to_torchvision, number_of_classes

Translation = Callable[[ModelSpec, Mapping[str, Any]], dict[str, Any]]

TOLERANCE = 1e-4  # of the largest logit; a changed activation or padding is off by far more


class AdoptionError(ValueError):
    """A module that is no known network, or one that was changed."""


def adopt(module: nn.Module) -> Model:
    """The zoo's form of a timm or torchvision network, with copies of its weights, in eval mode.

    For instances of the architectures that `zoo list` shows, whatever trained them and with any number of classes. That
    the result answers a random input as `module` does is tried. `labels` are empty, since neither library keeps them
    with a network: set them.

    Raises AdoptionError for any other module, and for one whose layers were changed, naming the first that differs.
    """
    library = type(module).__module__.partition(".")[0]
    if library == "timm":
        return _of_timm(module)
    if library == "torchvision":
        return _of_torchvision(module)
    raise AdoptionError(
        f"adopt takes a network of timm or torchvision, not {type(module).__module__}.{type(module).__qualname__}. "
        "A network of your own is a ModelSpec: zoo.build(spec), then load_state_dict."
    )


def _of_timm(module: nn.Module) -> Model:
    config: dict[str, Any] = dict(getattr(module, "pretrained_cfg", None) or {})
    arch = config.get("architecture", "")
    if arch not in registry.MODELS:
        raise AdoptionError(f"timm's {arch or type(module).__name__!r} is not among the zoo's; `zoo list` shows those.")
    state = module.state_dict()
    try:
        spec = registry.spec(arch, number_of_classes(registry.spec(arch), state, "timm"))
        return _adopted(module, spec.replace(input=image_input(spec.pictures, config)), from_timm, f"timm {arch}")
    except FileError as error:
        raise AdoptionError(f"This {arch} of timm was changed, so it cannot be adopted: {error}") from None


def _of_torchvision(module: nn.Module) -> Model:
    """torchvision keeps no name, so the tensors tell the size."""
    state, failures = module.state_dict(), []
    for arch in registry.MODELS:
        spec = registry.spec(arch)
        if not known_to_torchvision(spec):
            continue
        try:
            spec = registry.spec(arch, number_of_classes(spec, state, "torchvision"))
            return _adopted(module, spec.replace(input=TORCHVISION_INPUT), from_torchvision, f"torchvision {arch}")
        except FileError as error:
            failures.append((str(error).count(";"), str(error)))
    raise AdoptionError(
        f"This {type(module).__name__} of torchvision is none of the zoo's, or was changed: {min(failures)[1]}"
    )


def _adopted(theirs: nn.Module, spec: ModelSpec, translate: Translation, source: str) -> Model:
    state = theirs.state_dict()
    model = from_state(spec, {key: value.detach().clone() for key, value in translate(spec, state).items()})
    model.made = {"adopted": source}
    _check_same_answers(theirs, spec, translate)
    return model


def _check_same_answers(theirs: nn.Module, spec: ModelSpec, translate: Translation) -> None:
    """Equal tensors do not say that a padding or an activation is the usual one: a random input does.

    Norms are drawn anew for it, in both: a fresh network's residual branches are often multiplied by 0.
    """
    generator = torch.Generator().manual_seed(0)
    state = {
        key: (0.5 + torch.rand(value.shape, generator=generator)).to(value) if value.ndim == 1 else value
        for key, value in theirs.state_dict().items()
    }
    x = torch.randn(2, 3, 64, 64, generator=generator).to(next(theirs.parameters()).device)
    with torch.inference_mode(), _evaluating(theirs):
        expected = torch.func.functional_call(theirs, state, (x,))
        found = from_state(spec, translate(spec, state))(x)
    if expected.shape != found.shape or not (found - expected).abs().max() <= TOLERANCE * expected.abs().max():
        raise AdoptionError(
            f"The tensors are those of {spec.name}, but it answers otherwise: an activation, a padding or another "
            "setting without weights was changed, so it cannot be adopted."
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode while open, each submodule's own mode afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
