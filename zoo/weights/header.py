"""The head of a model file, read and checked without torch, before any tensor takes memory.

The format is safetensors': eight bytes of length (little endian), that much JSON, then the tensors' bytes. The JSON
holds for every tensor its dtype, shape and place, and under "__metadata__" what rebuilds the network: "zoo.spec",
"zoo.facts" and "zoo.made", each JSON of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from zoo import kinds
from zoo.spec import ModelSpec
from zoo.weights.stored import Stored

WEIGHTS = "model.safetensors"  # in a folder of `save`
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"  # beside the weights; the latter is transformers'
INDEX = "model.safetensors.index.json"  # in its place where the weights are split over several files
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MAX_CONFIG = 4 * 1024 * 1024  # bytes
MAX_SHARDS = 1000
MAX_HEADER = 64 * 1024 * 1024  # bytes; 4,096 rows need less than ten million, a tokenizer as much again
DTYPES = {"F32": "float32", "I8": "int8", "U8": "uint8", "I64": "int64"}
SIZES = {"float32": 4, "int8": 1, "uint8": 1, "int64": 8, "float16": 2, "bfloat16": 2, "bool": 1}
HALVES = ("float16", "bfloat16")
READ = {**DTYPES, "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}  # what files of other libraries hold besides
PACKED = ("float32", "int8")  # what may lie in the file as bitmask + values

SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")

Signature = tuple[str, tuple[int, ...]]  # dtype, shape


class FileError(ValueError):
    """A model file or folder that cannot be read, trusted or written."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `tensors` are as stored: a packed K appears as "K.bitmask" and "K.values".

    `stored` says how the spec's keys are held, where those are not their own, and `files` where each tensor lies.
    `tokenizer` is the text of a language model's tokenizer.json.
    """

    spec: ModelSpec
    labels: tuple[str, ...]
    made: Mapping[str, Any]
    tensors: Mapping[str, Signature]
    stored: Mapping[str, Stored]
    files: Mapping[str, Path]
    tokenizer: str = ""


@dataclass(frozen=True)
class Contents:
    """A safetensors file, or all that an index names, whoever wrote it; `files` say where each tensor lies."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Signature]
    files: Mapping[str, Path]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check everything but the tensors' values.

    A header that passes has a spec that `kinds.check` accepts, and exactly that spec's tensors, inside the file. Files
    of timm and transformers are told by the config.json beside them. Raises FileError with the path, the reason and
    what to do.
    """
    from zoo.weights import foreign

    path = Path(path)
    contents = read_contents(path)
    if "zoo.spec" not in contents.metadata and (config := foreign.config_beside(path)):
        return foreign.foreign_header(path, contents, config)
    spec, labels, made, library = _read_metadata(path, contents.metadata)
    stored = _foreign_names(path, spec, library)
    _check_tensors(path, spec, contents.tensors, stored)
    tokenizer = contents.metadata.get("zoo.tokenizer", "")
    return Header(spec, labels, made, contents.tensors, stored, contents.files, tokenizer)


def read_contents(path: Path) -> Contents:
    """What a safetensors file or an index holds, whoever wrote it; raises FileError where its bytes do not add up."""
    if path.name.endswith(".json"):
        return _read_shards(path)
    try:
        with path.open("rb") as file:
            data = _read_json(path, file)
            size = os.fstat(file.fileno()).st_size
            tensors = _read_tensors(path, data, size - file.tell())
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from None
    metadata = data.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FileError(f"{path}: its metadata is not an object of strings.")
    return Contents(metadata, tensors, dict.fromkeys(tensors, path))


def shard_names(index: Path) -> list[str]:
    """The files that an index names, which lie beside it and nowhere else."""
    return sorted(set(_weight_map(index).values()))


def encode_header(
    tensors: Mapping[str, Signature],
    spec: ModelSpec,
    labels: tuple[str, ...],
    made: Mapping[str, Any],
    library: str = "",
    tokenizer: str = "",
) -> tuple[bytes, list[str]]:
    """The bytes before the tensors' own, and the order these follow in: the widest dtype first, so all lie aligned.

    The same model gives the same bytes. Raises FileError for labels or `made` that could not be read back.
    """
    check_labels(spec, labels)
    try:
        notes = json.dumps(dict(made), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FileError(f"model.made is kept as JSON, and cannot be: {error}.") from None
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "pt",
            "zoo.spec": spec.dumps(),
            "zoo.facts": json.dumps({"labels": list(labels)}),
            "zoo.made": notes,
            **({"zoo.names": library} if library else {}),
            **({"zoo.tokenizer": tokenizer} if tokenizer else {}),
        }
    }
    codes = {name: code for code, name in DTYPES.items()}
    order, end = sorted(tensors, key=lambda key: -SIZES[tensors[key][0]]), 0
    for key in order:
        dtype, shape = tensors[key]
        start, end = end, end + _bytes(dtype, shape)
        header[key] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise FileError(f"A header of {len(text):,} bytes is too large; shorten model.made or model.labels.")
    return len(text).to_bytes(8, "little") + text, order


def check_labels(spec: ModelSpec, labels: Any) -> tuple[str, ...]:
    """Labels are printable strings, one for each output or none at all; raises FileError."""
    if not isinstance(labels, (tuple, list)) or not all(isinstance(label, str) for label in labels):
        raise FileError("labels are strings, one for each class.")
    odd = [label for label in labels if not label.isprintable()]
    if odd:
        raise FileError(f"label {_short(odd[0])} holds characters that cannot be printed.")
    outputs = kinds.layer_widths(spec.rows[-1]).get("out", 0)
    if labels and len(labels) != outputs:
        raise FileError(f"{len(labels)} labels for {outputs} classes; give one each, or none.")
    return tuple(labels)


def source_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's `made` says of where its weights come from; empty where that is nothing that can be read."""
    found = made.get("source")
    return dict(found) if isinstance(found, Mapping) else {}


def one_line(text: str, most: int = 300) -> str:
    """Text of unknown origin on one line, without control characters, and cut short."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]


def differences(expected: Mapping[str, Signature], found: Mapping[str, Signature]) -> list[str]:
    """In words, each key that is missing, surplus, or of another dtype or shape."""
    lines = [f"{key} is missing" for key in expected if key not in found]
    lines += [f"{_short(key)} is not expected" for key in found if key not in expected]
    for key, signature in expected.items():
        if key in found and found[key] != signature:
            lines.append(f"{key} is {_words(found[key])}, not {_words(signature)}")
    return lines


def first_few(lines: list[str]) -> str:
    """The first three, and how many more."""
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
    return _object(path, "the header", file.read(length))


def _refuse_foreign(path: Path, start: bytes, size: int, length: int) -> NoReturn:
    """Say what the file is instead of a whole safetensors file."""
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
    """The tensors' dtypes and shapes, once it is certain that their bytes fill the rest of the file exactly."""
    tensors: dict[str, Signature] = {}
    places = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise FileError(f"{path}: tensor {_short(key)} is not described by dtype, shape and data_offsets.")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in READ:
            raise FileError(f"{path}: tensor {_short(key)} is of dtype {_short(code)}; files hold {sorted(READ)}.")
        if not _naturals(shape) or len(shape) > 8 or not _naturals(offsets) or len(offsets) != 2:
            raise FileError(
                f"{path}: tensor {_short(key)} has shape {_short(shape)} and data_offsets {_short(offsets)}."
            )
        tensors[key] = (READ[code], tuple(shape))
        if offsets[1] - offsets[0] != _bytes(*tensors[key]):
            raise FileError(f"{path}: {_short(key)} is {_words(tensors[key])}, which is not {_short(offsets)} long.")
        if offsets[0] % SIZES[READ[code]]:
            raise FileError(f"{path}: tensor {_short(key)} is not aligned to its dtype; save the file again.")
        places.append((*offsets, key))
    end = 0
    for start, stop, key in sorted(places):
        if start != end:
            raise FileError(f"{path}: {_short(key)} starts at {start:,}, where {end:,} was due: a gap or an overlap.")
        end = stop
    if end != room:
        state = "is truncated" if end > room else "has bytes that belong to no tensor"
        raise FileError(f"{path}: {state}: {room:,} bytes of tensors, and its header claims {end:,}; get it again.")
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    try:
        if index.stat().st_size > MAX_HEADER:
            raise FileError(f"{index}: is larger than {MAX_HEADER:,} bytes, and refused.")
        weight_map = _object(index, "the index", index.read_bytes()).get("weight_map")
    except OSError as error:
        raise FileError(f"{index}: cannot be read: {error.strerror}.") from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise FileError(f"{index}: has no weight_map, so it is no index of safetensors files.")
    for name in weight_map.values():
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            raise FileError(f"{index}: names {_short(name)}, which is no safetensors file beside it; it is refused.")
    if len(set(weight_map.values())) > MAX_SHARDS:
        raise FileError(f"{index}: names more than {MAX_SHARDS:,} files, and is refused.")
    return weight_map


def _read_shards(index: Path) -> Contents:
    weight_map = _weight_map(index)
    tensors: dict[str, Signature] = {}
    files: dict[str, Path] = {}
    for name in shard_names(index):
        part = read_contents(index.with_name(name))
        tensors |= part.tensors
        files |= part.files
    odd = [key for key in {**weight_map, **files} if key not in files or files[key].name != weight_map.get(key)]
    if odd:
        raise FileError(f"{index}: {_short(odd[0])} does not lie where it says; get the whole folder again.")
    return Contents(part.metadata, tensors, files)


def _read_metadata(
    path: Path, metadata: Mapping[str, Any]
) -> tuple[ModelSpec, tuple[str, ...], Mapping[str, Any], str]:
    if "zoo.spec" not in metadata:
        raise FileError(
            f"{path}: does not say which network it is (no 'zoo.spec'), nor does a config.json beside it. "
            "`zoo convert FILE --arch NAME --out FOLDER` makes a network of weights of timm or torchvision."
        )
    try:
        spec = kinds.check(ModelSpec.from_json(_object(path, "zoo.spec", metadata["zoo.spec"])))
        labels = check_labels(spec, _object(path, "zoo.facts", metadata.get("zoo.facts", "{}")).get("labels", []))
    except FileError as error:
        raise FileError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:  # whatever a hostile spec comes upon
        raise FileError(f"{path}: its spec is refused: {error}") from None
    return spec, labels, _object(path, "zoo.made", metadata.get("zoo.made", "{}")), metadata.get("zoo.names", "")


def _foreign_names(path: Path, spec: ModelSpec, library: str) -> dict[str, Stored]:
    """Key -> name and shape in the file, where a dense network was written for another library to read it too."""
    from zoo.weights import keys

    if not library:
        return {}
    if library != "timm":
        raise FileError(f"{path}: its tensors bear names of {_short(library)}; only timm's are known.")
    try:
        return keys.names_in(spec, "timm")
    except FileError as error:
        raise FileError(f"{path}: {error}") from None


def _check_tensors(
    path: Path, spec: ModelSpec, tensors: Mapping[str, Signature], foreign: Mapping[str, Stored]
) -> None:
    """The file's tensors are those of its spec, each plain or packed."""
    expected: dict[str, Signature] = {}
    for key, (dtype, shape) in kinds.model_state(spec).items():
        if key in foreign:
            expected[foreign[key].name] = (dtype, foreign[key].shape)
            continue
        mask, values = f"{key}.bitmask", f"{key}.values"
        if key in tensors or mask not in tensors or dtype not in PACKED or len(shape) < 2:
            expected[key] = (dtype, shape)
            continue
        count = _product(shape)
        kept = tensors.get(values, ("", ()))[1]
        expected[mask] = ("uint8", (-(-count // 8),))
        expected[values] = (dtype, kept if len(kept) == 1 and kept[0] <= count else (count,))
    lines = differences(expected, tensors)
    if lines:
        raise FileError(f"{path}: its tensors are not those of its spec ({_short(spec.name)}): {first_few(lines)}.")


def _object(path: Path, what: str, text: bytes | str) -> dict[str, Any]:
    """One JSON object, without repeated keys, NaN or infinities."""

    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in pairs:
            if key in out:
                raise ValueError(f"the key {_short(key)} comes twice")
            out[key] = value
        return out

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        data = json.loads(decoded, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: {what} does not parse: {error}.") from None
    if not isinstance(data, dict):
        raise FileError(f"{path}: {what} is not a JSON object.")
    return data


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return SIZES[dtype] * _product(shape)


def _short(value: Any) -> str:
    """A value from the file, no longer than a message can bear."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _words(signature: Signature) -> str:
    return f"{signature[0]} of shape {_short(signature[1])}"
