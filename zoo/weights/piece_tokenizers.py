"""Make tokenizers of SentencePiece's models: those of Marian, two models with one vocabulary, and of T5. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.spec import SpecError
from zoo.weights import json_text
from zoo.weights.added_tokens import SETTINGS, content
from zoo.weights.sentencepiece import read_pieces, unigram
from zoo.weights.settings import short, switch
from zoo.weights.vocabularies import MAX_TOKENIZER

SOURCE, TARGET, WORDS, TARGET_WORDS = "source.spm", "target.spm", "vocab.json", "target_vocab.json"
PIECES = "spiece.model"
BESIDE = (SOURCE, TARGET, TARGET_WORDS, PIECES)  # vocab.json is read of other networks too
KIND = "zoo.pieces"  # the type of a tokenizer of two models
_SPECIAL = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
_EXTRA = 100  # tokens of T5 that stand for what was cut out of a text


def made_of_pieces(folder: Path, kind: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tokenizer of a Marian's or a T5's folder without tokenizer.json; None if there is none."""
    if kind == "t5":
        return _of_t5(folder, settings) if (folder / PIECES).is_file() else None
    if not all((folder / name).is_file() for name in (SOURCE, WORDS)):
        return None
    if settings.get("sp_model_kwargs") not in (None, {}):
        raise SpecError(f"{SETTINGS} says sp_model_kwargs: {short(settings['sp_model_kwargs'])}, and the zoo has none")
    apart = switch(settings, "separate_vocabs", SETTINGS)
    source, target = folder / SOURCE, folder / TARGET
    special = {key: content(settings.get(key)) or word for key, word in _SPECIAL.items()}
    found = {"type": KIND, "special": special, "source": _bare(source), "words": _words(folder / WORDS, special)}
    if target.is_file() and target.read_bytes() != source.read_bytes():
        found["target"] = _bare(target)
    if apart:
        if not (folder / TARGET_WORDS).is_file():
            raise SpecError(f"{SETTINGS} says separate_vocabs: true, and {TARGET_WORDS} is missing")
        found["target_words"] = _words(folder / TARGET_WORDS, special)
    return found


def _bare(file: Path) -> dict[str, Any]:
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "post_processor": None,
            **unigram(file.name, read_pieces(file), whole=False)}  # fmt: skip


def _words(file: Path, special: Mapping[str, str]) -> dict[str, int]:
    words = json_text.read_json(file, MAX_TOKENIZER)
    proper = isinstance(words, dict) and all(isinstance(at, int) and at >= 0 for at in words.values())
    if not proper or len(set(words.values())) != len(words):
        raise SpecError(f"{file.name} is no vocabulary: an object of pieces and their numbers")
    if missing := [word for word in special.values() if word not in words]:
        raise SpecError(f"{file.name} has no {short(missing[0])}, so it is not the vocabulary of such a network")
    return words


def _of_t5(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """T5's: the pieces of its model, then `extra_ids` tokens, the last one first."""
    found = unigram(PIECES, read_pieces(folder / PIECES), whole=True)
    extra = settings.get("extra_ids", _EXTRA)
    if not isinstance(extra, int) or isinstance(extra, bool) or not 0 <= extra <= 1000:
        raise SpecError(f"{SETTINGS} says extra_ids: {short(extra)}, which is no number of tokens")
    vocab = found["model"]["vocab"]
    vocab += [[f"<extra_id_{place}>", 0.0] for place in reversed(range(extra))]
    words = {text: place for place, (text, _) in enumerate(vocab)}
    special = {key: content(settings.get(key)) or word for key, word in _SPECIAL.items()}
    if missing := [word for word in special.values() if word not in words]:
        raise SpecError(f"{PIECES} has no {short(missing[0])}, so it is not the vocabulary of a T5")
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    marked = sorted({words[word] for word in special.values()} | set(range(len(vocab) - extra, len(vocab))))
    end = special["eos_token"]
    single: list[dict[str, Any]] = [{"Sequence": {"id": "A", "type_id": 0}}]
    single.append({"SpecialToken": {"id": end, "type_id": 0}})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": place, "content": vocab[place][0], **usual} for place in marked],
        **found,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}, single[1]],
            "special_tokens": {end: {"id": end, "ids": [words[end]], "tokens": [end]}},
        },
    }


def compact(found: Mapping[str, Any]) -> str:
    """The text of a tokenizer."""
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def check_tokenizer(text: object) -> None:
    """Raise ValueError for what is no text of a tokenizer; an empty text stands for none."""
    if not isinstance(text, str):
        raise ValueError(f"model.tokenizer is the text of a tokenizer.json, a string, not {type(text).__name__}.")
    try:
        proper = not text or isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        proper = False
    if not proper:
        raise ValueError("model.tokenizer is not the text of a tokenizer.json: it is no JSON object.")


def is_tokenizer_json(text: str) -> bool:
    """Whether a network's tokenizer is one that other libraries read as tokenizer.json."""
    return bool(text) and not text.startswith(f'{{"type":"{KIND}"')
