"""Exports kept on disk, under a key made of spec and weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from zoo.engine.arithmetic import Size, undisturbed
from zoo.files import FileError, cache_folder, cached, file_name
from zoo.model.build import Model
from zoo.printable import printable
from zoo.runtime import find
from zoo.runtime.settle import seen_in_sums

VERSION = 4  # of the export: another one makes everything anew

T = TypeVar("T")

Report = Callable[[str], None]  # told of each step that takes long


def silent(step: str) -> None:
    """Say nothing."""


def model_key(model: Model) -> str:
    """What the answers follow from: the spec, the weights, ranges that only exports use, and the export's version."""
    digest = hashlib.sha256(f"{VERSION} {model.spec.dumps()}".encode())
    digest.update(repr(sorted(seen_in_sums(model).items())).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    return cache_folder("runtime", cache_dir)


def exported_file(
    model: Model, key: str, size: Size, cache_dir: str | os.PathLike[str] | None, *, runtime: str
) -> Path:
    """Where `exported` keeps its file."""
    at = "x".join(map(str, size))
    return folder(cache_dir) / f"{file_name(model.spec.name)}-{key}{at and '-'}{at}{find(runtime).suffix}"


def exported(
    model: Model,
    key: str,
    size: Size,
    cache_dir: str | os.PathLike[str] | None,
    read: Callable[[Path], T],
    report: Report = silent,
    *,
    runtime: str,
) -> T:
    """What `read` makes of the file that `runtime` reads of the model, for pictures of `size`, () for texts of any.

    The file is made where it is not there yet, or not whole. `key` is the model's; raises FileError where the weights
    change while they are exported.
    """
    at, write = "x".join(map(str, size)), find(runtime).fetch("write")
    file = exported_file(model, key, size, cache_dir, runtime=runtime)

    def make(part: Path) -> None:
        report(f"exporting {printable(model.spec.name)}{f' at {at}' if at else ''}, once")
        with undisturbed():
            write(model, part, size)
        if model_key(model) != key:
            raise FileError(f"The weights of {model.spec.name} changed while they were exported: call again.")

    return cached(file, make, read)
