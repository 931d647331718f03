"""Where `zoo predict --out` writes the drawing of each picture."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.files import check_folder, local_path, make_folder, path_to_write, write_whole

FILES = (".png", ".jpg", ".jpeg", ".webp")


class Drawings:
    """The file of each input: `out` itself for one picture, else a file in the folder `out`, as the input is called.

    Missing folders are made. Raises ValueError for a file where there are several pictures, for a drawing that would
    replace a picture, and for a name that ends as no picture does; FileError for a place where nothing can be written.
    """

    def __init__(self, out: str, inputs: Sequence[str], arguments: Sequence[str]) -> None:
        path = path_to_write(out, "file")
        folders = [local_path(one) for one in arguments if local_path(one).is_dir()]
        single = len(inputs) == 1 and not folders
        if path.suffix.lower() in FILES and not path.is_dir():
            if not single:
                raise ValueError(f"out={out} is one file, and there are {len(inputs)} pictures: name a folder.")
            self._files = {inputs[0]: path}
            check_folder(path.parent)
        else:
            if path.suffix.strip(".0123456789") and not path.is_dir() and not out.endswith(os.sep):
                raise ValueError(
                    f"out={out} ends in {path.suffix}: a drawing's file ends in {', '.join(FILES)}; a new folder "
                    f"is {out}{os.sep}"
                )
            check_folder(path)
            self._files = {one: path / _below(one, folders) for one in inputs}
        if twice := len(self._files) - len(set(self._files.values())):
            raise ValueError(f"{twice} of the pictures have the name of another one: draw them one by one.")
        for one, file in self._files.items():
            if file.exists() and file.resolve() == local_path(one).resolve():
                raise ValueError(f"out= would replace the picture {one}: name another file or folder.")

    def of(self, one: str) -> Path:
        """The file of an input's drawing."""
        return self._files[one]

    def write(self, one: str, picture: Any, shown: Any) -> None:
        """Draw the answer for an input on its picture, and write the drawing."""
        from zoo.data.pictures import open_picture

        file = self._files[one]
        make_folder(file.parent)
        drawn, buffer = shown.draw(open_picture(picture, "RGB")), io.BytesIO()
        drawn.save(buffer, {".png": "PNG", ".webp": "WEBP"}.get(file.suffix.lower(), "JPEG"))
        write_whole(file, (buffer.getvalue(),))


def _below(one: str, folders: Sequence[Path]) -> Path:
    """The input's path below the folder that was given, or its name, as a PNG."""
    path = local_path(one)
    folder = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
    return path.relative_to(folder).with_suffix(".png")
