"""The names other libraries give to our tensors, as data: one table a library, one entry a family.

An entry maps a module of ours to theirs. The left side is looked up as "row name.module" first (stem, head), then as
"kind.module" (blocks that repeat). On the right, {stage} and {repeat} are the row name's own ("s3_2"), counted from
0, and {row} is the row's position in the spec. A new family adds an entry; no code changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo import kinds
from zoo.spec import Block, ModelSpec
from zoo.weights.header import FileError, differences, first_few

Modules = Mapping[str, str]

TIMM: dict[str, Modules] = {
    "mobilenetv2": {
        "stem.conv": "conv_stem",
        "stem.bn": "bn1",
        "depthwise_separable.depthwise.conv": "blocks.{stage}.{repeat}.conv_dw",
        "depthwise_separable.depthwise.bn": "blocks.{stage}.{repeat}.bn1",
        "depthwise_separable.project.conv": "blocks.{stage}.{repeat}.conv_pw",
        "depthwise_separable.project.bn": "blocks.{stage}.{repeat}.bn2",
        "inverted_residual.expand.conv": "blocks.{stage}.{repeat}.conv_pw",
        "inverted_residual.expand.bn": "blocks.{stage}.{repeat}.bn1",
        "inverted_residual.depthwise.conv": "blocks.{stage}.{repeat}.conv_dw",
        "inverted_residual.depthwise.bn": "blocks.{stage}.{repeat}.bn2",
        "inverted_residual.project.conv": "blocks.{stage}.{repeat}.conv_pwl",
        "inverted_residual.project.bn": "blocks.{stage}.{repeat}.bn3",
        "head.conv": "conv_head",
        "head.bn": "bn2",
        "classifier.fc": "classifier",
    }
}

TORCHVISION: dict[str, Modules] = {
    "mobilenetv2": {
        "conv_norm_act.conv": "features.{row}.0",
        "conv_norm_act.bn": "features.{row}.1",
        "depthwise_separable.depthwise.conv": "features.{row}.conv.0.0",
        "depthwise_separable.depthwise.bn": "features.{row}.conv.0.1",
        "depthwise_separable.project.conv": "features.{row}.conv.1",
        "depthwise_separable.project.bn": "features.{row}.conv.2",
        "inverted_residual.expand.conv": "features.{row}.conv.0.0",
        "inverted_residual.expand.bn": "features.{row}.conv.0.1",
        "inverted_residual.depthwise.conv": "features.{row}.conv.1.0",
        "inverted_residual.depthwise.bn": "features.{row}.conv.1.1",
        "inverted_residual.project.conv": "features.{row}.conv.2",
        "inverted_residual.project.bn": "features.{row}.conv.3",
        "classifier.fc": "classifier.1",
    }
}


def from_timm(spec: ModelSpec, state: Mapping[str, Any]) -> dict[str, Any]:
    """timm's state dict under our keys, ready for `build.from_state`: the same tensors, not copies.

    Raises FileError for a family without a table, and for missing, surplus or unfitting tensors.
    """
    return _translate(spec, state, TIMM, "timm")


def from_torchvision(spec: ModelSpec, state: Mapping[str, Any]) -> dict[str, Any]:
    """torchvision's state dict under our keys; otherwise as `from_timm`."""
    return _translate(spec, state, TORCHVISION, "torchvision")


def _translate(
    spec: ModelSpec, state: Mapping[str, Any], tables: Mapping[str, Modules], library: str
) -> dict[str, Any]:
    modules = _family(spec, tables, library)
    expected = kinds.model_state(spec)
    theirs = {key: _their_key(spec, key, modules, library) for key in expected}
    found = {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in state.items()}
    lines = differences({theirs[key]: signature for key, signature in expected.items()}, found)
    if lines:
        raise FileError(
            f"These weights of {library} are not those of {spec.name!r}: {first_few(lines)}. The size and the number "
            "of classes of the spec must be those of the weights, in float32."
        )
    return {key: state[their_key] for key, their_key in theirs.items()}


def _family(spec: ModelSpec, tables: Mapping[str, Modules], library: str) -> Modules:
    narrow = [row.name for row in spec if row.precision != "float32"]
    if narrow:
        raise FileError(
            f"{library}'s weights are float32, but row {narrow[0]!r} of {spec.name!r} is not: "
            "load them into the dense spec and compress the model."
        )
    families = [family for family in tables if spec.name.startswith(family)]
    if not families:
        raise FileError(f"No key map from {library} for {spec.name!r}; there is one for {sorted(tables)}.")
    return tables[max(families, key=len)]


def _their_key(spec: ModelSpec, key: str, modules: Modules, library: str) -> str:
    name, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    row = spec[name]
    template = modules.get(f"{name}.{module}", modules.get(f"{row.kind}.{module}"))
    if template is None:
        raise FileError(f"The key map from {library} has no entry for {key!r} of {spec.name!r}.")
    return f"{template.format(row=spec.rows.index(row), **_place(row))}.{leaf}"


def _place(row: Block) -> dict[str, int]:
    numbers = re.fullmatch(r"s(\d+)_(\d+)", row.name)
    return {"stage": int(numbers[1]) - 1, "repeat": int(numbers[2]) - 1} if numbers else {}
