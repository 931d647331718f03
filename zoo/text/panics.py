"""Find what the tokenizers package would panic or abort of: in the JSON, before it is opened."""

from __future__ import annotations

from typing import Any

from zoo.printable import printable
from zoo.text.charsmap import longest_replacement
from zoo.text.growth import objects
from zoo.text.patterns import read_pattern


def check_parts(tokenizer: Any) -> None:
    """Raise ValueError for a part that the package cannot open or use. `tokenizer`: the object of a tokenizer.json."""
    for one in objects(tokenizer):
        kind = one.get("type")
        if kind == "Precompiled" and isinstance(charsmap := one.get("precompiled_charsmap"), str):
            longest_replacement(charsmap)
        elif kind == "FixedLength" and one.get("length") == 0:
            raise ValueError("its FixedLength cuts a text into parts of no characters")
        elif kind == "TemplateProcessing":
            _check_template(one)
        elif kind == "BPE" or ("merges" in one and "vocab" in one):
            _check_merges(one)


def may_panic(tokenizer: Any) -> bool:
    """Whether some text or tokens may make the package panic: of an expression without end, or a cut behind the end."""
    return any(
        (isinstance(text := one.get("Regex"), str) and read_pattern(text).runaway)
        or (one.get("type") == "Strip" and bool(one.get("stop")))
        for one in objects(tokenizer)
    )


def _check_template(part: dict[str, Any]) -> None:
    known = part.get("special_tokens")
    for name, takes in (("single", ("A",)), ("pair", ("A", "B"))):
        pieces = part.get(name)
        for piece in pieces if isinstance(pieces, list) else ():
            mark, text = (piece.get(key) if isinstance(piece, dict) else None for key in ("SpecialToken", "Sequence"))
            if isinstance(text, dict) and text.get("id") not in takes:
                raise ValueError(f"its template for a {name} text names the text {printable(repr(text.get('id')), 40)}")
            if isinstance(mark, dict) and isinstance(known, dict) and str(mark.get("id")) not in known:
                raise ValueError(f"its template names {printable(repr(mark.get('id')), 80)}, which is no special token")


def _check_merges(part: dict[str, Any]) -> None:
    """The package cuts the prefix off the second half of each merge, in bytes."""
    prefix, merges = part.get("continuing_subword_prefix"), part.get("merges")
    if not isinstance(prefix, str) or not prefix or not isinstance(merges, list):
        return
    length = len(prefix.encode(errors="replace"))
    for merge in merges:
        halves = merge.split(" ") if isinstance(merge, str) else merge
        second = halves[1] if isinstance(halves, list) and len(halves) == 2 else None
        if isinstance(second, str) and not second.startswith(prefix):
            data = second.encode(errors="replace")
            if len(data) < length or (len(data) > length and data[length] & 0xC0 == 0x80):
                raise ValueError(f"its merge {printable(repr(merge), 80)} lacks the prefix {printable(prefix, 40)!r}")
