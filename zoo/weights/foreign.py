"""Read folders of timm and transformers: weights under their own names, and a config.json. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from zoo import kinds, registry, tasks
from zoo.files import FileError
from zoo.naming import did_you_mean
from zoo.spec import ImageInput, ModelSpec, SpecError
from zoo.tasks.answers import task_of
from zoo.weights import json_text, keys, text_folder, timm_folder, vit_folder
from zoo.weights.container import (
    CONFIG,
    MAX_CONFIG,
    OTHER_FLOATS,
    PREPROCESSOR,
    Contents,
    Signature,
    differences,
    first_few,
    read_contents,
)
from zoo.weights.facts import check_labels
from zoo.weights.header import Header, own_header
from zoo.weights.open_files import OpenFiles
from zoo.weights.settings import short, switch
from zoo.weights.tensor_source import TensorSource
from zoo.weights.transformers_settings import CONFIGS, PREPROCESSING

TORCHVISION_INPUT = ImageInput(interpolation="bilinear")
TRANSFORMERS_RESNETS = {
    ("basic", 2, 2, 2, 2): "resnet18",
    ("basic", 3, 4, 6, 3): "resnet34",
    ("bottleneck", 3, 4, 6, 3): "resnet50",
    ("bottleneck", 3, 4, 23, 3): "resnet101",
    ("bottleneck", 3, 8, 36, 3): "resnet152",
}
SHIPPED = Path(__file__).with_name("shipped")
COUNTER = "num_batches_tracked"  # of batch norm; some files lack it, and only training uses it


def config_beside(path: Path) -> dict[str, Any] | None:
    """The config.json in the file's folder; None if there is none."""
    return _json(path.with_name(CONFIG))


def _json(file: Path) -> dict[str, Any] | None:
    try:
        if not file.is_file() or file.stat().st_size > MAX_CONFIG:
            return None
    except OSError as error:
        raise FileError(f"{file}: cannot be read: {error.strerror}.") from None
    found = json_text.read_json(file, MAX_CONFIG)
    return found if isinstance(found, dict) else None


def foreign_header(path: Path, contents: Contents, config: Mapping[str, Any]) -> Header:
    """A `Header` for a file of timm or transformers; raises FileError for a network that the zoo does not have.

    The prefix of a wrapper is removed from tensor names.
    """
    prefix = keys.wrapper_of(contents.tensors)
    tensors = {name.removeprefix(prefix): one for name, one in contents.tensors.items()}
    files = {name.removeprefix(prefix): one for name, one in contents.files.items()}
    header = _header(path, Contents(contents.metadata, tensors, files), config)
    sources = {key: one.under(prefix) for key, one in header.sources.items()}
    return replace(header, tensors=contents.tensors, files=contents.files, sources=sources)


def _header(path: Path, contents: Contents, config: Mapping[str, Any]) -> Header:
    if config.get("model_type") in (*text_folder.KINDS, *vit_folder.KINDS) and "architecture" not in config:
        return _header_by_sizes(path, contents, config)
    try:
        library, arch = _recognized(path, config)
    except TypeError:
        raise FileError(f"{path}: config.json describes no network: a setting is of another type.") from None
    try:
        shapes = {name: shape for name, (_, shape) in contents.tensors.items()}
        spec = timm_folder.spec_of(arch, config, shapes) if library == "timm" else _resnet(path, arch, config, shapes)
        kinds.check(spec)
        labels = _labels(spec, config)
    except (SpecError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FileError(f"{path}: is no {arch} of {library}: {error}") from None
    sources = keys.names_in(spec, library)
    types = {key: dtype for key, (dtype, _) in kinds.model_state(spec).items()}
    expected = {one.name: (types[key], one.shape) for key, one in sources.items()}
    absent = {name for name in expected if name.endswith(COUNTER) and name not in contents.tensors}
    if lines := differences({n: expected[n] for n in expected if n not in absent}, _widened(contents.tensors)):
        raise FileError(f"{path}: its tensors are not those of {arch} of {library}: {first_few(lines)}.")
    sources = {key: TensorSource(()) if one.name in absent else one for key, one in sources.items()}
    source = {"library": library, "architecture": arch}
    facts = timm_folder.facts_of(config)
    source |= {key: facts[key] for key in ("tag", "license") if isinstance(facts.get(key), str)}
    return Header(spec, labels, {"source": source}, contents.tensors, sources, contents.files)


def _header_by_sizes(path: Path, contents: Contents, config: Mapping[str, Any]) -> Header:
    """The header of a network whose config.json gives all sizes; the zoo may have no name for the network."""
    what, tokenizer = str(config["model_type"]), ""
    shapes = {name: shape for name, (_, shape) in contents.tensors.items()}
    try:
        if what in vit_folder.KINDS:
            spec, sources, unused = vit_folder.read(config, shapes)
            spec = spec.replace(input=_input(path, spec.pictures, what))
        else:
            spec, sources, unused, tokenizer = text_folder.read(path.parent, config, shapes)
        spec = kinds.check(spec)
        labels = _labels(spec, config) if kinds.head(spec) else ()
    except (OSError, SpecError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise FileError(f"{path}: is no {what} that the zoo can read: {error}") from None
    expected = {name: ("float32", shape) for one in sources.values() for name, shape in one.parts}
    found = {name: signature for name, signature in _widened(contents.tensors).items() if name not in unused}
    if lines := differences(expected, found):
        raise FileError(f"{path}: its tensors are not those that its config.json tells of: {first_few(lines)}.")
    source = {"library": "transformers", "architecture": str((config.get("architectures") or [what])[0])[:100]}
    return Header(spec, labels, {"source": source}, contents.tensors, sources, contents.files, tokenizer)


def _widened(tensors: Mapping[str, Signature]) -> dict[str, Signature]:
    """The same signatures, with float32 for half and double precision: weights are converted as they are read."""
    return {name: ("float32" if dtype in OTHER_FLOATS else dtype, shape) for name, (dtype, shape) in tensors.items()}


def _recognized(path: Path, config: Mapping[str, Any]) -> tuple[str, str]:
    """(library, the zoo's name of the architecture)."""
    arch, kind = config.get("architecture"), config.get("model_type")
    if isinstance(arch, str) and arch in registry.MODELS:
        return "timm", arch
    if kind == "resnet":
        shape = (config.get("layer_type", "bottleneck"), *config.get("depths", (3, 4, 6, 3)))
        if shape in TRANSFORMERS_RESNETS:
            return "transformers", TRANSFORMERS_RESNETS[shape]
        what = f"a resnet of {repr(shape)[:60]}"
    else:
        what = repr(kind if arch is None else arch)[:100]
    near = did_you_mean(arch, registry.MODELS) if isinstance(arch, str) else "."
    raise FileError(f"{path}: config.json says {what}, which is not among the zoo's{near} `zoo list` shows those.")


def _resnet(path: Path, arch: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    """A ResNet of transformers."""
    CONFIGS["resnet"].check(config)
    usual = registry.spec(arch)
    head = shapes.get(keys.names_in(usual, "transformers")[f"{usual.rows[-1].name}.fc.weight"].name)
    if head is None or len(head) != 2:
        raise SpecError("classifier.1.weight, its classifier, is missing")
    spec = kinds.with_channels(registry.spec(arch, head[0]), config.get("num_channels", 3))
    spec = spec.replace(task=task_of(spec.task, config.get("problem_type"), head[0]))
    return spec.replace(input=_input(path, spec.pictures, "resnet"))


def _input(path: Path, usual: ImageInput, kind: str) -> ImageInput:
    prepared = _json(path.with_name(PREPROCESSOR))
    return usual if prepared is None else _prepared(usual, prepared, kind)


def _prepared(usual: ImageInput, prepared: Mapping[str, Any], kind: str) -> ImageInput:
    """The input that a preprocessor_config.json of transformers describes; raises SpecError for unsupported settings.

    A missing setting has the default of the processor of that `kind` of network.
    """
    PREPROCESSING.check(prepared)
    for key in ("do_resize", "do_rescale", "do_normalize", "do_center_crop"):
        switch(prepared, key, PREPROCESSOR)
    switched_off = [key for key in ("do_resize", "do_rescale", "do_normalize") if prepared.get(key) is False]
    if switched_off:
        raise SpecError(f"{PREPROCESSOR} says {switched_off[0]}: false, which the zoo's preprocessing cannot")
    edge, cut = _side(prepared.get("size", 224)), _side(prepared.get("crop_size"))
    processor = str(prepared.get("image_processor_type") or prepared.get("feature_extractor_type") or "")
    size = prepared.get("size", 224)
    squash = "height" in size if isinstance(size, dict) else kind in vit_folder.KINDS
    vit = processor.startswith("ViT") or (not processor and kind == "vit")
    if edge and cut and prepared.get("do_center_crop", True):
        side, crop = cut, cut / edge
    elif edge and edge < 384 and (processor.startswith("ConvNext") or (not processor and "crop_pct" in prepared)):
        side, crop = edge, prepared.get("crop_pct") or 224 / 256
    elif edge and squash:
        side, crop = edge, 1.0
    else:
        raise SpecError(f"{PREPROCESSOR} says how pictures are cut in a way that the zoo's preprocessing cannot")
    filters = {2: "bilinear", 3: "bicubic"}
    facts = {"mean": prepared.get("image_mean"), "std": prepared.get("image_std"), "crop_pct": crop}
    facts["interpolation"] = filters.get(prepared.get("resample", 2 if vit else 3), "another")
    facts["crop_mode"] = "squash" if squash else "center"
    return timm_folder.image_input(usual, {**facts, "input_size": (3, side, side)})


def _side(size: Any) -> int | None:
    """The side that transformers writes as 224, {"shortest_edge": 224} or {"height": 224, "width": 224}."""
    if isinstance(size, dict):
        size = size.get("shortest_edge", size.get("height") if size.get("height") == size.get("width") else None)
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _labels(spec: ModelSpec, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The class names of the configuration, or ImageNet's names for a network that timm trained on ImageNet.

    Raises SpecError if the number of names is not the number of classes, and FileError for an unprintable name.
    """
    facts, classes = timm_folder.facts_of(config), kinds.layer_widths(spec.rows[-1]).get("out", 0)
    named, listed = facts.get("id2label"), facts.get("label_names")
    if listed and not isinstance(listed, (list, dict)):
        raise SpecError(f"config.json says label_names: {short(listed)}, which is no list of names")
    named = (isinstance(named, dict) and named) or listed or []
    own = [named.get(str(i)) for i in range(max(classes, len(named)))] if isinstance(named, dict) else list(named)
    if own and kinds.head(spec) and not (tasks.of(spec).continues or spec.input.translates):
        if len(own) != classes or not all(isinstance(one, str) for one in own):
            raise SpecError(
                f"config.json names {len(named)} classes, and its classifier has {classes}: give a name each to "
                f"0 to {classes - 1}"
            )
        return check_labels(spec, own)
    if classes == 1000 and "in1k" in str(facts.get("tag", "")):
        return imagenet_labels()
    return ()


@cache
def imagenet_labels() -> tuple[str, ...]:
    """The labels of the ImageNet network that ships."""
    file = next(SHIPPED.glob("*.in1k*.safetensors"), None)
    if file is None:
        return ()
    with OpenFiles() as opened:
        return own_header(file, read_contents(file, opened)).labels
