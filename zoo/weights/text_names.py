"""The names of our tensors in transformers' language models, as data. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo import kinds
from zoo.spec import ModelSpec
from zoo.weights.tensor_source import TensorSource

ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert")
DECODERS = ("gpt2", "llama", "qwen2", "mistral")
# Tensors that no network needs: buffers, and heads used only in training.
UNUSED = re.compile(
    r"(.*\.)?(position_ids|attn\.(bias|masked_bias)|rotary_emb\.inv_freq)|cls\..*|lm_head\..*|vocab_(transform|"
    r"projector|layer_norm)\..*|(bert\.|roberta\.)?pooler\..*|pre_classifier\..*"
)

Modules = Mapping[str, Any]

# our module -> transformers' module; the modules of a tuple are concatenated
_BERT_BLOCK: Modules = {
    "attn.qkv": tuple(f"encoder.layer.{{i}}.attention.self.{one}" for one in ("query", "key", "value")),
    "attn.proj": "encoder.layer.{i}.attention.output.dense",
    "norm1.": "encoder.layer.{i}.attention.output.LayerNorm",
    "mlp.fc1": "encoder.layer.{i}.intermediate.dense",
    "mlp.fc2": "encoder.layer.{i}.output.dense",
    "norm2.": "encoder.layer.{i}.output.LayerNorm",
}
_DISTILBERT_BLOCK: Modules = {
    "attn.qkv": tuple(f"transformer.layer.{{i}}.attention.{one}_lin" for one in "qkv"),
    "attn.proj": "transformer.layer.{i}.attention.out_lin",
    "norm1.": "transformer.layer.{i}.sa_layer_norm",
    "mlp.fc1": "transformer.layer.{i}.ffn.lin1",
    "mlp.fc2": "transformer.layer.{i}.ffn.lin2",
    "norm2.": "transformer.layer.{i}.output_layer_norm",
}
_GPT2_BLOCK: Modules = {
    "attn.qkv": "h.{i}.attn.c_attn",
    "attn.proj": "h.{i}.attn.c_proj",
    "norm1.": "h.{i}.ln_1",
    "mlp.fc1": "h.{i}.mlp.c_fc",
    "mlp.fc2": "h.{i}.mlp.c_proj",
    "norm2.": "h.{i}.ln_2",
}
_LLAMA_BLOCK: Modules = {
    "attn.qkv": tuple(f"layers.{{i}}.self_attn.{one}_proj" for one in "qkv"),
    "attn.proj": "layers.{i}.self_attn.o_proj",
    "norm1.": "layers.{i}.input_layernorm",
    "mlp.gate": "layers.{i}.mlp.gate_proj",
    "mlp.fc1": "layers.{i}.mlp.up_proj",
    "mlp.fc2": "layers.{i}.mlp.down_proj",
    "norm2.": "layers.{i}.post_attention_layernorm",
}
_EMBEDDINGS: Modules = {
    "embed.tokens": "embeddings.word_embeddings",
    "embed.positions": "embeddings.position_embeddings",
    "embed.types": "embeddings.token_type_embeddings",
    "embed.norm.": "embeddings.LayerNorm",
}
_GPT2_ENDS: Modules = {"embed.tokens": "wte", "embed.positions": "wpe", "norm.norm.": "ln_f"}
_LLAMA_ENDS: Modules = {"embed.tokens": "embed_tokens", "norm.norm.": "norm"}


def places(spec: ModelSpec, kind: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorSource]:
    """Our key -> its `TensorSource` in a file with these names and shapes."""
    prefix = _prefix(kind, shapes)
    return {key: _stored(key, spec, kind, prefix, shapes, shape) for key, (_, shape) in kinds.model_state(spec).items()}


def _prefix(kind: str, shapes: Mapping[str, Any]) -> str:
    """The prefix of the trunk's names: files of a network with a head have one."""
    name = {"gpt2": "transformer.", "distilbert": "distilbert.", "bert": "bert."}.get(kind, "roberta.")
    name = "model." if kind in ("llama", "qwen2", "mistral") else name
    return name if any(key.startswith(name) for key in shapes) else ""


def _stored(
    key: str, spec: ModelSpec, kind: str, prefix: str, shapes: Mapping[str, tuple[int, ...]], shape: tuple[int, ...]
) -> TensorSource:
    row, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    theirs = _module(row, module, spec, kind)
    if isinstance(theirs, tuple):
        args = kinds.arguments(spec[row])
        widths = [args["heads"] * args["head_dim"], *[args["kv_heads"] * args["head_dim"]] * 2]
        return TensorSource(
            tuple((f"{prefix}{one}.{leaf}", (width, *shape[1:])) for one, width in zip(theirs, widths, strict=True))
        )
    name = theirs.removeprefix("/") if theirs.startswith("/") else f"{prefix}{theirs}"
    turned = kind == "gpt2" and spec[row].kind == "transformer_block" and len(shape) == 2
    full = f"{name}.{leaf}"
    if full not in shapes and name.endswith("LayerNorm"):  # the names of TensorFlow's checkpoints
        old = f"{name}.{'gamma' if leaf == 'weight' else 'beta'}"
        full = old if old in shapes else full
    return TensorSource(((full, shape[::-1] if turned else shape),), transposed=turned)


def _module(row: str, module: str, spec: ModelSpec, kind: str) -> Any:
    """The name of transformers' module for one of ours; a leading "/" marks a module outside of the trunk."""
    if spec[row].kind == "transformer_block":
        block = {"distilbert": _DISTILBERT_BLOCK, "gpt2": _GPT2_BLOCK}.get(
            kind, _BERT_BLOCK if kind in ENCODERS else _LLAMA_BLOCK
        )
        found = block[module] if module in block else block[f"{module}."]
        number = int(row[1:])
        return tuple(x.format(i=number) for x in found) if isinstance(found, tuple) else found.format(i=number)
    name = f"{row}.{module}"
    if kind in DECODERS:
        ends = _GPT2_ENDS if kind == "gpt2" else _LLAMA_ENDS
        return "/lm_head" if row == "head" else ends.get(name, ends.get(f"{name}.", ""))
    if row == "embed":
        return _EMBEDDINGS.get(name, _EMBEDDINGS.get(f"{name}.", ""))
    if row == "pooler":
        if kind == "distilbert":
            return "/pre_classifier"
        classifies = spec.rows[-1].kind == "classifier" and kind != "bert"
        return "/classifier.dense" if classifies else "pooler.dense"
    if spec.task == "question-answering":
        return "/qa_outputs"
    return (
        "/classifier.out_proj"
        if kind not in ("bert", "distilbert") and spec.rows[-1].kind == "classifier"
        else ("/classifier")
    )
