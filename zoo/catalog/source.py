"""`resolve` finds the source of a name's weights. A `Source` fetches a file, then loads and checks it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zoo import registry
from zoo.catalog import hub_index, listing
from zoo.catalog.derive import MIN_AGREEMENT
from zoo.catalog.hub_index import Published
from zoo.catalog.manifest import Entry
from zoo.naming import Name, UnknownName
from zoo.passes import PASSES
from zoo.spec import ModelSpec, SpecError

if TYPE_CHECKING:
    from zoo.model.build import Model

Report = Callable[[str], None]
_NOT_MADE = "calibration= is for a variant that is made here of published weights."


def silent(step: str) -> None:
    """Report nothing."""


class Source(Protocol):
    """Where the weights of one network come from."""

    def fetch(self, *, fresh: bool = False, report: Report = silent) -> Path | None:
        """The file or folder with the weights, downloaded or made if it is missing; None for fresh weights.

        `fresh` asks the Hub whether there is a newer version than in the cache. Raises FileError or HubError.
        """

    def load(self, file: Path | None, device: str | None = None) -> Model:
        """Load the network of the fetched file. Raises FileError for a damaged file, ValueError for another network."""


def resolve(
    name: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = "default",
    num_classes: int | None = None,
    revision: str | None = None,
    calibration: Any = None,
    allow_untuned: bool = False,
    min_agreement: float = MIN_AGREEMENT,
    cache_dir: str | Path | None = None,
) -> Source:
    """The source of the weights that `create` loads for these arguments; nothing is fetched.

    Raises UnknownName for a name without weights, ValueError for arguments that do not fit together.
    """
    if weights is not None and not isinstance(weights, (str, os.PathLike)):
        raise ValueError(
            f"weights= takes 'default', None for fresh weights, or a folder, a file or an address, not {weights!r}."
        )
    if calibration is not None and (weights != "default" or isinstance(name, ModelSpec)):
        raise ValueError(f"{_NOT_MADE} zoo.compress takes it for weights of your own.")
    if isinstance(name, str):
        name = _own_name(name)
        if weights == "default" and (address := _address(name)):
            return Saved(_revised(address, revision), None, cache_dir)
    if isinstance(name, ModelSpec) and weights == "default":
        weights = None
    if weights is None:
        _revised(weights, revision)
        return Fresh(name if isinstance(name, ModelSpec) else _fresh_spec(registry.resolve(name), num_classes))
    if weights != "default":
        wanted = name if isinstance(name, ModelSpec) else registry.resolve(name)
        return Saved(_revised(weights, revision), wanted, cache_dir)
    assert not isinstance(name, ModelSpec)
    full, entry = listing.find(name)
    known = hub_index.published()
    if calibration is not None and (entry is not None or str(full) in known):
        raise ValueError(f"{_NOT_MADE} The weights of {full} are there as they are.")
    if entry is not None:
        if revision is not None:
            raise ValueError(f"{full} ships with the package, so it has no revision={revision!r}.")
        return Shipped(entry)
    if full.dense not in known:
        raise UnknownName(
            f'No weights are known for {name!r}. zoo.create("{name}", weights=None) gives fresh ones, '
            f'zoo.create("{name}", weights="folder or file") your own.'
        )
    if str(full) in known:
        return OnHub(full, known[str(full)], revision, cache_dir)
    start = replace(full, passes=tuple(one for one in full.passes if PASSES[one].training == "only"))
    least = 0.0 if allow_untuned else min_agreement
    return MadeHere(full, OnHub(start, known[str(start)], revision, cache_dir), calibration, least)


@dataclass(frozen=True)
class Fresh:
    """Random weights, as the initialisation draws them."""

    spec: ModelSpec

    def fetch(self, *, fresh: bool = False, report: Report = silent) -> None:
        return None

    def load(self, file: Path | None, device: str | None = None) -> Model:
        from zoo.model.build import build

        return build(self.spec, device=device)


@dataclass(frozen=True)
class Shipped:
    """A file of the package that is in the manifest."""

    entry: Entry

    def fetch(self, *, fresh: bool = False, report: Report = silent) -> Path:
        return self.entry.verified()

    def load(self, file: Path | None, device: str | None = None) -> Model:
        model = _loaded(file, name=self.entry.name, licence=self.entry.licence)
        if model.spec.name != self.entry.spec_name:
            raise SpecError(f"{self.entry.file} holds {model.spec.name!r}, not {self.entry.spec_name!r}.")
        return model


@dataclass(frozen=True)
class OnHub:
    """Weights that are published under a name in hub.toml."""

    name: Name
    known: Published
    revision: str | None = None
    cache_dir: str | Path | None = None

    def fetch(self, *, fresh: bool = False, report: Report = silent) -> Path:
        from zoo.weights.hub import Address, fetch

        revision = self.revision or self.known.revision
        sha256 = self.known.sha256 if revision == self.known.revision else ""
        # Published weights of a name do not change, so the Hub is not asked about a cached copy.
        fresh = fresh or bool(self.revision)
        return fetch(Address(self.known.repo, revision), sha256=sha256, cache_dir=self.cache_dir, fresh=fresh)

    def load(self, file: Path | None, device: str | None = None) -> Model:
        assert file is not None
        model = _loaded(file, **self.origin(file))
        if model.spec.name != self.name.arch and "distilled" not in self.name.passes:
            raise SpecError(f"{self.known.repo} holds a {model.spec.name}, not a {self.name.arch}.")
        return model

    def origin(self, folder: Path) -> dict[str, str]:
        """The source of the weights, as a model's `made` says it."""
        facts = {"licence": self.known.licence, "repo": self.known.repo, "commit": folder.name}
        return {"name": str(self.name), **facts}


@dataclass(frozen=True)
class MadeHere:
    """A variant, not published itself, of published weights: made once, and cached."""

    name: Name
    start: OnHub
    calibration: Any = None
    min_agreement: float = MIN_AGREEMENT

    def fetch(self, *, fresh: bool = False, report: Report = silent) -> Path:
        from zoo.catalog.derive import derived_file
        from zoo.weights.folder import find_file

        folder = self.start.fetch(fresh=fresh, report=report)
        return derived_file(
            self.name,
            find_file(folder),
            origin=self.start.origin(folder),
            calibration=self.calibration,
            cache_dir=self.start.cache_dir,
            report=report,
        )

    def load(self, file: Path | None, device: str | None = None) -> Model:
        from zoo.catalog.derive import load_derived

        assert file is not None
        return load_derived(self.name, file, self.min_agreement)


@dataclass(frozen=True)
class Saved:
    """A folder, a file or a repository. `wanted`: the spec that it must have, or a name that it must fit, or None."""

    place: str | os.PathLike[str]
    wanted: Name | ModelSpec | None
    cache_dir: str | Path | None = None

    def fetch(self, *, fresh: bool = False, report: Report = silent) -> Path:
        from zoo.weights.folder import find_file
        from zoo.weights.hub import folder_of

        return folder_of(self.place, cache_dir=self.cache_dir) or find_file(self.place)

    def load(self, file: Path | None, device: str | None = None) -> Model:
        from zoo.weights.hub import read_address
        from zoo.weights.matches_name import check_matches_name

        assert file is not None
        address = read_address(self.place)
        model = _loaded(file, **({} if address is None else {"repo": address.repo, "commit": file.name}))
        where = os.fspath(self.place)
        if isinstance(self.wanted, ModelSpec) and model.spec != self.wanted:
            raise ValueError(f"{where} holds a network of another spec; zoo.load(...) reads it as it is.")
        if isinstance(self.wanted, Name):
            check_matches_name(model, self.wanted, where)
        return model


def _loaded(file: Path | None, **origin: str) -> Model:
    """Load the model, and note `origin` in its `made`."""
    from zoo.weights.file import load
    from zoo.weights.header import source_of

    assert file is not None
    model = load(file)
    if origin:
        model.made = {**model.made, "source": {**source_of(model.made), **origin}}
    return model


def _own_name(text: str) -> str:
    """The zoo's own NAME for "timm/NAME" if NAME is published in that repository; else `text`."""
    known = hub_index.published().get(name := text.removeprefix("timm/"))
    return name if known is not None and known.repo == text else text


def _address(name: str) -> str:
    """The address of a repository, if the name is one; else empty."""
    from zoo.weights.hub import read_address

    return str(address) if ("/" in name and (address := read_address(name))) else ""


def _revised(weights: str | os.PathLike[str] | None, revision: str | None) -> Any:
    """`weights` at another revision; only a repository has revisions."""
    if revision is None:
        return weights
    from zoo.weights.hub import Address, read_address

    address = None if weights is None or weights == "default" else read_address(weights)
    if address is None or address.revision not in ("", revision):
        raise ValueError(f"revision={revision!r} is for a repository of the Hub without one, not for {weights!r}.")
    return str(Address(address.repo, revision))


def _fresh_spec(name: Name, num_classes: int | None) -> ModelSpec:
    if not name.passes:
        return registry.spec(name.arch, num_classes or None)
    for one in name.passes:
        if PASSES[one].training == "only":
            PASSES[one].load().refuse(name.arch)
    raise ValueError(
        f"A compressed network comes from weights, so {str(name)!r} has no fresh ones: build {name.arch!r} with "
        f'weights=None, train it, then call zoo.compress(model, "{"-".join(name.passes)}").'
    )
