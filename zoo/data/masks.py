"""Read masks: pictures of one channel, whose values are the numbers of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import hub
from zoo.data.classes import match
from zoo.data.mapped import mapped
from zoo.data.pair_folders import paired_files, parts_with
from zoo.data.pairs import DamagedTarget, PairData, Pairs, Size, unread
from zoo.data.parquet import IMAGES, ParquetFiles, Rows, content_of
from zoo.data.pictures import ImageError, open_undecoded
from zoo.data.splits import called, ordered, which
from zoo.data.void import IGNORED

FORMATS = ("PNG", "BMP", "TIFF", "GIF")  # those that keep every value
MASKS = ("mask", "masks", "annotation", "label")  # what the column is called
FOLDERS = ("masks", "annotations", "labels", "SegmentationClass")  # and the folder
MOST_CLASSES = IGNORED


def open_mask(mask: bytes | str | Path, where: str) -> np.ndarray:
    """The values of a mask, (H, W), of palette pictures the places in the palette; raises DamagedTarget for others."""
    try:
        with open_undecoded(mask, FORMATS) as opened:
            if not (opened.mode in ("L", "P", "1", "I") or opened.mode.startswith("I;16")):
                raise DamagedTarget(
                    f"{where} has a mask of colours ({opened.mode}). A mask has one channel, whose values are the "
                    "numbers of the classes: write it as a grey or a palette PNG."
                )
            found = np.asarray(opened)
    except (ImageError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, DamagedTarget):
            raise
        raise DamagedTarget(f"{where} has a mask that cannot be read: {error}") from None
    return found.astype(np.uint8) if found.dtype == np.bool_ else found


@dataclass(frozen=True)
class ReadMask:
    """Reads a mask into the network's numbers, uint8 (H, W): `numbers[value]`, or `IGNORED`.

    `ignore_index` is the value of pixels without a class in the data.
    """

    numbers: tuple[int, ...]
    ignore_index: int = IGNORED

    def __call__(self, mask: Any, size: Size, name: str) -> np.ndarray:
        content = content_of(mask)
        if content is None:
            raise DamagedTarget(f"{name} has no mask.")
        found = open_mask(content, name)
        if found.shape != size:
            height, width = found.shape
            raise DamagedTarget(
                f"{name} is {size[1]}x{size[0]} pixels, and its mask {width}x{height}: they have one size."
            )
        table = np.full(len(self.numbers) + 1, IGNORED, np.uint8)
        table[:-1] = self.numbers
        void = found == self.ignore_index
        outside = ~void & ((found < 0) | (found >= len(self.numbers)))
        if outside.any():
            raise DamagedTarget(
                f"{name} has class {int(found[outside][0])} in its mask; the classes are 0 to {len(self.numbers) - 1}, "
                f"and {self.ignore_index} is void (ignore_index=)."
            )
        return table[np.where(void, len(self.numbers), found)]


def open_masks(
    data: str | Path,
    *,
    split: str | tuple[str, ...] = "train",
    classes: Sequence[str] = (),
    class_names: Sequence[str] = (),
    ignore_index: int | None = None,
    image_column: str | None = None,
    target_column: str | None = None,
) -> Pairs:
    """Open the pictures of one split with a mask each.

    Args:
        data (str | Path): a Parquet file, a glob or a folder of them, with the columns `image` and `mask`; a data set
            of the Hub with such columns; or a folder with images/ and masks/, whose files have the same names. The
            splits are folders above or below these two. classes.txt beside them may name the classes, one a line.
        split (str | tuple[str, ...]): the split, or the first that there is of several. Default: "train".
        classes (Sequence[str]): the names that the numbers shall follow: the network's, or another split's. Where the
            data names no classes, they are taken by their numbers. Default: none, the data's own.
        class_names (Sequence[str]): the names of the data's classes, where the data has none. Default: none.
        ignore_index (int | None): the value of pixels without a class. Default: None, the one that the file's
            metadata has, or 255.
        image_column (str | None): the column with the pictures. Default: None, "img" or "image".
        target_column (str | None): the column with the masks. Default: None, "mask", "masks", "annotation" or "label".

    Returns:
        Pairs: masks are read as uint8 (H, W), `IGNORED` where a pixel has no class.

    Raises:
        ValueError: the data is not there or of another form, a picture has no mask or a mask no picture, or a class
            is not known.

    Example:
        >>> streets = open_masks("camvid", ignore_index=11)  # doctest: +SKIP
        >>> picture, mask = streets.at(0)  # doctest: +SKIP
    """
    parts = parts_with(data, FOLDERS)
    name = which(split, parts, data)
    part, where = parts[name], f"{data} ({name})"
    if isinstance(part, list):
        found, own, void = _of_parquet(part, image_column, target_column, where)
    elif isinstance(part, tuple):
        if image_column or target_column:
            raise ValueError(f"image_column and label_column are for tables; {data} holds folders of pictures.")
        pictures, targets, root = part
        (found, own), void = paired_files(pictures, targets, root, where), None
    else:
        found, own, void = _of_hub(part, image_column, target_column, where)
    if not len(found):
        raise ValueError(f"{where} holds no pictures.")
    found = replace(found, source=called(data, name, part))
    if own and class_names and own != tuple(class_names):
        raise ValueError(f"class_names= is for data without names, and {where} names its classes: {', '.join(own)}.")
    own = own or tuple(class_names)
    void = next(one for one in (ignore_index, void, IGNORED) if one is not None)
    if not own:
        if (count := len(classes)) == 0:
            count = _classes_of(found, void, where)
        own = tuple(classes) or tuple(map(str, range(count)))
    numbers = match(own, classes, where) if classes and own != tuple(classes) else range(len(own))
    if max(len(own), len(classes)) > MOST_CLASSES:
        raise ValueError(f"{where} has {len(own)} classes; masks of up to {MOST_CLASSES} are read.")
    named = bool(class_names) or found.named
    read = ReadMask(tuple(numbers), void)
    return replace(found, read=read, classes=tuple(classes) or own, named=named)


def _of_parquet(
    files: list[Path], image_column: str | None, target_column: str | None, where: str
) -> tuple[Pairs, tuple[str, ...], int | None]:
    table = ParquetFiles(files, where)
    image = table.column("image", image_column, IMAGES, "Image")
    mask = table.column("label", target_column, MASKS, "Mask")
    pictures, sha256 = mapped(table, image)
    masks, of_masks = mapped(table, mask)
    if of_masks != sha256:  # pictures and masks that the table names by their paths
        sha256 = hashlib.sha256((sha256 + of_masks).encode()).hexdigest()
    own = table.class_names(mask)
    found = Pairs(pictures, _Column(masks), Rows(len(table)), unread, own, where, sha256, bool(own))
    return found, own, table.number("ignore_index")


def _of_hub(
    dataset: Any, image_column: str | None, target_column: str | None, where: str
) -> tuple[Pairs, tuple[str, ...], None]:
    pictures, masks = (
        hub.pictures_of(dataset, what, given, usual, where)
        for what, given, usual in (("image", image_column, IMAGES), ("label", target_column, MASKS))
    )
    sha256 = hub.digest(dataset)
    return Pairs(pictures, _Column(masks), Rows(len(pictures)), unread, (), where, sha256, False), (), None


class _Column(Sequence[Any]):
    """The cells of a table of pictures."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, row: Any) -> Any:
        return self._table[row]["image"]


def _classes_of(found: Pairs, ignore_index: int, where: str) -> int:
    """How many classes masks without names have: one more than the largest value; masks that are damaged count not."""
    most = -1
    for row in range(len(found)):
        content = content_of(found.targets[row])
        if content is None:
            continue
        try:
            mask = open_mask(content, found.name(row))
        except DamagedTarget:
            continue
        values = mask[mask != ignore_index]
        most = max(most, int(values.max()) if len(values) else -1)
        if most >= MOST_CLASSES:
            raise ValueError(
                f"There is class {most} in the mask of {found.name(row)}; masks of up to {MOST_CLASSES} classes "
                f"are read, and {ignore_index} is void (ignore_index=)."
            )
    if most < 0:
        raise ValueError(f"{where} has no mask with a class.")
    return most + 1


MASK_DATA = PairData(lambda data: ordered(parts_with(data, FOLDERS)), open_masks)
