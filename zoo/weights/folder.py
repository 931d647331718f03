"""Which file of a folder holds the weights."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.weights.header import INDEX, PICKLES, WEIGHTS, FileError, one_line


def find_file(source: str | os.PathLike[str]) -> Path:
    """The file that holds the weights, in a folder or the path itself; raises FileError with what is there instead."""
    source = Path(source)
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
        raise FileError(
            f"{source}: holds only pickles ({those}), which can run code when they are opened, so they "
            "are refused. Ask for a safetensors file, or read the tensors alone: "
            f"`zoo convert {source / pickles[0]} --arch NAME --out FOLDER`."
        )
    raise FileError(f"{source}: has no {WEIGHTS}; it holds {names or 'nothing'}.")
