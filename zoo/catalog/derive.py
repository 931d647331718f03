"""Make variants that are not published from the dense weights, once, and cache them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.files import FileError, cache_folder, cached, file_name
from zoo.naming import Name
from zoo.passes import PASSES, Pass
from zoo.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.model.build import Model
    from zoo.passes.data import Calibration
    from zoo.weights.header import Header

VERSION = 6  # of the recipe below; a new version makes all variants again
PICTURES = 48  # of the pictures that ship
MIN_AGREEMENT = 0.5  # share of the calibration inputs that get the dense network's answer
MEASURES = {"agreement": 100, "cosine": 1}  # how a variant's answers are measured -> the value of equal ones


class Derived(NamedTuple):
    """A variant, and its file in the cache."""

    model: Model
    file: Path


def check_agreement(name: Name, facts: Mapping[str, Any], least: float) -> None:
    """Raise ValueError for a variant whose answers are too seldom the dense network's, of which weights were removed.

    `facts` is its `made["derived"]`, `least` a share of the inputs, or a cosine.
    """
    if not _untuned(name) or not least:
        return
    better = f'zoo.compress(zoo.create("{name.dense}"), "{name.variant}", ...), with your own options, then training'
    if not (found := [facts[what] / whole for what, whole in MEASURES.items() if what in facts]):
        raise ValueError(
            f"{name} is made without training, and without calibration= nobody knows what that costs. Give it, or make "
            f"the variant all the same by allow_untuned=True; better: {better}."
        )
    if found[0] < least:
        raise ValueError(
            f"{name}, made without training, {_measured(name, facts)}: less than min_agreement={least:g}. More inputs "
            f"in calibration= may help. A lower min_agreement= or allow_untuned=True gives it all the same; better: "
            f"{better}."
        )


def derive(
    name: Name,
    source: Path,
    *,
    origin: Mapping[str, str],
    calibration: Any = None,
    cache_dir: str | Path | None = None,
    min_agreement: float = MIN_AGREEMENT,
    report: Callable[[str], None] = lambda step: None,
) -> Derived:
    """The variant `name` of the dense network in the file `source`; from the cache if the variant was made before.

    `calibration` are preprocessed inputs, as `zoo.compress` takes them. The default is `PICTURES` photographs that
    ship; a language model needs none for int8, because its tokens are ranged at run time. `made["derived"]` has the
    share of inputs that get the same answer as from the dense network. If weights were removed without training, a
    warning says this share, and less than `min_agreement` raises ValueError. `origin` (the source of the dense weights)
    is added to `made`.
    """
    file = derived_file(name, source, origin=origin, calibration=calibration, cache_dir=cache_dir, report=report)
    return Derived(load_derived(name, file, min_agreement), file)


def derived_file(
    name: Name,
    source: Path,
    *,
    origin: Mapping[str, str],
    calibration: Any = None,
    cache_dir: str | Path | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> Path:
    """The cached file of `derive`; it is made if it is missing."""
    from zoo.passes.data import Calibration, as_calibration
    from zoo.weights.file import load
    from zoo.weights.reader import read_header

    header = read_header(source)
    told = "inputs of the caller" if calibration is not None else "photographs that ship"
    if calibration is None and header.spec.input.samples:
        calibration = _photographs(header.spec)
    if calibration is None:
        calibration = Calibration()
    else:
        calibration = as_calibration(calibration, "calibration= takes preprocessed inputs", header.spec)
    key = _key(name, header, calibration, origin)
    file = cache_folder("derived", cache_dir) / f"{file_name(str(name))}-{key[:16]}.safetensors"

    def make(part: Path) -> None:
        report(f"making {name} from {name.dense}, once")
        _make(name, load(source), calibration, told, origin, key, part)
        if _key(name, read_header(source), calibration, origin) != key:
            raise FileError(f"{source}: has changed while {name} was made of it: call again.")

    return cached(file, make, lambda entry: _checked(entry, name, header.spec, key))


def load_derived(name: Name, file: Path, min_agreement: float = MIN_AGREEMENT) -> Model:
    """Load `derived_file`'s file. If weights were removed, a warning says how many answers agree.

    Raises FileError; ValueError where fewer than `min_agreement` agree.
    """
    from zoo.weights.file import load
    from zoo.weights.matches_name import check_matches_name

    model = load(file)
    try:
        check_matches_name(model, name, str(file))
    except FileError:
        raise
    except ValueError as error:
        raise FileError(str(error)) from None
    check_agreement(name, model.made["derived"], min_agreement)
    _warn(name, model.made["derived"])
    return model


def _make(
    name: Name, dense: Model, calibration: Calibration, told: str, origin: Mapping[str, str], key: str, file: Path
) -> None:
    from zoo.passes.compress import compress
    from zoo.report.agreement import left_out, likeness, worse
    from zoo.weights.file import save_file
    from zoo.weights.header import source_of

    passes = _made_here(name)
    takes = any("calibration" in one.takes for one in passes)
    model = compress(
        dense,
        "-".join(one.name for one in passes),
        calibration=calibration if takes and calibration else None,
        **_untrained(name),
    )
    facts: dict[str, Any] = {"from": name.dense, "key": key}
    if calibration:
        facts |= {**worse(likeness(model, dense, calibration), left_out(model.made)), "calibration": told}
    model.made = {**model.made, "source": {**source_of(model.made), **origin}, "derived": facts}
    save_file(model, file)


def _made_here(name: Name) -> list[Pass]:
    """The passes of a name that work without training."""
    return [PASSES[one] for one in name.passes if PASSES[one].training != "only"]


def _untrained(name: Name) -> dict[str, Any]:
    """The options of the passes of a variant that is not trained afterwards."""
    return {key: value for one in _made_here(name) for key, value in one.untrained.items()}


def _photographs(spec: ModelSpec) -> Tensor:
    from zoo.data.preprocess import preprocess

    return preprocess(spec)(list(spec.input.fetch("samples")()[:PICTURES]))


def _key(name: Name, header: Header, calibration: Calibration, origin: Mapping[str, str]) -> str:
    """The SHA-256 of what a variant is made of: its source, recipe, version and calibration set."""
    from zoo.weights.hub import file_sha256

    pictures = hashlib.sha256()
    for batch in calibration:
        for part in batch.values() if isinstance(batch, Mapping) else (batch,):
            pictures.update(f"{part.dtype} {tuple(part.shape)}".encode())
            pictures.update(part.detach().cpu().contiguous().numpy().tobytes())
    weights = [file_sha256(file) for file in sorted(set(header.files.values()))]
    facts = [header.spec.dumps(), header.labels]
    key = json.dumps([VERSION, name.variant, _untrained(name), weights, facts, dict(origin), pictures.hexdigest()])
    return hashlib.sha256(key.encode()).hexdigest()


def _checked(entry: Path, name: Name, dense: ModelSpec, key: str) -> Path:
    """The cached file; raises FileError unless the file says that it is `name`, made from `dense` under that key."""
    from zoo.weights.reader import read_header

    header = read_header(entry)
    facts, pictures = header.made.get("derived"), dense.input.samples
    if not isinstance(facts, Mapping) or facts.get("from") != name.dense or header.spec.name != dense.name:
        raise FileError(f"{entry}: does not say that it is {name}.")
    if facts.get("key") != key:
        raise FileError(f"{entry}: was made of other weights, by another recipe or other calibration inputs.")
    if pictures and not any(isinstance(facts.get(one), (int, float)) for one in MEASURES):
        raise FileError(f"{entry}: does not say what {name} costs.")
    return entry


def _untuned(name: Name) -> list[str]:
    """The passes of a name that removed weights, without training."""
    return [one for one in name.passes if PASSES[one].training == "advised"]


def _warn(name: Name, facts: Mapping[str, Any]) -> None:
    if untuned := _untuned(name):
        measured = f": it {_measured(name, facts)}" if any(what in facts for what in MEASURES) else ""
        warnings.warn(
            f"{name} was {' and '.join(untuned)} without training{measured}. Train it before use where that is too "
            "little.",
            UserWarning,
            stacklevel=5,
        )


def _measured(name: Name, facts: Mapping[str, Any]) -> str:
    """What is known of a variant's answers, as the end of a sentence."""
    of = f"{facts['inputs']} calibration inputs ({facts['calibration']})"
    if "agreement" not in facts:
        return f"answers with a mean cosine of {facts['cosine']:.3f} to the answers of {name.dense} to {of}"
    low, high = facts["interval"]
    return f"answers {facts['agreement']:.1f}% ({low:.1f} to {high:.1f}) of {of} as {name.dense} does"
