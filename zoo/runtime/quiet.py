"""Exports, one at a time in a process, and without other packages' remarks, which say nothing to whoever calls."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

EXPORTERS = r"(torch|onnx|onnxscript|onnx_ir|executorch|torchao|copyreg|google)\b"  # whose warnings are theirs alone

_exporting = threading.RLock()  # torch's exporters are for one thread at a time


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Warnings of exporters, and all but errors of these loggers, go nowhere; other threads' exports wait.

    What the process prints is left alone: its standard output belongs to every thread.
    """
    with _exporting:
        levels = {name: logging.getLogger(name).level for name in loggers}
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=EXPORTERS)
                yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
