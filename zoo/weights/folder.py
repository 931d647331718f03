"""Find the file of a folder that holds the weights."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.files import FileError, local_path
from zoo.printable import one_line
from zoo.weights.container import CONFIG, INDEX, PICKLES, WEIGHTS


def find_file(source: str | os.PathLike[str]) -> Path:
    """The file with the weights: `source` itself or a file of the folder; raises FileError that lists the files."""
    source = local_path(source)
    try:
        if source.is_file():
            return source
        if not source.is_dir():
            raise FileError(
                f"{source}: no such file or folder. Give what zoo.save wrote; zoo.create makes a model by its name."
            )
        for name in (WEIGHTS, INDEX):
            if (source / name).is_file():
                return source / name
        names = sorted(entry.name for entry in source.iterdir() if entry.is_file())
    except OSError as error:
        raise FileError(f"{source}: cannot be read: {error.strerror}.") from None
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        raise FileError(f"{source}: has no {WEIGHTS}, but {others}; load one of these files by its own path.")
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        those = one_line(", ".join(pickles))
        told = CONFIG in names and any(name.startswith("pytorch_model") for name in pickles)
        if told:
            raise FileError(
                f"{source}: holds only pickles ({those}), which can run code when they are opened, so they are "
                "refused. Ask for safetensors files, or read the tensors alone: "
                f"zoo.save(zoo.weights.convert.convert({str(source)!r}), FOLDER), or the command convert with --out."
            )
        raise FileError(
            f"{source}: holds only pickles ({those}), which can run code when they are opened, so they "
            "are refused. Ask for a safetensors file, or read the tensors alone: "
            f"`zoo convert {source / pickles[0]} --arch NAME --out FOLDER`."
        )
    raise FileError(f"{source}: has no {WEIGHTS}; it holds {names or 'nothing'}.")
