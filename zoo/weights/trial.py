"""Check that a network can be saved, before hours of training."""

from __future__ import annotations

import os
import secrets
import shutil

from zoo.files import FileError, path_to_write
from zoo.model.build import Model
from zoo.weights.container import INDEX, WEIGHTS
from zoo.weights.file import save


def try_save(model: Model, folder: str | os.PathLike[str]) -> None:
    """Save the model in a new folder inside of `folder`, and remove the new folder; `folder` stays.

    Raises FileError where `save(model, folder)` would: for labels or `made` that a file cannot hold, an edited network,
    a file in the place of the folder (or a folder in the place of a file), missing permission, a full disk.
    """
    folder = path_to_write(folder)
    for name in (WEIGHTS, INDEX, "config.json", "README.md"):
        if (folder / name).is_dir():
            raise FileError(f"{folder / name} is a folder, where a file of the network will be; choose another folder.")
    trial = folder / f".trial-{secrets.token_hex(6)}"
    there = folder.exists()
    try:
        save(model, trial)
    except BaseException:
        shutil.rmtree(trial if there else folder, ignore_errors=True)
        raise
    shutil.rmtree(trial, ignore_errors=True)
