"""The names of our tensors in transformers' encoders with decoders, as data. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo import kinds
from zoo.spec import ModelSpec, SpecError
from zoo.weights.tensor_source import TensorSource

TRANSLATORS = ("marian", "t5")
# Tensors that no network needs: sines, copies of the table, and a table of T5 that was never used.
UNUSED = re.compile(
    r"(model\.)?(encoder|decoder)\.embed_positions\.weight|(model\.)?(encoder|decoder)\.embed_tokens\.weight|"
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight|lm_head\.weight"
)

Modules = Mapping[str, Any]


def _marian_attention(path: str, ours: str) -> Modules:
    """The modules of an attention by ours; "{side}" and "{i}" are filled in later."""
    theirs = f"model.{{side}}.layers.{{i}}.{path}"
    reads = {"attn": {"attn.qkv": "qkv"}, "cross": {"cross.q": "q", "cross.kv": "kv"}}[ours]
    found: dict[str, Any] = {name: tuple(f"{theirs}.{one}_proj" for one in parts) for name, parts in reads.items()}
    return {**found, f"{ours}.proj": f"{theirs}.out_proj"}


_MARIAN: Modules = {
    **_marian_attention("self_attn", "attn"),
    **_marian_attention("encoder_attn", "cross"),
    "norm1": "model.{side}.layers.{i}.self_attn_layer_norm",
    "mlp.fc1": "model.{side}.layers.{i}.fc1",
    "mlp.fc2": "model.{side}.layers.{i}.fc2",
}
_MARIAN_NORMS: Modules = {  # by the kind of block
    "transformer_block": {"norm2": "model.{side}.layers.{i}.final_layer_norm"},
    "decoder_block": {
        "norm2": "model.{side}.layers.{i}.encoder_attn_layer_norm",
        "norm3": "model.{side}.layers.{i}.final_layer_norm",
    },
}
_T5: Modules = {
    "attn.qkv": tuple(f"{{side}}.block.{{i}}.layer.0.SelfAttention.{one}" for one in "qkv"),
    "attn.proj": "{side}.block.{i}.layer.0.SelfAttention.o",
    "attn.bias": "{side}.block.0.layer.0.SelfAttention.relative_attention_bias",
    "norm1": "{side}.block.{i}.layer.0.layer_norm",
    "cross.q": ("{side}.block.{i}.layer.1.EncDecAttention.q",),
    "cross.kv": tuple(f"{{side}}.block.{{i}}.layer.1.EncDecAttention.{one}" for one in "kv"),
    "cross.proj": "{side}.block.{i}.layer.1.EncDecAttention.o",
}
_T5_MLP: Modules = {  # by the kind of block; the last norm is the MLP's
    "transformer_block": ("{side}.block.{i}.layer.1", {}),
    "decoder_block": ("{side}.block.{i}.layer.2", {"norm2": "{side}.block.{i}.layer.1.layer_norm"}),
}


def places(spec: ModelSpec, kind: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorSource]:
    """Our key -> its `TensorSource` in a file with these names and shapes."""
    return {key: _stored(key, spec, kind, shapes, shape) for key, (_, shape) in kinds.model_state(spec).items()}


def table(kind: str, side: str, shared: bool, shapes: Mapping[str, Any]) -> str:
    """The name of the table of vectors of the encoder or the decoder: files hold one that is shared under any name."""
    prefix = "model." if kind == "marian" else ""
    own = f"{prefix}{side}.embed_tokens.weight"
    if not shared:
        return own
    names = [f"{prefix}shared.weight", f"{prefix}encoder.embed_tokens.weight", f"{prefix}decoder.embed_tokens.weight",
             "lm_head.weight"]  # fmt: skip
    return next((name for name in names if name in shapes), names[0])


def _stored(
    key: str, spec: ModelSpec, kind: str, shapes: Mapping[str, tuple[int, ...]], shape: tuple[int, ...]
) -> TensorSource:
    row, _, rest = key.partition(".")
    if rest == "tokens.weight":
        shared = bool(spec["target"].args.get("tied"))
        return TensorSource.one(table(kind, "encoder" if row == "embed" else "decoder", shared, shapes), shape)
    if row == "head":
        if rest.endswith("bias"):
            return TensorSource.one("final_logits_bias", (1, *shape))
        return TensorSource.one("lm_head.weight", shape)
    if spec[row].kind == "token_norm":
        side = "encoder" if row == "memory" else "decoder"
        return TensorSource.one(f"{side}.final_layer_norm.weight", shape)
    module, _, leaf = rest.rpartition(".")
    side, place = "encoder" if row.startswith("h") else "decoder", row[1:]
    theirs = _modules(kind, spec[row].kind, bool(kinds.arguments(spec[row])["gated"]))[module]
    names = [name.format(side=side, i=place) for name in ((theirs,) if isinstance(theirs, str) else theirs)]
    each = (shape[0] // len(names), *shape[1:])
    return TensorSource(tuple((f"{name}.{leaf}", each) for name in names))


def _modules(kind: str, block: str, gated: bool) -> Modules:
    if kind == "marian":
        return {**_MARIAN, **_MARIAN_NORMS[block]}
    layer, norms = _T5_MLP[block]
    dense = f"{layer}.DenseReluDense"
    mlp = {"mlp.gate": f"{dense}.wi_0", "mlp.fc1": f"{dense}.wi_1"} if gated else {"mlp.fc1": f"{dense}.wi"}
    last = "norm3" if block == "decoder_block" else "norm2"
    return {**_T5, **norms, **mlp, "mlp.fc2": f"{dense}.wo", last: f"{layer}.layer_norm"}


def check_unused(kind: str, names: set[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise SpecError for a copy of the table that is of another shape, so it is no copy."""
    for name in names:
        if name.endswith("embed_tokens.weight") and shapes[name] != shapes[table(kind, "encoder", True, shapes)]:
            raise SpecError(f"config.json says that the tables are shared, and {name} has another shape")
