"""Read and write the header of the zoo's own model files: the strings under "__metadata__".

"zoo.spec", "zoo.facts" and "zoo.made" are each a JSON document. Together they rebuild the network. The header is
checked against the tensors. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import kinds
from zoo.files import FileError as FileError  # the earlier import path
from zoo.spec import ModelSpec
from zoo.weights import keys
from zoo.weights.container import (
    DTYPES,
    MAX_HEADER,
    MOST_RUNS,
    PACKED,
    SIZES,
    WIDEST,
    Contents,
    Signature,
    differences,
    first_few,
    product,
    short,
    size_of,
)
from zoo.weights.facts import check_labels, write_made
from zoo.weights.json_text import parse_object
from zoo.weights.tensor_source import TensorSource


@dataclass(frozen=True)
class Header:
    """The header of a model file. `tensors` are named as stored: a packed K appears as "K.bitmask" (or "K.numbers", or
    "K.bits" and "K.runs") and "K.values".

    `sources` maps a key of the spec to its tensors in the file if their names differ. `files`: the file of each tensor.
    `tokenizer` is the text of a language model's tokenizer.json.
    """

    spec: ModelSpec
    labels: tuple[str, ...]
    made: Mapping[str, Any]
    tensors: Mapping[str, Signature]
    sources: Mapping[str, TensorSource]
    files: Mapping[str, Path]
    tokenizer: str = ""


def own_header(path: Path, contents: Contents) -> Header:
    """The header of a file that zoo.save wrote.

    `kinds.check` accepts the spec, and the file has exactly the tensors of the spec. Raises FileError with the path,
    the reason and what to do.
    """
    spec, labels, made, library = _read_metadata(path, contents.metadata)
    sources = _foreign_names(path, spec, library) | _earlier_names(spec, contents.tensors)
    _check_tensors(path, spec, contents.tensors, sources)
    tokenizer = contents.metadata.get("zoo.tokenizer", "")
    return Header(spec, labels, made, contents.tensors, sources, contents.files, tokenizer)


def encode_header(
    tensors: Mapping[str, Signature],
    spec: ModelSpec,
    labels: tuple[str, ...],
    made: Mapping[str, Any],
    library: str = "",
    tokenizer: str = "",
) -> tuple[bytes, list[str]]:
    """The header's bytes, and the order of the tensors: the widest dtype first, so that every tensor is aligned.

    The same model gives the same bytes. Raises FileError for labels, `made` or a tokenizer that could not be read back.
    """
    check_labels(spec, labels)
    if tokenizer.encode(errors="ignore").decode() != tokenizer:
        raise FileError("model.tokenizer holds half of a surrogate pair, so no file can keep it.")
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "pt",
            "zoo.spec": spec.dumps(),
            "zoo.facts": json.dumps({"labels": list(labels)}),
            "zoo.made": write_made(made),
            **({"zoo.names": library} if library else {}),
            **({"zoo.tokenizer": tokenizer} if tokenizer else {}),
        }
    }
    codes = {name: code for code, name in DTYPES.items()}
    order, end = sorted(tensors, key=lambda key: -SIZES[tensors[key][0]]), 0
    for key in order:
        dtype, shape = tensors[key]
        start, end = end, end + size_of(dtype, shape)
        header[key] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise FileError(f"A header of {len(text):,} bytes is too large; shorten model.made or model.labels.")
    return len(text).to_bytes(8, "little") + text, order


def source_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """The entry "source" of a model's `made`, which says where the weights come from; empty if it is no object."""
    found = made.get("source")
    return dict(found) if isinstance(found, Mapping) else {}


def _read_metadata(
    path: Path, metadata: Mapping[str, Any]
) -> tuple[ModelSpec, tuple[str, ...], Mapping[str, Any], str]:
    if "zoo.spec" not in metadata:
        raise FileError(
            f"{path}: does not say which network it is (no 'zoo.spec'), nor does a config.json beside it. "
            "`zoo convert FILE --arch NAME --out FOLDER` makes a network of weights of timm or torchvision."
        )
    try:
        spec = kinds.check(ModelSpec.from_json(parse_object(f"{path}: zoo.spec", metadata["zoo.spec"])))
        facts = parse_object(f"{path}: zoo.facts", metadata.get("zoo.facts", "{}"))
        labels = check_labels(spec, facts.get("labels", []))
    except FileError as error:
        raise FileError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:  # a hostile spec may raise any error
        raise FileError(f"{path}: its spec is refused: {error}") from None
    made = parse_object(f"{path}: zoo.made", metadata.get("zoo.made", "{}"))
    return spec, labels, made, metadata.get("zoo.names", "")


def _foreign_names(path: Path, spec: ModelSpec, library: str) -> dict[str, TensorSource]:
    """Key -> name and shape in the file, for a dense network that was written under another library's names."""
    if not library:
        return {}
    if library != "timm":
        raise FileError(f"{path}: its tensors bear names of {short(library)}; only timm's are known.")
    try:
        return keys.names_in(spec, "timm")
    except FileError as error:
        raise FileError(f"{path}: {error}") from None


def _earlier_names(spec: ModelSpec, tensors: Mapping[str, Signature]) -> dict[str, TensorSource]:
    """Key -> name and shape in a file of an earlier version, where the name has changed since."""
    found = {}
    for key, (_, shape) in kinds.model_state(spec).items():
        row, _, last = key.partition(".")
        earlier = f"{row}.{kinds.EARLIER_KEYS.get(last, last)}"
        if key not in tensors and earlier in tensors:
            found[key] = TensorSource.one(earlier, shape)
    return found


def _check_tensors(
    path: Path, spec: ModelSpec, tensors: Mapping[str, Signature], foreign: Mapping[str, TensorSource]
) -> None:
    """Check that the file has exactly the tensors of its spec, each plain or packed."""
    expected: dict[str, Signature] = {}
    for key, (dtype, shape) in kinds.model_state(spec).items():
        if key in foreign:
            expected[foreign[key].name] = (dtype, foreign[key].shape)
            continue
        mask, values = f"{key}.bitmask", f"{key}.values"
        if (numbers := f"{key}.numbers") in tensors and key not in tensors and dtype == "int64" and len(shape) == 1:
            width = tensors[numbers][1][-1] if len(tensors[numbers][1]) == 2 else 0
            expected[numbers] = ("uint8", (shape[0], min(max(width, 1), WIDEST)))
            expected[values] = ("int64", _at_most(tensors.get(values, ("", ()))[1], shape[0]))
            continue
        if (runs := f"{key}.runs") in tensors and key not in tensors and dtype == "int64" and len(shape) == 1:
            bits = f"{key}.bits"
            found = tensors[runs][1]
            expected[runs] = ("int64", (found[0] if len(found) == 2 and found[0] <= MOST_RUNS else 1, 2))
            expected[bits] = ("uint8", _at_most(tensors.get(bits, ("", ()))[1], 8 * shape[0]))
            expected[values] = ("int64", _at_most(tensors.get(values, ("", ()))[1], shape[0]))
            continue
        if key in tensors or mask not in tensors or dtype not in PACKED or len(shape) < 2:
            expected[key] = (dtype, shape)
            continue
        count = product(shape)
        expected[mask] = ("uint8", (-(-count // 8),))
        expected[values] = (dtype, _at_most(tensors.get(values, ("", ()))[1], count))
    lines = differences(expected, _widened(tensors, expected))
    if lines:
        raise FileError(f"{path}: its tensors are not those of its spec ({short(spec.name)}): {first_few(lines)}.")


def _widened(tensors: Mapping[str, Signature], expected: Mapping[str, Signature]) -> dict[str, Signature]:
    """The signatures after reading: float16 weights of `zoo.weights.half` become float32."""
    wide = {key for key, (dtype, _) in expected.items() if dtype == "float32"}
    return {
        key: ("float32" if dtype == "float16" and key in wide else dtype, shape)
        for key, (dtype, shape) in tensors.items()
    }


def _at_most(found: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The shape of packed values: what was found, if that can be."""
    return found if len(found) == 1 and found[0] <= count else (count,)
