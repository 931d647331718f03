"""How much longer a tokenizer can make a text: found in its JSON, before a text is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zoo.text.charsmap import longest_replacement
from zoo.text.patterns import read_pattern

MOST = 1000.0  # characters or tokens out of one, or tokens around a text; tokenizers of real networks have below 700
# The most characters that one becomes. U+FDFA is 18 letters, a character has up to 4 bytes, and BERT's normalizer puts
# blanks around a Chinese character, takes an accented one apart, and lowers it.
_FORMS = {"NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18, "Lowercase": 2, "ByteLevel": 4, "BertNormalizer": 4}


def growth(tokenizer: Any) -> float:
    """The most characters or tokens that one of a text becomes, or the tokens around a text, if those are more.

    `tokenizer` is the object of a tokenizer.json. A later part of the tokenizer reads what an earlier one wrote, so
    their factors multiply. What goes back from tokens to text counts by itself. Raises ValueError for a table of
    characters that is none.
    """
    if not isinstance(tokenizer, dict):
        return 1.0
    repeats, around = _templates(tokenizer.get("post_processor"))
    there = _factor([tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer"), tokenizer.get("model")]) * repeats
    return max(there, around, _factor(tokenizer.get("decoder")))


def _factor(part: Any) -> float:
    if isinstance(part, list):
        total = 1.0
        for one in part:
            total = min(total * _factor(one), MOST * MOST)
        return total
    if not isinstance(part, dict):
        return 1.0
    kind = part.get("type")
    own: float = _FORMS.get(kind, 1) if isinstance(kind, str) else 1
    inner = [value for key, value in part.items() if key in ("normalizers", "pretokenizers", "decoders")]
    if kind == "Replace" and isinstance(part.get("content"), str):
        own = _replaced(part.get("pattern"), len(part["content"]))
    if kind == "Precompiled" and isinstance(part.get("precompiled_charsmap"), str):
        own = longest_replacement(part["precompiled_charsmap"])
    # What stands before each part of a text (a part may be one character), and before or behind each piece of a word.
    for key in ("prepend", "continuing_subword_prefix", "end_of_word_suffix"):
        own *= 1 + len(part[key]) if isinstance(part.get(key), str) else 1
    return own * _factor(inner)


def _replaced(pattern: Any, length: int) -> float:
    """The same of a replacement by `length` characters."""
    text, expression = (pattern.get(kind) if isinstance(pattern, dict) else None for kind in ("String", "Regex"))
    if text == "" or (isinstance(expression, str) and read_pattern(expression).empty):
        return 1.0 + 2 * length  # at both ends of a character, which stays
    return max(1.0, length / len(text) if isinstance(text, str) else length)


def _templates(behind: Any) -> tuple[float, float]:
    """How often templates repeat a text, and how many tokens they put around it."""
    repeats = around = 1.0
    for one in objects(behind):
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


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in a part of the JSON, but for what a vocabulary holds."""
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += [value for key, value in one.items() if key not in ("vocab", "merges")]
        elif isinstance(one, list):
            waiting += one
