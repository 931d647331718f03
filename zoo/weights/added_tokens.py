"""The tokens that a folder of transformers adds to its vocabulary, in files beside it. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.spec import SpecError
from zoo.weights.settings import read_settings, short

SETTINGS, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_DECODER, _EXTRA, _OLD_EXTRA = "added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"

Token = dict[str, Any]


def merged(folder: Path) -> dict[str, Any]:
    """The settings of tokenizer_config.json, with those of special_tokens_map.json where transformers reads that file.

    transformers reads special_tokens_map.json unless tokenizer_config.json has `added_tokens_decoder`.
    """
    settings = read_settings(folder / SETTINGS)
    if not settings.get(_EXTRA) and settings.get(_OLD_EXTRA) is not None:
        settings[_EXTRA] = settings[_OLD_EXTRA]
    if _DECODER in settings:
        return settings
    for key, value in read_settings(folder / SPECIAL).items():
        if key == _EXTRA and isinstance(value, list):
            value = [*(settings.get(_EXTRA) or []), *value]
        elif key == _OLD_EXTRA and _EXTRA not in settings:
            key = _EXTRA
        settings[key] = {**value, "special": True} if isinstance(value, dict) and "content" in value else value
    return settings


def add_tokens(
    found: dict[str, Any], settings: Mapping[str, Any], usual: Mapping[str, str], folder: Path, room: int
) -> None:
    """Add to `found`, the object of a tokenizer.json, every token that the settings and added_tokens.json name.

    `usual`: the special tokens of the tokenizer's class. One that is in no file is added if its number is below `room`,
    the size of the network's vocabulary. Raises SpecError for a token with another number than its file says, and for
    what is no token.
    """
    tokens = _Tokens.of(found)
    for number, token, file in _numbered(settings, folder):
        tokens.add(token)
        if (got := tokens.known[token["content"]]["id"]) != number:
            raise SpecError(f"{file} gives {short(token['content'])} the number {short(number)}, and it has {got}")
    for key in NAMED:
        if (value := settings.get(key, usual.get(key))) is not None:
            token = {**_token(value, key), "special": True}
            if key in settings or tokens.next(token["content"]) < room:
                tokens.add_new(token)
    for key, value in _extra(settings):
        tokens.add_new(_token(value, key))
    found["added_tokens"] = sorted(tokens.known.values(), key=lambda token: int(token["id"]))


def content(value: Any) -> str:
    """The text of a special token, which is written as its text or as an object that has it; empty for null."""
    return str((value.get("content") if isinstance(value, Mapping) else value) or "")


def _numbered(settings: Mapping[str, Any], folder: Path) -> Iterator[tuple[Any, Token, str]]:
    """Each token that comes with a number, in the order of these, and the file that says so."""
    decoder = settings.get(_DECODER)
    if decoder is not None:
        if not isinstance(decoder, Mapping) or not all(str(key).isdecimal() for key in decoder):
            raise SpecError(f"{SETTINGS} says {_DECODER}: {short(decoder)}, which is no object of numbers and tokens")
        for key in sorted(decoder, key=int):
            yield int(key), _token(decoder[key], _DECODER), SETTINGS
        return
    numbers = read_settings(folder / ADDED)
    if odd := [number for number in numbers.values() if not isinstance(number, int) or isinstance(number, bool)]:
        raise SpecError(f"{ADDED} gives the number {short(odd[0])}, which is no whole number")
    special = {content(settings.get(key)) for key in NAMED} | {content(value) for _, value in _extra(settings)}
    for word in sorted(numbers, key=numbers.__getitem__):
        yield numbers[word], _token({"content": word, "special": word in special}, ADDED), ADDED


def _extra(settings: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Each special token that has no part in transformers' classes, and the key that names it."""
    for key, value in settings.items():
        if key.endswith("_token") and key not in NAMED and isinstance(value, (str, Mapping)):
            yield key, value
    extra = settings.get(_EXTRA) or []
    if isinstance(extra, Mapping):
        extra = list(extra.values())
    if not isinstance(extra, list):
        raise SpecError(f"{SETTINGS} says {_EXTRA}: {short(extra)}, which is no list of tokens")
    yield from ((_EXTRA, token) for token in extra)


def _token(value: Any, key: str) -> Token:
    """What a tokenizer.json says of a token, but for its number. A text alone is a special token."""
    said = {"content": value, "special": True} if isinstance(value, str) else value
    if not isinstance(said, Mapping) or not isinstance(said.get("content"), str) or not said["content"]:
        raise SpecError(f"{key} names the token {short(value)}, and a token is a text, or an object that has it")
    flags = {name: flag for name, flag in said.items() if name not in ("content", "__type")}
    for name, flag in flags.items():
        if name not in _FLAGS or not isinstance(flag, bool):
            raise SpecError(f"{key} says {name}: {short(flag)} of the token {short(said['content'])}")
    usual = {**dict.fromkeys(_FLAGS, False), "normalized": not flags.get("special", False)}
    return {"content": said["content"], **usual, **flags}


class _Tokens:
    """The tokens of a tokenizer by their texts, numbered as the tokenizers package numbers them."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self.known: dict[str, Token] = {}
        self._words, self._behind = words, len(words)

    @staticmethod
    def of(found: Mapping[str, Any]) -> _Tokens:
        words = found["model"]["vocab"]
        if not isinstance(words, dict):  # a list of words with their scores
            words = {str(word[0]): number for number, word in enumerate(words)}
        tokens = _Tokens(words)
        for token in found.get("added_tokens") or []:
            tokens.add(token)
        return tokens

    def next(self, word: str) -> int:
        """The number that a token has in the vocabulary, else the one behind all others."""
        return self._words.get(word, self._behind)

    def add_new(self, token: Token) -> None:
        """Take a token in, unless one with its text is known."""
        if token["content"] not in self.known:
            self.add(token)

    def add(self, token: Token) -> None:
        """Take a token in; of two with the same text the second counts, under the number of the first."""
        old = self.known.get(token["content"], token)
        number = old.get("id", self.next(token["content"]))
        self.known[token["content"]] = {**token, "id": number}
        self._behind = max(self._behind, number + 1)
