"""Read encoders with decoders of transformers, Marian and T5: a config.json gives the spec. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import registry
from zoo.lazy import fetch
from zoo.spec import ModelSpec, SpecError, TextInput
from zoo.weights.settings import number, read_settings, short, switch
from zoo.weights.sizes import ACTIVATIONS, GENERATES, activation_of, depth_of, whole
from zoo.weights.transformers_settings import GENERATION_OF_TARGETS

_HEADED = ("MarianMTModel", "T5ForConditionalGeneration", "T5WithLMHeadModel")
# Keys of generation_config.json; of folders without that file, transformers reads them in config.json.
_GENERATION = ("eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
               "bad_words_ids", "renormalize_logits")  # fmt: skip


def read_spec(
    folder: Path, kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], longest: int | None
) -> ModelSpec:
    """The spec of the network; `longest` is the largest number of tokens that its tokenizer allows."""
    named = str((config.get("architectures") or [""])[0])
    if named and named not in _HEADED:
        raise SpecError(f"config.json says {named}, and of encoders with decoders the zoo has those that make texts")
    for key in ("tie_word_embeddings", "share_encoder_decoder_embeddings", "scale_embedding", "scale_decoder_outputs"):
        switch(config, key, "config.json")
    spec = (_marian if kind == "marian" else _t5)(kind, config, shapes)
    room = spec.texts.length
    if kind == "t5":  # relative positions have no end
        room = longest or whole(config.get("n_positions") or room)
    return spec.replace(input=_input(folder, config, spec, min(room, longest or room)))


def _marian(kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    shared = config.get("share_encoder_decoder_embeddings") is not False
    vocabulary = whole(config.get("vocab_size", 58101))
    targets = whole(config.get("decoder_vocab_size") or vocabulary)
    if shared and targets != vocabulary:
        raise SpecError(f"config.json says decoder_vocab_size: {targets}, and its tables are shared: {vocabulary}")
    heads, mlp_dims = (
        (whole(config.get(f"encoder_{name}", usual)), whole(config.get(f"decoder_{name}", usual)))
        for name, usual in (("attention_heads", 16), ("ffn_dim", 4096))
    )
    spec = fetch(registry.SIZED["marian"])(
        kind,
        vocabulary=vocabulary,
        target_vocabulary=0 if shared else targets,
        dim=whole(config.get("d_model", 1024)),
        layers=(depth_of(config.get("encoder_layers", 12)), depth_of(config.get("decoder_layers", 12))),
        heads=heads,
        mlp_dims=mlp_dims,
        length=whole(config.get("max_position_embeddings", 1024)),
        activation=activation_of(config.get("activation_function", "gelu")),
        scaled=bool(config.get("scale_embedding")),
    )
    if "lm_head.weight" not in shapes:
        if config.get("tie_word_embeddings") is False:
            raise SpecError("config.json says tie_word_embeddings: false, but lm_head.weight is missing")
        return spec
    return spec if _only_table(shapes) else spec.edit("head", tied="")


def _t5(kind: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    layers = depth_of(config.get("num_layers", 6))
    decoder = config.get("num_decoder_layers")
    tied = config.get("tie_word_embeddings") is not False
    said = config.get("scale_decoder_outputs")  # of transformers 5; before, only heads of their own had no scale
    activation, gated = _feed_forward(config.get("feed_forward_proj", "relu"))
    if config.get("dense_act_fn") is not None:  # where it is said apart, it counts
        activation = activation_of(config["dense_act_fn"])
    if config.get("is_gated_act") is not None:
        gated = switch(config, "is_gated_act", "config.json")
    return fetch(registry.SIZED["t5"])(  # type: ignore[no-any-return]
        kind,
        vocabulary=whole(config.get("vocab_size", 32128)),
        dim=whole(config.get("d_model", 512)),
        layers=(layers, layers if decoder is None else depth_of(decoder)),
        heads=whole(config.get("num_heads", 8)),
        head_dim=whole(config.get("d_kv", 64)),
        mlp_dim=whole(config.get("d_ff", 2048)),
        activation=activation,
        gated=gated,
        tied="lm_head.weight" not in shapes or _only_table(shapes),
        scaled=tied if said is None else said,
        eps=number(config, "layer_norm_epsilon", 1e-6),
    )


def _only_table(shapes: Mapping[str, Any]) -> bool:
    """Whether the head's weight is the only table in the file."""
    return not any(name.endswith(("shared.weight", "embed_tokens.weight")) for name in shapes)


def _feed_forward(said: Any) -> tuple[str, bool]:
    """T5's (activation, whether it is gated)."""
    gate, _, activation = str(said).rpartition("-")
    if not isinstance(said, str) or gate not in ("", "gated") or activation not in ACTIVATIONS:
        raise SpecError(
            f"config.json says feed_forward_proj: {short(said)}, and the zoo has relu, gelu, gated-gelu ..."
        )
    return ("gelu_tanh" if said == "gated-gelu" else activation_of(activation)), bool(gate)


def _input(folder: Path, config: Mapping[str, Any], spec: ModelSpec, length: int) -> TextInput:
    said = read_settings(folder / GENERATES)
    GENERATION_OF_TARGETS.check(said)
    if not said:
        GENERATION_OF_TARGETS.check({key: value for key, value in config.items() if key in _RISKY})
    found = {key: said.get(key) for key in _GENERATION} if said else {}
    found |= {key: config.get(key) for key in _GENERATION if found.get(key) is None and (key in _TOKENS or not said)}
    ends = found["eos_token_id"]
    ends = tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)
    if (start := found["decoder_start_token_id"]) is None:
        raise SpecError("config.json says no decoder_start_token_id, the token that targets start with")
    return TextInput(
        spec.texts.vocabulary,
        length,
        padding=_token(found["pad_token_id"], "pad_token_id", 0),
        ends=ends,
        start=_token(start, "decoder_start_token_id", 0),
        target_vocabulary=spec.texts.target_vocabulary,
        first=_token(found["forced_bos_token_id"], "forced_bos_token_id", -1),
        last=_token(found["forced_eos_token_id"], "forced_eos_token_id", -1),
        banned=tuple(token for token in _banned(found["bad_words_ids"]) if token not in ends),
        renormalized=switch(found, "renormalize_logits", GENERATES),
    )


_TOKENS = ("eos_token_id", "pad_token_id", "decoder_start_token_id")
_RISKY = ("repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "suppress_tokens",
          "begin_suppress_tokens", "exponential_decay_length_penalty", "diversity_penalty", "do_sample")  # fmt: skip


def _token(value: Any, key: str, usual: int) -> int:
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if value is None:
        return usual
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SpecError(f"its settings say {key}: {short(value)}, which is no token")
    return value


def _banned(words: Any) -> list[int]:
    """The tokens of `bad_words_ids`; raises SpecError for words of several tokens."""
    if words is None:
        return []
    if not isinstance(words, list) or not all(isinstance(word, list) and len(word) == 1 for word in words):
        raise SpecError(f"its settings say bad_words_ids: {short(words)}, and the zoo knows words of one token")
    return [_token(word[0], "bad_words_ids", 0) for word in words]
