"""Find folders of pictures with a folder of targets beside it: images/ and masks/, images/ and labels/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.data.folders import folders_in, is_picture, pictures_below
from zoo.data.pairs import Pairs, unread
from zoo.data.raw_boxes import by_path, digest
from zoo.data.splits import parts_of, split_of
from zoo.files import local_path

IMAGES = ("images", "JPEGImages")
NAMES = "classes.txt"  # the names of the classes, one a line
MOST_NAMES = 1_000_000  # bytes of it

Beside = tuple[Path, Path, Path]  # the folders of pictures and of targets, and the one that holds both


def parts_with(data: str | Path, beside: Sequence[str]) -> dict[str, Any]:
    """Split -> (pictures, targets, folder of both) of folders; of other data as `zoo.data.splits.parts_of`.

    `beside` are names of the folder of targets. Raises ValueError for folders that lack it.
    """
    path = local_path(data)
    if not path.is_dir():
        return parts_of(data)
    if found := pairs_of_folders(path, beside):
        return found
    if not any(path.rglob("*.parquet")):
        raise ValueError(
            f"{path} holds neither Parquet files nor the folders images/ and {beside[0]}/, whose files have the same "
            "names."
        )
    return parts_of(data)


def pairs_of_folders(path: Path, beside: Sequence[str]) -> dict[str, Beside]:
    """The same of a folder alone; empty where it has no such folders."""
    if pair := _pair_in(path, beside):
        pictures, targets = pair
        inner = {split_of(one.name): one for one in folders_in(pictures)}
        if inner and None not in inner and not any(map(is_picture, pictures.iterdir())):
            return {str(split): (one, _same(one, targets), path) for split, one in inner.items()}
        return {split_of(path.resolve().name) or "train": (pictures, targets, path)}
    inner = {split_of(one.name): one for one in folders_in(path)}
    if any(split and _pair_in(one, beside) for split, one in inner.items()):
        found: dict[str, Beside] = {}
        for split, one in inner.items():
            if split is None:
                continue
            if (pair := _pair_in(one, beside)) is None:
                raise ValueError(f"{one} needs the folders images/ and {beside[0]}/, as the splits beside it have.")
            found[split] = (*pair, path)
        return found
    return {}


def paired_files(pictures: Path, targets: Path, root: Path, where: str) -> tuple[Pairs, tuple[str, ...]]:
    """(the pictures, each with the file of the same name in the folder of targets; the names in classes.txt).

    Raises ValueError for a picture or a target that is alone, and for two pictures of one name.
    """
    files = list(pictures_below(pictures))
    found = {}
    for file in _files(targets):
        found[file.relative_to(targets).with_suffix("")] = file
    keys = [file.relative_to(pictures).with_suffix("") for file in files]
    if twice := next((key for place, key in enumerate(keys) if place and keys[place - 1] == key), None):
        raise ValueError(f"{where} has two pictures of the name {twice}, so {targets.name}/ cannot tell them apart.")
    if missing := [file for file, key in zip(files, keys, strict=True) if key not in found]:
        raise ValueError(
            f"{len(missing)} pictures of {where} have no file in {targets.name}/; {missing[0]} is one. Files that "
            "belong together have the same name, with another ending."
        )
    if alone := sorted(found.keys() - set(keys)):
        raise ValueError(f"{len(alone)} files in {targets} have no picture; {found[alone[0]]} is one.")
    names = [file.relative_to(root).as_posix() for file in files]
    beside = [found[key] for key in keys]
    table = [by_path(file) for file in files]
    told = [by_path(file)["image"] for file in beside]
    own = names_in(root)
    sha256 = digest([*files, *beside], root)
    return Pairs(table, told, names, unread, own, where, sha256, bool(own)), own


def _images_in(path: Path) -> Path | None:
    return next((path / name for name in IMAGES if (path / name).is_dir()), None)


def _pair_in(path: Path, beside: Sequence[str]) -> tuple[Path, Path] | None:
    images = _images_in(path)
    targets = next((path / name for name in beside if (path / name).is_dir()), None)
    return (images, targets) if images and targets else None


def _same(split: Path, targets: Path) -> Path:
    """The folder of targets for a split of the pictures."""
    if (found := targets / split.name).is_dir():
        return found
    raise ValueError(f"{targets} needs a folder {split.name}/, as {split.parent} has one.")


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def names_in(root: Path) -> tuple[str, ...]:
    """The lines of classes.txt; none without that file."""
    file = root / NAMES
    if not file.is_file():
        return ()
    if file.stat().st_size > MOST_NAMES:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; names of classes, one a line, have fewer.")
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8; it holds names of classes, one a line.") from None
    return tuple(line for line in lines if line)
