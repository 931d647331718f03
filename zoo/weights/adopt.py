"""`adopt`: someone's own network of timm or torchvision becomes one of the zoo's, ready for every pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds, registry
from zoo.files import FileError
from zoo.model.build import Model, from_state
from zoo.model.verify import effective_state, evaluating
from zoo.naming import did_you_mean
from zoo.spec import ModelSpec, SpecError
from zoo.weights.foreign import TORCHVISION_INPUT
from zoo.weights.keys import family_of, from_timm, from_torchvision, misfits, number_of_classes
from zoo.weights.timm_folder import fitted

Translation = Callable[[ModelSpec, Mapping[str, Any]], dict[str, Any]]

TORCHVISION_MODULES = {"resnet": "resnet", "mobilenetv2": "mobilenetv2"}  # torchvision's module -> our family
TOLERANCE = 1e-4  # of the largest logit; a changed activation or padding is off by far more


class _WithWeights(nn.Module):
    """A network and the weights that it computes its answer with."""

    def __init__(self, theirs: nn.Module) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(self, x: Tensor) -> tuple[Any, dict[str, Tensor]]:
        return self.theirs(x), effective_state(self.theirs)


class AdoptionError(ValueError):
    """A module that is no network of the zoo's, or one whose layers were changed.

    Args:
        message (str): what differs, and what to do.

    Example:
        >>> zoo.adopt(torch.nn.Linear(2, 2))
        Traceback (most recent call last):
            ...
        AdoptionError: adopt takes a network of timm or torchvision, ...
    """


def adopt(module: nn.Module) -> Model:
    """Turn a network of timm or torchvision into a zoo model, with copies of its weights.

    It takes every architecture that `zoo list` shows, trained by anybody, with any number of classes and channels, or
    without a classifier. Weights of half or double precision become float32; masks, parametrizations and weight norms
    become the weights that they give. The answers to a random input are compared with those of `module`.

    Args:
        module (torch.nn.Module): the network; it stays as it is.

    Returns:
        A `Model`, in eval mode. Its `labels` are empty, because neither library stores them with a network: set them.

    Raises:
        AdoptionError: the module is another network, or a layer was changed; the message names the first difference.

    Example:
        >>> import torchvision
        >>> model = zoo.adopt(torchvision.models.mobilenet_v2())
        >>> model.spec.name
        'mobilenetv2_100'
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
        raise AdoptionError(
            f"timm's {arch or type(module).__name__!r} is not among the zoo's{did_you_mean(arch, registry.MODELS)} "
            "`zoo list` shows those."
        )
    grid = getattr(getattr(module, "patch_embed", None), "img_size", None)
    shapes = {key: tuple(value.shape) for key, value in effective_state(module).items()}
    try:
        spec = fitted(registry.spec(arch), shapes, config, size=grid)
        return _adopted(module, spec, from_timm, f"timm {arch}")
    except (FileError, SpecError) as error:
        raise AdoptionError(f"This {arch} of timm was changed, so it cannot be adopted: {error}") from None


def _of_torchvision(module: nn.Module) -> Model:
    """Find the architecture: torchvision stores no name; the class gives the family, the tensors give the size."""
    family = type(module).__module__.rpartition(".")[2]
    if family not in TORCHVISION_MODULES:
        raise AdoptionError(
            f"adopt takes torchvision's ResNet-18, -34, -50, -101, -152 and MobileNetV2, not its "
            f"{type(module).__name__}; timm has that network too where `zoo list` shows it, and adopt takes timm's."
        )
    state = effective_state(module)
    names = [arch for arch in registry.MODELS if family_of(arch) == TORCHVISION_MODULES[family]]
    nearest = min((registry.spec(arch) for arch in names), key=lambda spec: len(misfits(spec, state, "torchvision")))
    try:
        count = number_of_classes(nearest, state, "torchvision")
        spec = kinds.with_channels(registry.spec(nearest.name, count), _channels(module))
        spec = spec.replace(input=replace(spec.pictures, interpolation=TORCHVISION_INPUT.interpolation))
        return _adopted(module, spec, from_torchvision, f"torchvision {nearest.name}")
    except (FileError, SpecError) as error:
        raise AdoptionError(
            f"This {type(module).__name__} of torchvision is no network of the zoo, or was changed: it is nearest to "
            f"{nearest.name}, but {error}"
        ) from None


def _channels(module: nn.Module) -> int:
    return next(layer.in_channels for layer in module.modules() if isinstance(layer, nn.Conv2d))


def _adopted(theirs: nn.Module, spec: ModelSpec, translate: Translation, source: str) -> Model:
    """Weights of half or double precision become float32."""
    state = {
        key: value.detach().to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
        for key, value in effective_state(theirs).items()
    }
    model = from_state(kinds.check(spec), translate(spec, state))
    model.made = {"adopted": source}
    _check_same_answers(theirs, spec, translate)
    return model


def _check_same_answers(theirs: nn.Module, spec: ModelSpec, translate: Translation) -> None:
    """Compare the answers to a random input: equal tensors do not show a changed padding or activation.

    Both networks get random norms, because a fresh network often multiplies its residual branches by 0. A network with
    positions is tried at its own size, any other network at a small size.
    """
    generator = torch.Generator().manual_seed(0)
    state = {
        f"theirs.{key}": (0.5 + torch.rand(value.shape, generator=generator)).to(value.device)
        if value.ndim == 1 and not key.endswith("_mask")
        else value.to(torch.float32 if value.is_floating_point() else value.dtype)
        for key, value in theirs.state_dict().items()
    }
    size = spec.pictures.size if kinds.has_grid(spec) else (64, 64)
    x = torch.randn(2, spec.pictures.channels, *size, generator=generator).to(next(theirs.parameters()).device)
    with torch.inference_mode(), evaluating(theirs):
        expected, weights = torch.func.functional_call(_WithWeights(theirs), state, (x,))
        if not isinstance(expected, Tensor):
            raise AdoptionError(
                f"This {spec.name} gives a {type(expected).__name__}, not one tensor, as with features_only: adopt the "
                "whole network."
            )
        found = from_state(spec, translate(spec, weights))(x)
    if expected.shape != found.shape or not (found - expected).abs().max() <= TOLERANCE * expected.abs().max():
        raise AdoptionError(
            f"The tensors are those of {spec.name}, but it gives other answers: an activation, a padding or another "
            "setting without weights was changed, so it cannot be adopted."
        )
