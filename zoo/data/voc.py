"""Read boxes from XML files of Pascal VOC (Everingham et al., 2010): one for each picture."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.parsers import expat

from zoo.data.folders import natural, pictures_below
from zoo.data.pair_folders import names_in, pairs_of_folders
from zoo.data.raw_boxes import Found, by_path, digest, raw
from zoo.data.splits import split_of

MOST_BYTES = 5_000_000  # of one file
FOLDERS = ("Annotations", "annotations")
LISTS = Path("ImageSets") / "Main"  # train.txt and so on: the names of pictures, one a line


class _Refused(ValueError):
    """A file that declares a document type: entities could grow without bound."""


def parts(path: Path) -> dict[str, Any]:
    """Split -> what reads it, of JPEGImages/ or images/ beside Annotations/; else empty."""
    pairs = pairs_of_folders(path, FOLDERS)
    if not any(next(annotations.rglob("*.xml"), None) for _, annotations, _ in pairs.values()):
        return {}
    lists = {split: file for file in sorted((path / LISTS).glob("*.txt")) if (split := _listed(file))}
    if lists and len(pairs) == 1:
        (pair,) = pairs.values()
        return {split: partial(_read, *pair, file) for split, file in lists.items()}
    return {split: partial(_read, *pair, None) for split, pair in pairs.items()}


def _listed(file: Path) -> str | None:
    return split_of(file.stem) if file.stem in ("train", "val", "test", "validation") else None


def _read(pictures: Path, annotations: Path, root: Path, chosen: Path | None, where: str) -> Found:
    files = list(pictures_below(pictures))
    if chosen is not None:
        lines = chosen.read_text(encoding="utf-8", errors="replace").split("\n")
        wanted = {line.split()[0] for line in lines if line.split()}
        known = {file.relative_to(pictures).with_suffix("").as_posix() for file in files}
        if lacking := sorted(wanted - known):
            raise ValueError(f"{chosen} names {lacking[0][:100]!r}, of which {pictures} has no picture.")
        files = [file for file in files if file.relative_to(pictures).with_suffix("").as_posix() in wanted]
    beside = [annotations / file.relative_to(pictures).with_suffix(".xml") for file in files]
    if files and not any(file.is_file() for file in beside):
        raise ValueError(f"{annotations} has no XML file with the name of a picture of {where}.")
    read = [_objects(file) for file in beside]
    own = names_in(root)
    names = own or tuple(
        sorted({name for objects in read if isinstance(objects, list) for name, _ in objects}, key=natural)
    )
    number = {name: place for place, name in enumerate(names)}
    targets = [_target(objects, number) for objects in read]
    told = [file.relative_to(root).as_posix() for file in files]
    sha256 = digest([*files, *(file for file in beside if file.is_file())], root)
    return Found([by_path(file) for file in files], targets, told, names, sha256)


def _target(objects: list[tuple[str, list[float]]] | str, number: dict[str, int]) -> dict[str, Any]:
    if isinstance(objects, str):
        return {"error": objects}
    if unknown := [name for name, _ in objects if name not in number]:
        return {"error": f"its object {unknown[0][:60]!r} is no class of classes.txt"}
    return raw([box for _, box in objects], [number[name] for name, _ in objects])


def _objects(file: Path) -> list[tuple[str, list[float]]] | str:
    """(name, box) of every object, or what is wrong. VOC counts pixels from 1, and the last one belongs to the box."""
    if not file.is_file():
        return f"it has no {file.name} in {file.parent.name}/"
    if file.stat().st_size > MOST_BYTES:
        return f"{file.name} has more than {MOST_BYTES:,} bytes"
    try:
        root = _parsed(file.read_bytes())
        found = []
        for one in root.iter("object"):
            name, box = (one.findtext("name") or "").strip(), one.find("bndbox")
            left, top, right, bottom = _numbers(box, ("xmin", "ymin", "xmax", "ymax"))
            if not name:
                return f"{file.name} has an object without a name"
            found.append((name, [max(0.0, left - 1), max(0.0, top - 1), right, bottom]))
    except (ET.ParseError, _Refused, TypeError, ValueError) as error:
        return f"{file.name} is no XML of Pascal VOC ({str(error)[:100]})"
    return found


def _numbers(box: Any, names: Iterable[str]) -> list[float]:
    if box is None:
        raise ValueError("an object has no bndbox")
    return [float(box.findtext(name)) for name in names]


def _parsed(content: bytes) -> Any:
    """The tree of a document; raises _Refused for one that declares entities."""

    def refuse(*declared: object) -> None:
        raise _Refused("it declares a document type, which is not read")

    look = expat.ParserCreate()
    look.StartDoctypeDeclHandler = refuse
    try:
        look.Parse(content, True)
    except expat.ExpatError as error:
        raise _Refused(str(error)) from None
    return ET.fromstring(content)
