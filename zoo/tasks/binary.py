"""A network that says yes or no of a row, by one logit: its targets, its figures, and its answer.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.parquet import ParquetFiles
from zoo.data.table_files import TableFiles
from zoo.tasks.targets import Targets

if TYPE_CHECKING:
    from zoo.model.build import Model

USUAL = ("label", "click", "clicked", "target")  # what the column of yes and no is called


class BinaryTargets(Targets):
    """Reads 0 and 1, False and True."""

    usual = USUAL

    def of_table(self, table: ParquetFiles | TableFiles, column: str | None) -> list[int]:
        name = table.column("label", column, self.usual, "ClassLabel")
        found = numbers(TableFiles(table.files, table.where), name)
        return binary(found, f"{table.where}, column {name!r},").tolist()

    def of_hub(self, labels: np.ndarray, own: tuple[str, ...], where: str) -> list[int]:
        return binary(labels, where).tolist()

    def in_memory(self, targets: Any, count: int) -> list[int]:
        try:
            found = np.asarray(targets, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.zeros(0)
        if found.shape != (count,):
            raise ValueError(f"labels are {count} numbers, 0 or 1 for each row.")
        return binary(found, "labels=").tolist()


def numbers(files: TableFiles, name: str) -> np.ndarray:
    """The labels in the column `name` of a table (N,) float64, nan where there is none.

    Of CSV each batch says for itself what it holds: in the first rows of shares there may be 0 and 1 alone.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not files.parquet:
        files.types = {**files.types, name: pa.string()}
    found = [np.zeros(0)]
    for batch in files.batches([name]):
        part = batch.column(0)
        if pa.types.is_dictionary(part.type):  # texts are read so, to save memory
            part = part.dictionary_decode()
        if not files.parquet:
            part = pc.if_else(pc.equal(part, ""), None, part)
            for kind in (pa.float64(), pa.bool_()):
                with suppress(pa.ArrowInvalid):
                    part = pc.cast(part, kind)
                    break
        kind = part.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            what = kind if files.parquet else "texts"
            raise ValueError(f"{files.where} has {what} in the column {name!r}; labels are 0 and 1.")
        found.append(part.to_numpy(zero_copy_only=False).astype(np.float64))
    return np.concatenate(found)


def binary(labels: np.ndarray, where: str) -> np.ndarray:
    """Labels as int64 0 and 1; raises ValueError for any other, naming the first row with one."""
    wrong = np.flatnonzero(~((labels == 0) | (labels == 1)))
    if len(wrong):
        value = labels[wrong[0]]
        told = "no label" if value != value else f"label {value:g}"
        raise ValueError(f"{where} has {told} in row {wrong[0]:,}; labels are 0 and 1.")
    return labels.astype(np.int64)


def shares(labels: np.ndarray, where: str) -> np.ndarray:
    """Labels to train on: int64 0 and 1, or float64 shares of yes from 0 to 1. Raises ValueError for any other."""
    between = (labels > 0) & (labels < 1)
    if not between.any():
        return binary(labels, where)
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= 1)))
    if len(wrong):
        value = labels[wrong[0]]
        told = "no label" if value != value else f"label {value:g}"
        raise ValueError(f"{where} has {told} in row {wrong[0]:,}; labels are 0 and 1, or shares of yes between them.")
    return labels


class BinaryMetrics:
    """The area under the ROC curve in percent, and the mean binary cross-entropy, by torchmetrics."""

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Sequence[float]) -> None:
        found = torch.as_tensor(targets)
        if found.is_floating_point() and bool(((found > 0) & (found < 1)).any()):
            raise ValueError(f"{self._source} has shares of yes for labels; the {self._metric} needs labels 0 and 1.")
        self._logits.append(outputs.detach().reshape(len(outputs)).cpu().double())
        self._targets.append(found.to(torch.int64).cpu())

    def seen(self) -> Any:
        return self._logits, self._targets

    def join(self, seen: Any) -> None:
        self._logits += seen[0]
        self._targets += seen[1]

    def answered(self) -> tuple[Tensor, Tensor]:
        """(logits (B,), targets (B,)) of all examples, which can be drawn again for intervals."""
        return torch.cat(self._logits), torch.cat(self._targets)

    def figures(self) -> dict[str, float]:
        """Raises ValueError where all examples are of one class: then no curve is there."""
        area, mean = _torchmetrics()
        logits, targets = self.answered()
        if len(targets.unique()) < 2:
            raise ValueError(f"{self._source} has label {int(targets[0])} alone, so there is no {self._metric}.")
        loss = mean()
        loss.update(torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.double(), reduction="none"))
        return {self._metric: 100 * float(area(_places(logits), targets)), "log loss": float(loss.compute())}

    def per_class(self) -> dict[int, float]:
        return {}


def _places(logits: Tensor) -> Tensor:
    """The rank of each logit, equal for equal ones, in 0 to 1: torchmetrics rounds no two together then."""
    _, places = logits.unique(return_inverse=True)
    return places.double() / max(1, int(places.max()))


def _torchmetrics() -> Any:
    try:
        from torchmetrics.aggregation import MeanMetric
        from torchmetrics.functional.classification import binary_auroc
    except ImportError:
        raise ValueError("AUC and log loss need torchmetrics: pip install 'zoo-efficient[tables]'.") from None
    # It would ask the other processes of a training, which have told theirs already, or are done.
    return binary_auroc, lambda: MeanMetric(sync_on_compute=False).set_dtype(torch.float64)


class Score:
    """The probability of yes for one row."""

    listed = True  # `zoo predict --json` gives the scores alone, in the order of the rows

    def __init__(self, model: Model, output: Tensor) -> None:
        self._score = float(output.double().sigmoid())

    def to_json(self) -> dict[str, float]:
        return {"score": self._score}

    def lines(self) -> Iterator[str]:
        yield f"{100 * self._score:6.2f}%"
