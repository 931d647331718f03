"""Read pictures from a folder with a folder for every class."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.data.pictures import SUFFIXES

DIGEST_BYTES = 1_000_000_000  # at most, read for the digest of a folder's pictures

TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".arrow", ".feather", ".xlsx", ".zip", ".tar", ".gz", ".tgz"}
"""What the names of files end in that may hold examples, and that are not read."""

# Folders that systems make. Names that begin with a dot are hidden, too.
_SYSTEM = {"__macosx", "$recycle.bin", "system volume information", "@eadir", "lost+found", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class ClassFolders:
    """The pictures of a folder of class folders: `files[i]` is of class `numbers[i]` of `classes`."""

    classes: tuple[str, ...]
    files: list[Path]
    numbers: list[int]
    names: list[str]
    sha256: str


def is_hidden(name: str) -> bool:
    """Whether a file or a folder was made by the system, not by a person: .ipynb_checkpoints, __MACOSX, ._cat.png."""
    return name.startswith(".") or name.lower() in _SYSTEM


def is_picture(file: Path) -> bool:
    """Whether a file has the suffix of a picture format; the file is not opened."""
    return file.suffix.lower() in SUFFIXES and not is_hidden(file.name)


def class_name_of(folder: Path) -> str:
    """A folder's name in Unicode's form NFC: macOS and Linux write accents in different forms."""
    return unicodedata.normalize("NFC", folder.name)


def natural(name: str) -> tuple[list[str | int], str]:
    """The key of natural order, as in timm: "2" before "10"; case counts only if nothing else differs."""
    parts: list[str | int] = [*re.split(r"(\d+)", name.lower())]
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name


def folders_in(path: Path) -> list[Path]:
    """The folders right below `path`, in natural order."""
    try:
        found = [folder for folder in path.iterdir() if not is_hidden(folder.name) and folder.is_dir()]
    except OSError as error:
        raise _unreadable(error, path) from None
    return sorted(found, key=lambda folder: natural(folder.name))


def pictures_below(path: Path) -> Iterator[Path]:
    """Every picture in `path` and the folders below it, in the order of their paths; links to folders are followed."""
    return (file for file in _files_below(path) if is_picture(file) and file.is_file())


def _files_below(path: Path) -> Iterator[Path]:
    """Every file that is not a system's, links to nothing and pipes included."""
    for folder, deeper, names in os.walk(path, followlinks=True, onerror=lambda error: _refuse(error, path)):
        here = os.path.realpath(folder)
        # A link to a parent folder would loop for ever.
        deeper[:] = sorted(
            name for name in deeper if not is_hidden(name) and not _leads_back(os.path.join(folder, name), here)
        )
        yield from (Path(folder, name) for name in sorted(names) if not is_hidden(name))


def holds_pictures(path: Path) -> bool:
    """Whether pictures are directly in the folder."""
    return any(is_picture(file) and file.is_file() for file in path.iterdir())


def class_folders(path: Path) -> list[Path]:
    """The folders that contain a picture at any depth, in natural order."""
    return [folder for folder in folders_in(path) if next(pictures_below(folder), None) is not None]


def class_names(path: Path) -> tuple[str, ...]:
    """The classes of a folder of class folders, in natural order, without duplicates.

    Raises ValueError for a folder without a picture beside them: its class would get lost.
    """
    classes = class_folders(path)
    if empty := [folder for folder in folders_in(path) if folder not in classes]:
        file = next(_files_below(empty[0]), None)
        held = f"no picture that the zoo opens ({file.name!r} is none)" if file else "nothing"
        raise ValueError(
            f"{empty[0]} holds {held}, and the folders beside it are classes. Give it pictures "
            f"({', '.join(sorted(SUFFIXES))}), or move it elsewhere."
        )
    return tuple(dict.fromkeys(class_name_of(folder) for folder in classes))


def read_folders(path: Path) -> ClassFolders:
    """All pictures of a folder of class folders, and the digest of their names and contents (sizes, above 1 GB).

    Two folders whose names differ in the form of an accent alone are one class. Pictures beside the class folders have
    no class, and other files in the folders are no pictures: a warning counts them and names one.
    """
    classes = class_names(path)
    number = {name: index for index, name in enumerate(classes)}
    files, numbers = list[Path](), list[int]()
    beside = [file for file in path.iterdir() if not is_hidden(file.name) and not file.is_dir()]
    others = [file for file in beside if not is_picture(file)]
    check_no_table(beside)
    for folder in folders_in(path):
        below = list(_files_below(folder))
        check_no_table(below)
        found = sorted(file for file in below if is_picture(file) and file.is_file())
        files += found
        numbers += [number[class_name_of(folder)]] * len(found)
        others += set(below) - set(found)
    if loose := sorted(file.name for file in beside if is_picture(file) and file.is_file()):
        warnings.warn(
            f"{len(loose)} pictures in {path} lie in no class folder and are left out; {loose[0]!r} is one.",
            stacklevel=2,
        )
    if others:
        warnings.warn(
            f"{len(others)} files in {path} are not pictures that the zoo opens ({', '.join(sorted(SUFFIXES))}), and "
            f"are left out; {min(others).relative_to(path).as_posix()!r} is one.",
            stacklevel=2,
        )
    names = [file.relative_to(path).as_posix() for file in files]
    return ClassFolders(classes, files, numbers, names, _digest(files, names))


def tell_left_out(path: Path, used: str, files: Collection[Path] = ()) -> None:
    """Warn of the files right in `path` that look like examples, where `used` alone is read: `files`."""
    left = [file.name for file in path.iterdir() if _looks_like_data(file) and file not in files]
    if left:
        warnings.warn(
            f"{len(left)} files in {path} are left out, because {used} is read; {min(left)!r} is one.", stacklevel=2
        )


def check_no_table(files: Iterable[Path]) -> None:
    """Raise ValueError for a metadata.csv or .jsonl that gives pictures other labels than their folders do."""
    for file in files:
        if file.name in ("metadata.csv", "metadata.jsonl") and file.is_file():
            with file.open(encoding="utf-8", errors="replace") as lines:
                if "file_name" in lines.readline(10_000):
                    raise ValueError(
                        f"{file} is a table of Hugging Face's ImageFolder, which the zoo does not read: folders alone "
                        "say the classes. Move it elsewhere, or make Parquet of the pictures with their labels: "
                        "datasets.load_dataset('imagefolder', data_dir=...)."
                    )


def _looks_like_data(file: Path) -> bool:
    return (is_picture(file) or file.suffix.lower() in TABLES) and not is_hidden(file.name) and file.is_file()


def _digest(files: list[Path], names: list[str]) -> str:
    sizes = [file.stat().st_size for file in files]
    whole = sum(sizes) <= DIGEST_BYTES
    digest = hashlib.sha256()
    for file, name, size in zip(files, names, sizes, strict=True):
        told = file.read_bytes() if whole else str(size).encode()
        digest.update(name.encode(errors="surrogateescape") + b"\0" + told)
    return digest.hexdigest()


def _leads_back(folder: str, here: str) -> bool:
    if not os.path.islink(folder):
        return False
    target = os.path.realpath(folder)
    return here == target or here.startswith(target.rstrip(os.sep) + os.sep)


def _refuse(error: OSError, path: Path) -> None:
    raise _unreadable(error, path) from None


def _unreadable(error: OSError, path: Path) -> ValueError:
    return ValueError(f"{error.filename or path} cannot be read: {error.strerror}.")
