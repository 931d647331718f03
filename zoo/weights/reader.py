"""`read_header`: the header of a model file of the zoo or of another library. No torch."""

from __future__ import annotations

import os

from zoo.files import local_path
from zoo.weights import foreign
from zoo.weights.container import read_contents
from zoo.weights.header import Header, own_header
from zoo.weights.open_files import OpenFiles


def read_header(path: str | os.PathLike[str], opened: OpenFiles | None = None) -> Header:
    """Read and check everything but the tensors' values.

    `kinds.check` accepts the header's spec, and the file has exactly the tensors of the spec. Files of timm and
    transformers are recognised by the config.json beside them. `opened` keeps the files open, to read the tensors.
    Raises FileError with the path, the reason and what to do.
    """
    path = local_path(path)
    if opened is None:
        with OpenFiles() as opened:
            return read_header(path, opened)
    contents = read_contents(path, opened)
    if "zoo.spec" not in contents.metadata and (config := foreign.config_beside(path)):
        return foreign.foreign_header(path, contents, config)
    return own_header(path, contents)
