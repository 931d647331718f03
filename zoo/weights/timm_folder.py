"""Read timm's settings: the config.json of a folder, the arguments of a network, the preparation of pictures.

No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zoo import kinds, registry
from zoo.spec import ImageInput, ModelSpec, SpecError
from zoo.weights import keys
from zoo.weights.settings import Table, short, words

PRETRAINED = Table(
    "pretrained_cfg",
    used=words("input_size interpolation crop_pct crop_mode mean std tag license label_names num_classes architecture"),
    # The origin of the weights, other libraries' test and fine-tuning settings, and the papers.
    harmless=words("""
        url file hf_hub_id hf_hub_filename source custom_load test_input_size min_input_size fixed_input_size
        test_crop_pct label_offset label_descriptions pool_size test_pool_size first_conv classifier description
        origin_url paper_name paper_ids notes state_dict
    """),
)
CONFIG = Table(
    "config.json",
    used=PRETRAINED.used | words("model_args pretrained_cfg global_pool"),
    harmless=PRETRAINED.harmless | words("num_features library_name"),
)
ARGS = Table(
    "model_args",
    used=words("num_classes in_chans img_size global_pool"),
    # Settings of training, or of resized position embeddings; the zoo's networks always resize them.
    harmless=words("""
        drop_rate drop_path_rate drop_block_rate proj_drop_rate attn_drop_rate pos_drop_rate patch_drop_rate
        zero_init_last weight_init fix_init exportable scriptable no_jit pretrained dynamic_img_size strict_img_size
    """),
    allowed={"class_token": (True, None), "qkv_bias": (True, None)},
)


def spec_of(arch: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    """The spec of a folder; raises SpecError for a setting under which the network would compute otherwise."""
    CONFIG.check(config)
    inner, args = config.get("pretrained_cfg") or {}, config.get("model_args") or {}
    for what, found in (("pretrained_cfg", inner), ("model_args", args)):
        if not isinstance(found, Mapping):
            raise SpecError(f"config.json says {what}: {short(found)}, which is no object")
    PRETRAINED.check(inner)
    ARGS.check(args)
    usual = registry.spec(arch)
    patched = kinds.has_grid(usual)
    pool = "token" if patched else "avg"
    for place in (config, args):
        if place.get("global_pool", pool) != pool:
            raise SpecError(f"it was made by timm with global_pool: {short(place['global_pool'])}, not {pool!r}")
    size = args.get("img_size") if patched else None
    spec = fitted(usual, shapes, facts_of(config), size=_pair(size) if size else None)
    classes = kinds.classes(spec)
    for what, told in (("", facts_of(config)), ("model_args.", args)):
        if (said := told.get("num_classes")) is not None and said != classes:
            raise SpecError(f"config.json says {what}num_classes: {short(said)}, and its weights have {classes}")
    return spec


def fitted(
    usual: ModelSpec,
    shapes: Mapping[str, tuple[int, ...]],
    facts: Mapping[str, Any],
    *,
    size: tuple[int, int] | None = None,
) -> ModelSpec:
    """The spec with the classes and channels of the tensors, and the preparation of pictures that `facts` describe.

    Without a classifier among the tensors the spec has none. `size` is the size of pictures that positions exist for.
    """
    names, first, last = keys.names_in(usual, "timm"), usual.rows[0], usual.rows[-1]
    stem = next(one for key, one in names.items() if key.startswith(f"{first.name}.") and len(one.shape) == 4)
    head = shapes.get(names[f"{last.name}.fc.weight"].name)
    if head is not None and len(head) != len(names[f"{last.name}.fc.weight"].shape):
        raise SpecError(f"{names[f'{last.name}.fc.weight'].name} is of shape {head}, and it is no classifier")
    spec = usual if head is None else registry.spec(usual.name, head[0])
    if head is None:
        spec = kinds.headless(spec)
    if len(found := shapes.get(stem.name, ())) == 4:
        spec = kinds.with_channels(spec, found[1])
    if size is not None:
        spec = kinds.with_size(spec, size)
    takes = image_input(spec.pictures, facts)
    return spec.replace(input=takes if size is None else replace(takes, size=size))


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a config.json: timm stores most of them one level deeper, and the outer number of classes counts."""
    inner = config.get("pretrained_cfg")
    outer = {key: config[key] for key in ("num_classes", "label_names") if key in config}
    return {**config, **(inner if isinstance(inner, Mapping) else {}), **outer}


def image_input(usual: ImageInput, facts: Mapping[str, Any]) -> ImageInput:
    """The input that timm's configuration describes; missing settings keep their values."""
    mode = facts.get("crop_mode")
    if mode not in (None, "center", "squash"):
        raise SpecError(f"crop_mode is {str(mode)[:60]!r}, and the zoo's preprocessing cuts the centre, or squashes")
    given: dict[str, Any] = {
        "size": tuple(facts["input_size"][1:]) if facts.get("input_size") else None,
        "mean": _values(facts.get("mean"), usual.channels),
        "std": _values(facts.get("std"), usual.channels),
        "interpolation": facts.get("interpolation"),
        "crop": facts.get("crop_pct"),
        "squash": None if mode is None else mode == "squash",
    }
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def _values(given: Any, channels: int) -> tuple[float, ...] | None:
    """Means or deviations: one or three values serve any number of channels, as in timm; others are unchanged."""
    values = tuple(given) if given else None
    return kinds.averaged(values, channels) if values is not None and len(values) in (1, 3) else values


def _pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, (list, tuple)) and len(size) == 2 else (size, size)
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in (height, width)):
        raise SpecError(f"model_args says img_size: {short(size)}, which is no height and width")
    return height, width
