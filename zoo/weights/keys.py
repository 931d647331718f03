"""The names of our tensors in other libraries, as data: a table for each library, with an entry for each family.

An entry maps a module of ours to theirs. The left side is looked up as "row name.module" first (stem, head), then as
"kind.module" (blocks that repeat). On the right, {stage} and {repeat} are the row name's own ("s3_2"), counted from 0,
{layer} is {stage} counted from 1, {index} the number of a row such as "h7", {row} the row's position in the spec and
{block} the same without the stem. A family is a file of zoo/models/; a new one adds an entry, and no code changes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from zoo import kinds, registry
from zoo.files import FileError
from zoo.spec import Block, ModelSpec
from zoo.weights.container import differences, first_few
from zoo.weights.tensor_source import TensorSource

Modules = Mapping[str, str]
# Prefixes of wrappers: DataParallel, torch.compile, Lightning, and common names in people's own classes.
WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.")

# timm builds every mobile family from the same parts.
_TIMM_MOBILE: Modules = {
    "stem.conv": "conv_stem",
    "stem.bn": "bn1",
    "depthwise_separable.depthwise.conv": "blocks.{stage}.{repeat}.conv_dw",
    "depthwise_separable.depthwise.bn": "blocks.{stage}.{repeat}.bn1",
    "depthwise_separable.se.reduce": "blocks.{stage}.{repeat}.se.conv_reduce",
    "depthwise_separable.se.expand": "blocks.{stage}.{repeat}.se.conv_expand",
    "depthwise_separable.project.conv": "blocks.{stage}.{repeat}.conv_pw",
    "depthwise_separable.project.bn": "blocks.{stage}.{repeat}.bn2",
    "inverted_residual.expand.conv": "blocks.{stage}.{repeat}.conv_pw",
    "inverted_residual.expand.bn": "blocks.{stage}.{repeat}.bn1",
    "inverted_residual.depthwise.conv": "blocks.{stage}.{repeat}.conv_dw",
    "inverted_residual.depthwise.bn": "blocks.{stage}.{repeat}.bn2",
    "inverted_residual.se.reduce": "blocks.{stage}.{repeat}.se.conv_reduce",
    "inverted_residual.se.expand": "blocks.{stage}.{repeat}.se.conv_expand",
    "inverted_residual.project.conv": "blocks.{stage}.{repeat}.conv_pwl",
    "inverted_residual.project.bn": "blocks.{stage}.{repeat}.bn3",
    "conv_norm_act.conv": "blocks.{stage}.{repeat}.conv",
    "conv_norm_act.bn": "blocks.{stage}.{repeat}.bn1",
    "head.conv": "conv_head",
    "head.bn": "bn2",
    "hidden.fc": "conv_head",
    "classifier.fc": "classifier",
}

# Linear here, 1x1 convolutions in timm.
_TIMM_WINDOWED = ("hidden.fc",)

# timm kept torchvision's names.
_RESNET: Modules = {
    "stem.conv": "conv1",
    "stem.bn": "bn1",
    "basic_block.conv1.conv": "layer{layer}.{repeat}.conv1",
    "basic_block.conv1.bn": "layer{layer}.{repeat}.bn1",
    "basic_block.conv2.conv": "layer{layer}.{repeat}.conv2",
    "basic_block.conv2.bn": "layer{layer}.{repeat}.bn2",
    "basic_block.shortcut.conv": "layer{layer}.{repeat}.downsample.0",
    "basic_block.shortcut.bn": "layer{layer}.{repeat}.downsample.1",
    "bottleneck.conv1.conv": "layer{layer}.{repeat}.conv1",
    "bottleneck.conv1.bn": "layer{layer}.{repeat}.bn1",
    "bottleneck.conv2.conv": "layer{layer}.{repeat}.conv2",
    "bottleneck.conv2.bn": "layer{layer}.{repeat}.bn2",
    "bottleneck.conv3.conv": "layer{layer}.{repeat}.conv3",
    "bottleneck.conv3.bn": "layer{layer}.{repeat}.bn3",
    "bottleneck.shortcut.conv": "layer{layer}.{repeat}.downsample.0",
    "bottleneck.shortcut.bn": "layer{layer}.{repeat}.downsample.1",
    "classifier.fc": "fc",
}

_TIMM_VIT: Modules = {
    "embed.class_token": "cls_token",
    "embed.teacher_token": "dist_token",
    "embed.positions": "pos_embed",
    "embed.proj": "patch_embed.proj",
    **{
        f"transformer_block.{part}": f"blocks.{{index}}.{part}"
        for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")
    },
    "norm.norm": "norm",
    "classifier.fc": "head",
    "classifier.teacher": "head_dist",
}

TIMM: dict[str, Modules] = {
    "vit": _TIMM_VIT,
    "mobilenetv1": _TIMM_MOBILE,
    "mobilenetv2": _TIMM_MOBILE,
    "mobilenetv3": _TIMM_MOBILE,
    "efficientnet": _TIMM_MOBILE,
    "resnet": _RESNET,
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
    },
    "resnet": _RESNET,
}

# The names of the package efficientnet_pytorch (lukemelas) and of files converted from it; the stem is row 0.
EFFICIENTNET_PYTORCH: dict[str, Modules] = {
    "efficientnet": {
        "stem.conv": "_conv_stem",
        "stem.bn": "_bn0",
        "depthwise_separable.depthwise.conv": "_blocks.{block}._depthwise_conv",
        "depthwise_separable.depthwise.bn": "_blocks.{block}._bn1",
        "depthwise_separable.project.conv": "_blocks.{block}._project_conv",
        "depthwise_separable.project.bn": "_blocks.{block}._bn2",
        "inverted_residual.expand.conv": "_blocks.{block}._expand_conv",
        "inverted_residual.expand.bn": "_blocks.{block}._bn0",
        "inverted_residual.depthwise.conv": "_blocks.{block}._depthwise_conv",
        "inverted_residual.depthwise.bn": "_blocks.{block}._bn1",
        "inverted_residual.project.conv": "_blocks.{block}._project_conv",
        "inverted_residual.project.bn": "_blocks.{block}._bn2",
        "depthwise_separable.se.reduce": "_blocks.{block}._se_reduce",
        "depthwise_separable.se.expand": "_blocks.{block}._se_expand",
        "inverted_residual.se.reduce": "_blocks.{block}._se_reduce",
        "inverted_residual.se.expand": "_blocks.{block}._se_expand",
        "head.conv": "_conv_head",
        "head.bn": "_bn1",
        "classifier.fc": "_fc",
    }
}


_TRANSFORMERS_BLOCK = "resnet.encoder.stages.{stage}.layers.{repeat}."

TRANSFORMERS: dict[str, Modules] = {
    "resnet": {
        "stem.conv": "resnet.embedder.embedder.convolution",
        "stem.bn": "resnet.embedder.embedder.normalization",
        "basic_block.shortcut.conv": f"{_TRANSFORMERS_BLOCK}shortcut.convolution",
        "basic_block.shortcut.bn": f"{_TRANSFORMERS_BLOCK}shortcut.normalization",
        "bottleneck.shortcut.conv": f"{_TRANSFORMERS_BLOCK}shortcut.convolution",
        "bottleneck.shortcut.bn": f"{_TRANSFORMERS_BLOCK}shortcut.normalization",
        **{
            f"{kind}.conv{number + 1}.{ours}": f"{_TRANSFORMERS_BLOCK}layer.{number}.{theirs}"
            for kind, layers in (("basic_block", 2), ("bottleneck", 3))
            for number in range(layers)
            for ours, theirs in (("conv", "convolution"), ("bn", "normalization"))
        },
        "classifier.fc": "classifier.1",
    }
}

LIBRARIES = {
    "timm": TIMM,
    "torchvision": TORCHVISION,
    "efficientnet_pytorch": EFFICIENTNET_PYTORCH,
    "transformers": TRANSFORMERS,
}


class MisfitError(FileError):
    """The tensors do not fit the spec; `differences` has a sentence for each tensor that differs."""

    def __init__(self, message: str, differences: list[str]) -> None:
        super().__init__(message)
        self.differences = differences


def from_timm(spec: ModelSpec, state: Mapping[str, Any]) -> dict[str, Any]:
    """timm's state dict under our keys, ready for `build.from_state`: the same tensors, not copies.

    Raises FileError for a family without a table, and for missing, surplus or unfitting tensors.
    """
    return _translate(spec, state, TIMM, "timm")


def from_torchvision(spec: ModelSpec, state: Mapping[str, Any]) -> dict[str, Any]:
    """torchvision's state dict under our keys; otherwise as `from_timm`."""
    return _translate(spec, state, TORCHVISION, "torchvision")


def from_efficientnet_pytorch(spec: ModelSpec, state: Mapping[str, Any]) -> dict[str, Any]:
    """efficientnet_pytorch's state dict under our keys; otherwise as `from_timm`."""
    return _translate(spec, state, EFFICIENTNET_PYTORCH, "efficientnet_pytorch")


def names_in(spec: ModelSpec, library: str) -> dict[str, TensorSource]:
    """Our key -> the library's name and shape of the tensor; raises FileError if the library lacks the network."""
    modules, names = _modules(spec, LIBRARIES[library], library), {}
    for key, (_, shape) in kinds.model_state(spec).items():
        row, _, rest = key.partition(".")
        windowed = library == "timm" and f"{spec[row].kind}.{rest}".removesuffix(".weight") in _TIMM_WINDOWED
        names[key] = TensorSource.one(_their_key(spec, key, modules, library), (*shape, 1, 1) if windowed else shape)
    return names


def wrapper_of(names: Collection[str]) -> str:
    """The prefix of (nested) wrappers that all names have; empty if there is none."""
    prefix = ""
    while names and (more := next((one for one in WRAPPERS if all(n.startswith(prefix + one) for n in names)), "")):
        prefix += more
    return prefix


def misfits(spec: ModelSpec, state: Mapping[str, Any], library: str) -> list[str]:
    """The names that a state dict lacks, has in surplus, or has in another shape than the library's network."""
    theirs = {one.name: one.shape for one in names_in(spec, library).values()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return [name for name in {**theirs, **found} if theirs.get(name) != found.get(name)]


def number_of_classes(spec: ModelSpec, state: Mapping[str, Any], library: str) -> int:
    """The number of classes of a state dict under the names of one of `LIBRARIES`; FileError if there is none."""
    modules = _modules(spec, LIBRARIES[library], library)
    key = _their_key(spec, f"{spec.rows[-1].name}.fc.weight", modules, library)
    if key not in state or not state[key].shape:
        raise FileError(f"{key} is missing, so these are no weights of {library} for {spec.name!r}.")
    return int(state[key].shape[0])


def _translate(
    spec: ModelSpec, state: Mapping[str, Any], tables: Mapping[str, Modules], library: str
) -> dict[str, Any]:
    modules = _modules(spec, tables, library)
    expected = kinds.model_state(spec)
    theirs = {key: _their_key(spec, key, modules, library) for key in expected}
    shapes = {theirs[key]: shape for key, (_, shape) in expected.items()}
    state = {key: _fitted(value, shapes.get(key)) for key, value in state.items()}
    found = {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in state.items()}
    lines = differences({theirs[key]: signature for key, signature in expected.items()}, found)
    if lines:
        raise MisfitError(
            f"These weights of {library} are not those of {spec.name!r}: {first_few(lines)}. The size and the number "
            "of classes of the spec must be those of the weights, in float32.",
            lines,
        )
    return {key: state[their_key] for key, their_key in theirs.items()}


def _fitted(tensor: Any, shape: tuple[int, ...] | None) -> Any:
    """`tensor`, as a matrix if a 1x1 convolution of the other library is our linear layer."""
    return tensor.reshape(shape) if shape and tuple(tensor.shape) == (*shape, 1, 1) else tensor


def family_of(name: str) -> str:
    """The family of an architecture; empty for networks of a `cifar` function, which no other library has."""
    module, _, function = registry.MODELS.get(name, "").partition(":")
    return "" if function == "cifar" else module.rpartition(".")[2]


def _modules(spec: ModelSpec, tables: Mapping[str, Modules], library: str) -> Modules:
    narrow = [row.name for row in spec if row.precision != "float32"]
    if narrow:
        raise FileError(
            f"{library}'s weights are float32, but row {narrow[0]!r} of {spec.name!r} is not: "
            "load them into the dense spec and compress the model."
        )
    family = family_of(spec.name)
    if family not in tables:
        raise FileError(
            f"No key map from {library} for {spec.name!r}; there is one for the ImageNet networks of {sorted(tables)}."
        )
    return tables[family]


def _their_key(spec: ModelSpec, key: str, modules: Modules, library: str) -> str:
    name, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    row = spec[name]
    if not module and key in modules:  # a parameter that belongs to the block, not to a child
        return modules[key]
    template = modules.get(f"{name}.{module}", modules.get(f"{row.kind}.{module}"))
    if template is None:
        raise FileError(f"The key map from {library} has no entry for {key!r} of {spec.name!r}.")
    index = spec.rows.index(row)
    try:
        return f"{template.format(row=index, block=index - 1, **_place(row))}.{leaf}"
    except KeyError:
        raise FileError(f"Row {name!r} of {spec.name!r} has no place in {library}'s network.") from None


def _place(row: Block) -> dict[str, int]:
    if numbers := re.fullmatch(r"h(\d{1,3})", row.name):
        return {"index": int(numbers[1])}
    numbers = re.fullmatch(r"s(\d{1,3})_(\d{1,3})", row.name)
    if not numbers:
        return {}
    return {"stage": int(numbers[1]) - 1, "layer": int(numbers[1]), "repeat": int(numbers[2]) - 1}
