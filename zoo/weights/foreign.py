"""Folders of timm and transformers: weights under their own names, and a config.json that says of what. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from zoo import kinds, registry
from zoo.naming import did_you_mean
from zoo.spec import ImageInput, ModelSpec, SpecError
from zoo.weights import keys, manifest, text_folder, vit_folder
from zoo.weights.header import (
    CONFIG,
    HALVES,
    MAX_CONFIG,
    PREPROCESSOR,
    Contents,
    FileError,
    Header,
    Signature,
    differences,
    first_few,
    read_header,
)
from zoo.weights.stored import Stored

TORCHVISION_INPUT = ImageInput(interpolation="bilinear")
TRANSFORMERS_RESNETS = {
    ("basic", 2, 2, 2, 2): "resnet18",
    ("basic", 3, 4, 6, 3): "resnet34",
    ("bottleneck", 3, 4, 6, 3): "resnet50",
    ("bottleneck", 3, 4, 23, 3): "resnet101",
    ("bottleneck", 3, 8, 36, 3): "resnet152",
}
HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate"}  # of timm's arguments
MAX_TOKENIZER = 48 * 1024 * 1024  # bytes
COUNTER = "num_batches_tracked"  # of batch norm; not every file has it, and it is used in training alone


def config_beside(path: Path) -> dict[str, Any] | None:
    """The config.json in the file's folder; None where there is none."""
    return _json(path.with_name(CONFIG))


def _json(file: Path) -> dict[str, Any] | None:
    try:
        if not file.is_file() or file.stat().st_size > MAX_CONFIG:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{file}: cannot be read as JSON: {error}.") from None
    return found if isinstance(found, dict) else None


def foreign_header(path: Path, contents: Contents, config: Mapping[str, Any]) -> Header:
    """The header of a file of timm or transformers, as if it were ours; raises FileError for what the zoo has not."""
    if config.get("model_type") in (*text_folder.KINDS, *vit_folder.KINDS) and "architecture" not in config:
        return _header_by_sizes(path, contents, config)
    try:
        library, arch = _recognized(path, config)
    except TypeError:
        raise FileError(f"{path}: config.json describes no network: a setting is of another type.") from None
    try:
        usual = registry.spec(arch)
        spec = registry.spec(arch, _number_of_classes(usual, contents, library))
        spec = kinds.check(spec.replace(input=_input(path, usual.pictures, config, library)))
    except (SpecError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path}: is no {arch} of {library}: {error}") from None
    stored = keys.names_in(spec, library)
    types = {key: dtype for key, (dtype, _) in kinds.model_state(spec).items()}
    expected = {one.name: (types[key], one.shape) for key, one in stored.items()}
    absent = {name for name in expected if name.endswith(COUNTER) and name not in contents.tensors}
    if lines := differences({n: expected[n] for n in expected if n not in absent}, _widened(contents.tensors)):
        raise FileError(f"{path}: its tensors are not those of {arch} of {library}: {first_few(lines)}.")
    stored = {key: Stored(()) if one.name in absent else one for key, one in stored.items()}
    source = {"library": library, "architecture": arch}
    facts = _facts(config)
    source |= {key: facts[key] for key in ("tag", "license") if isinstance(facts.get(key), str)}
    return Header(spec, _labels(spec, config), {"source": source}, contents.tensors, stored, contents.files)


def _header_by_sizes(path: Path, contents: Contents, config: Mapping[str, Any]) -> Header:
    """Of a network whose sizes its config.json tells, whether it has a name here or not."""
    what, tokenizer = str(config["model_type"]), ""
    shapes = {name: shape for name, (_, shape) in contents.tensors.items()}
    try:
        if what in vit_folder.KINDS:
            spec, stored, unused = vit_folder.read(config, shapes)
            spec = spec.replace(input=_input(path, spec.pictures, config, "transformers"))
        else:
            spec, stored, unused = text_folder.read(path.parent, config, shapes)
            tokenizer = text_folder.tokenizer_of(path.parent, MAX_TOKENIZER)
        spec = kinds.check(spec)
    except (OSError, SpecError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise FileError(f"{path}: is no {what} that the zoo can read: {error}") from None
    expected = {name: ("float32", shape) for one in stored.values() for name, shape in one.parts}
    found = {name: signature for name, signature in _widened(contents.tensors).items() if name not in unused}
    if lines := differences(expected, found):
        raise FileError(f"{path}: its tensors are not those that its config.json tells of: {first_few(lines)}.")
    source = {"library": "transformers", "architecture": str((config.get("architectures") or [what])[0])[:100]}
    answers = ("classifier", "token_head", "pair_classifier")
    labels = _labels(spec, config) if spec.rows[-1].kind in answers else ()
    return Header(spec, labels, {"source": source}, contents.tensors, stored, contents.files, tokenizer)


def _widened(tensors: Mapping[str, Signature]) -> dict[str, Signature]:
    """Half precision is made float32 as it is read."""
    return {name: ("float32" if dtype in HALVES else dtype, shape) for name, (dtype, shape) in tensors.items()}


def _recognized(path: Path, config: Mapping[str, Any]) -> tuple[str, str]:
    """(library, our name of the architecture)."""
    arch, kind = config.get("architecture"), config.get("model_type")
    if isinstance(arch, str) and arch in registry.MODELS:
        _check_settings(path, config)
        return "timm", arch
    if kind == "resnet":
        shape = (config.get("layer_type", "bottleneck"), *config.get("depths", (3, 4, 6, 3)))
        plain = {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False}
        changed = [key for key, value in plain.items() if config.get(key, value) != value]
        if shape in TRANSFORMERS_RESNETS and not changed:
            return "transformers", TRANSFORMERS_RESNETS[shape]
        what = f"a resnet of {repr(shape)[:60]}" + (f" with another {', '.join(changed)}" if changed else "")
    else:
        what = repr(kind if arch is None else arch)[:100]
    near = did_you_mean(arch, registry.MODELS) if isinstance(arch, str) else "."
    raise FileError(f"{path}: config.json says {what}, which is not among the zoo's{near} `zoo list` shows those.")


def _check_settings(path: Path, config: Mapping[str, Any]) -> None:
    """timm's own arguments may change a network without changing a tensor; raises FileError for those that do."""
    settings = config.get("model_args") or {}
    usual = "token" if registry.MODELS[config["architecture"]].startswith("zoo.models.vit") else "avg"
    pools = {config.get("global_pool", usual), settings.pop("global_pool", usual) if isinstance(settings, dict) else ""}
    changed = sorted(set(settings) - HARMLESS) if isinstance(settings, dict) else ["model_args"]
    if pools != {usual} or changed:
        what = ", ".join(map(repr, changed[:5])) or f"global_pool {pools - {usual}}"
        raise FileError(f"{path}: was made by timm with another {what[:100]}, which the zoo's network does not have.")


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """timm keeps most of them one level deeper."""
    inner = config.get("pretrained_cfg")
    return {**config, **(inner if isinstance(inner, dict) else {})}


def _input(path: Path, usual: ImageInput, config: Mapping[str, Any], library: str) -> ImageInput:
    if library == "timm":
        return image_input(usual, _facts(config))
    prepared = _json(path.with_name(PREPROCESSOR))
    return usual if prepared is None else _prepared(usual, prepared, str(config.get("model_type")))


def _prepared(usual: ImageInput, prepared: Mapping[str, Any], kind: str) -> ImageInput:
    """What a preprocessor_config.json of transformers says; raises SpecError for what an ImageInput cannot say.

    Where it leaves things out, it means what the processors of that `kind` of network do by themselves.
    """
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
    return image_input(usual, {**facts, "input_size": (3, side, side)})


def _side(size: Any) -> int | None:
    """Of what transformers writes as 224, {"shortest_edge": 224} or {"height": 224, "width": 224}."""
    if isinstance(size, dict):
        size = size.get("shortest_edge", size.get("height") if size.get("height") == size.get("width") else None)
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def image_input(usual: ImageInput, facts: Mapping[str, Any]) -> ImageInput:
    """How timm's configuration says that pictures are prepared, as far as it says so."""
    mode = facts.get("crop_mode")
    if mode not in (None, "center", "squash"):
        raise SpecError(f"crop_mode is {str(mode)[:60]!r}, and the zoo's preprocessing cuts the centre, or squashes")
    given: dict[str, Any] = {
        "size": tuple(facts["input_size"][1:]) if facts.get("input_size") else None,
        "mean": tuple(facts["mean"]) if facts.get("mean") else None,
        "std": tuple(facts["std"]) if facts.get("std") else None,
        "interpolation": facts.get("interpolation"),
        "crop": facts.get("crop_pct"),
        "squash": None if mode is None else mode == "squash",
    }
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def _number_of_classes(usual: ModelSpec, contents: Contents, library: str) -> int:
    head = keys.names_in(usual, library)[f"{usual.rows[-1].name}.fc.weight"]
    found = contents.tensors.get(head.name, ("", ()))[1]
    if len(found) != len(head.shape):
        raise FileError(f"{head.name}, its classifier, is missing")
    return found[0]


def _labels(spec: ModelSpec, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes: the configuration's own, or ImageNet's for a network of timm that was trained on it."""
    facts, classes = _facts(config), kinds.layer_widths(spec.rows[-1])["out"]
    named = facts.get("id2label")
    own = [named.get(str(i)) for i in range(classes)] if isinstance(named, dict) else facts.get("label_names")
    if isinstance(own, list) and len(own) == classes and all(isinstance(x, str) and x.isprintable() for x in own):
        return tuple(own)
    if classes == 1000 and "in1k" in str(facts.get("tag", "")):
        return _imagenet_labels()
    return ()


@cache
def _imagenet_labels() -> tuple[str, ...]:
    """Those of the ImageNet network that ships."""
    entry = next((entry for name, entry in manifest.entries().items() if ".in1k" in name), None)
    return read_header(entry.path).labels if entry else ()
