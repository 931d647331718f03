"""ExecuTorch: its programs as functions of arrays, and files of them for phones and boards."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo.files import written_whole
from zoo.model.build import Model
from zoo.runtime.alike import Array, check_file
from zoo.runtime.executorch import program_of
from zoo.runtime.facts import facts
from zoo.runtime.needs import need
from zoo.runtime.signature import signature

_lock = threading.Lock()  # a program runs on one thread at a time, and all share the pool


class Program:
    """One picture after the other, on `threads` threads."""

    _all: ClassVar[weakref.WeakSet[Program]] = weakref.WeakSet()

    def __init__(self, file: Path, threads: int) -> None:
        self.threads = threads
        self._contents = file.read_bytes()
        self._loaded: tuple[Any, Any] | None = None
        with _lock:
            self._all.add(self)
            self._load()

    def __call__(self, array: Array) -> tuple[Array, ...]:
        """(B, channels, height, width) to what the program gives, joined along B."""
        with _lock:
            _, method = self._load()
            # Copies: the next call overwrites what this one gave.
            answers = [
                [part.numpy().copy() for part in method.execute([one])] for one in torch.from_numpy(array).split(1)
            ]
        return tuple(np.concatenate(parts) for parts in zip(*answers, strict=True))

    def _load(self) -> tuple[Any, Any]:
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if portable_lib._threadpool_get_thread_count() != self.threads:
            for other in self._all:  # what was loaded keeps the pool that is about to go
                other._loaded = None
            portable_lib._unsafe_reset_threadpool(self.threads)
        if self._loaded is None:
            program = Runtime.get().load_program(self._contents)
            self._loaded = program, program.load_method("forward")
        return self._loaded


def engine(file: Path, shape: Sequence[int] | None, threads: int, *, exact: bool) -> Program:
    """XNNPACK, whose products never saturate."""
    return Program(file, threads)


def export(model: Model, file: Path) -> None:
    need("executorch", extra="executorch")
    from executorch.runtime import Runtime

    with written_whole(file) as part, written_whole(file.with_name(f"{file.name}.json")) as said:
        part.write_bytes(program_of(model, signature(model).example(1)))
        said.write_text(json.dumps(facts(model), indent=2))
        method = Runtime.get().load_program(part).load_method("forward")

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            each = [method.execute([one[None].contiguous() for one in parts]) for parts in zip(*given, strict=True)]
            return tuple(torch.cat([one.clone() for one in same]) for same in zip(*each, strict=True))

        check_file(model, run, "executorch")
