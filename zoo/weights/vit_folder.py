"""ViT and DeiT of transformers: from a config.json and the names in the file to a spec, and where its tensors lie.

No torch. A network that would compute otherwise than ours is refused, naming the setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo import kinds, registry
from zoo.spec import ImageInput, ModelSpec, SpecError
from zoo.weights.stored import Stored
from zoo.weights.text_folder import activation_of, depth_of, whole

KINDS = ("vit", "deit")  # of transformers' model_type
# How their processors prepare pictures by themselves.
USUAL = {
    "vit": ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop=1.0, squash=True),
    "deit": ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3, squash=True),
}
MOST_CHANNELS = 64  # of pictures
# Tensors in files that no answer needs: heads of training, and the pooler of networks without a classifier.
UNUSED = re.compile(r"((vit|deit)\.)?(pooler\..*|embeddings\.mask_token)|decoder\..*")

# our module, or parameter, -> theirs; a tuple is joined
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
) -> tuple[ModelSpec, dict[str, Stored], set[str]]:
    """The spec, our key -> where it lies, and the names in the file that are used by nothing.

    Raises SpecError, or whatever a setting of another type runs into, for a network that the zoo has not.
    """
    kind = str(config["model_type"])
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
    spec = registry.fetch(registry.SIZED["vit"])(
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
        qkv_bias=config.get("qkv_bias", True),
        activation=activation_of(config.get("hidden_act", "gelu")),
        eps=float(config.get("layer_norm_eps", 1e-12)),
        head=head,
        num_classes=classes,
        takes=USUAL[kind],
    )
    prefix = f"{kind}." if any(name.startswith(f"{kind}.") for name in shapes) else ""
    stored = {key: _stored(key, spec, prefix, shape) for key, (_, shape) in kinds.model_state(spec).items()}
    used = {name for one in stored.values() for name, _ in one.parts}
    return _named(spec), stored, {name for name in shapes if name not in used and UNUSED.fullmatch(name)}


def _head(kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int]:
    """Which of the heads of `zoo.models.vit`, and for how many classes."""
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


def _stored(key: str, spec: ModelSpec, prefix: str, shape: tuple[int, ...]) -> Stored:
    row, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    if spec[row].kind == "transformer_block":
        theirs, place = _BLOCK[module], f"{prefix}encoder.layer.{int(row[1:])}."
        if isinstance(theirs, tuple):
            part = (shape[0] // len(theirs), *shape[1:])
            return Stored(tuple((f"{place}{one}.{leaf}", part) for one in theirs))
        return Stored.one(f"{place}{theirs}.{leaf}", shape)
    if row == "embed":
        return Stored.one(f"{prefix}embeddings.{_EMBEDDING[module or leaf]}{f'.{leaf}' if module else ''}", shape)
    if row == "norm":
        return Stored.one(f"{prefix}layernorm.{leaf}", shape)
    pair = spec[row].kind == "pair_classifier"
    name = ("distillation_classifier" if module == "teacher" else "cls_classifier") if pair else "classifier"
    return Stored.one(f"{name}.{leaf}", shape)


def _named(spec: ModelSpec) -> ModelSpec:
    """Under the name of the architecture whose widths and depth these are, where there is one."""
    for arch, target in registry.MODELS.items():
        if target.startswith("zoo.models.vit:") and _sizes(registry.spec(arch)) == _sizes(spec):
            return spec.replace(name=arch)
    return spec


def _sizes(spec: ModelSpec) -> list[Any]:
    """Of the trunk, without the small number of its norms."""
    trunk = [row for row in spec if row.kind in ("patch_embedding", "transformer_block", "token_norm")]
    return [(row.kind, {**kinds.arguments(row), "eps": 0}) for row in trunk]


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list) and len(value) == 2 else (value, value)
    return whole(height), whole(width)
