"""Read ViT and DeiT of transformers: a config.json and the file's tensor names give the spec and its tensors.

No torch. A network that computes something else is refused; the error names the setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo import kinds, registry
from zoo.lazy import fetch
from zoo.spec import ImageInput, ModelSpec, SpecError
from zoo.tasks.answers import task_of
from zoo.weights.settings import number, switch
from zoo.weights.sizes import activation_of, depth_of, whole
from zoo.weights.tensor_source import TensorSource
from zoo.weights.transformers_settings import CONFIGS

KINDS = ("vit", "deit")  # values of transformers' model_type
# How their processors prepare pictures by default.
USUAL = {
    "vit": ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop=1.0, squash=True),
    "deit": ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3, squash=True),
}
MOST_CHANNELS = 64  # of pictures
# Tensors that no answer needs: training heads, and the pooler of networks without a classifier.
UNUSED = re.compile(r"((vit|deit)\.)?(pooler\..*|embeddings\.mask_token)|decoder\..*")

# our module or parameter -> transformers' name; the tensors of a tuple are concatenated
_BLOCK: Mapping[str, str | tuple[str, ...]] = {
    "attn.qkv": tuple(f"attention.attention.{one}" for one in ("query", "key", "value")),
    "attn.proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_EMBEDDING = {
    "class_token": "cls_token",
    "teacher_token": "distillation_token",
    "positions": "position_embeddings",
    "proj": "patch_embeddings.projection",
}


def read(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[ModelSpec, dict[str, TensorSource], set[str]]:
    """(the spec, our key -> its `TensorSource`, the unused names in the file).

    Raises SpecError for a network that the zoo lacks. A setting of a wrong type may raise any error.
    """
    kind = str(config["model_type"])
    CONFIGS[kind].check(config)
    head, classes = _head(kind, config, shapes)
    (height, width), (tall, wide) = (_pair(config.get(key, d)) for key, d in (("image_size", 224), ("patch_size", 16)))
    if tall != wide:
        raise SpecError(f"its patches have {tall} x {wide} pixels, and those of the zoo are square")
    channels = whole(config.get("num_channels", 3))
    if not 1 <= channels <= MOST_CHANNELS:
        raise SpecError(f"its pictures have {channels} channels, and 1 to {MOST_CHANNELS} are taken")
    dim, heads = whole(config.get("hidden_size", 768)), whole(config.get("num_attention_heads", 12))
    if not 1 <= heads <= dim:
        raise SpecError(f"its width of {dim} does not divide among {heads} heads")
    spec = fetch(registry.SIZED["vit"])(
        kind,
        dim=dim,
        layers=depth_of(config.get("num_hidden_layers", 12)),
        heads=heads,
        head_dim=whole(config.get("head_dim") or dim // heads),
        mlp_dim=whole(config.get("intermediate_size", 3072)),
        channels=channels,
        patch=tall,
        size=(height, width),
        prefix=1 if kind == "vit" else 2,
        qkv_bias=switch({"qkv_bias": True, **config}, "qkv_bias", "config.json"),
        activation=activation_of(config.get("hidden_act", "gelu")),
        eps=number(config, "layer_norm_eps", 1e-12),
        head=head,
        num_classes=classes,
        takes=USUAL[kind],
    )
    if classes:
        spec = spec.replace(task=task_of(spec.task, config.get("problem_type"), classes))
    prefix = f"{kind}." if any(name.startswith(f"{kind}.") for name in shapes) else ""
    sources = {key: _stored(key, spec, prefix, shape) for key, (_, shape) in kinds.model_state(spec).items()}
    used = {name for one in sources.values() for name, _ in one.parts}
    return _named(spec), sources, {name for name in shapes if name not in used and UNUSED.fullmatch(name)}


def _head(kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int]:
    """The name of the head in `zoo.models.vit`, and the number of classes."""
    named = str((config.get("architectures") or [""])[0])
    for ending, head, weight in (
        ("ForImageClassification", "first", "classifier.weight"),
        ("ForImageClassificationWithTeacher", "pair", "cls_classifier.weight"),
    ):
        if named.endswith(ending):
            if len(shapes.get(weight, ())) != 2:
                raise SpecError(f"config.json says {named}, but {weight} is missing")
            return head, shapes[weight][0]
    return ("first" if kind == "vit" else "pair"), 0


def _stored(key: str, spec: ModelSpec, prefix: str, shape: tuple[int, ...]) -> TensorSource:
    row, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    if spec[row].kind == "transformer_block":
        theirs, place = _BLOCK[module], f"{prefix}encoder.layer.{int(row[1:])}."
        if isinstance(theirs, tuple):
            part = (shape[0] // len(theirs), *shape[1:])
            return TensorSource(tuple((f"{place}{one}.{leaf}", part) for one in theirs))
        return TensorSource.one(f"{place}{theirs}.{leaf}", shape)
    if row == "embed":
        return TensorSource.one(f"{prefix}embeddings.{_EMBEDDING[module or leaf]}{f'.{leaf}' if module else ''}", shape)
    if row == "norm":
        return TensorSource.one(f"{prefix}layernorm.{leaf}", shape)
    pair = spec[row].kind == "pair_classifier"
    name = ("distillation_classifier" if module == "teacher" else "cls_classifier") if pair else "classifier"
    return TensorSource.one(f"{name}.{leaf}", shape)


def _named(spec: ModelSpec) -> ModelSpec:
    """The spec under the name of the architecture with the same widths and depth, if there is one."""
    for arch, target in registry.MODELS.items():
        if target.startswith("zoo.models.vit:") and _sizes(registry.spec(arch)) == _sizes(spec):
            return spec.replace(name=arch)
    return spec


def _sizes(spec: ModelSpec) -> list[Any]:
    """The arguments of the trunk's rows, without the epsilon of norms."""
    trunk = [row for row in spec if kinds.role(row) in ("stem", "trunk")]
    return [(row.kind, {**kinds.arguments(row), "eps": 0}) for row in trunk]


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list) and len(value) == 2 else (value, value)
    return whole(height), whole(width)
