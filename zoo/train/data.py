"""Where fine-tuning gets its pictures: folders of class folders, Parquet files, and data sets of the Hub.

All of it becomes a `datasets.Dataset` of undecoded pictures, so that ours is the one decoder, and counts and names what
is damaged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo.labelled import SUFFIXES
from zoo.naming import did_you_mean
from zoo.spec import ImageInput
from zoo.train.images import ImageSet, class_names
from zoo.train.pictures import Pictures
from zoo.train.stream import SCALE, ImageStream, mapped, undecoded

VALIDATION = ("validation", "val", "valid", "dev", "test")  # what serves as "validation", best first
CACHE_BYTES = 1_000_000_000
CACHE_SIDE = 64  # pixels; larger pictures gain from a fresh crop every time
DIGEST_BYTES = 1_000_000_000  # of a folder's pictures are read for its digest
MAX_CLASSES = 100_000

_SPLIT = r"(train|training|validation|valid|val|dev|test|testing)"
_FILE = re.compile(_SPLIT + r"(?![a-z]).*", re.IGNORECASE)
_FOLDER = re.compile(_SPLIT + r"\d*", re.IGNORECASE)  # no more than that: "train_station" is a class
_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")

P = TypeVar("P", bound=Pictures)


@dataclass(frozen=True)
class _Found:
    """One split: undecoded pictures, their labels (N,), and the class names that come with them, if any."""

    pictures: Any  # datasets.Dataset with the column `image`, undecoded
    labels: Tensor
    classes: tuple[str, ...]
    names: Sequence[str]
    sha256: str


def open_pictures(
    data: str | Path,
    input: ImageInput,  # noqa: A002
    *,
    split: str = "train",
    classes: Sequence[str] = (),
    cache: bool | None = None,
    workers: int = 2,
    scale: tuple[float, float] = SCALE,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSet | ImageStream:
    """The pictures of one split, for a network that takes `input`.

    `data` is a folder with a folder for every class, or with such folders below train/, validation/ and test/; a
    Parquet file, a glob or a folder of them (train*.parquet, ...), in the Hub's column style; or a data set of the
    Hub, "owner/name" or "owner/name:config". "validation" is also found as val, valid, dev or test.

    `classes` are the names that label numbers shall follow: the network's own, or another split's. Without them, they
    are the data's own, in its order; "0", "1", ... where it has none.

    With `cache` the pictures are kept in memory, cut to the network's size; else `workers` processes decode them as
    they are asked for, and those of "train" are cut at random, to at least the share `scale[0]` of their area. None
    caches small pictures, up to 64 pixels a side and 1 GB in all.

    `sha256` is that of the Parquet file (of the files' digests, where there are several), of a folder's names and
    contents (of names and sizes, above 1 GB), or of the fingerprint of a data set of the Hub.

    Raises ValueError for data that is not there or of another form, a split that is missing, and a class or a label
    that is not known.
    """
    if input.channels not in (1, 3):
        raise ValueError(f"The network takes {input.channels} channels; pictures have 1 or 3.")
    parts = _parts(data)
    name = _which(split, parts, data)
    where = f"{data} ({name})"
    part = parts[name]
    if isinstance(part, Path):
        found = _read_folder(part)
    elif isinstance(part, list):
        found = _read_parquet(part, image_column, label_column, where)
    else:
        found = _read_hub(part, image_column, label_column, where)
    if not len(found.labels):
        raise ValueError(f"{where} holds no pictures.")
    labels, known = _agreed(found.labels, found.classes, tuple(classes) or _folder_classes(parts), where)
    stream = ImageStream(
        found.pictures,
        found.names,
        torch.arange(len(labels)),
        labels,
        _called(data, name, part),
        found.sha256,
        input,
        known,
        train=name == "train",
        scale=scale,
        workers=workers,
    )
    if cache is None:
        height, width = input.size
        small = len(labels) * height * width * input.channels <= CACHE_BYTES
        cache = small and max(input.size) <= CACHE_SIDE
    return replace(stream, train=False).cached() if cache else stream


def splits(data: str | Path) -> list[str]:
    """The splits of `data` by their own names, train first where there is one."""
    return _ordered(_parts(data))


def hold_out(data: P, share: float = 0.1, seed: int = 0) -> tuple[P, P]:
    """(train, held): `share` of the pictures, the same ones for the same seed, to choose by; never cut at random."""
    size = round(len(data) * share)
    if not 0 < size < len(data):
        raise ValueError(f"{share} of {len(data)} pictures leaves nothing to hold out, or nothing to train on.")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    train, held = data.take(order[size:]), data.take(order[:size])
    return train, (replace(held, train=False) if isinstance(held, ImageStream) else held)


def _ordered(parts: dict[str, Any]) -> list[str]:
    return sorted(parts, key=lambda name: name != "train")


def _which(split: str, parts: dict[str, Any], data: str | Path) -> str:
    wanted = VALIDATION if split == "validation" else (split,)
    name = next((name for name in wanted if name in parts), None)
    if name is None:
        raise ValueError(f"{data} has no split {split!r}; it has {', '.join(map(repr, _ordered(parts)))}.")
    return name


def _parts(data: str | Path) -> dict[str, Any]:
    """Split to where it lies: a folder of class folders, a list of Parquet files, or a Dataset of the Hub."""
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise ValueError("Reading pictures needs datasets: pip install 'zoo-efficient[train]'.") from None
    path = Path(data).expanduser()
    if path.is_dir():
        return _folder_parts(path)
    if path.is_file():
        return _parquet_parts([path], path.parent)
    if has_magic(str(path)):
        files = [Path(name) for name in sorted(glob(str(path), recursive=True))]
        if not files:
            raise ValueError(f"No file is called {data}.")
        return _parquet_parts(files, None)
    if isinstance(data, str) and _HUB.fullmatch(data):
        return dict(_hub(data))
    raise ValueError(f"No such data: {data}. It is a folder, a Parquet file, or a data set of the Hub, 'owner/name'.")


def _parquet_parts(files: list[Path], root: Path | None) -> dict[str, Any]:
    """By the beginning of the file's name, or its folder's below `root`; all are train where no name tells."""
    for file in files:
        if file.suffix != ".parquet":
            raise ValueError(f"{file} is not a .parquet file; pictures lie in one, or in a folder for every class.")
    parts: dict[str, Any] = {}
    for file in files:
        name = _split_of(file.stem, _FILE) or (_split_of(file.parent.name) if file.parent != root else None)
        if name is not None:
            parts.setdefault(name, []).append(file)
    return parts or {"train": files}


def _folder_parts(path: Path) -> dict[str, Any]:
    folders = _folders(path)
    beside = [folder for folder in folders if _split_of(folder.name) or folder.name == "data"]
    if files := sorted(file for folder in (path, *beside) for file in folder.glob("*.parquet")):
        return _parquet_parts(files, path)
    # A class may be called "train" too: a split is a folder of folders, a class one of pictures.
    named = {_split_of(folder.name): folder for folder in folders if _split_of(folder.name)}
    inner = {name: folder for name, folder in named.items() if _folders(folder) and not _holds_pictures(folder)}
    if inner:
        return {str(name): folder for name, folder in inner.items()}
    classes = _class_folders(path)
    if not classes:
        raise ValueError(f"{path} holds neither Parquet files nor folders of pictures, one for every class.")
    if all(_split_of(folder.name) for folder in classes):
        names = ", ".join(f"{folder.name}/" for folder in classes)
        raise ValueError(f"{names} in {path} need a folder for every class, with the pictures in those.")
    return {_split_of(path.resolve().name) or "train": path}


def _split_of(name: str, style: re.Pattern[str] = _FOLDER) -> str | None:
    match = style.fullmatch(name)
    return match[1].lower().removesuffix("ing") if match else None


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file()


def _holds_pictures(folder: Path) -> bool:
    return any(_is_picture(file) for file in folder.iterdir())


def _class_folders(path: Path) -> list[Path]:
    """Those that have a picture, however deep."""
    return [folder for folder in _folders(path) if any(_is_picture(file) for file in folder.rglob("*"))]


def _folder_classes(parts: dict[str, Any]) -> tuple[str, ...]:
    """What every split of class folders goes by: the classes of train, where it lies in folders."""
    train = parts.get("train")
    return tuple(folder.name for folder in _class_folders(train)) if isinstance(train, Path) else ()


def _read_folder(path: Path) -> _Found:
    # Listed here, not by datasets' imagefolder, which guesses splits from any folder or file called "test" or "dev" and
    # drops the labels where depths differ. The table holds paths only, so nothing is copied.
    from datasets import Dataset, Features

    classes = _class_folders(path)
    files = [
        (file, number)
        for number, folder in enumerate(classes)
        for file in sorted(folder.rglob("*"))
        if _is_picture(file)
    ]
    names = [file.relative_to(path).as_posix() for file, _ in files]
    sizes = [file.stat().st_size for file, _ in files]
    whole = sum(sizes) <= DIGEST_BYTES
    digest = hashlib.sha256()
    for (file, _), name, size in zip(files, names, sizes, strict=True):
        told = file.read_bytes() if whole else str(size).encode()
        digest.update(name.encode() + b"\0" + told)
    pictures = Dataset.from_dict({"image": [str(file) for file, _ in files]}, Features({"image": undecoded()}))
    labels = torch.tensor([number for _, number in files], dtype=torch.int64)
    return _Found(pictures, labels, tuple(folder.name for folder in classes), names, digest.hexdigest())


def _read_parquet(files: list[Path], image_column: str | None, label_column: str | None, where: str) -> _Found:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

    try:
        schemas = [pq.read_schema(file) for file in files]
        features = Features.from_arrow_schema(schemas[0])
    except Exception as error:  # pyarrow's, or whatever a strange "huggingface" entry leads to
        raise ValueError(f"{where} cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    image, label = _columns(features, image_column, label_column, where)
    for file, schema in zip(files, schemas, strict=True):
        if not {image, label} <= set(schema.names):
            raise ValueError(f"{file} has the columns {schema.names}, but {files[0].name} {image!r} and {label!r}.")
    try:
        columns = [pq.ParquetFile(file).read(columns=[label]).column(label) for file in files]
        pictures = mapped(files, image, where)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{where} cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    labels = torch.cat([_whole(column, label, where) for column in columns])
    digests = [_sha256(file) for file in files]
    told = "".join(f"{file.name}\0{digest}\0" for file, digest in zip(files, digests, strict=True))
    digest = digests[0] if len(files) == 1 else hashlib.sha256(told.encode()).hexdigest()
    classes = _named(features[label]) or class_names(files[0])
    return _Found(pictures, labels, classes, [f"row {i}" for i in range(len(labels))], digest)


@lru_cache(maxsize=1)  # asked for the splits, then for each of them
def _hub(data: str) -> Any:
    from datasets import load_dataset

    name, _, config = data.partition(":")
    try:
        return load_dataset(name, config or None)
    except Exception as error:  # of datasets, huggingface_hub, httpx or pyarrow
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{data} is no file or folder here, and the Hub does not give it ({reason}).") from None


def _read_hub(dataset: Any, image_column: str | None, label_column: str | None, where: str) -> _Found:
    image, label = _columns(dataset.features, image_column, label_column, where)
    try:
        pictures = dataset.select_columns([image]).rename_columns({image: "image"} if image != "image" else {})
        pictures = pictures.cast_column("image", undecoded())
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {image!r} of {where} holds no pictures ({str(error).splitlines()[0]}).") from None
    labels = _whole(dataset.select_columns([label]).with_format("arrow")[:].column(label), label, where)
    digest = hashlib.sha256(dataset._fingerprint.encode()).hexdigest()
    return _Found(pictures, labels, _named(dataset.features[label]), [f"row {i}" for i in range(len(labels))], digest)


def _columns(features: Any, image: str | None, label: str | None, where: str) -> tuple[str, str]:
    """(image, label): the columns named, else those that go by the usual names, else the only ones of their kind."""
    from datasets import ClassLabel, Image

    def one(what: str, given: str | None, usual: tuple[str, ...], kind: type) -> str:
        candidates = [name for name in usual if name in features]
        alike = [name for name in features if isinstance(features[name], kind)]
        if given is None and (candidates or len(alike) == 1):
            return (candidates or alike)[0]
        if given is None or given not in features:
            missing = f"column {given!r}" if given else " or ".join(map(repr, usual))
            raise ValueError(f"{where} has no {missing} for the {what}; it has {list(features)}. Name {what}_column.")
        return given

    return one("image", image, ("img", "image"), Image), one("label", label, ("label",), ClassLabel)


def _named(feature: Any) -> tuple[str, ...]:
    return tuple(getattr(feature, "names", None) or ())


def _whole(column: Any, name: str, where: str) -> Tensor:
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(
            f"{where} needs a whole number as the {name!r} of every row, but the column is {column.type} with "
            f"{column.null_count:,} of {len(column):,} missing."
        )
    return torch.from_numpy(column.to_numpy().astype("int64"))


def _agreed(
    labels: Tensor, own: tuple[str, ...], classes: tuple[str, ...], where: str
) -> tuple[Tensor, tuple[str, ...]]:
    """(labels by the numbers of `classes`, the classes): data with names of its `own` is matched by name."""
    count = len(own or classes) or MAX_CLASSES
    if len(outside := ((labels < 0) | (labels >= count)).nonzero()):
        row = int(outside[0])
        raise ValueError(f"{where} has label {int(labels[row])} in row {row}; its classes are 0 to {count - 1:,}.")
    if not own:
        return labels, classes or tuple(str(number) for number in range(int(labels.max()) + 1))
    if not classes or own == classes:
        return labels, own
    exact = {name: number for number, name in enumerate(classes)}
    plain = {_plain(name): number for number, name in enumerate(classes)}
    numbers = torch.full((len(own),), -1)
    for used in labels.unique().tolist():
        number = exact.get(own[used], plain.get(_plain(own[used])))
        if number is None:
            raise ValueError(
                f"{where} has the class {own[used]!r}, which is not known{did_you_mean(_plain(own[used]), plain)} "
                f"The classes are {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}."
            )
        numbers[used] = number
    return numbers[labels], classes


def _plain(label: str) -> str:
    return label.lower().replace("_", " ").replace("-", " ").strip()


def _called(data: str | Path, name: str, part: Any) -> str:
    """What the pictures are from, in a word: "digits/train", "train.parquet"."""
    path = Path(data).expanduser()
    if path.is_file():
        return path.name
    if path.is_dir():
        return path.resolve().name if part == path else f"{path.resolve().name}/{name}"
    return f"{data}/{name}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
