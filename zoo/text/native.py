"""Calls into the tokenizers package: each failure is one error, and a panic's report stays off the terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from zoo.printable import PrintableError

_REPORT = re.compile(
    rb"\n?thread '[^\n]*panicked at [^\n]*\n[^\n]*\n(?:stack backtrace:\n(?: +[^\n]*\n)*)?(?:note: [^\n]*\n)?"
)
_sorting = threading.Lock()


class TextError(PrintableError):
    """Something that is no text, or a tokenizer that is missing or no tokenizer."""


@contextmanager
def native(failure: str, *, panics: bool = False) -> Iterator[None]:
    """Raise a TextError for whatever the package raises: a panic in it is no Exception.

    `panics`: the call may panic, so what is written to the standard error output meanwhile follows a little later,
    without the report of the panic. One such call runs at a time.
    """
    try:
        with ExitStack() as stack:
            if panics:
                stack.enter_context(_sorted())
            yield
    except (KeyboardInterrupt, SystemExit, MemoryError, TextError):
        raise
    except BaseException as error:
        raise TextError(f"{failure}: {error}") from None


@contextmanager
def _sorted() -> Iterator[None]:
    """Keep what is written to the standard error output, and write it at the end, without reports of panics."""
    with _sorting, tempfile.TemporaryFile() as kept:
        with suppress(Exception):  # a notebook's may be anything
            sys.stderr.flush()
        try:
            terminal = os.dup(2)
        except OSError:  # closed
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            with suppress(Exception):
                sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            kept.seek(0)
            with suppress(OSError):
                os.write(2, _REPORT.sub(b"", kept.read()))
