"""Models to files and back: `save`, `save_file`, `load`. One file holds everything; no pickle anywhere."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from zoo import kinds
from zoo.build import Model, from_state
from zoo.weights.bitmask import pack, unpack
from zoo.weights.card import card
from zoo.weights.header import WEIGHTS, FileError, Header, Signature, encode_header, find_file, read_header
from zoo.weights.truth import check_truth

__all__ = ["FileError", "Header", "load", "read_header", "save", "save_file"]


def save_file(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the model to one safetensors file, whole or not at all.

    Weights with enough zeros are packed (`zoo.weights.bitmask`). The same model gives the same bytes. Raises FileError
    where the model is not what its spec says, or the file cannot be written; a file that was there is then untouched.
    """
    _write(Path(path), _encoded(model))


def save(model: Model, folder: str | os.PathLike[str]) -> None:
    """Write the Hub's layout: model.safetensors, config.json, README.md. Each is written whole or not at all.

    Raises FileError as `save_file` does, before there is a folder where there was none.
    """
    weights, folder = _encoded(model), Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be a folder: {error.strerror}.") from None
    _write(folder / WEIGHTS, weights)
    config = {
        "architecture": model.spec.name,
        "library_name": "zoo",
        "spec": model.spec.to_json(),
        "facts": {"labels": list(model.labels)},
        "made": dict(model.made),
    }
    _write(folder / "config.json", (json.dumps(config, indent=2).encode(),))
    _write(folder / "README.md", (card(model.spec, model.labels, model.made).encode(),))


def load(source: str | os.PathLike[str]) -> Model:
    """The model in a folder of `save`, or in one file; in eval mode, on the CPU.

    The file's own header is what counts, config.json is for other readers. Tensors are mapped from the file, not
    copied (packed ones apart); writing to them changes the model alone. Raises FileError.
    """
    path = find_file(source)
    header = read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            model = from_state(header.spec, _tensors(path, header, file))
    except FileError:
        raise
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise FileError(f"{path}: cannot be loaded: {error}") from error
    model.labels, model.made = header.labels, header.made
    return model


def _encoded(model: Model) -> list[Any]:
    """The file's bytes in pieces: the header, then the tensors in its order."""
    check_truth(model)
    arrays = _arrays(model.state_dict())
    signatures: dict[str, Signature] = {key: (str(array.dtype), array.shape) for key, array in arrays.items()}
    head, order = encode_header(signatures, model.spec, model.labels, model.made)
    return [head, *(arrays[key] for key in order)]


def _arrays(state: dict[str, Tensor]) -> dict[str, Any]:
    """The tensors as contiguous arrays, packed where that is smaller."""
    arrays = {}
    for key, tensor in state.items():
        array = tensor.detach().cpu().contiguous().numpy()
        packed = pack(array)
        if packed is None:
            arrays[key] = array
        else:
            arrays[f"{key}.bitmask"], arrays[f"{key}.values"] = packed
    return arrays


def _tensors(path: Path, header: Header, file: Any) -> dict[str, Tensor]:
    state = {}
    for key, (_, shape) in kinds.model_state(header.spec).items():
        if key in header.tensors:
            state[key] = file.get_tensor(key)
        else:
            mask, values = (file.get_tensor(f"{key}.{part}").numpy() for part in ("bitmask", "values"))
            state[key] = torch.from_numpy(unpack(mask, values, shape, f"{path}: {key}"))
    return state


def _write(path: Path, parts: Iterable[Any]) -> None:
    """Write the parts beside `path`, then put the result in its place in one step."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}; what was there is untouched.") from error
