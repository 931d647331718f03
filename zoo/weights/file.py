"""Models to files and back: `save`, `save_file`, `load`. One file holds everything; no pickle anywhere."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from zoo import kinds
from zoo.build import Model, from_state
from zoo.spec import ModelSpec
from zoo.weights import hub
from zoo.weights.bitmask import pack, unpack
from zoo.weights.card import card
from zoo.weights.folder import find_file
from zoo.weights.header import (
    INDEX,
    WEIGHTS,
    FileError,
    Header,
    Signature,
    encode_header,
    read_header,
    source_of,
)
from zoo.weights.keys import names_in
from zoo.weights.stored import Stored
from zoo.weights.text_folder import TOKENIZER
from zoo.weights.truth import check_truth

__all__ = ["FileError", "Header", "load", "read_header", "save", "save_file"]


def save_file(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the model to one safetensors file, whole or not at all.

    Weights with enough zeros are packed (`zoo.weights.bitmask`). The same model gives the same bytes. Raises FileError
    where the model is not what its spec says, or the file cannot be written; a file that was there is then untouched.
    """
    _write(Path(path), encoded(model)[WEIGHTS])


def save(model: Model, folder: str | os.PathLike[str], *, max_shard_size: int | None = None) -> None:
    """Write the Hub's layout: model.safetensors, config.json, README.md. Each is written whole or not at all.

    Above `max_shard_size` bytes the weights are split over several files, with an index. Raises FileError as
    `save_file` does, before there is a folder where there was none.
    """
    files = encoded(model, max_shard_size)
    beside = {TOKENIZER: (model.tokenizer.encode(),)} if model.tokenizer else {}
    write_folder(folder, {**files, **beside}, model.spec, model.labels, model.made)


def write_folder(
    folder: str | os.PathLike[str],
    files: Mapping[str, Iterable[Any]],
    spec: ModelSpec,
    labels: tuple[str, ...],
    made: Mapping[str, Any],
    *,
    config: Mapping[str, Any] = MappingProxyType({}),
    readme: str | None = None,
) -> None:
    """`files` of `encoded`, a config.json with `config` added, and a README.md."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be a folder: {error.strerror}.") from None
    for name, parts in files.items():
        _write(folder / name, parts)
    about = {
        "architecture": spec.name,
        "library_name": "zoo",
        "spec": spec.to_json(),
        "facts": {"labels": list(labels)},
        "made": dict(made),
        **config,
    }
    _write(folder / "config.json", (json.dumps(about, indent=2).encode(),))
    _write(folder / "README.md", ((card(spec, labels, made) if readme is None else readme).encode(),))
    for stale in (WEIGHTS, INDEX):  # the other layout, of an earlier save
        if stale not in files:
            (folder / stale).unlink(missing_ok=True)


def load(source: str | os.PathLike[str], *, cache_dir: str | Path | None = None) -> Model:
    """The model in a folder, in one file, or in a repository of the Hub; in eval mode, on the CPU.

    Folders are those of `save`, where the file's own header is what counts and config.json is for other readers, or
    timm's or transformers', for architectures that the zoo has. A repository is "org/name", where no such path exists,
    or "hf-hub:org/name[@revision]"; `cache_dir` is where it is kept, HF_HUB_CACHE by default. Tensors are mapped from
    the file, not copied (packed ones apart); writing to them changes the model alone. Raises FileError.
    """
    folder, address = hub.folder_of(source, cache_dir=cache_dir), hub.read_address(source)
    if folder is None or address is None:
        return _load(find_file(source))
    model = _load(find_file(folder))
    origin = {**source_of(model.made), "repo": address.repo, "commit": folder.name}
    model.made = {**model.made, "source": origin}
    return model


def _load(path: Path) -> Model:
    header = read_header(path)
    try:
        with ExitStack() as opened:
            places = {
                place: opened.enter_context(safe_open(place, framework="pt")) for place in set(header.files.values())
            }
            model = from_state(
                header.spec, _tensors(path, header, {key: places[header.files[key]] for key in header.files})
            )
    except FileError:
        raise
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise FileError(f"{path}: cannot be loaded: {error}") from error
    model.labels, model.made, model.tokenizer = header.labels, header.made, header.tokenizer
    return model


def encoded(model: Model, max_shard_size: int | None = None, *, library: str = "") -> dict[str, Sequence[Any]]:
    """File name -> its bytes in pieces: a header, then the tensors in its order; the index last, if there is one.

    `library` "timm" writes a dense network under timm's names, for timm to read it too. Raises FileError.
    """
    check_truth(model)
    arrays = _arrays(model.state_dict()) if not library else _timm_arrays(model)
    about = (model.spec, model.labels, model.made, library, model.tokenizer)
    if max_shard_size is None or sum(array.nbytes for array in arrays.values()) <= max_shard_size:
        return {WEIGHTS: _file(arrays, *about)}
    shards: list[dict[str, Any]] = [{}]
    for key, array in arrays.items():
        if shards[-1] and sum(other.nbytes for other in shards[-1].values()) + array.nbytes > max_shard_size:
            shards.append({})
        shards[-1][key] = array
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    index = {
        "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
        "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
    }
    files: dict[str, Sequence[Any]] = {name: _file(shard, *about) for name, shard in zip(names, shards, strict=True)}
    return {**files, INDEX: (json.dumps(index, indent=2).encode(),)}


def _file(
    arrays: Mapping[str, Any],
    spec: ModelSpec,
    labels: tuple[str, ...],
    made: Mapping[str, Any],
    library: str,
    tokenizer: str,
) -> Sequence[Any]:
    signatures: dict[str, Signature] = {key: (str(array.dtype), array.shape) for key, array in arrays.items()}
    head, order = encode_header(signatures, spec, labels, made, library, tokenizer)
    return [head, *(arrays[key] for key in order)]


def _timm_arrays(model: Model) -> dict[str, Any]:
    """Under timm's names and in its shapes, none packed, since timm reads plain tensors."""
    state = model.state_dict()
    return {
        one.name: state[key].detach().cpu().contiguous().numpy().reshape(one.shape)
        for key, one in names_in(model.spec, "timm").items()
    }


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


def _tensors(path: Path, header: Header, files: Mapping[str, Any]) -> dict[str, Tensor]:
    """`files` have each stored tensor's open file."""
    state = {}
    for key, (dtype, shape) in kinds.model_state(header.spec).items():
        stored = header.stored.get(key, Stored.one(key, shape))
        if not stored.parts:  # a counter that timm left out
            state[key] = torch.zeros(shape, dtype=getattr(torch, dtype))
        elif stored.parts[0][0] in header.tensors:
            parts = [files[name].get_tensor(name).to(getattr(torch, dtype)) for name, _ in stored.parts]
            parts = [part.T.contiguous() for part in parts] if stored.transposed else parts
            state[key] = parts[0].reshape(shape) if len(parts) == 1 else torch.cat(parts)
        else:
            mask, values = (
                files[f"{key}.{part}"].get_tensor(f"{key}.{part}").numpy() for part in ("bitmask", "values")
            )
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
