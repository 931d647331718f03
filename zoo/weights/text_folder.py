"""Read language models of transformers: a config.json and the file's tensor names give the spec and its tensors.

No torch. A network that computes something else is refused; the error names the setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import kinds, registry
from zoo.lazy import fetch
from zoo.spec import Block, ModelSpec, SpecError, TextInput
from zoo.tasks.answers import MULTI_LABEL, task_of
from zoo.weights import (
    added_tokens,
    piece_tokenizers,
    sentences,
    text_tokenizer,
    translation_folder,
    translation_names,
    vocabularies,
)
from zoo.weights.sentences import Sentences
from zoo.weights.settings import number, read_settings, short, switch
from zoo.weights.sizes import GENERATES, activation_of, depth_of, whole
from zoo.weights.tensor_source import TensorSource
from zoo.weights.text_names import DECODERS, ENCODERS, NUMBERED, UNUSED, places
from zoo.weights.transformers_settings import CONFIGS, GENERATION, ROPE
from zoo.weights.translation_names import TRANSLATORS

# The files of a language model's folder beside its weights.
BESIDE = (text_tokenizer.TOKENIZER, added_tokens.SETTINGS, added_tokens.SPECIAL, added_tokens.ADDED, vocabularies.WORDS,
          *vocabularies.PAIRS, *piece_tokenizers.BESIDE, sentences.MODULES, sentences.SENTENCES, sentences.PROMPTS,
          GENERATES)  # fmt: skip

FACTORISED = ("electra", "albert")  # the embedding may be narrower than the blocks
POOLER = re.compile(r"(\w+\.)?pooler\.(dense\.)?weight")
KINDS = ENCODERS + DECODERS + TRANSLATORS  # values of transformers' model_type
_FAMILIES = tuple(f"zoo.models.{family}:" for family in ("bert", "gpt", "marian", "t5"))


def read(
    folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[ModelSpec, dict[str, TensorSource], set[str], str]:
    """(the spec, our key -> its `TensorSource`, the unused names in the file, the tokenizer).

    Raises SpecError for a network that the zoo lacks. A setting of a wrong type may raise any error.
    """
    kind = config["model_type"]
    CONFIGS[kind].check(config)
    told = sentences.read_sentences(folder) if kind in ENCODERS else None
    if kind in TRANSLATORS:
        spec = translation_folder.read_spec(folder, kind, config, shapes, text_tokenizer.longest(folder))
        sources, unneeded = translation_names.places(spec, kind, shapes), translation_names.UNUSED
    else:
        encodes = kind in ENCODERS
        spec = _encoder(folder, kind, config, shapes, told) if encodes else _decoder(folder, kind, config, shapes)
        sources, unneeded = places(spec, kind, shapes), UNUSED
    used = {name for one in sources.values() for name, _ in one.parts}
    unused = {name for name in shapes if name not in used and unneeded.fullmatch(name)}
    if kind in TRANSLATORS:
        translation_names.check_unused(kind, unused, shapes)
    lower = told is not None and told.lower
    return _named(spec, kind), sources, unused, text_tokenizer.tokenizer_of(folder, kind, config, lower=lower)


def module_files(folder: Path) -> list[str]:
    """The files that the folder's modules.json names; none if the modules.json cannot be read."""
    try:
        return sentences.module_files(folder)
    except (SpecError, OSError):
        return []


def _encoder(
    folder: Path,
    kind: str,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    told: Sentences | None,
) -> ModelSpec:
    distil, numbered = kind == "distilbert", kind in NUMBERED
    if kind not in FACTORISED and config.get("embedding_size") not in (None, config.get("hidden_size")):
        raise SpecError(f"config.json says embedding_size: {short(config['embedding_size'])}, another than hidden_size")
    tail, outputs = _tail(config, shapes, told)
    pad = config.get("pad_token_id", 1 if numbered else 0)
    pad = whole(0 if pad is None and not numbered else pad)
    names = ("dim", "n_layers", "n_heads", "hidden_dim", "activation") if distil else (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"
    )  # fmt: skip
    dim, layers, heads, mlp_dim, activation = (config.get(n, d) for n, d in zip(names, _usual(kind), strict=True))
    vocabulary = {"mpnet": 30527, "albert": 30000}.get(kind, 30522)
    width = whole(config.get("embedding_size", 128)) if kind in FACTORISED else 0
    groups = whole(config.get("num_hidden_groups", 1)) if kind == "albert" else 0
    if kind in FACTORISED and not width:
        raise SpecError("config.json says embedding_size: 0, which is no width")
    if kind == "albert" and not groups:
        raise SpecError("config.json says num_hidden_groups: 0, and at least one block has weights")
    spec = fetch(registry.SIZED["encoder"])(
        kind,
        vocabulary=whole(config.get("vocab_size", vocabulary)),
        dim=whole(dim),
        layers=depth_of(layers),
        heads=whole(heads),
        mlp_dim=whole(mlp_dim),
        max_positions=whole(config.get("max_position_embeddings", 512)),
        token_types=0 if kind in ("distilbert", "mpnet") else whole(config.get("type_vocab_size", 2)),
        padding_id=pad if numbered else -1,
        activation=activation_of(activation),
        eps=number(config, "layer_norm_eps", 1e-12),
        tail=tail,
        outputs=outputs,
        pooled={"distilbert": "relu", "electra": "gelu"}.get(kind, "tanh"),
        embedding=width,
        relative=kind == "mpnet",
        groups=groups,
    )
    if told is not None and told.pool:
        spec = spec.edit("sentence", pool=told.pool, normalize=told.normalize)
    if tail == "classifier":
        spec = spec.replace(task=_problem(folder, config, outputs))
    limits = (told.length if told else None, text_tokenizer.longest(folder), spec.texts.length)
    length = min(one for one in limits if one is not None)
    return spec.replace(input=TextInput(spec.texts.vocabulary, length, padding=pad))


def _usual(kind: str) -> tuple[Any, ...]:
    """The sizes that transformers takes where config.json has none: width, layers, heads, MLP, activation."""
    others = {
        "distilbert": (768, 6, 12, 3072, "gelu"),
        "electra": (256, 12, 4, 1024, "gelu"),
        "albert": (4096, 12, 64, 16384, "gelu_new"),
    }
    return others.get(kind, (768, 12, 12, 3072, "gelu"))


def _tail(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], told: Sentences | None) -> tuple[str, int]:
    """The name of the tail in `zoo.models.bert`, and the number of outputs."""
    if told is not None and told.pool:
        return "sentence", 0
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
    pooled = any(POOLER.fullmatch(key) for key in shapes)
    return ("pooler" if pooled else "none"), 0


def _problem(folder: Path, config: Mapping[str, Any], outputs: int) -> str:
    """The task of a text classifier: from its problem type, else from how a cross-encoder uses the scores."""
    usual = task_of("text-classification", config.get("problem_type"), outputs)
    inner = config.get("sentence_transformers")
    activation = (
        (inner.get("activation_fn") if isinstance(inner, Mapping) else None)
        or config.get("sbert_ce_default_activation_function")
        or read_settings(folder / sentences.PROMPTS).get("activation_fn")
    )
    if activation is None or config.get("problem_type"):
        return usual
    last = str(activation).rpartition(".")[2]
    if last not in ("Sigmoid", "Identity"):
        raise SpecError(f"its scores go through {short(activation)}, and the zoo knows Sigmoid and Identity")
    if last == "Sigmoid":
        return f"{MULTI_LABEL}text-classification"
    return "text-scoring" if outputs == 1 else usual


def _decoder(folder: Path, kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    named = str((config.get("architectures") or [""])[0])
    if named and not named.endswith(("Model", "ForCausalLM")):  # GPT2LMHeadModel, LlamaForCausalLM, LlamaModel
        raise SpecError(f"config.json says {named}, and of decoders the zoo has those that continue texts")
    if kind == "gpt2":
        spec = fetch(registry.SIZED["gpt2"])(
            kind,
            vocabulary=whole(config.get("vocab_size", 50257)),
            dim=whole(config.get("n_embd", 768)),
            layers=depth_of(config.get("n_layer", 12)),
            heads=whole(config.get("n_head", 12)),
            mlp_dim=whole(config.get("n_inner") or 4 * whole(config.get("n_embd", 768))),
            length=whole(config.get("n_positions", 1024)),
            activation=activation_of(config.get("activation_function", "gelu_new")),
            eps=number(config, "layer_norm_epsilon", 1e-5),
        )
    else:
        switch(config, "tie_word_embeddings", "config.json")
        headed, tied = any(key.startswith("lm_head.") for key in shapes), config.get("tie_word_embeddings")
        if not headed and tied is False and named.endswith("ForCausalLM"):
            raise SpecError(f"config.json says {named} with a head of its own, but lm_head.weight is missing")
        bare = not headed and not tied and named.endswith("Model")
        spec = _llama(kind, config, tied=not headed)
        spec = spec.replace(rows=spec.rows[:-1], task="feature-extraction") if bare else spec
    generation = read_settings(folder / GENERATES)
    GENERATION.check(generation)
    ends, pad = (
        next((one[key] for one in (generation, config) if one.get(key) is not None), usual)
        for key, usual in (("eos_token_id", 50256 if kind == "gpt2" else None), ("pad_token_id", None))
    )
    ends = tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)
    padding = pad if isinstance(pad, int) and pad >= 0 else (ends[0] if ends else 0)
    return spec.replace(input=TextInput(spec.texts.vocabulary, spec.texts.length, padding=padding, ends=ends))


def _llama(kind: str, config: Mapping[str, Any], tied: bool) -> ModelSpec:
    heads, layers = whole(config["num_attention_heads"]), depth_of(config["num_hidden_layers"])
    if config.get("layer_types") not in (None, ["full_attention"] * layers):
        raise SpecError("config.json says layer_types, and all layers of the zoo's qwen2 have full_attention")
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return fetch(registry.SIZED["llama"])(
        kind,
        vocabulary=whole(config["vocab_size"]),
        dim=whole(config["hidden_size"]),
        layers=layers,
        heads=heads,
        kv_heads=whole(config.get("num_key_value_heads") or heads),
        mlp_dim=whole(config["intermediate_size"]),
        head_dim=whole(config.get("head_dim") or whole(config["hidden_size"]) // heads),
        rotary_base=number(rope, "rope_theta", number(config, "rope_theta", 10000.0)),
        rotary_scaling=_scaling(rope),
        activation=activation_of(config.get("hidden_act", "silu")),
        qkv_bias=kind == "qwen2",
        window=whole(config.get("sliding_window") or 0) if kind == "mistral" else 0,
        eps=number(config, "rms_norm_eps", 1e-6),
        tied=tied,
        length=whole(config.get("max_position_embeddings", 2048)),
    )


def _scaling(rope: Mapping[str, Any]) -> tuple[float, ...]:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ROPE:
        raise SpecError(f"its rotary positions are scaled by {short(kind)}, and the zoo knows {list(ROPE)}")
    ROPE[kind].check(rope)
    if kind == "default":
        return ()
    if kind == "linear":
        return (number(rope, "factor"),)
    named = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return tuple(number(rope, name) for name in named)


def _named(spec: ModelSpec, kind: str) -> ModelSpec:
    """The spec under the name of the architecture with the same rows, if there is one; the head may differ.

    Of several, as ELECTRA's and BERT's, the one that is called like transformers' `kind`.
    """
    trunk = _stream(spec)
    found = []
    for arch, target in registry.MODELS.items():
        if target.startswith(_FAMILIES):
            usual = registry.spec(arch)
            if _stream(usual) == trunk and (usual.task == "sentence-similarity") == (
                spec.task == "sentence-similarity"
            ):
                found.append(arch)
    return spec.replace(name=min(found, key=lambda arch: not arch.startswith(kind))) if found else spec


def _stream(spec: ModelSpec) -> list[Block]:
    """The rows without those that differ from head to head."""
    return [row for row in spec if kinds.role(row) in ("stem", "trunk")]
