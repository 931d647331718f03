"""The names of our tensors in transformers' language models, as data. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo import kinds
from zoo.spec import ModelSpec
from zoo.weights.tensor_source import TensorSource

ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "albert")
NUMBERED = ("roberta", "xlm-roberta", "camembert", "mpnet")  # positions count from behind the padding's id
DECODERS = ("gpt2", "llama", "qwen2", "mistral")
# Tensors that no network needs: buffers, and heads used only in training.
UNUSED = re.compile(
    r"(.*\.)?(position_ids|attn\.(bias|masked_bias)|rotary_emb\.inv_freq)|cls\..*|lm_head\..*|vocab_(transform|"
    r"projector|layer_norm)\..*|(bert\.|roberta\.|mpnet\.|albert\.)?pooler\..*|pre_classifier\..*|"
    r"(discriminator|generator)_predictions\..*|generator_lm_head\..*|(predictions|sop_classifier)\..*"
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
_MPNET_BLOCK: Modules = {
    **_BERT_BLOCK,
    "attn.qkv": tuple(f"encoder.layer.{{i}}.attention.attn.{one}" for one in "qkv"),
    "attn.proj": "encoder.layer.{i}.attention.attn.o",
    "attn.bias": "encoder.relative_attention_bias",  # one for all layers: each of ours gets its own copy
    "norm1.": "encoder.layer.{i}.attention.LayerNorm",
}
_ALBERT = "encoder.albert_layer_groups.{i}.albert_layers.0"
_ALBERT_BLOCK: Modules = {
    "attn.qkv": tuple(f"{_ALBERT}.attention.{one}" for one in ("query", "key", "value")),
    "attn.proj": f"{_ALBERT}.attention.dense",
    "norm1.": f"{_ALBERT}.attention.LayerNorm",
    "mlp.fc1": f"{_ALBERT}.ffn",
    "mlp.fc2": f"{_ALBERT}.ffn_output",
    "norm2.": f"{_ALBERT}.full_layer_layer_norm",
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
_BLOCKS = {"distilbert": _DISTILBERT_BLOCK, "gpt2": _GPT2_BLOCK, "mpnet": _MPNET_BLOCK, "albert": _ALBERT_BLOCK}
_PLAIN = ("bert", "distilbert", "albert")  # a classifier is one layer, behind the pooler
_PROJECTION = {"albert": "encoder.embedding_hidden_mapping_in", "electra": "embeddings_project"}
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
    own = ("distilbert", "bert", "electra", "mpnet", "albert")
    name = "transformer." if kind == "gpt2" else f"{kind}." if kind in own else "roberta."
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
        block = _BLOCKS.get(kind, _BERT_BLOCK if kind in ENCODERS else _LLAMA_BLOCK)
        found = block[module] if module in block else block[f"{module}."]
        number = int(row[1:])
        return tuple(x.format(i=number) for x in found) if isinstance(found, tuple) else found.format(i=number)
    name = f"{row}.{module}"
    if kind in DECODERS:
        ends = _GPT2_ENDS if kind == "gpt2" else _LLAMA_ENDS
        return "/lm_head" if row == "head" else ends.get(name, ends.get(f"{name}.", ""))
    if row == "embed":
        return _EMBEDDINGS.get(name, _EMBEDDINGS.get(f"{name}.", ""))
    if row == "project":
        return _PROJECTION[kind]
    headed = spec.rows[-1].kind == "classifier" and kind not in _PLAIN
    if row == "pooler":
        if kind == "distilbert":
            return "/pre_classifier"
        return "/classifier.dense" if headed else "pooler" if kind == "albert" else "pooler.dense"
    if spec.task == "question-answering":
        return "/qa_outputs"
    return "/classifier.out_proj" if headed else "/classifier"
