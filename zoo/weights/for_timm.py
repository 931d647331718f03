"""The keys of config.json that timm reads, for a dense network that timm has."""

from __future__ import annotations

from typing import Any

from zoo import kinds, registry
from zoo.files import FileError
from zoo.model.build import Model
from zoo.spec import ModelSpec
from zoo.weights.keys import names_in


def is_timm(spec: ModelSpec) -> bool:
    """Whether timm has the network: dense, of full width, with a classifier of any size."""
    try:
        names_in(spec, "timm")
    except FileError:
        return False
    usual = registry.spec(spec.name, spec.rows[-1].args.get("num_classes"))
    return usual.rows == spec.rows


def timm_config(model: Model) -> dict[str, Any]:
    """The keys of config.json that timm reads."""
    spec, names = model.spec, names_in(model.spec, "timm")
    head = spec.rows[-1]
    classes, features = head.args["num_classes"], kinds.layer_widths(head)["in"]
    stem = next(one.name for key, one in names.items() if key.endswith("weight"))
    config = {
        "input_size": [spec.pictures.channels, *spec.pictures.size],
        "interpolation": spec.pictures.interpolation,
        "crop_pct": spec.pictures.crop,
        "crop_mode": "squash" if spec.pictures.squash else "center",
        "mean": list(spec.pictures.mean),
        "std": list(spec.pictures.std),
        "num_classes": classes,
        "first_conv": stem.removesuffix(".weight"),
        "classifier": names[f"{head.name}.fc.weight"].name.removesuffix(".weight"),
    }
    labels = {"label_names": list(model.labels)} if model.labels else {}
    return {"num_classes": classes, "num_features": features, **labels, "pretrained_cfg": {**config, **labels}}
