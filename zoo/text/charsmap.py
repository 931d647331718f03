"""The table by which a sentencepiece tokenizer normalizes characters: `precompiled_charsmap` of a tokenizer.json.

The table is base64 of: the size of a trie in bytes, the trie, and the replacements, UTF-8 that ends with a zero each.
The trie is a double array of Darts: a unit has a label (one byte of a key), an offset to the units behind it, and a
flag where a key ends. The tokenizers package follows offsets wherever they lead: outside of the trie it panics.
"""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

_BLOCK = 0xFF  # units that one byte chooses among
_IS_VALUE = 1 << 31
_ENDS = 1 << 8
_UNREADABLE = "its precompiled_charsmap is no table of characters"


def longest_replacement(charsmap: str) -> int:
    """The most characters that one becomes. Raises ValueError for a table whose trie leads out of it."""
    try:
        data = base64.b64decode(charsmap, validate=True)
    except ValueError:
        raise ValueError(f"{_UNREADABLE}: no base64") from None
    size = int.from_bytes(data[:4], "little")
    if len(data) < 4 or size % 4 or not 4 <= size <= len(data) - 4:
        raise ValueError(f"{_UNREADABLE}: it has {len(data)} bytes")
    units = np.frombuffer(data, "<u4", size // 4, 4)
    text = data[4 + size :]
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{_UNREADABLE}: its replacements are no UTF-8") from None
    starts = _values(units)
    bytes_ = np.frombuffer(text, np.uint8)
    # A replacement starts with a character, or is empty, at the end of the text.
    inside = starts[starts < len(text)]
    if bool((starts > len(text)).any()) or bool(((bytes_[inside] & 0xC0) == 0x80).any()):
        raise ValueError(f"{_UNREADABLE}: a replacement begins outside of its text")
    ends = np.append(np.flatnonzero(bytes_ == 0), len(text))
    before = np.append(0, np.cumsum((bytes_ & 0xC0) != 0x80, dtype=np.int32))  # characters before each byte
    return int((before[ends[np.searchsorted(ends, starts)]] - before[starts]).max(initial=1))


def _values(units: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Where the replacement of each key begins. Every unit is looked at, whether or not a key leads there."""
    place = np.arange(len(units), dtype=np.int32)
    offsets = ((units >> 10) << ((units >> 6) & 8)).astype(np.int32)
    links = (units & _IS_VALUE) == 0
    behind = (place ^ offsets)[links]
    if len(behind) and int((behind | _BLOCK).max()) >= len(units):
        raise ValueError(f"{_UNREADABLE}: its trie leads out of it")
    return (units[behind[(units[links] & _ENDS) != 0]] & (_IS_VALUE - 1)).astype(np.int32)
