"""A tokenizer of two models of SentencePiece, as Marian has: pieces of a text by the one of its side, and their numbers
in a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.text.native import TextError

KIND = "zoo.pieces"
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
_KEYS = {"type", "special", "source", "words"}


@dataclass(frozen=True)
class Encoded:
    """The tokens of one text."""

    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def attention_mask(self) -> list[int]:
        return [1] * len(self.ids)

    @property
    def type_ids(self) -> list[int]:
        return [0] * len(self.ids)


class Pieces:
    """The methods of the tokenizers package's class that the zoo uses, with `target` for texts of the other side."""

    def __init__(self, found: Mapping[str, Any], opened: Any) -> None:
        """`opened` makes the package's tokenizer of a tokenizer.json's object."""
        _check(found)
        self._source, self._words = opened(found["source"]), found["words"]
        self._target = opened(found["target"]) if "target" in found else self._source
        self._target_words = found.get("target_words", self._words)
        special = found["special"]
        self._unknown, self._end = special["unk_token"], special["eos_token"]
        self._special = frozenset(self._target_words[word] for word in special.values())
        self._pieces = {number: word for word, number in self._target_words.items()}

    def no_padding(self) -> None:
        """Texts are never padded here."""

    def no_truncation(self) -> None:
        """Texts are never cut here."""

    def get_vocab_size(self) -> int:
        return max(self._words.values(), default=-1) + 1

    def encode_batch(self, texts: Sequence[Any], *, target: bool = False) -> list[Encoded]:
        if any(not isinstance(text, str) for text in texts):
            raise TextError("This tokenizer reads one text at a time, no pairs.")
        codes, rest = zip(*(_code(text) for text in texts), strict=True)
        words = self._target_words if target else self._words
        found = (self._target if target else self._source).encode_batch(list(rest), add_special_tokens=False)
        unknown, end = words[self._unknown], words[self._end]
        return [
            Encoded([*(words.get(piece, unknown) for piece in (*code, *one.tokens)), end])
            for code, one in zip(codes, found, strict=True)
        ]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        kept = (one for one in ids if not (skip_special_tokens and one in self._special))
        return "".join(self._pieces.get(one, "") for one in kept).replace(BLANK, " ").strip()


def _code(text: str) -> tuple[list[str], str]:
    """The code of a language in front of a text, such as >>fra<<, which is one token; and the rest."""
    end = text.find("<<") if text.startswith(">>") else -1
    return ([text[: end + 2]], text[end + 2 :]) if end >= 0 else ([], text)


def _check(found: Mapping[str, Any]) -> None:
    """Raise ValueError for what is no such tokenizer."""
    special = found.get("special")
    names = {"unk_token", "eos_token", "pad_token"}
    if set(found) - {"target", "target_words"} != _KEYS or not isinstance(special, dict) or set(special) != names:
        raise ValueError(f"a tokenizer of type {KIND} has {sorted(_KEYS)}, and tokens {sorted(names)}")
    for key in ("words", "target_words"):
        words = found.get(key, {})
        proper = isinstance(words, dict) and all(type(one) is int and 0 <= one < 2**31 for one in words.values())
        if not proper or (key in found and not all(word in words for word in special.values())):
            raise ValueError(f"its {key} are no pieces with their numbers")
