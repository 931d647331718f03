"""Read a model of SentencePiece (Kudo and Richardson, 2018), a protobuf message, without its package. No torch."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.spec import SpecError

MAX_BYTES = 48 * 1024 * 1024
MAX_PIECES = 1_000_000
NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # types of pieces
UNIGRAM = 1  # a type of models
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"  # stands for a blank in pieces
_NOWHERE = "\N{NO-BREAK SPACE}\uffff"  # in no text: blanks of this kind become others


@dataclass(frozen=True)
class Pieces:
    """A vocabulary: (text, score, type) of each piece, and how a text is prepared for it."""

    pieces: tuple[tuple[str, float, int], ...]
    charsmap: bytes
    prefix: bool  # whether a blank goes before a text
    squeezes: bool  # whether blanks at the ends go, and several become one


def read_pieces(file: Path) -> Pieces:
    """The vocabulary in a file; raises SpecError for what is none, or one of another kind than unigram."""
    if file.stat().st_size > MAX_BYTES:
        raise SpecError(f"{file.name} is larger than {MAX_BYTES:,} bytes")
    try:
        return _pieces(file.name, file.read_bytes())
    except (IndexError, struct.error, UnicodeDecodeError, TypeError):
        raise SpecError(f"{file.name} is no model of SentencePiece") from None


def unigram(file: str, found: Pieces, *, whole: bool) -> dict[str, Any]:
    """The normalizer, pre-tokenizer, model and decoder of a tokenizer.json with these pieces.

    `whole`: every piece keeps its number. Else only those that a text can have are there, and the unknown one.
    """
    kept = [piece for piece in found.pieces if whole or piece[2] == NORMAL]
    if odd := next((piece for piece in found.pieces if piece[2] not in (NORMAL, UNKNOWN, CONTROL)), None):
        raise SpecError(f"{file} has the piece {odd[0][:40]!r} of type {odd[2]}, and the zoo knows types 1, 2 and 3")
    if whole:
        unknown = next((place for place, piece in enumerate(kept) if piece[2] == UNKNOWN), None)
        if unknown is None:
            raise SpecError(f"{file} has no piece for unknown characters")
    else:
        unknown, kept = 0, [(_NOWHERE, 0.0, UNKNOWN), *kept]
    steps: list[dict[str, Any]] = []
    if found.charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(found.charsmap).decode("ascii")})
    if found.squeezes:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    marks = {"type": "Metaspace", "replacement": BLANK, "prepend_scheme": "always" if found.prefix else "never"}
    marks["split"] = not any(BLANK in text[1:] for text, _, _ in kept)  # type: ignore[assignment]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": marks,
        "decoder": marks,
        "model": {"type": "Unigram", "unk_id": unknown, "byte_fallback": False,
                  "vocab": [[text, score] for text, score, _ in kept]},
    }  # fmt: skip


def _pieces(file: str, data: bytes) -> Pieces:
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(data):
        if number == 1:
            one = dict(_fields(value))
            pieces.append((one[1].decode(), struct.unpack("<f", one.get(2, b"\0\0\0\0"))[0], one.get(3, NORMAL)))
            if len(pieces) > MAX_PIECES:
                raise SpecError(f"{file} has more than {MAX_PIECES:,} pieces")
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    if not pieces or not all(score == score and abs(score) < 1e30 for _, score, _ in pieces):
        raise SpecError(f"{file} is no model of SentencePiece")
    for number, wanted, what in ((3, UNIGRAM, "model_type"), (35, 0, "byte_fallback"), (24, 0, "suffixes")):
        if trainer.get(number, wanted) != wanted:
            raise SpecError(f"{file} says {what}: {trainer[number]}, and the zoo reads unigram models alone")
    if not normalizer.get(5, 1) or normalizer.get(6):
        raise SpecError(f"{file} has a normalizer that the zoo has not")
    return Pieces(tuple(pieces), normalizer.get(2, b""), bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message: a whole number, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise IndexError(wire)
        if at + size > len(data):
            raise IndexError(size)
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise IndexError(at)
