"""Convert checkpoints of other libraries to Models: pickles, read as tensors only, and safetensors files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from zoo import kinds, registry
from zoo.files import FileError, local_path
from zoo.model.build import Model, from_state
from zoo.spec import ModelSpec, SpecError
from zoo.weights.container import Contents, first_few
from zoo.weights.facts import check_labels
from zoo.weights.file import finite_float32, stored_tensors
from zoo.weights.foreign import TORCHVISION_INPUT, config_beside, foreign_header, imagenet_labels
from zoo.weights.keys import (
    MisfitError,
    from_efficientnet_pytorch,
    from_timm,
    from_torchvision,
    names_in,
    number_of_classes,
)
from zoo.weights.pickles import check_cost

TRANSLATIONS: dict[str, Callable[[ModelSpec, Mapping[str, Any]], dict[str, Any]]] = {
    "timm": from_timm,
    "torchvision": from_torchvision,
    "efficientnet_pytorch": from_efficientnet_pytorch,
}
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict")  # moving averages, which are the better weights
NESTS = (*AVERAGES, "state_dict", "model", "model_state_dict")  # keys under which training scripts store the weights
MAX_DEPTH = 4  # a pickle may hold itself
PICKLED = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin")  # transformers' names, of one file or several
IMAGENET = 1000  # classes
# Types of objects beside the weights in training checkpoints: settings, figures, paths. A `_Note` replaces each.
NOTES = (
    "argparse.Namespace",
    "_codecs.encode",
    *(f"numpy.{core}.multiarray.{one}" for core in ("core", "_core") for one in ("scalar", "_reconstruct")),
    *(f"numpy.{one}" for one in ("dtype", "ndarray", "float64", "float32", "int64", "bool_")),
    *(f"numpy.dtypes.{one}DType" for one in ("Float64", "Float32", "Float16", "Int64", "Int32", "UInt8", "Bool")),
    *(f"pathlib.{one}" for one in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path")),
    *(f"pathlib._local.{one}" for one in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path")),
)


class _Note:
    """Replaces an object of a checkpoint that is no weight, so that no code of the object's class runs."""

    def __new__(cls, *_: Any) -> _Note:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None: ...


def convert(checkpoint: str | os.PathLike[str], arch: str = "", *, labels: Iterable[str] | None = None) -> Model:
    """The Model of an architecture with the weights of a checkpoint of timm, torchvision or efficientnet_pytorch.

    A pickle is read as tensors alone, so nothing in it runs. Training checkpoints are unwrapped, a moving average is
    taken before the weights that it is of, as timm does, and weights become float32. The number of classes and of
    channels is the weights' own. Pictures are prepared as is usual for the architecture, in torchvision's way where the
    names tell that library: those of its ResNets are timm's too.
    Without an `arch`, `checkpoint` is a folder whose config.json says which network its pytorch_model.bin is of, as
    `zoo.load` reads folders with safetensors.
    `labels`: one name for each class, () for none. By default 1000 classes are taken to be those of ImageNet-1k in
    their usual order; `made["converted"]["labels"]` says so.

    Raises UnknownName for an unknown architecture, FileError for a file that cannot be read, is refused, or holds
    other tensors than such a network's, or values that are not finite in float32.
    """
    path = local_path(checkpoint)
    if not arch:
        return _of_folder(path, labels)
    registry.spec(arch)  # raises for a wrong name before a large file is read
    found, notes = _nested(path, _read(path))
    weights, left_out = _weights(path, found, _known_names(arch))
    shapes = {key: _like(value) for key, value in weights.items()}
    spec, libraries = _recognized(path, arch, shapes)
    names = check_labels(spec, tuple(labels or ()))
    state = {key: finite_float32(path, key, value) for key, value in weights.items()}
    model = from_state(spec, TRANSLATIONS[libraries[0]](spec, state))
    converted: dict[str, Any] = {"from": path.name, "sha256": _digest(path), "library": " or ".join(libraries), **notes}
    if left_out := sorted({*notes.get("left_out", ()), *left_out}):
        converted["left_out"] = left_out
    if labels is None and kinds.classes(model.spec) == IMAGENET:
        names, converted["labels"] = imagenet_labels(), "ImageNet-1k's, by their number"
    model.labels, model.made = names, {"converted": converted}
    return model


def _of_folder(path: Path, labels: Iterable[str] | None) -> Model:
    """The network that a config.json describes, with its pickled weights."""
    folder = path if path.is_dir() else path.parent
    files = (
        [path]
        if path.is_file()
        else sorted(one for one in folder.iterdir() if PICKLED.fullmatch(one.name))
        if folder.is_dir()
        else []
    )
    if not files:
        raise FileError(
            f"{path}: has no pytorch_model.bin; zoo.load reads folders with safetensors, and a file alone "
            "needs the name of its network: --arch NAME, or convert(file, NAME)."
        )
    config = config_beside(files[0])
    if config is None:
        raise FileError(f"{path}: has no config.json that says which network it is; give its name: --arch NAME.")
    state: dict[str, Any] = {}
    for file in files:
        found, _ = _nested(file, _read(file))
        state |= {key: value.detach() for key, value in found.items()}
    tensors = {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in state.items()}
    contents = Contents({}, tensors, dict.fromkeys(tensors, files[0]))
    header = foreign_header(files[0], contents, config)

    def read(name: str) -> Tensor:
        return finite_float32(files[0], name, state[name])

    model = from_state(header.spec, stored_tensors(files[0], header, read))
    names = header.labels if labels is None else check_labels(header.spec, tuple(labels))
    model.labels, model.tokenizer = names, header.tokenizer
    about = {"from": files[0].name, "sha256": _digest(files[0]), "library": header.made["source"]["library"]}
    model.made = {**header.made, "converted": about}
    return model


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Any:
    """Read a file; its first bytes tell the format, because suffixes do not."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for, and is read twice
        raise FileError(f"{path}: is no regular file; give the checkpoint's own path.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}; give the checkpoint's own path.") from None
    zipped = start.startswith(b"PK\x03\x04")
    if not zipped and start[:1] != b"\x80" and start[8:] != b"{":
        raise FileError(f"{path}: is no checkpoint, neither torch.save's nor safetensors; get it again.")
    if start[8:] != b"{":
        check_cost(path, zipped=zipped)
    try:
        if start[8:] == b"{":
            return load_file(path)
        if not (zipped and _is_torchscript(path)):
            with safe_globals([(_Note, name) for name in NOTES]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a damaged pickle may raise any error
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


def _nested(path: Path, found: Any) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """The innermost state dict, and notes on the rest: which moving average was taken, keys beside the weights."""
    notes: dict[str, Any] = {}
    left_out: list[str] = []
    for _ in range(MAX_DEPTH):
        nest = next((key for key in NESTS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)), None)
        if nest is None:
            break
        if nest in AVERAGES:
            notes["average"] = nest
        left_out += [str(key) for key in found if key != nest]
        found = found[nest]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        what = [str(key)[:50] for key in found][:5] if isinstance(found, Mapping) else type(found).__name__
        raise FileError(f"{path}: holds no tensors by name, but {what}; save `model.state_dict()` instead.")
    for key, value in found.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise FileError(f"{path}: {str(key)[:100]!r} among its weights is no plain tensor; save them without it.")
    return found, {**notes, "left_out": sorted(left_out)} if left_out else notes


def _weights(
    path: Path, found: Mapping[str, Tensor], known: Iterable[Collection[str]]
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under the prefix of the network's names, and the keys with other prefixes."""
    counts: dict[str, int] = {}
    for names in known:
        for prefix in {key.removesuffix(name) for name in names for key in found if _below(key, name)}:
            counts[prefix] = max(counts.get(prefix, 0), sum(prefix + name in found for name in names))
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == most]
    if len(best) > 1:
        raise FileError(f"{path}: holds several such networks, under {first_few(sorted(map(repr, best)))}; save one.")
    prefix = best[0] if best else ""
    left_out = sorted({key.partition(".")[0] for key in found if not key.startswith(prefix)})
    state = {key.removeprefix(prefix): value.detach() for key, value in found.items() if key.startswith(prefix)}
    norms = [key.removesuffix("running_mean") for key in state if key.endswith(".running_mean")]
    counters = {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}  # older files have none
    return {**counters, **state}, left_out


def _below(key: str, name: str) -> bool:
    return key == name or key.endswith(f".{name}")


def _known_names(arch: str) -> list[list[str]]:
    """A few tensor names of each library that has the architecture: the first, the middle and the last.

    These names are enough to find the network in a checkpoint. The other names are checked later.
    """
    known = []
    for library in TRANSLATIONS:
        with suppress(FileError):
            names = [one.name for one in names_in(registry.spec(arch), library).values() if one.name.endswith("weight")]
            known.append([names[0], names[len(names) // 2], names[-2]])
    return known


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _recognized(path: Path, arch: str, tensors: Mapping[str, Tensor]) -> tuple[ModelSpec, list[str]]:
    """The spec with the number of classes of the weights, and the libraries whose names and shapes fit."""
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
        except FileError as error:  # the library does not have the family
            unknown = unknown or str(error)
    if list(fits) == ["efficientnet_pytorch"] and f"tf_{arch}" in registry.MODELS:
        raise FileError(f"{path}: is of efficientnet_pytorch, which pads as TensorFlow does; its name is tf_{arch}.")
    if fits:
        spec, libraries = next(iter(fits.values())), list(fits)
        if libraries == ["torchvision"]:
            spec = spec.replace(input=replace(spec.pictures, interpolation=TORCHVISION_INPUT.interpolation))
        return spec, libraries
    if not misfits:
        raise FileError(f"{path}: {unknown}")
    library, differences = min(misfits, key=lambda misfit: len(misfit[1]))
    raise FileError(
        f"{path}: its tensors are not those of {arch} in any of {', '.join(TRANSLATIONS)}; {library}'s come nearest, "
        f"but {first_few(differences)}. Give the name of the network that they were trained as."
    )


def _with_classes(arch: str, tensors: Mapping[str, Tensor], library: str) -> ModelSpec:
    """The spec with the numbers of classes and channels of the weights; the usual numbers if those are invalid."""
    usual = registry.spec(arch)
    try:
        spec = registry.spec(arch, number_of_classes(usual, tensors, library))
        first = names_in(usual, library)[_first_weight(usual)]
        shape = tuple(tensors[first.name].shape) if first.name in tensors else ()
        return kinds.check(kinds.with_channels(spec, shape[1]) if len(shape) == 4 else spec)
    except (FileError, SpecError):
        return usual


def _first_weight(spec: ModelSpec) -> str:
    first = f"{spec.rows[0].name}."
    return next(key for key, (_, shape) in kinds.model_state(spec).items() if key.startswith(first) and len(shape) == 4)


def _like(tensor: Tensor) -> Tensor:
    """A meta tensor of the final shape and dtype, without memory: a small file can hold a huge expanded tensor."""
    return tensor.to("meta", torch.float32 if tensor.is_floating_point() else tensor.dtype)
