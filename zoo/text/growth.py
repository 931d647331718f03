"""How much longer a tokenizer can make a text: found in its JSON, before a text is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MOST = 1000.0  # characters or tokens out of one, or tokens around a text; tokenizers of real networks have below ten


def growth(tokenizer: str) -> float:
    """The most characters or tokens that one of a text becomes, or the tokens around a text, if those are more.

    A later part of the tokenizer reads what an earlier one wrote, so their factors multiply. What goes back from tokens
    to text counts by itself.
    """
    try:
        found = json.loads(tokenizer)
        if not isinstance(found, dict):
            return 1.0
        repeats, around = _templates(found.get("post_processor"))
        there = _factor([found.get("normalizer"), found.get("pre_tokenizer"), found.get("model")]) * repeats
        return max(there, around, _factor(found.get("decoder")))
    except (ValueError, RecursionError):
        return 1.0  # the package says what is wrong


def _factor(part: Any) -> float:
    if isinstance(part, list):
        total = 1.0
        for one in part:
            total = min(total * _factor(one), MOST * MOST)
        return total
    if not isinstance(part, dict):
        return 1.0
    own, inner = 1.0, [value for key, value in part.items() if key in ("normalizers", "pretokenizers", "decoders")]
    if part.get("type") == "Replace":
        pattern, content = part.get("pattern"), part.get("content")
        text = pattern.get("String") if isinstance(pattern, dict) else None
        shortest = max(1, len(text)) if isinstance(text, str) else 1  # a regular expression may match one character
        own = max(1.0, len(content) / shortest) if isinstance(content, str) else 1.0
    # What stands before each part of a text (a part may be one character), and before or behind each piece of a word.
    for key in ("prepend", "continuing_subword_prefix", "end_of_word_suffix"):
        own *= 1 + len(part[key]) if isinstance(part.get(key), str) else 1
    return own * _factor(inner)


def _templates(behind: Any) -> tuple[float, float]:
    """How often templates repeat a text, and how many tokens they put around it."""
    repeats = around = 1.0
    for one in _objects(behind):
        special = one.get("special_tokens")
        sizes = {
            name: len(mark["ids"])
            for name, mark in (special.items() if isinstance(special, dict) else ())
            if isinstance(mark, dict) and isinstance(mark.get("ids"), list)
        }
        times, tokens = 1, 0
        for template in (one.get("single"), one.get("pair")):
            pieces = [piece for piece in template if isinstance(piece, dict)] if isinstance(template, list) else []
            texts = [str(piece["Sequence"].get("id")) for piece in pieces if isinstance(piece.get("Sequence"), dict)]
            marks = [piece["SpecialToken"] for piece in pieces if isinstance(piece.get("SpecialToken"), dict)]
            times = max(times, *(texts.count(text) for text in ("A", "B")))
            tokens = max(tokens, sum(sizes.get(str(mark.get("id")), 1) for mark in marks))
        repeats, around = min(repeats * times, MOST * MOST), around * times + tokens
    return repeats, around


def _objects(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in a part of the JSON."""
    if isinstance(part, dict):
        yield part
    if isinstance(part, (dict, list)):
        for one in part.values() if isinstance(part, dict) else part:
            yield from _objects(one)
