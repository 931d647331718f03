"""Variants that nobody has published: made here from the dense weights, once, and kept in a cache."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.naming import Name
from zoo.spec import ModelSpec, TextInput
from zoo.weights.lock import locked

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.build import Model
    from zoo.weights.header import Header

VERSION = 1  # of what follows: another one makes everything anew
SPARSITY = 0.5  # of a network that is not trained afterwards
PICTURES = 48  # of those that ship


class Derived(NamedTuple):
    """A variant, and its file in the cache."""

    model: Model
    file: Path


def check_tuned(name: Name, allow_untuned: bool) -> None:
    """Raise ValueError for a variant that is of no use without training, unless it is wanted all the same."""
    if "pruned" in name.passes and not allow_untuned:
        raise ValueError(
            f"{name} would be pruned without training, which costs most of the accuracy. zoo.create(..., "
            f'allow_untuned=True) makes it all the same; better: zoo.compress(zoo.create("{name.dense}"), '
            f'"{name.variant}"), then train it.'
        )


def derive(
    name: Name,
    source: Path,
    *,
    origin: Mapping[str, str],
    calibration: Any = None,
    cache_dir: str | Path | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> Derived:
    """The dense network in the file `source`, after the passes of `name`; from the cache where it was made before.

    `calibration` are preprocessed inputs, as `zoo.compress` takes them; by default `PICTURES` photographs that ship; a
    language model needs none, since its tokens are ranged as they come. How often the result answers these as the dense
    network does stands in its `made` under "derived", and is said in a warning where weights were left out without
    training. `origin` says there where the source is from.
    """
    from zoo.compress.data import as_batches
    from zoo.weights.file import load
    from zoo.weights.header import read_header, source_of

    header = read_header(source)
    if calibration is None and not isinstance(header.spec.input, TextInput):
        calibration = _photographs(header.spec)
    batches = [] if calibration is None else as_batches(calibration, "calibration= takes preprocessed inputs")
    file = _place(name, header, batches, cache_dir)
    model = _made_before(file)
    if model is None:
        with locked(file):
            model = _made_before(file)
            if model is None:
                report(f"making {name} from {name.dense}, once")
                _make(name, load(source), batches, file)
                model = load(file)
    model.made = {**model.made, "source": {**source_of(model.made), **origin}}
    _warn(name, model.made["derived"])
    return Derived(model, file)


def _make(name: Name, dense: Model, batches: list[Any], file: Path) -> None:
    from zoo.compress import compress
    from zoo.weights.file import save_file

    options: dict[str, Any] = {"sparsity": SPARSITY} if "sparse" in name.passes else {}
    if "int8" in name.passes and batches:
        options["calibration"] = batches
    model = compress(dense, name.variant.removeprefix("distilled-"), **options)
    facts: dict[str, Any] = {"from": name.dense}
    if not isinstance(dense.spec.input, TextInput):
        facts |= {"pictures": sum(map(len, batches)), "agreement": _agreement(model, dense, batches)}
    model.made = {**model.made, "derived": facts}
    save_file(model, file)


def _photographs(spec: ModelSpec) -> Tensor:
    from zoo.preprocess import preprocess
    from zoo.samples import calibration_pictures

    return preprocess(spec)(list(calibration_pictures()[:PICTURES]))


def _place(name: Name, header: Header, batches: list[Any], cache_dir: str | Path | None) -> Path:
    """One file for each source, recipe, version and calibration set."""
    from zoo.weights.hub import cache_folder, file_sha256

    pictures = hashlib.sha256()
    for batch in batches:
        for part in batch.values() if isinstance(batch, Mapping) else (batch,):
            pictures.update(f"{part.dtype} {tuple(part.shape)}".encode())
            pictures.update(part.detach().cpu().contiguous().numpy().tobytes())
    weights = [file_sha256(file) for file in sorted(set(header.files.values()))]
    facts = [header.spec.dumps(), header.labels]
    key = json.dumps([VERSION, name.variant, SPARSITY, weights, facts, pictures.hexdigest()])
    folder = cache_folder("derived") if cache_dir is None else Path(cache_dir) / "zoo" / "derived"
    return folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"


def _made_before(file: Path) -> Model | None:
    """The model in the cache; None where there is none, or a damaged one, which is removed."""
    from zoo.weights.file import FileError, load

    try:
        return load(file) if file.exists() else None
    except FileError:
        file.unlink(missing_ok=True)
        return None


def _agreement(model: Model, dense: Model, batches: list[Any]) -> float:
    """Percent of the inputs that both answer alike."""
    import torch

    with torch.inference_mode():
        same = [model(x).argmax(1) == dense(x).argmax(1) for batch in batches for x in batch.split(16)]
    return round(100 * float(torch.cat(same).float().mean()), 1)


def _warn(name: Name, facts: Mapping[str, Any]) -> None:
    untuned = [one for one in name.passes if one in ("pruned", "sparse")]
    if untuned:
        measured = ""
        if "agreement" in facts:
            measured = f": it answers {facts['agreement']:.1f}% of {facts['pictures']} calibration pictures"
            measured += f" as {name.dense} does"
        warnings.warn(
            f"{name} was {' and '.join(untuned)} without training{measured}. Train it before use.",
            UserWarning,
            stacklevel=5,
        )
