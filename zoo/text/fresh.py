"""A language model with random weights for a table of texts: its tokenizer is learned from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from zoo import kinds, registry, tasks
from zoo.data.raw_texts import raw_texts
from zoo.model.build import Model, build
from zoo.spec import ModelSpec, TextInput
from zoo.text.vocabulary import learned

# style of `learned` -> the fields of a TextInput for its special tokens
SPECIAL_TOKENS: dict[str, dict[str, Any]] = {
    "words": {"padding": 0},
    "bytes": {"padding": 0, "ends": (0,)},
    "translations": {"padding": 1, "ends": (0,), "start": 1, "last": 0, "banned": (1,)},
}


def for_data(
    arch: str,
    data: str | Path,
    *,
    label_column: str | None = None,
    vocabulary: int | None = None,
    max_tokens: int | None = None,
    input_column: Sequence[str] = (),
    like: Model | None = None,
) -> Any:
    """The language model called `arch` for the training part of `data`.

    Its tokenizer is that of `like`, else one of up to `vocabulary` tokens that is learned from the data, by default as
    many as the architecture has. With `max_tokens` it has positions for so many tokens alone.
    """
    usual = registry.spec(arch)
    if like is not None:
        spec = with_vocabulary(usual, like.spec.texts.vocabulary, max_tokens or like.spec.texts.length)
        own = {f.name: getattr(like.spec.texts, f.name) for f in fields(spec.texts)}
        given = replace(like.spec.texts, **{**own, "length": spec.texts.length})
        tokenizer = like.tokenizer
    else:
        style = style_of(usual)
        columns = (*input_column, *([label_column] if label_column and style == "translations" else []))
        files = usual.input.tables + tasks.of(usual).files
        texts = raw_texts(data, files, columns, translations=style == "translations")
        tokenizer = learned(texts, vocabulary or usual.texts.vocabulary, style)
        spec = with_vocabulary(usual, size_of(str(tokenizer)), max_tokens)
        given = replace(spec.texts, **SPECIAL_TOKENS[style])
    model = build(kinds.check(spec.replace(input=given)))
    model.tokenizer = tokenizer
    return model


def style_of(spec: ModelSpec) -> str:
    """What tokens such a network learns: a style of `zoo.text.vocabulary.learned`."""
    if spec.texts.translates:
        return "translations"
    return "bytes" if tasks.of(spec).continues else "words"


def with_vocabulary(spec: ModelSpec, vocabulary: int, max_tokens: int | None = None) -> ModelSpec:
    """The spec for another number of tokens, and with positions for `max_tokens`, where it has learned ones."""
    before, length = spec.texts.vocabulary, min(max_tokens or spec.texts.length, spec.texts.length)
    rows = []
    for row in spec:
        changes = {name: vocabulary for name in ("vocabulary", "outputs") if row.args.get(name) == before}
        if row.args.get("max_positions"):
            changes["max_positions"] = length + row.args.get("padding_id", -1) + 1
        rows.append(row.replace(**changes))
    given = TextInput(vocabulary, length, start=0 if spec.texts.translates else -1)
    return spec.replace(rows=tuple(rows), input=given)


def size_of(tokenizer: str) -> int:
    """How many tokens a tokenizer.json has."""
    import tokenizers

    return int(tokenizers.Tokenizer.from_str(tokenizer).get_vocab_size())
