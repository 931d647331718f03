"""A family's variants side by side: what each costs, and what it can do."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo import kinds, listing, measure, tables
from zoo.blocks.int8.layer import fits
from zoo.naming import parse
from zoo.preprocess import preprocess
from zoo.samples import available, samples
from zoo.weights import manifest
from zoo.weights.manifest import Entry

if TYPE_CHECKING:
    from zoo.build import Model


@dataclass(frozen=True)
class Row:
    """One network. Percents: `accuracy` and `agreement` (with the first row's answers) over the shipped pictures,
    `full_accuracy` over the whole test set, from the manifest. Times are per picture, relative to the first row's.
    None is not known: zeros and full accuracy of networks that do not ship, memory outside Linux, accuracy of a network
    whose labels are not the pictures', agreement of one whose labels are not the first row's.
    """

    name: str
    variant: str
    parameters: int
    nonzero: int | None
    macs: int
    bytes: int
    peak_memory: int | None
    accuracy: float | None
    agreement: float | None
    full_accuracy: float | None
    time_batch_1: float
    time_batch_32: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """Rows, and the circumstances: `str()` is a table, and so it shows itself in a notebook."""

    rows: tuple[Row, ...]
    purpose: str
    images: int
    full_test: str
    rounds: tuple[int, int]
    threads: int
    cpu: str
    torch: str
    reference: bool = False  # int8 rows ran their float reference: no integer operators that can be trusted here

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def headers(self) -> list[str]:
        here = f"top-1 %\nof {self.images}"
        sizes = ["params", "not\nzero", "MACs", "file", "peak\nmemory"]
        return ["variant", *sizes, here, "same\n%", "top-1 %\nall", "time\nx1", "time\nx32"]

    def cells(self) -> list[list[str]]:
        return [
            [
                row.variant,
                tables.count(row.parameters),
                _or_dash(row.nonzero, tables.count),
                tables.count(row.macs),
                tables.size(row.bytes),
                _or_dash(row.peak_memory, tables.size),
                _or_dash(row.accuracy, "{:.1f}".format),
                _or_dash(row.agreement, "{:.1f}".format),
                _or_dash(row.full_accuracy, "{:.2f}".format),
                f"{row.time_batch_1:.2f}",
                f"{row.time_batch_32:.2f}",
            ]
            for row in self.rows
        ]

    def title(self) -> str:
        return f"{self.rows[0].name}: {self.purpose}"

    def notes(self) -> list[str]:
        """What the columns mean, and where and how they were measured."""
        first, full = self.rows[0].variant, f"; all: {self.full_test}" if self.full_test else ""
        rounds = f"medians of {self.rounds[0]} and {self.rounds[1]} rounds, interleaved"
        others = [row.variant for row in self.rows if self.images and row.accuracy is None]
        notes = [f"no top-1 % of {', '.join(others)}: labels other than the pictures'."] if others else []
        return [
            f"top-1 %: of {self.images} shipped test pictures, here and now{full}.",
            f"same %: pictures answered as {first} answers them.",
            f"time: per picture at batch 1 and 32, {first} = 1 (eager, as zoo.create gives it); {rounds}.",
            "peak memory: what a fresh process takes above torch itself, at batch 32.",
            *notes,
            *(["int8: its float reference, for this processor's integer operators saturate."] * self.reference),
            f"{self.cpu}, {self.threads} thread{'s' if self.threads != 1 else ''}, torch {self.torch}.",
        ]

    def __str__(self) -> str:
        table = tables.text(self.headers(), self.cells(), gap=" ")
        return "\n".join([self.title(), "", table, "", *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.html(self.headers(), self.cells(), caption=self.title(), notes=self.notes())


def compare(
    family_or_names: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "mobilenet",
    *,
    images: int = 200,
    progress: Callable[[str], None] = lambda step: None,
) -> Comparison:
    """Measure a family's shipped variants, or the networks named, side by side; the first is what others relate to.

    A family ("mobilenet") stands for its dense network and every variant that ships; a path, alone or in a list, for
    the folder or file of a saved network. `images` of the shipped test pictures are used. `progress` is told of each
    step. Takes about half a minute for six small networks. Raises UnknownName, FileError, or ValueError for `images`.
    """
    names = _names(family_or_names)
    entries = [None if listing.is_path(name) else listing.find(name)[1] for name in names]
    pictures, labels, classes = _pictures(entries, images)
    models = []
    for name in names:
        progress(f"opening {name}")
        models.append(measure.open_model(name))
    answers = []
    for name, model in zip(names, models, strict=True):
        progress(f"{name} looks at {len(labels)} pictures")
        answers.append(_answers(model, pictures))
    progress("peak memory, in fresh processes")
    files = [str(entry.path) if entry else name for name, entry in zip(names, entries, strict=True)]
    peaks = measure.peak_memory(files)
    progress("time at batch 1")
    one, rounds_1 = measure.median_times(models, [measure.example(m, 1) for m in models], seconds=4)
    progress("time at batch 32")
    many, rounds_32 = measure.median_times(models, [measure.example(m, 32) for m in models], seconds=8)
    rows = [
        Row(
            name=entry.name if entry else name,
            variant=parse(entry.name).variant if entry else Path(name).name,
            parameters=kinds.cost(model.spec).parameters,
            nonzero=entry.nonzero if entry else None,
            macs=kinds.cost(model.spec).macs,
            bytes=entry.bytes if entry else listing.info(name).bytes or 0,
            peak_memory=peaks[i],
            accuracy=_share(answers[i] == labels) if len(labels) and model.labels == classes else None,
            agreement=_share(answers[i] == answers[0]) if len(labels) and _same_task(model, models[0]) else None,
            full_accuracy=entry.metric.value if entry else None,
            time_batch_1=one[i] / one[0],
            time_batch_32=many[i] / many[0],
        )
        for i, (name, entry, model) in enumerate(zip(names, entries, models, strict=True))
    ]
    known = next((entry for entry in entries if entry), None)
    return Comparison(
        rows=tuple(rows),
        purpose=known.purpose if known else listing.purpose(models[0].spec),
        images=len(labels),
        full_test=f"{known.metric.dataset} {known.metric.split}, {known.metric.examples:,} pictures" if known else "",
        rounds=(rounds_1, rounds_32),
        threads=torch.get_num_threads(),
        cpu=measure.cpu_name(),
        torch=torch.__version__,
        reference=not all(map(fits, models)),
    )


def _names(family_or_names: Any) -> list[str]:
    family_or_names = _text(family_or_names)
    if not isinstance(family_or_names, str):
        if not isinstance(family_or_names, Sequence):
            raise ValueError(
                f"compare takes a family's name, or names and paths in a list, not {type(family_or_names).__name__}."
            )
        names = [_text(name) for name in family_or_names]
        if not names:
            raise ValueError("compare needs a family's name, or at least one network's.")
        for name in names:
            _check_has_weights(name)
        return names
    if listing.is_path(family_or_names):
        return [family_or_names]
    name = _check_has_weights(family_or_names)
    if name.passes:  # one variant, beside its dense network where that ships
        return [*([name.dense] if name.dense in manifest.entries() else []), str(name)]
    return [text for text in manifest.entries() if parse(text).dense == name.dense]


def _text(name: Any) -> Any:
    """A path as a string that nobody takes for a model's name; anything else as it is."""
    if not isinstance(name, os.PathLike):
        return name
    path = str(os.fspath(name))
    return path if listing.is_path(path) else os.path.join(os.curdir, path)


def _check_has_weights(text: str) -> Any:
    if listing.is_path(text):
        return None
    name, entry = listing.find(text)
    if entry is None:
        shipped = sorted({parse(other).dense for other in manifest.entries()})
        raise ValueError(
            f"No weights ship for {text!r}, so there is nothing to compare; shipped: {', '.join(shipped)}."
        )
    return name


def _pictures(entries: Sequence[Entry | None], images: int) -> tuple[list[np.ndarray], np.ndarray, tuple[str, ...]]:
    """The first `images` test pictures of the first shipped network's data set, their labels, and what these mean.

    There are none where none ship.
    """
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        raise ValueError(f"images is a whole number of at least 1, not {images!r}.")
    datasets = [parse(entry.name).tag for entry in entries if entry]
    if not datasets or (datasets[0], "test") not in available():
        return [], np.array([], dtype=np.int64), ()
    found = samples(datasets[0], "test")
    if images > len(found.labels):
        raise ValueError(f"images is at most {len(found.labels)}, the number of shipped test pictures, not {images}.")
    return list(found.images[:images]), found.labels[:images], found.classes


def _answers(model: Model, pictures: list[np.ndarray]) -> np.ndarray:
    prepare = preprocess(model)
    with torch.inference_mode():
        found = [model(prepare(pictures[i : i + 50])).argmax(1).numpy() for i in range(0, len(pictures), 50)]
    return np.concatenate(found) if found else np.array([])


def _same_task(model: Model, other: Model) -> bool:
    classes, others = (one.spec.rows[-1].args.get("num_classes") for one in (model, other))
    return model.labels == other.labels and classes == others


def _share(right: Any) -> float:
    return 100 * float(np.mean(right))


def _or_dash(value: Any, shown: Callable[[Any], str]) -> str:
    return "-" if value is None else shown(value)
