"""Pictures with labels, wherever they lie: a Parquet file, a folder for every class, or arrays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.naming import did_you_mean
from zoo.preprocess import ImageError

if TYPE_CHECKING:
    from zoo.build import Model

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class Labelled:
    """What there is to evaluate on; `read(i)` gives picture `i`, or raises ImageError."""

    names: Sequence[str]
    labels: Sequence[int]
    read: Callable[[int], Any]
    source: str
    sha256: str


def open_labelled(data: Any, model: Model) -> Labelled:
    """Whatever `zoo.evaluate` takes; raises ValueError for anything else."""
    if isinstance(data, (str, Path)):
        path = Path(data)
        if path.is_dir():
            return _open_folder(path, model)
        if not path.exists():
            raise FileNotFoundError(f"No such data: {path}")
        if path.suffix != ".parquet":
            raise ValueError(f"{path} is neither a .parquet file nor a folder with a folder for every class.")
        return _open_parquet(path)
    if hasattr(data, "images") and hasattr(data, "labels"):
        return _open_arrays(data.images, data.labels, data.source, data.sha256)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return _open_arrays(data[0], data[1], "the arrays given", "")
    raise ValueError(f"data is a path, a pair (images, labels), or zoo.samples(...), not {type(data).__name__}.")


def _open_arrays(images: Any, labels: Any, source: str, sha256: str) -> Labelled:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images are uint8 (N, height, width, 3), not {images.dtype} of shape {images.shape}.")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {len(images)} whole numbers, not {labels.dtype} of shape {labels.shape}.")
    if not sha256:
        sha256 = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    return Labelled([f"picture {i}" for i in range(len(images))], labels.tolist(), lambda i: images[i], source, sha256)


def _open_parquet(path: Path) -> Labelled:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        raise ValueError(f"Reading {path.name} needs pyarrow: pip install 'zoo-efficient[train]'.") from None
    from PIL import Image

    try:
        table = parquet.read_table(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    except ValueError as error:  # pyarrow's own errors are ValueErrors
        raise ValueError(f"{path} is not a Parquet file ({str(error).splitlines()[0]}).") from None
    column = next((name for name in ("img", "image") if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise ValueError(f"{path} needs the columns 'img' or 'image', and 'label'; it has {table.column_names}.")
    numbers = table["label"]
    if not pa.types.is_integer(numbers.type) or numbers.null_count:
        raise ValueError(
            f"{path} needs a whole number as the 'label' of every row, but the column is {numbers.type} with "
            f"{numbers.null_count:,} of {len(numbers):,} missing."
        )
    cells, labels = table[column], numbers.to_pylist()

    def read(i: int) -> Any:
        cell = cells[i].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise ImageError(f"Row {i} of {path.name} holds no picture.")
        try:
            return Image.open(io.BytesIO(content))
        except Exception as error:  # decoders raise whatever they like
            raise ImageError(f"Row {i} of {path.name} is not a picture ({error}).") from None

    return Labelled([f"row {i}" for i in range(len(labels))], labels, read, path.name, _sha256(path))


def _open_folder(path: Path, model: Model) -> Labelled:
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not classes:
        raise ValueError(f"{path} has no folders in it; a folder of pictures has one for every class.")
    numbers = _class_numbers([folder.name for folder in classes], model)
    files = [
        (file, number)
        for folder, number in zip(classes, numbers, strict=True)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES and file.is_file()
    ]
    digest = hashlib.sha256()
    for file, _ in files:
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + file.read_bytes())
    names = [file.relative_to(path).as_posix() for file, _ in files]
    return Labelled(names, [number for _, number in files], lambda i: files[i][0], path.name, digest.hexdigest())


def _class_numbers(folders: list[str], model: Model) -> list[int]:
    if model.labels:
        known = {_plain(label): number for number, label in enumerate(model.labels)}
        for folder in folders:
            if _plain(folder) not in known:
                raise ValueError(
                    f"Folder {folder!r} is none of the network's classes{did_you_mean(_plain(folder), known)} "
                    f"They are {', '.join(model.labels[:20])}{', ...' if len(model.labels) > 20 else ''}."
                )
        return [known[_plain(folder)] for folder in folders]
    classes = model.spec.rows[-1].args.get("num_classes")
    if len(folders) != classes:
        raise ValueError(
            f"The network has no names for its {classes} classes, so {classes} folders in alphabetical order are "
            f"needed, not {len(folders)}."
        )
    return list(range(len(folders)))


def _plain(label: str) -> str:
    return label.lower().replace("_", " ").replace("-", " ").strip()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
