"""The networks that ship: an entry for each name, read from manifest.toml, without torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

PATH = Path(__file__).with_name("manifest.toml")
SHIPPED = Path(__file__).parents[1] / "weights" / "shipped"


@dataclass(frozen=True)
class Metric:
    """A measured figure, in its metric's unit (`zoo.tasks.unit_of`), with everything needed to measure it again.

    `dense` is the dense network's figure on the same data. `validation` is this network's figure on the part of train
    that was held out for choosing. A distilled student has its figures `with_teacher`, one for each seed, and the
    figures of the same student and recipe `without_teacher`. `agreement` is the share of answers that equal the answers
    of a dense network that does not ship. `interval` and `log_loss_interval` are the ends of 95% intervals, by
    bootstrap over groups of examples, such as users (`zoo.report.bootstrap`). `metrics` are further figures by name, in
    their units: pixel accuracy of a segmenter, AP50 of a detector. `sha256` is the hash of the data file,
    `train_sha256` of the training data.
    """

    name: str
    value: float
    dense: float
    dataset: str
    split: str
    examples: int
    encoding: str
    sha256: str
    validation: float | None = None
    train_sha256: str = ""
    teacher: str = ""
    with_teacher: tuple[float, ...] = ()
    without_teacher: tuple[float, ...] = ()
    agreement: float | None = None
    interval: tuple[float, ...] = ()
    log_loss: float | None = None
    log_loss_interval: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Entry:
    """One shipped network. `parameters` are counted in the float form; `nonzero` of them are not zero."""

    name: str
    spec_name: str
    task: str
    file: str
    sha256: str
    bytes: int
    parameters: int
    nonzero: int
    macs: int
    purpose: str
    licence: str
    source: str
    recipe: str
    metric: Metric

    @property
    def path(self) -> Path:
        return SHIPPED / self.file

    def verified(self) -> Path:
        """The file's path; raises FileError if its SHA-256 is not the SHA-256 in the manifest."""
        from zoo.files import FileError

        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise FileError(f"{self.path}: cannot be read: {error.strerror}; install the package again.") from None
        if digest != self.sha256:
            raise FileError(
                f"{self.path}: is not what ships as {self.name}: its SHA-256 is not the manifest's; "
                "install the package again."
            )
        return self.path


def entries() -> Mapping[str, Entry]:
    """Name -> entry of every shipped network, in the manifest's order."""
    return _read(PATH)


@cache
def _read(path: Path) -> Mapping[str, Entry]:
    import tomllib

    if not path.exists():  # a checkout without its weights
        return MappingProxyType({})
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return MappingProxyType({name: _entry(name, table) for name, table in tables.items()})


def _entry(name: str, table: Mapping[str, Any]) -> Entry:
    metric = {key: tuple(value) if isinstance(value, list) else value for key, value in table.get("metric", {}).items()}
    where = f"{PATH.name}, {name!r}"
    values = {**table, "name": name, "metric": Metric(**_checked(Metric, metric, f"{where}, metric"))}
    return Entry(**_checked(Entry, values, where))


def _checked(made: type, values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    known = [f.name for f in fields(made)]
    needed = {f.name for f in fields(made) if f.default is MISSING and f.default_factory is MISSING}
    missing, unknown = needed - set(values), set(values) - set(known)
    if missing or unknown:
        raise ValueError(f"{where}: lacks {sorted(missing)}, does not know {sorted(unknown)}; the keys are {known}.")
    return values
