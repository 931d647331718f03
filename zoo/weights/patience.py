"""Bound each wait that the Hub asks for; huggingface_hub would sleep for any time that an answer asks for."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

LONGEST = 120  # seconds, for one wait


class AsksToWait(Exception):
    """An answer asks for a wait of more than `LONGEST` seconds."""

    def __init__(self, seconds: int, status: int) -> None:
        super().__init__(f"it asks to wait {seconds:,} seconds ({status}), and nobody waits more than {LONGEST} here")


@contextmanager
def patient() -> Iterator[None]:
    """While open, raise AsksToWait instead of sleeping for more than `LONGEST` seconds in this thread."""
    from huggingface_hub import get_session

    thread = threading.get_ident()

    def look(response: Any) -> None:
        busy = response.status_code == 429 or response.status_code >= 500
        if busy and threading.get_ident() == thread and (seconds := asked(response.headers)) > LONGEST:
            raise AsksToWait(seconds, response.status_code)

    hooks = get_session().event_hooks.setdefault("response", [])
    hooks.append(look)
    try:
        yield
    finally:
        with suppress(ValueError):
            hooks.remove(look)


def asked(headers: Mapping[str, str]) -> int:
    """Seconds to wait: Retry-After, or the rest of a rate limit's window; 0 if the answer asks for no wait."""
    after = headers.get("retry-after", "").strip()
    window = re.search(r"\bt=(\d{1,9})\b", headers.get("ratelimit", ""))
    return max(int(after) if re.fullmatch(r"\d{1,9}", after) else 0, int(window[1]) if window else 0)
