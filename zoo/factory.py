"""`create`: from a name to a network with its weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from zoo import kinds, listing, registry
from zoo.naming import Name, UnknownName
from zoo.spec import Block, ModelSpec, SpecError, TextInput
from zoo.weights import published
from zoo.weights.manifest import Entry

if TYPE_CHECKING:
    from zoo.build import Model
    from zoo.derive import Derived
    from zoo.features import Features

CLASSIFIERS = ("classifier", "pair_classifier")


def pull(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> Path:
    """Fetch ahead of time what `create(name)` or `load(name)` would, newer than the cache too; its folder or file.

    `name` is a model's, or a repository of the Hub. A variant that is made of published weights is made too. Raises as
    `create` does.
    """
    from zoo.weights import hub

    if address := hub.read_address(name):
        return hub.fetch(hub.read_address(_revised(name, revision)) or address, cache_dir=cache_dir)
    full, entry = listing.find(name)
    if entry is not None:
        return entry.verified()
    source = _Source(revision, None, False, cache_dir)
    if str(full) in published.published():
        return _fetch(full, source, fresh=True)
    if full.dense not in published.published():
        raise UnknownName(_unknown(name))
    return _derived(full, source, fresh=True).file


@dataclass(frozen=True)
class _Source:
    """How weights that do not ship are found or made: `create`'s own arguments."""

    revision: str | None
    calibration: Any
    allow_untuned: bool
    cache_dir: str | Path | None


@overload
def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = ...,
    num_classes: int | None = ...,
    features_only: Literal[True],
    out_indices: int | Iterable[int] | None = ...,
    device: str | None = ...,
    revision: str | None = ...,
    calibration: Any = ...,
    allow_untuned: bool = ...,
    cache_dir: str | Path | None = ...,
    runtime: str = ...,
) -> Features: ...


@overload
def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = ...,
    num_classes: int | None = ...,
    features_only: bool = ...,
    out_indices: int | Iterable[int] | None = ...,
    device: str | None = ...,
    revision: str | None = ...,
    calibration: Any = ...,
    allow_untuned: bool = ...,
    cache_dir: str | Path | None = ...,
    runtime: str = ...,
) -> Model: ...


def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = "default",
    num_classes: int | None = None,
    features_only: bool = False,
    out_indices: int | Iterable[int] | None = None,
    device: str | None = None,
    revision: str | None = None,
    calibration: Any = None,
    allow_untuned: bool = False,
    cache_dir: str | Path | None = None,
    runtime: str = "torch",
) -> Model:
    """The network of a name, in eval mode.

    `weights`: "default" for those that ship under the name or are published on the Hugging Face Hub (as
    "resnet50.a1_in1k"; an architecture without a tag has its default ones); None for fresh ones; or the folder or file
    of a saved network of that architecture, or its repository, "hf-hub:org/name[@revision]". A ModelSpec has fresh
    weights by default.
    `revision`: another branch, tag or commit of the repository. `cache_dir`: where what is fetched and made is kept,
    instead of HF_HUB_CACHE.
    A variant of published weights that nobody published ("resnet50.a1_in1k-int8") is made here, once, and kept: int8
    with the preprocessed inputs `calibration`, or photographs that ship; a pruned one loses most of its accuracy
    until it is trained, so it needs `allow_untuned`.
    `num_classes`: another number than the weights' own keeps all but the classifier, which is then fresh and float32;
    0 leaves the classifier out, for what it would have been given, (B, features) in float32.
    `features_only`: the trunk as a backbone, `zoo.features.Features`. Its output is a list of float32 maps
    (B, C, H, W), of int8 networks too: the last of every resolution, from the largest on, or those of `out_indices`,
    in that order; negative ones count from the end, a number stands for that many last ones. `feature_info` has their
    `channels()`, `reduction()` and `module_name()`. There is no classifier, so `num_classes` changes nothing.
    `runtime`: "torch"; "openvino", "onnxruntime" or, for pictures, "executorch", the same call and answers in another
    engine on the CPU; or "auto", the fastest of those installed, measured once on this host (`zoo.to_runtime`).

    Raises UnknownName for a name that stands for nothing, FileError for a file that is damaged or none of ours,
    HubError (a FileError) for what cannot be fetched, ValueError for options that do not fit together, such as weights
    that the name's passes did not make.
    """
    _check_options(num_classes, features_only, out_indices, device)
    _check_runtime(runtime, features_only, device)
    if isinstance(name_or_spec, ModelSpec):
        model = _of_spec(name_or_spec, _revised(weights, revision), cache_dir, device)
    elif weights is None:
        _revised(weights, revision)
        model = _fresh(registry.resolve(name_or_spec), num_classes, device)
    elif weights == "default":
        model = _default(name_or_spec, _Source(revision, calibration, allow_untuned, cache_dir))
    else:
        model = _from_file(registry.resolve(name_or_spec), _revised(weights, revision), cache_dir)
    if features_only:
        from zoo.features import Features

        model = Features(model, out_indices)
    elif num_classes is not None:
        model = with_classes(model, num_classes)
    if runtime != "torch":
        from zoo.runtime.choose import to_runtime

        return to_runtime(model, runtime, cache_dir=cache_dir, report=_report)
    return model if device is None else model.to(device)


def with_classes(model: Model, num_classes: int) -> Model:
    """The same trunk under a fresh float32 classifier, or for 0 none; the model itself where it is so already."""
    from zoo.build import edit, upto

    *trunk, head = model.spec
    if isinstance(model.spec.input, TextInput) and head.kind != "classifier":
        from zoo.text.heads import with_outputs

        return with_outputs(model, num_classes)
    if num_classes == 0 and head.kind == "pair_classifier":
        return _pooled_pair(model)
    if num_classes == 0:
        return upto(model, trunk[-1].name) if trunk and head.kind in CLASSIFIERS else model
    if head.kind not in CLASSIFIERS:
        raise ValueError(f"{model.spec.name} ends in a {head.kind}, not in a classifier, so it takes no num_classes.")
    return model if head.args["num_classes"] == num_classes else edit(model, head.name, num_classes=num_classes)


def _pooled_pair(model: Model) -> Model:
    """A network of two prefix tokens without its classifiers: the mean of both, which their mean answer is made of."""
    from zoo.build import describe, from_state

    spec = model.spec.replace(rows=(*model.spec.rows[:-1], Block("token_pool", "pool", pool="pair")))
    state = model.state_dict()
    made = describe(from_state(spec, {key: state[key] for key in kinds.model_state(spec)}), model)
    made.labels = ()
    return made


def _of_spec(
    spec: ModelSpec, weights: str | os.PathLike[str] | None, cache_dir: str | Path | None, device: str | None
) -> Model:
    if weights is None or weights == "default":
        from zoo.build import build

        return build(spec, device=device)
    from zoo.weights.file import load

    model = load(weights, cache_dir=cache_dir)
    if model.spec != spec:
        raise ValueError(f"{os.fspath(weights)} holds a network of another spec; zoo.load(...) reads it as it is.")
    return model


def _fresh(name: Name, num_classes: int | None, device: str | None) -> Model:
    from zoo.build import build

    if name.passes:
        if "distilled" in name.passes:
            from zoo.compress import distill

            distill.refuse(name.arch)
        raise ValueError(
            f"A compressed network comes from weights, so {str(name)!r} has no fresh ones: build {name.arch!r} with "
            f'weights=None, train it, then call zoo.compress(model, "{"-".join(name.passes)}").'
        )
    return build(registry.spec(name.arch, num_classes or None), device=device)


def _default(text: str, source: _Source) -> Model:
    """What ships under the name, else what is published, else what can be made of that."""
    name, entry = listing.find(text)
    if entry is not None:
        if source.revision is not None:
            raise ValueError(f"{name} ships with the package, so it has no revision={source.revision!r}.")
        return _shipped(entry)
    if name.dense not in published.published():
        raise UnknownName(_unknown(text))
    if str(name) in published.published():
        return _fetched(name, source)
    return _derived(name, source).model


def _unknown(text: str) -> str:
    return (
        f'No weights are known for {text!r}. zoo.create("{text}", weights=None) gives fresh ones, '
        f'zoo.create("{text}", weights="folder or file") your own.'
    )


def _derived(name: Name, source: _Source, *, fresh: bool = False) -> Derived:
    from zoo.derive import check_tuned, derive
    from zoo.weights.folder import find_file

    check_tuned(name, source.allow_untuned)
    start = replace(name, passes=tuple(one for one in name.passes if one == "distilled"))
    folder = _fetch(start, source, fresh=fresh)
    return derive(
        name,
        find_file(folder),
        origin=_origin(start, folder),
        calibration=source.calibration,
        cache_dir=source.cache_dir,
        report=_report,
    )


def _shipped(entry: Entry) -> Model:
    from zoo.weights.file import load

    model = load(entry.verified())
    if model.spec.name != entry.spec_name:
        raise SpecError(f"{entry.file} holds {model.spec.name!r}, but the manifest says {entry.spec_name!r}.")
    return model


def _fetch(name: Name, source: _Source, *, fresh: bool = False) -> Path:
    from zoo.weights.hub import Address, fetch

    known = published.published()[str(name)]
    revision = source.revision or known.revision
    sha256 = known.sha256 if revision == known.revision else ""
    # Published weights do not change under their name, so a cached copy is not asked after.
    fresh = fresh or bool(source.revision)
    return fetch(Address(known.repo, revision), sha256=sha256, cache_dir=source.cache_dir, fresh=fresh)


def _fetched(name: Name, source: _Source) -> Model:
    from zoo.weights.file import load
    from zoo.weights.header import source_of

    folder = _fetch(name, source)
    model = load(folder)
    if model.spec.name != name.arch and "distilled" not in name.passes:
        raise SpecError(f"{published.published()[str(name)].repo} holds a {model.spec.name}, not a {name.arch}.")
    model.made = {**model.made, "source": {**source_of(model.made), **_origin(name, folder)}}
    return model


def _origin(name: Name, folder: Path) -> dict[str, str]:
    return {"name": str(name), "repo": published.published()[str(name)].repo, "commit": folder.name}


def _report(step: str) -> None:
    """A line on stderr, under the switch of huggingface_hub's own progress bars."""
    from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]

    if not are_progress_bars_disabled():
        print(f"zoo: {step}", file=sys.stderr)


def _revised(weights: str | os.PathLike[str] | None, revision: str | None) -> Any:
    """`weights` at another revision, which only a repository has."""
    if revision is None:
        return weights
    from zoo.weights.hub import Address, read_address

    address = None if weights is None or weights == "default" else read_address(weights)
    if address is None or address.revision not in ("", revision):
        raise ValueError(f"revision={revision!r} is for a repository of the Hub without one, not for {weights!r}.")
    return str(Address(address.repo, revision))


def _from_file(name: Name, weights: str | os.PathLike[str], cache_dir: str | Path | None) -> Model:
    from zoo.weights.file import load
    from zoo.weights.holds import check_holds

    model = load(weights, cache_dir=cache_dir)
    check_holds(model, name, os.fspath(weights))
    return model


def _check_options(
    num_classes: int | None, features_only: bool, out_indices: int | Iterable[int] | None, device: str | None
) -> None:
    whole = isinstance(num_classes, int) and not isinstance(num_classes, bool)
    if num_classes is not None and not (whole and num_classes >= 0):
        raise ValueError(f"num_classes is a whole number, 0 for no classifier, not {num_classes!r}.")
    if out_indices is not None and not features_only:
        raise ValueError(f"out_indices={out_indices!r} chooses among features; it needs features_only=True.")
    if device is not None:
        check_device(device)


def _check_runtime(runtime: str, features_only: bool, device: str | None) -> None:
    if runtime == "torch":
        return
    from zoo.runtime.choose import check_runtime

    check_runtime(runtime)
    if features_only:
        raise ValueError(f'runtime={runtime!r} gives no features; features_only needs runtime="torch".')
    if device not in (None, "cpu"):
        raise ValueError(f"runtime={runtime!r} runs on the CPU, not on {device!r}.")


def check_device(device: str) -> None:
    """Raise ValueError where no tensor can be put there."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"Device {device!r} cannot be used here ({reason}); 'cpu' always can.") from None
