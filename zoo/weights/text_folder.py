"""Language models of transformers: from a config.json and the names in the file to a spec, and where its tensors lie.

No torch. A network that would compute otherwise than ours is refused, naming the setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo import kinds, registry
from zoo.spec import ModelSpec, SpecError, TextInput
from zoo.weights.stored import Stored

TOKENIZER, MODULES, SENTENCES = "tokenizer.json", "modules.json", "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
BESIDE = (TOKENIZER, MODULES, SENTENCES, POOLING, "tokenizer_config.json")  # what a text folder has besides weights

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
}
DEEPEST = 512  # blocks
ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert")
DECODERS = ("gpt2", "llama", "qwen2", "mistral")
KINDS = ENCODERS + DECODERS  # of transformers' model_type
# Tensors in files that no network needs: buffers, and heads of training.
UNUSED = re.compile(
    r"(.*\.)?(position_ids|attn\.(bias|masked_bias)|rotary_emb\.inv_freq)|cls\..*|lm_head\..*|vocab_(transform|"
    r"projector|layer_norm)\..*|(bert\.|roberta\.)?pooler\..*|pre_classifier\..*"
)

Modules = Mapping[str, Any]

# our module -> theirs; a tuple is joined
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


def read(
    folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[ModelSpec, dict[str, Stored], set[str]]:
    """The spec, our key -> where it lies, and the names in the file that are used by nothing.

    Raises SpecError, or whatever a setting of another type runs into, for a network that the zoo has not.
    """
    kind = config["model_type"]
    spec = _encoder(folder, kind, config, shapes) if kind in ENCODERS else _decoder(kind, config, shapes)
    prefix = _prefix(kind, shapes)
    stored = {key: _stored(key, spec, kind, prefix, shapes, shape) for key, shape in _keys(spec)}
    used = {name for one in stored.values() for name, _ in one.parts}
    return _named(spec), stored, {name for name in shapes if name not in used and UNUSED.fullmatch(name)}


def tokenizer_of(folder: Path, most: int) -> str:
    """The folder's tokenizer.json, compact; empty where there is none. Raises ValueError for one that is no JSON."""
    file = folder / TOKENIZER
    if not file.is_file():
        return ""
    if file.stat().st_size > most:
        raise ValueError(f"{TOKENIZER} is larger than {most:,} bytes")
    return json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":"), ensure_ascii=False)


def _keys(spec: ModelSpec) -> Iterable[tuple[str, tuple[int, ...]]]:
    return ((key, shape) for key, (_, shape) in kinds.model_state(spec).items())


def _prefix(kind: str, shapes: Mapping[str, Any]) -> str:
    """Files of a network with a head have its trunk under a name."""
    name = {"gpt2": "transformer.", "distilbert": "distilbert.", "bert": "bert."}.get(kind, "roberta.")
    name = "model." if kind in ("llama", "qwen2", "mistral") else name
    return name if any(key.startswith(name) for key in shapes) else ""


def _stored(
    key: str, spec: ModelSpec, kind: str, prefix: str, shapes: Mapping[str, tuple[int, ...]], shape: tuple[int, ...]
) -> Stored:
    row, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    theirs = _module(row, module, spec, kind)
    if isinstance(theirs, tuple):
        args = kinds.arguments(spec[row])
        widths = [args["heads"] * args["head_dim"], *[args["kv_heads"] * args["head_dim"]] * 2]
        return Stored(
            tuple((f"{prefix}{one}.{leaf}", (width, *shape[1:])) for one, width in zip(theirs, widths, strict=True))
        )
    name = theirs.removeprefix("/") if theirs.startswith("/") else f"{prefix}{theirs}"
    turned = kind == "gpt2" and spec[row].kind == "transformer_block" and len(shape) == 2
    full = f"{name}.{leaf}"
    if full not in shapes and name.endswith("LayerNorm"):  # as TensorFlow's checkpoints called them
        old = f"{name}.{'gamma' if leaf == 'weight' else 'beta'}"
        full = old if old in shapes else full
    return Stored(((full, shape[::-1] if turned else shape),), transposed=turned)


def _module(row: str, module: str, spec: ModelSpec, kind: str) -> Any:
    """Theirs for one of ours; a "/" before it says that it stands outside of the trunk."""
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
        classifies = spec.task == "text-classification" and kind != "bert"
        return "/classifier.dense" if classifies else "pooler.dense"
    if spec.task == "question-answering":
        return "/qa_outputs"
    return (
        "/classifier.out_proj"
        if kind not in ("bert", "distilbert") and spec.task == "text-classification"
        else ("/classifier")
    )


def _encoder(folder: Path, kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    distil = kind == "distilbert"
    _require(config, "position_embedding_type", ("absolute", None))
    _require(config, "is_decoder", (False, None))
    _require(config, "embedding_size", (config.get("hidden_size"), None))
    tail, outputs = _tail(folder, kind, config, shapes)
    pad = whole(config.get("pad_token_id", 0 if kind in ("bert", "distilbert") else 1))
    names = ("dim", "n_layers", "n_heads", "hidden_dim", "activation") if distil else (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"
    )  # fmt: skip
    usual: tuple[Any, ...] = (768, 6 if distil else 12, 12, 3072, "gelu")
    dim, layers, heads, mlp_dim, activation = (config.get(n, d) for n, d in zip(names, usual, strict=True))
    spec = registry.fetch(registry.SIZED["encoder"])(
        kind,
        vocabulary=whole(config.get("vocab_size", 30522)),
        dim=whole(dim),
        layers=depth_of(layers),
        heads=whole(heads),
        mlp_dim=whole(mlp_dim),
        max_positions=whole(config.get("max_position_embeddings", 512)),
        token_types=0 if distil else whole(config.get("type_vocab_size", 2)),
        padding_id=-1 if kind in ("bert", "distilbert") else pad,
        activation=activation_of(activation),
        eps=float(config.get("layer_norm_eps", 1e-12)),
        tail=tail,
        outputs=outputs,
        pooled="relu" if distil else "tanh",
    )
    length = _json(folder / SENTENCES).get("max_seq_length") if tail == "sentence" else None
    length = min(whole(length), spec.texts.length) if length else spec.texts.length
    return spec.replace(input=TextInput(spec.texts.vocabulary, length, padding=pad))


def _tail(folder: Path, kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int]:
    """Which of the tails of `zoo.models.bert`, and how many outputs."""
    named = str((config.get("architectures") or [""])[0])
    for ending, tail, weight in (
        ("ForSequenceClassification", "classifier", "classifier.weight"),
        ("ForTokenClassification", "tokens", "classifier.weight"),
        ("ForQuestionAnswering", "answers", "qa_outputs.weight"),
    ):
        if named.endswith(ending):
            found = shapes.get(weight) or shapes.get("classifier.out_proj.weight")
            if not found:
                raise SpecError(f"config.json says {named}, but {weight} is missing")
            return tail, found[0]
    if (folder / MODULES).is_file():
        pooling = _json(folder / POOLING)
        modes = [key for key, on in pooling.items() if key.startswith("pooling_mode_") and on]
        if modes and modes != ["pooling_mode_mean_tokens"]:
            raise SpecError(f"{POOLING} says {modes[0]}, and the zoo's sentence embeddings are means")
        return "sentence", 0
    pooled = any(key in shapes for key in ("pooler.dense.weight", "bert.pooler.dense.weight",
                                           "roberta.pooler.dense.weight"))  # fmt: skip
    return ("pooler" if pooled else "none"), 0


def _decoder(kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    named = str((config.get("architectures") or [""])[0])
    if named and not named.endswith(("Model", "ForCausalLM")):  # GPT2LMHeadModel, LlamaForCausalLM, LlamaModel
        raise SpecError(f"config.json says {named}, and of decoders the zoo has those that continue texts")
    if kind == "gpt2":
        for key, plain in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False),
                           ("add_cross_attention", False), ("tie_word_embeddings", True)):  # fmt: skip
            _require(config, key, (plain, None))
        spec = registry.fetch(registry.SIZED["gpt2"])(
            kind,
            vocabulary=whole(config.get("vocab_size", 50257)),
            dim=whole(config.get("n_embd", 768)),
            layers=depth_of(config.get("n_layer", 12)),
            heads=whole(config.get("n_head", 12)),
            mlp_dim=whole(config.get("n_inner") or 4 * whole(config.get("n_embd", 768))),
            length=whole(config.get("n_positions", 1024)),
            activation=activation_of(config.get("activation_function", "gelu_new")),
            eps=float(config.get("layer_norm_epsilon", 1e-5)),
        )
    else:
        headed, tied = any(key.startswith("lm_head.") for key in shapes), config.get("tie_word_embeddings")
        if not headed and tied is False and named.endswith("ForCausalLM"):
            raise SpecError(f"config.json says {named} with a head of its own, but lm_head.weight is missing")
        bare = not headed and not tied and named.endswith("Model")
        spec = _llama(kind, config, tied=not headed)
        spec = spec.replace(rows=spec.rows[:-1], task="feature-extraction") if bare else spec
    ends = config.get("eos_token_id", 50256 if kind == "gpt2" else None)
    ends = tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)
    pad = config.get("pad_token_id")
    padding = pad if isinstance(pad, int) and pad >= 0 else (ends[0] if ends else 0)
    return spec.replace(input=TextInput(spec.texts.vocabulary, spec.texts.length, padding=padding, ends=ends))


def _llama(kind: str, config: Mapping[str, Any], tied: bool) -> ModelSpec:
    for key in ("attention_bias", "mlp_bias", "use_sliding_window"):
        _require(config, key, (False, None))
    _require(config, "partial_rotary_factor", (1.0, 1, None))
    heads = whole(config["num_attention_heads"])
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    return registry.fetch(registry.SIZED["llama"])(
        kind,
        vocabulary=whole(config["vocab_size"]),
        dim=whole(config["hidden_size"]),
        layers=depth_of(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=whole(config.get("num_key_value_heads") or heads),
        mlp_dim=whole(config["intermediate_size"]),
        head_dim=whole(config.get("head_dim") or whole(config["hidden_size"]) // heads),
        rotary_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        rotary_scaling=_scaling(rope),
        activation=activation_of(config.get("hidden_act", "silu")),
        qkv_bias=kind == "qwen2",
        window=whole(config.get("sliding_window") or 0) if kind == "mistral" else 0,
        eps=float(config.get("rms_norm_eps", 1e-6)),
        tied=tied,
        length=whole(config.get("max_position_embeddings", 2048)),
    )


def _scaling(rope: Mapping[str, Any]) -> tuple[float, ...]:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return ()
    if kind == "linear":
        return (float(rope["factor"]),)
    if kind == "llama3":
        named = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        return tuple(float(rope[name]) for name in named)
    raise SpecError(f"its rotary positions are scaled by {kind!r}, which the zoo does not know")


def _named(spec: ModelSpec) -> ModelSpec:
    """Under the name of the architecture that has just these rows, where there is one; the head may differ."""
    trunk = [row for row in spec if row.kind in ("token_embedding", "transformer_block")]
    for arch, target in registry.MODELS.items():
        if target.startswith(("zoo.models.bert", "zoo.models.gpt")):
            usual = registry.spec(arch)
            same = [row for row in usual if row.kind in ("token_embedding", "transformer_block")] == trunk
            if same and (usual.task == "sentence-similarity") == (spec.task == "sentence-similarity"):
                return spec.replace(name=arch)
    return spec


def _require(config: Mapping[str, Any], key: str, allowed: tuple[Any, ...]) -> None:
    if config.get(key) not in allowed:
        raise SpecError(f"config.json says {key}: {str(config[key])[:60]!r}, which the zoo's network does not have")


def activation_of(name: Any) -> str:
    """Ours for one of transformers' activations."""
    if name not in ACTIVATIONS:
        raise SpecError(f"its activation {str(name)[:60]!r} is none of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def depth_of(value: Any) -> int:
    """A number of blocks; a hostile one would make as many rows before they are counted."""
    if whole(value) > DEEPEST:
        raise SpecError(f"it has {value} blocks, and more than {DEEPEST} are refused")
    return whole(value)


def whole(value: Any) -> int:
    """A size in config.json; raises SpecError for what is none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SpecError(f"a size in config.json is {str(value)[:60]!r}, not a whole number")
    return value


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file() or file.stat().st_size > 2**20:
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
