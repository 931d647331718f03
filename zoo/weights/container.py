"""Read and check the header of a safetensors file, without torch, before any tensor takes memory.

The format is eight bytes of length (little endian), JSON of that length, then the tensors' bytes. The JSON has the
dtype, shape and place of every tensor, and strings under "__metadata__".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from zoo.files import FileError
from zoo.printable import printable
from zoo.weights.json_text import MAX_BYTES, parse_object, read_object
from zoo.weights.open_files import OpenFiles

WEIGHTS = "model.safetensors"  # in a folder of `save`
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"  # beside the weights; transformers writes the second
INDEX = "model.safetensors.index.json"  # instead of WEIGHTS, if the weights are split over several files
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MAX_CONFIG = MAX_BYTES
MAX_SHARDS = 1000
MAX_HEADER = 64 * 1024 * 1024  # bytes; 4,096 rows need less than ten million, a tokenizer as much again
DTYPES = {"F32": "float32", "I8": "int8", "U8": "uint8", "I64": "int64", "F16": "float16"}
SIZES = {"float32": 4, "int8": 1, "uint8": 1, "int64": 8, "float16": 2, "bfloat16": 2, "bool": 1, "float64": 8}
OTHER_FLOATS = ("float16", "bfloat16", "float64")  # read as float32
READ = {
    **DTYPES,
    "BF16": "bfloat16",
    "F64": "float64",
    "BOOL": "bool",
}  # the last three only in files of other libraries
WIDEST = 4  # bytes of a number that stands for the key of a known value
MOST_RUNS = 4096  # of sorted keys: as many as a schema has features
PACKED = ("float32", "int8")  # dtypes that may be stored as bitmask and values

SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")

Signature = tuple[str, tuple[int, ...]]  # dtype, shape


@dataclass(frozen=True)
class Contents:
    """The header of a safetensors file of any library, or of all files of an index. `files` maps tensor to file."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Signature]
    files: Mapping[str, Path]


def read_contents(path: Path, opened: OpenFiles) -> Contents:
    """Read the header of a safetensors file or of an index, of any library; raises FileError if the file is damaged."""
    if path.name.endswith(".json"):
        return _read_shards(path, opened)
    try:
        file = opened.open(path)
        data = _read_json(path, file)
        start = file.tell()
        tensors = _read_tensors(path, data, os.fstat(file.fileno()).st_size - start)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from None
    metadata = data.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FileError(f"{path}: its metadata is not an object of strings.")
    for name, signature in tensors.items():
        opened.place(path, name, start + data[name]["data_offsets"][0], *signature)
    return Contents(metadata, tensors, dict.fromkeys(tensors, path))


def shard_names(index: Path) -> list[str]:
    """The files that an index names; all of them are in the folder of the index."""
    return sorted(set(_weight_map(index).values()))


def differences(expected: Mapping[str, Signature], found: Mapping[str, Signature]) -> list[str]:
    """A sentence for each key that is missing, surplus, or of another dtype or shape."""
    lines = [f"{key} is missing" for key in expected if key not in found]
    lines += [f"{short(key)} is not expected" for key in found if key not in expected]
    for key, signature in expected.items():
        if key in found and found[key] != signature:
            lines.append(f"{key} is {_words(found[key])}, not {_words(signature)}")
    return lines


def first_few(lines: list[str]) -> str:
    """The first three lines, and the number of others."""
    return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")


def _read_json(path: Path, file: BinaryIO) -> dict[str, Any]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(64)
    length = int.from_bytes(start[:8], "little")
    if length > size - 8 or start[8:9] != b"{":
        _refuse_foreign(path, start, size, length)
    if length > MAX_HEADER:
        raise FileError(f"{path}: its header claims {length:,} bytes; more than {MAX_HEADER:,} are refused.")
    file.seek(8)
    return parse_object(f"{path}: the header", file.read(length))


def _refuse_foreign(path: Path, start: bytes, size: int, length: int) -> NoReturn:
    """Raise FileError that says what the file is instead of a whole safetensors file."""
    if size == 0:
        raise FileError(f"{path}: is empty; download or save it again.")
    if start.startswith(b"version https://git-lfs."):
        raise FileError(f"{path}: is a Git-LFS pointer, not the weights; run `git lfs pull` where it came from.")
    if start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise FileError(
            f"{path}: is a pickle, which can run code when it is opened, so it is refused. Read its tensors "
            f"alone: `zoo convert {path} --arch NAME --out FOLDER`."
        )
    if start[8:9] == b"{" or size < 9:
        raise FileError(f"{path}: is truncated: {size:,} bytes, and its header alone claims {length:,}; get it again.")
    raise FileError(f"{path}: is not a safetensors file; zoo.save writes them.")


def _read_tensors(path: Path, header: Mapping[str, Any], room: int) -> dict[str, Signature]:
    """The tensors' dtypes and shapes; raises FileError unless the tensors fill the rest of the file exactly."""
    tensors: dict[str, Signature] = {}
    places = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise FileError(f"{path}: tensor {short(key)} is not described by dtype, shape and data_offsets.")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in READ:
            raise FileError(f"{path}: tensor {short(key)} is of dtype {short(code)}; files hold {sorted(READ)}.")
        if not _naturals(shape) or len(shape) > 8 or not _naturals(offsets) or len(offsets) != 2:
            raise FileError(f"{path}: tensor {short(key)} has shape {short(shape)} and data_offsets {short(offsets)}.")
        tensors[key] = (READ[code], tuple(shape))
        if offsets[1] - offsets[0] != size_of(*tensors[key]):
            raise FileError(f"{path}: {short(key)} is {_words(tensors[key])}, which is not {short(offsets)} long.")
        if offsets[0] % SIZES[READ[code]]:
            raise FileError(f"{path}: tensor {short(key)} is not aligned to its dtype; save the file again.")
        places.append((*offsets, key))
    end = 0
    for start, stop, key in sorted(places):
        if start != end:
            raise FileError(f"{path}: {short(key)} starts at {start:,}, where {end:,} was due: a gap or an overlap.")
        end = stop
    if end != room:
        state = "is truncated" if end > room else "has bytes that belong to no tensor"
        raise FileError(f"{path}: {state}: {room:,} bytes of tensors, and its header claims {end:,}; get it again.")
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_object(index, MAX_HEADER).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FileError(f"{index}: has no weight_map, so it is no index of safetensors files.")
    for name in weight_map.values():
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            raise FileError(f"{index}: names {short(name)}, which is no safetensors file beside it; it is refused.")
    if len(set(weight_map.values())) > MAX_SHARDS:
        raise FileError(f"{index}: names more than {MAX_SHARDS:,} files, and is refused.")
    return weight_map


def _read_shards(index: Path, opened: OpenFiles) -> Contents:
    weight_map = _weight_map(index)
    about: dict[str, str] = {}
    tensors: dict[str, Signature] = {}
    files: dict[str, Path] = {}
    for name in sorted(set(weight_map.values())):
        part = read_contents(index.with_name(name), opened)
        ours = {key: value for key, value in part.metadata.items() if key.startswith("zoo.")}
        if files and ours != about:
            raise FileError(f"{index}: its files are of more than one network; get the whole folder again.")
        about = ours
        tensors |= part.tensors
        files |= part.files
    odd = [key for key in {**weight_map, **files} if key not in files or files[key].name != weight_map.get(key)]
    if odd:
        raise FileError(f"{index}: {short(odd[0])} does not lie where it says; get the whole folder again.")
    return Contents(part.metadata, tensors, files)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    return SIZES[dtype] * product(shape)


def short(value: Any) -> str:
    """A value from the file, shortened for a message."""
    return printable(repr(value), 100)


def _words(signature: Signature) -> str:
    return f"{signature[0]} of shape {short(signature[1])}"
