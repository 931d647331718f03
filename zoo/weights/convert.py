"""Other libraries' checkpoints to Models: pickles of tensors alone, and safetensors files under foreign names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile

import torch
from safetensors.torch import load_file
from torch import Tensor

from zoo import kinds, registry
from zoo.build import Model, from_state
from zoo.spec import ModelSpec, SpecError
from zoo.weights.foreign import TORCHVISION_INPUT
from zoo.weights.header import FileError, check_labels, first_few
from zoo.weights.keys import (
    MisfitError,
    from_efficientnet_pytorch,
    from_timm,
    from_torchvision,
    number_of_classes,
)

TRANSLATIONS: dict[str, Callable[[ModelSpec, Mapping[str, Any]], dict[str, Any]]] = {
    "timm": from_timm,
    "torchvision": from_torchvision,
    "efficientnet_pytorch": from_efficientnet_pytorch,
}
NESTS = ("state_dict", "model", "model_state_dict")  # under which training scripts keep the weights
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
MAX_DEPTH = 4  # a pickle may hold itself


def convert(checkpoint: str | os.PathLike[str], arch: str, *, labels: Iterable[str] = ()) -> Model:
    """The Model of an architecture with the weights of a checkpoint of timm, torchvision or efficientnet_pytorch.

    A pickle is read as tensors alone, so nothing in it runs. Training checkpoints are unwrapped, their weights made
    float32, and the number of classes is the classifier's own. Pictures are prepared as is usual for the
    architecture, in torchvision's way where the names tell that library: those of its ResNets are timm's too.

    Raises UnknownName for an unknown architecture, FileError for a file that cannot be read, is refused, or holds
    other tensors than such a network's.
    """
    registry.spec(arch)  # a name that is wrong is said before a large file is read
    path = Path(checkpoint)
    weights, left_out = _weights(path, _read(path))
    shapes = {key: _like(value) for key, value in weights.items()}
    spec, libraries = _recognized(path, arch, shapes)
    names = check_labels(spec, tuple(labels))
    state = {key: _float32(value) for key, value in weights.items()}
    model = from_state(spec, TRANSLATIONS[libraries[0]](spec, state))
    model.labels = names
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    converted = {"from": path.name, "sha256": digest, "library": " or ".join(libraries)}
    model.made = {"converted": {**converted, "left_out": left_out} if left_out else converted}
    return model


def _read(path: Path) -> Any:
    """What the file holds, whatever that is; told by its first bytes, since every suffix is used for everything."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}; give the checkpoint's own path.") from None
    zipped = start.startswith(b"PK\x03\x04")
    if not zipped and start[:1] != b"\x80" and start[8:] != b"{":
        raise FileError(f"{path}: is no checkpoint, neither torch.save's nor safetensors; get it again.")
    try:
        if start[8:] == b"{":
            return load_file(path)
        if not (zipped and _is_torchscript(path)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a pickle in disorder fails in every way there is
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, UnpicklingError) else None
        if code is None:
            raise FileError(f"{path}: is truncated, damaged or not written by torch.save; get it again.") from None
        raise FileError(
            f"{path}: holds more than tensors ({code[1][:100]}), which could run code, so it is refused: ask its "
            "author for a state dict, or save `model.state_dict()` yourself where you trust it."
        ) from None
    raise FileError(
        f"{path}: is a TorchScript archive, which is code, so it is refused: save the `state_dict()` of the network "
        "that it was made of."
    )


def _is_torchscript(path: Path) -> bool:
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _weights(path: Path, found: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict, without its nests and common prefixes, and the names of what lay beside it in the nests."""
    left_out: list[str] = []
    for _ in range(MAX_DEPTH):
        nest = next((key for key in NESTS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)), None)
        if nest is None:
            break
        left_out += [str(key) for key in found if key != nest]
        found = found[nest]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        what = [str(key)[:50] for key in found][:5] if isinstance(found, Mapping) else type(found).__name__
        raise FileError(f"{path}: holds no tensors by name, but {what}; save `model.state_dict()` instead.")
    for key, value in found.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise FileError(f"{path}: {str(key)[:100]!r} among its weights is no plain tensor; save them without it.")
    for prefix in PREFIXES * 2:  # in either order
        if all(key.startswith(prefix) for key in found):
            found = {key.removeprefix(prefix): value for key, value in found.items()}
    norms = [key.removesuffix("running_mean") for key in found if key.endswith(".running_mean")]
    counters = {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}  # older files have none
    return {**counters, **{key: value.detach() for key, value in found.items()}}, sorted(left_out)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _recognized(path: Path, arch: str, tensors: Mapping[str, Tensor]) -> tuple[ModelSpec, list[str]]:
    """The spec with the right number of classes, and every library whose names and shapes these are."""
    fits: dict[str, ModelSpec] = {}
    misfits: list[tuple[str, list[str]]] = []
    unknown = ""
    for library, translate in TRANSLATIONS.items():
        try:
            spec = _with_classes(arch, tensors, library)
            translate(spec, tensors)
            fits[library] = spec
        except MisfitError as error:
            misfits.append((library, error.differences))
        except FileError as error:  # a family that the library does not have
            unknown = unknown or str(error)
    if list(fits) == ["efficientnet_pytorch"] and f"tf_{arch}" in registry.MODELS:
        raise FileError(f"{path}: is of efficientnet_pytorch, which pads as TensorFlow does; its name is tf_{arch}.")
    if fits:
        spec, libraries = next(iter(fits.values())), list(fits)
        return spec.replace(input=TORCHVISION_INPUT) if libraries == ["torchvision"] else spec, libraries
    if not misfits:
        raise FileError(f"{path}: {unknown}")
    library, differences = min(misfits, key=lambda misfit: len(misfit[1]))
    raise FileError(
        f"{path}: its tensors are not those of {arch} in any of {', '.join(TRANSLATIONS)}; {library}'s come nearest, "
        f"but {first_few(differences)}. Give the name of the network that they were trained as."
    )


def _with_classes(arch: str, tensors: Mapping[str, Tensor], library: str) -> ModelSpec:
    """The spec with the classifier's own number of classes; the usual number where that cannot be one."""
    usual = registry.spec(arch)
    try:
        return kinds.check(registry.spec(arch, number_of_classes(usual, tensors, library)))
    except (FileError, SpecError):
        return usual


def _like(tensor: Tensor) -> Tensor:
    """The shape and the dtype to be, without memory: a small file can hold a tensor that repeats one value for ever."""
    return tensor.to("meta", torch.float32 if tensor.is_floating_point() else tensor.dtype)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
