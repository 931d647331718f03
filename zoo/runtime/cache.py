"""Exports kept on disk, under a key made of spec and weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from zoo.blocks.int8.arithmetic import Size, undisturbed
from zoo.build import Model
from zoo.runtime.executorch import write_program
from zoo.runtime.onnx import write_onnx
from zoo.weights.header import FileError
from zoo.weights.lock import locked

VERSION = 1  # of the export: another one makes everything anew


Report = Callable[[str], None]  # told of each step that takes long


def silent(step: str) -> None:
    """Say nothing."""


def model_key(model: Model) -> str:
    """What the answers follow from: the spec, the weights, and the version of the export."""
    digest = hashlib.sha256(f"{VERSION} {model.spec.dumps()}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    from zoo.weights.hub import cache_folder

    return cache_folder("runtime") if cache_dir is None else Path(cache_dir) / "zoo" / "runtime"


def exported_file(
    model: Model,
    key: str,
    size: Size,
    cache_dir: str | os.PathLike[str] | None,
    report: Report = silent,
    *,
    runtime: str = "openvino",
) -> Path:
    """What `runtime` reads of the model for pictures of `size`, () for texts of any, made where it is not there yet."""
    suffix, write = (".pte", write_program) if runtime == "executorch" else (".onnx", write_onnx)
    at = "x".join(map(str, size))
    file = folder(cache_dir) / f"{model.spec.name}-{key}{at and '-'}{at}{suffix}"
    if not file.exists():
        with locked(file):
            if not file.exists():
                report(f"exporting {model.spec.name}{f' at {at}' if at else ''}, once")
                with written_whole(file) as part, undisturbed():
                    write(model, part, size)
    return file


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """A temporary name beside `file`, which takes its place when all went well."""
    part = file.with_name(f".{file.stem}-{os.getpid()}{file.suffix}")
    try:
        yield part
        os.replace(part, file)
    except OSError as error:
        raise FileError(f"{file}: cannot be written: {error.strerror or error}.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
