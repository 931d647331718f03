"""Pictures without their labels, of whatever holds pictures: files, folders, Parquet, and JSON of COCO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.data.folders import folders_in, pictures_below
from zoo.data.pair_folders import IMAGES
from zoo.data.parquet import IMAGES as COLUMNS
from zoo.data.parquet import ParquetFiles, content_of
from zoo.data.picture_paths import TablePictures
from zoo.data.pictures import PictureBytes
from zoo.data.splits import ordered, parts_of, split_of
from zoo.files import local_path

MOST = 512  # pictures: more teach a pass no more, and would be in memory all at once
TABLES = (".parquet", ".pq")
TARGETS = ("masks", "annotations", "labels", "Annotations", "SegmentationClass", "SegmentationObject")


def pictures_in(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and every picture inside of the folders; masks beside pictures are none."""
    found: list[Path] = []
    for path in map(local_path, paths):
        found += sorted(_below(path)) if path.is_dir() else [path]
    return found


def pictures_at(paths: Sequence[Path], most: int = MOST) -> tuple[list[Any], int]:
    """(the pictures of files, folders, tables and JSON of COCO, how many there are).

    Of more than `most` it is so many at even distances, so that data sorted by class gives all classes. Raises
    ValueError for a folder without pictures, and for a table without a column of them. Of a folder of Parquet files
    with splits it is the first one, which is that for training where there is one.
    """
    sources = [source for path in map(local_path, paths) for source in _sources(path)]
    total = sum(map(len, sources))
    step = max(1.0, total / most)
    wanted = sorted({int(place * step) for place in range(min(total, most))})
    found: list[Any] = []
    begin = 0
    for source in sources:
        here = [place - begin for place in wanted if begin <= place < begin + len(source)]
        found += source.at(here)
        begin += len(source)
    return found, total


class _Files(list[Path]):
    def at(self, places: Sequence[int]) -> list[Any]:
        return [self[place] for place in places]


class _Table:
    """The pictures of one table."""

    def __init__(self, files: list[Path], where: str) -> None:
        self._table = ParquetFiles(files, where)
        self._column = self._table.column("image", None, COLUMNS, "Image")

    def __len__(self) -> int:
        return len(self._table)

    def at(self, places: Sequence[int]) -> list[Any]:
        wanted, found, row = set(places), list[Any](), 0
        pictures = TablePictures(self._table)
        for file, batch in self._table.cells_by_file([self._column]):
            for place in range(batch.num_rows):
                if row in wanted:
                    where = f"{self._table.where}, row {row}"
                    content = pictures.read(file, batch.column(0)[place].as_py())
                    if content is None:
                        raise ValueError(f"{where}: there is no picture that can be read.")
                    found.append(PictureBytes(content))
                    found[-1].where = where
                row += 1
        return found


def _sources(path: Path) -> Iterator[Any]:
    if path.is_file() and path.suffix.lower() == ".json":
        from zoo.data import coco

        for read in coco.parts_of_file(path).values():
            named = [content_of(cell["image"]) for cell in read(str(path)).pictures]
            yield _Files(Path(one) for one in named if isinstance(one, str))
    elif path.is_file() and path.name.endswith(TABLES):
        yield _Table([path], str(path))
    elif not path.is_dir():
        yield _Files([path])
    elif any(file.name.endswith(TABLES) for folder in (path, *_splits(path)) for file in folder.iterdir()):
        parts = parts_of(path, TABLES)
        name = ordered(parts)[0]
        yield _Table(parts[name], f"{path} ({name})")
    elif found := sorted(_below(path)):
        yield _Files(found)
    else:
        raise ValueError(f"{path} is a folder without pictures.")


def _splits(path: Path) -> list[Path]:
    return [folder for folder in folders_in(path) if split_of(folder.name) or folder.name == "data"]


def _below(path: Path) -> Iterator[Path]:
    """Every picture in a folder and below it, without the folders of targets beside those of pictures."""
    known: dict[Path, bool] = {}

    def of_targets(folder: Path) -> bool:
        if folder == path:
            return False
        if folder not in known:
            beside = folder.name in TARGETS and any((folder.parent / name).is_dir() for name in IMAGES)
            known[folder] = beside or of_targets(folder.parent)
        return known[folder]

    return (file for file in pictures_below(path) if not of_targets(file.parent))
