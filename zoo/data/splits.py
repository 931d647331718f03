"""Find the splits of a data set: folders, files named after the splits, or a data set of the Hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from zoo.data.folders import (
    TABLES,
    check_no_table,
    class_folders,
    folders_in,
    holds_pictures,
    is_hidden,
    tell_left_out,
)
from zoo.files import local_path

VALIDATION = ("validation", "val", "valid", "dev", "test")  # names that stand for "validation", best first
EVALUATION = ("test", "validation", "val", "valid", "dev", "train")  # the split that is measured, best first

PARQUET = (".parquet",)

_TO_PARQUET = (
    "Tables of CSV or JSON lines become one by pandas.read_csv('a.csv').to_parquet('a.parquet'), or "
    "read_json('a.jsonl', lines=True)."
)
_SPLIT = r"(train|training|validation|valid|val|dev|test|testing)"
_FILE = re.compile(_SPLIT + r"(?![a-z]).*", re.IGNORECASE)
_FOLDER = re.compile(_SPLIT + r"\d*", re.IGNORECASE)  # the whole name: "train_station" is a class
_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class DataNotFound(FileNotFoundError, ValueError):
    """The path does not exist."""


Part = Any  # Path, a folder of class folders; list[Path], Parquet files; or a datasets.Dataset


def parts_of(data: str | Path, tables: Sequence[str] = PARQUET) -> dict[str, Part]:
    """Split -> its data: a folder of class folders, a list of files of tables, or a Dataset of the Hub.

    `tables` is what the names of such files end in. In a folder Parquet comes before other tables. Raises ValueError if
    there is no data, or if data beside the splits would be ignored.
    """
    path = local_path(data)
    if path.is_dir():
        return _folder_parts(path, tables)
    if path.is_file():
        return _table_parts([path], path.parent, tables)
    if has_magic(str(path)):
        files = [Path(name) for name in sorted(glob(str(path), recursive=True))]
        if not files:
            raise ValueError(f"No file is called {data}.")
        return _table_parts(files, None, tables)
    if isinstance(data, str) and _HUB.fullmatch(data):
        return dict(_hub(data))
    raise DataNotFound(
        f"No such data: {data}. Data is a folder, a file ({', '.join(tables)}), or a data set of the Hub, 'owner/name'."
    )


def splits(data: str | Path, tables: Sequence[str] = PARQUET) -> list[str]:
    """The names of the splits of `data`; train is first if there is one."""
    return ordered(parts_of(data, tables))


def which(split: str | tuple[str, ...], parts: dict[str, Part], data: str | Path) -> str:
    """The split with this name, or the first that exists of several; "validation" includes its other names."""
    wanted = split if isinstance(split, tuple) else VALIDATION if split == "validation" else (split,)
    name = first_of(wanted, parts, data)
    if name is None:
        raise ValueError(f"{data} has no split {split!r}; it has {', '.join(map(repr, ordered(parts)))}.")
    return name


def first_of(names: Sequence[str], parts: Collection[str], data: str | Path) -> str | None:
    """The first of `names` that is a split. Raises ValueError where it is one of two splits for validation."""
    name = next((name for name in names if name in parts), None)
    if name in VALIDATION[:-1] and len(names) > 1 and len(same := [one for one in VALIDATION[:-1] if one in parts]) > 1:
        raise ValueError(f"{data} has the splits {' and '.join(map(repr, same))}, both for validation: join them.")
    return name


def called(data: str | Path, name: str, part: Part) -> str:
    """A short name of the source of the examples: "digits/train", "train.parquet"."""
    path = local_path(data)
    if path.is_file():
        return path.name
    if path.is_dir():
        return path.resolve().name if part == path else f"{path.resolve().name}/{name}"
    return f"{data}/{name}"


def ordered(parts: Collection[str]) -> list[str]:
    """The names of splits, train first."""
    return sorted(parts, key=lambda name: name != "train")


def _table_parts(files: list[Path], root: Path | None, tables: Sequence[str]) -> dict[str, Part]:
    """Split -> files, by the start of a file's name or its folder's (below `root`). Without such names, all: train."""
    for file in files:
        if not file.name.endswith(tuple(tables)):
            if tables != PARQUET:
                raise ValueError(f"{file} is no table that is read: {', '.join(tables)}.")
            told = f" {_TO_PARQUET}" if file.suffix.lower() in TABLES else ""
            raise ValueError(
                f"{file} is not a .parquet file; examples lie in one, or in a folder for every class.{told}"
            )
    parts: dict[str, Part] = {}
    left: list[Path] = []
    for file in files:
        name = split_of(file.stem, _FILE) or (split_of(file.parent.name) if file.parent != root else None)
        if name is not None:
            parts.setdefault(name, []).append(file)
        else:
            left.append(file)
    if parts and left:
        raise ValueError(
            f"{left[0]} belongs to no split, and files beside it do ({', '.join(ordered(parts))}): their names begin "
            "with the split's. Rename it, or move it elsewhere."
        )
    return parts or {"train": files}


def _folder_parts(path: Path, tables: Sequence[str]) -> dict[str, Part]:
    folders = folders_in(path)
    beside = [folder for folder in folders if split_of(folder.name) or folder.name == "data"]
    found = sorted(file for folder in (path, *beside) for file in folder.iterdir() if not is_hidden(file.name))
    parquet = [file for file in found if file.name.endswith(tuple(one for one in tables if one in (".parquet", ".pq")))]
    if files := parquet or [file for file in found if file.name.endswith(tuple(tables))]:
        if classes := class_folders(path):
            raise ValueError(
                f"{path} holds Parquet files and folders of pictures ({classes[0].name}/): keep one kind, "
                "or give the Parquet file itself, where it names those pictures."
            )
        check_no_table(path.iterdir())
        tell_left_out(path, "Parquet" if parquet else "CSV", files)
        return _table_parts(files, path, tables)
    if inner := _inner_splits(path):
        return _split_folders(path, inner)
    classes = class_folders(path)
    if not classes:
        table = next((file.name for file in sorted(path.iterdir()) if file.suffix.lower() in TABLES), "")
        told = f" {table} is neither. {_TO_PARQUET}" if table else ""
        if tables != PARQUET:
            raise ValueError(f"{path} holds no table: {', '.join(tables)}.")
        raise ValueError(f"{path} holds neither Parquet files nor folders of pictures, one for every class.{told}")
    if all(split_of(folder.name) for folder in classes):
        names = ", ".join(f"{folder.name}/" for folder in classes)
        raise ValueError(f"{names} in {path} need a folder for every class, with the pictures in those.")
    if deeper := next((folder for folder in classes if _inner_splits(folder)), None):
        raise ValueError(
            f"{path} has no splits, and {deeper} has ({', '.join(sub.name for sub in _inner_splits(deeper))}): give "
            f"{deeper}, or put the pictures of each class right into its folder."
        )
    return {split_of(path.resolve().name) or "train": path}


def _inner_splits(path: Path) -> list[Path]:
    """The folders in `path` that are splits.

    A class may be called "train" too: a split is a folder of folders, a class one of pictures.
    """
    return [
        folder for folder in folders_in(path)
        if split_of(folder.name) and folders_in(folder) and not holds_pictures(folder)
    ]  # fmt: skip


def _split_folders(path: Path, inner: list[Path]) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for folder in inner:
        name = str(split_of(folder.name))
        if name in parts:
            raise ValueError(
                f"{parts[name].name}/ and {folder.name}/ in {path} are both the split {name!r}; join them."
            )
        parts[name] = folder
    if others := [folder.name for folder in class_folders(path) if folder not in inner]:
        raise ValueError(
            f"{path} has splits ({', '.join(ordered(parts))}) and other folders with pictures beside them: "
            f"{', '.join(others[:5])}. Move these into a split, or elsewhere."
        )
    if empty := [folder.name for folder in folders_in(path) if split_of(folder.name) and folder not in inner]:
        raise ValueError(f"{empty[0]}/ in {path} is a split without pictures, beside others. Fill it, or remove it.")
    check_no_table(path.iterdir())
    tell_left_out(path, "what lies in its splits")
    return parts


def split_of(name: str, style: re.Pattern[str] = _FOLDER) -> str | None:
    """The split that a folder's name stands for: "val" of "val2017", "train" of "training"; None for other names."""
    match = style.fullmatch(name)
    return match[1].lower().removesuffix("ing") if match else None


@lru_cache(maxsize=1)  # called for the list of splits, then for each split
def _hub(data: str) -> Any:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ValueError("Data sets of the Hub need datasets: pip install 'zoo-efficient[train]'.") from None

    name, _, config = data.partition(":")
    try:
        return load_dataset(name, config or None)
    except Exception as error:  # an error of datasets, huggingface_hub, httpx or pyarrow
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{data} is no file or folder here, and the Hub does not give it ({reason}).") from None
