"""Save and load models: `save`, `save_file`, `load`. One file holds everything. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.checks import MAX_INT, check_flag, check_whole
from zoo.files import FileError, path_to_write, write_whole
from zoo.model.build import Model, from_state, is_whole
from zoo.model.defaults import usual_defaults
from zoo.model.verify import check_float32, rebuildable
from zoo.spec import ModelSpec
from zoo.weights import hub, known_ids, known_values
from zoo.weights.bitmask import pack, unpack
from zoo.weights.container import INDEX, WEIGHTS, Signature
from zoo.weights.folder import find_file
from zoo.weights.folder_writer import write_folder
from zoo.weights.for_timm import is_timm, timm_config
from zoo.weights.half import check_dtype, halved
from zoo.weights.header import Header, encode_header, source_of
from zoo.weights.keys import names_in
from zoo.weights.open_files import OpenFiles
from zoo.weights.piece_tokenizers import check_tokenizer, is_tokenizer_json
from zoo.weights.reader import read_header
from zoo.weights.tensor_source import TensorSource
from zoo.weights.text_tokenizer import TOKENIZER

__all__ = ["FileError", "Header", "load", "read_header", "save", "save_file"]


def save_file(model: Model, path: str | os.PathLike[str], *, dtype: str = "float32") -> None:
    """Write the model to one safetensors file, whole or not at all.

    Weights with enough zeros are packed (`zoo.weights.bitmask`). The same model gives the same bytes. With `dtype`
    "float16" float weights take half of the bytes, as in `save`. Raises FileError where the model is not what its spec
    says, or the file cannot be written; a file that was there is then untouched.
    """
    check_dtype(dtype)
    write_whole(path_to_write(path, "file"), _encoded(_true(model), None, "", dtype)[WEIGHTS])


def save(
    model: Model, folder: str | os.PathLike[str], *, max_shard_size: int | None = None, dtype: str = "float32"
) -> None:
    """Write a network to a folder as the Hugging Face Hub has them: model.safetensors, config.json, README.md.

    A dense network that timm has is written under timm's names, so that `timm.create_model("local-dir:...")` reads the
    folder too; one with enough zeros to be packed is not. A network that is in the folder already is replaced in one
    step. A README.md that somebody wrote or edited is kept, with a warning.

    Args:
        model (Model): the network, with its labels, tokenizer and the notes in `made`.
        folder (str | os.PathLike[str]): where to write; the folder is made if it is missing.
        max_shard_size (int | None): bytes from which the weights are split over several files with an index.
            Default: None, one file.
        dtype (str): "float16" rounds float weights to half precision, so that they take half of the bytes; they are
            float32 again when they are loaded. Biases, norms' statistics and int8 weights stay as they are. Default:
            "float32", which changes nothing.

    Raises:
        FileError: the model was changed by hand, so that its spec does not rebuild it, or the folder cannot be
            written; what was there is untouched.
        ValueError: `max_shard_size` is no whole number above 0, `dtype` is another, or a weight is too large for
            float16.

    Example:
        >>> zoo.save(zoo.create("resnet20-int8"), "my-network")
        >>> zoo.load("my-network").spec.name
        'resnet20'
    """
    check_dtype(dtype)
    model = _true(model)
    theirs = is_timm(model.spec) and not _packs(model)
    files = _encoded(model, max_shard_size, "timm" if theirs else "", dtype)
    config = timm_config(model) if theirs else {}
    beside = {TOKENIZER: (model.tokenizer.encode(),)} if is_tokenizer_json(model.tokenizer) else {}
    write_folder(folder, {**beside, **files}, model.spec, model.labels, model.made, config=config)


@usual_defaults()
def load(source: str | os.PathLike[str], *, mmap: bool = True, cache_dir: str | Path | None = None) -> Model:
    """Open a saved network, in eval mode, on the CPU. No pickle is read.

    Small tensors are looked at now, and large ones at the first call: nan or infinity is a ValueError that names the
    row. Of embedding tables of 64 MB and more, each call looks at what it looks up.

    Args:
        source (str | os.PathLike[str]): a folder of `zoo.save`, of timm or of transformers, for architectures that the
            zoo has; one .safetensors file; or a repository of the Hub, "hf-hub:org/name[@revision]", or "org/name"
            where no such path exists.
        mmap (bool): map tensors from the file, packed and float16 ones excepted, so that they take no memory of their
            own and processes share them. Writing to them does not change the file, and a file that is replaced, as
            `zoo.save` does, goes on to be read. A file that is overwritten or cut short in place gives other weights,
            or ends the process (SIGBUS). False copies the tensors instead. Default: True.
        cache_dir (str | Path | None): where a repository is stored. Default: None, HF_HUB_CACHE.

    Returns:
        A `Model`, with its labels and tokenizer.

    Raises:
        FileError: the source is missing, damaged or of another format; HubError, a FileError, for the Hub.

    Example:
        >>> zoo.save(zoo.create("resnet20"), "my-network")
        >>> model = zoo.load("my-network")
        >>> model(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    check_flag("mmap", mmap)
    folder, address = hub.folder_of(source, cache_dir=cache_dir), hub.read_address(source)
    if folder is None or address is None:
        return _load(find_file(source), mmap)
    model = _load(find_file(folder), mmap)
    origin = {**source_of(model.made), "repo": address.repo, "commit": folder.name}
    model.made = {**model.made, "source": origin}
    return model


def _load(path: Path, mmap: bool) -> Model:
    with OpenFiles(mmap) as opened:
        header = read_header(path, opened)

        def read(name: str) -> Tensor:
            return opened.tensor(header.files[name], name)

        try:
            model = from_state(header.spec, stored_tensors(path, header, read))
        except FileError:
            raise
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise FileError(f"{path}: cannot be loaded: {error}") from error
    model._unread = True
    model.labels, model.made, model.tokenizer = header.labels, header.made, header.tokenizer
    return model


def encoded(model: Model, max_shard_size: int | None = None, *, library: str = "") -> dict[str, Sequence[Any]]:
    """File name -> its bytes in pieces: a header, then the tensors in its order; the index last, if there is one.

    `library` "timm" writes a dense network under timm's names, for timm to read it too. Raises FileError.
    """
    return _encoded(_true(model), max_shard_size, library)


def _encoded(
    model: Model, max_shard_size: int | None, library: str, dtype: str = "float32"
) -> dict[str, Sequence[Any]]:
    arrays = _arrays(model.state_dict()) if not library else _timm_arrays(model)
    if dtype == "float16":
        arrays = halved(arrays)
    about = (model.spec, model.labels, model.made, library, model.tokenizer)
    if max_shard_size is not None:
        check_whole("max_shard_size", max_shard_size, 1, MAX_INT)
    if max_shard_size is None or sum(array.nbytes for array in arrays.values()) <= max_shard_size:
        return {WEIGHTS: _file(arrays, *about)}
    shards: list[dict[str, Any]] = [{}]
    for key, array in arrays.items():
        if shards[-1] and sum(other.nbytes for other in shards[-1].values()) + array.nbytes > max_shard_size:
            shards.append({})
        shards[-1][key] = array
    contents = [_file(shard, *about) for shard in shards]
    # The name has a digest of the content, so that no file replaces a file of another network.
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}-{_digest(one)}.safetensors" for i, one in enumerate(contents)]
    index = {
        "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
        "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
    }
    return {**dict(zip(names, contents, strict=True)), INDEX: (json.dumps(index, indent=2).encode(),)}


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.reshape(-1).view("uint8"))
    return digest.hexdigest()[:12]


def _true(model: Model) -> Model:
    """The model that the file will rebuild; raises FileError if the model was changed by hand."""
    if not is_whole(model):
        raise FileError(
            f"Only a zoo model can be saved (from zoo.create, zoo.build or zoo.load), not a {type(model).__name__}; of "
            "a wrapper (DDP, torch.compile) save the model inside, of features the whole network, a timm or "
            "torchvision network becomes one with zoo.adopt."
        )
    try:
        plain = rebuildable(model, "save")
        check_float32(plain)
        check_tokenizer(plain.tokenizer)
    except ValueError as error:
        raise FileError(str(error)) from None
    return plain


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
    """The tensors under timm's names and in timm's shapes. None is packed, because timm reads plain tensors."""
    state = model.state_dict()
    return {
        one.name: state[key].detach().cpu().contiguous().numpy().reshape(one.shape)
        for key, one in names_in(model.spec, "timm").items()
    }


def _arrays(state: dict[str, Tensor]) -> dict[str, Any]:
    return {name: array for key, tensor in state.items() for name, array in arrays_of(key, tensor).items()}


def arrays_of(key: str, tensor: Tensor) -> dict[str, Any]:
    """A tensor as a contiguous array, or as those that it is packed to if packing makes it smaller."""
    array = tensor.detach().cpu().contiguous().numpy()
    if (packed := pack(array)) is not None:
        return {f"{key}.bitmask": packed[0], f"{key}.values": packed[1]}
    smaller = dict[str, Any]()
    if (packed := known_values.pack(array)) is not None:
        smaller = {f"{key}.numbers": packed[0], f"{key}.values": packed[1]}
    if (ids := known_ids.pack(array)) is not None and (not smaller or _bytes(ids) < _bytes(smaller.values())):
        smaller = {f"{key}.bits": ids[0], f"{key}.runs": ids[1], f"{key}.values": ids[2]}
    return smaller or {key: array}


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(array.nbytes for array in arrays)


def _packs(model: Model) -> bool:
    return any(pack(tensor.detach().cpu().contiguous().numpy()) is not None for tensor in model.state_dict().values())


def stored_tensors(path: Path, header: Header, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Make the model's tensors from the file's tensors; `read` returns a tensor by its name in the file."""
    state = {}
    for key, (dtype, shape) in kinds.model_state(header.spec).items():
        source = header.sources.get(key, TensorSource.one(key, shape))
        if not source.parts:  # timm does not store the counter
            state[key] = torch.zeros(shape, dtype=getattr(torch, dtype))
        elif source.parts[0][0] in header.tensors:
            parts = [_as(dtype, path, name, read(name)) for name, _ in source.parts]
            parts = [part.T.contiguous() for part in parts] if source.transposed else parts
            state[key] = parts[0].reshape(shape) if len(parts) == 1 else torch.cat(parts)
        elif f"{key}.numbers" in header.tensors:
            numbers, values = (read(f"{key}.{part}").numpy() for part in ("numbers", "values"))
            state[key] = torch.from_numpy(known_values.unpack(numbers, values, f"{path}: {key}"))
        elif f"{key}.runs" in header.tensors:
            bits, runs, values = (read(f"{key}.{part}").numpy() for part in ("bits", "runs", "values"))
            state[key] = torch.from_numpy(known_ids.unpack(bits, runs, values, shape[0], f"{path}: {key}"))
        else:
            mask, values = (read(f"{key}.{part}").numpy() for part in ("bitmask", "values"))
            unpacked = torch.from_numpy(unpack(mask, values, shape, f"{path}: {key}"))
            state[key] = unpacked.to(getattr(torch, dtype))
    return state


def _as(dtype: str, path: Path, name: str, tensor: Tensor) -> Tensor:
    wide = tensor.dtype == torch.float64 and dtype == "float32"
    return finite_float32(path, name, tensor) if wide else tensor.to(getattr(torch, dtype))


def finite_float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor `name` of a file, floats as float32; raises FileError if a value is not finite."""
    if not tensor.is_floating_point():
        return tensor
    value = tensor.float()
    if not bool(value.isfinite().all()):
        why = "too large for float32" if bool(tensor.isfinite().all()) else "not finite"
        raise FileError(f"{path}: {name} has values that are {why}; get the file again.")
    return value
