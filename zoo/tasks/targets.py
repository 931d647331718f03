"""What stands beside examples to judge or to teach a network by, a class a kind of answer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo import kinds
from zoo.data.classes import ClassError, in_order, match, some
from zoo.data.parquet import LABELS, ParquetFiles, check_named

if TYPE_CHECKING:
    from zoo.model.build import Model


class Targets:
    """Reads the targets of one task for `model`; the base takes numbers as they are."""

    usual: tuple[str, ...] = LABELS  # what the column is called where nobody names it

    def __init__(self, model: Model) -> None:
        self.model = model

    def of_table(self, table: ParquetFiles, column: str | None) -> list[Any]:
        """One target a row of a Parquet table; raises ValueError where a row has none."""
        name = table.column("label", column, self.usual, "Value")
        found = [cell for batch in table.cells([name]) for cell in batch.column(name).to_pylist()]
        return self.in_memory(found, len(found))

    def of_hub(self, labels: np.ndarray, own: tuple[str, ...], where: str) -> list[Any]:
        """One target a row of a data set of the Hub, whose column has the names `own`."""
        return labels.tolist()

    def of_folders(self, classes: Sequence[str], numbers: Sequence[int], where: str) -> list[Any]:
        """One target a file, by the folder that it lies in."""
        raise ValueError(f"{where} has a folder for every class, and {self.model.spec.name} knows no classes.")

    def in_memory(self, targets: Any, count: int) -> list[Any]:
        """One target an example, of those given beside `count` examples."""
        try:
            found = np.asarray(targets, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.array(np.nan)
        if found.shape != (count,) or not np.isfinite(found).all():
            raise ValueError(f"targets are {count} finite numbers, one an example.")
        return found.tolist()


class Classes(Targets):
    """Classes as whole numbers, in the network's order: by the data's names for them, where it has any."""

    def of_table(self, table: ParquetFiles, column: str | None) -> list[int]:
        name = table.column("label", column, self.usual, "ClassLabel")
        return self.of_hub(table.labels(name), table.class_names(name), table.where)

    def of_hub(self, labels: np.ndarray, own: tuple[str, ...], where: str) -> list[int]:
        known = self.model.labels
        check_named(labels, own, where)
        if not own or not known or own == known:
            return labels.tolist()
        used = np.unique(labels).tolist()
        try:
            numbers = dict(zip(used, match([own[number] for number in used], known, where), strict=True))
        except ClassError:
            if len(own) != len(known):
                raise
            warnings.warn(
                f"{where} names its classes otherwise ({some(own, 3)}) than the network ({some(known, 3)}); the "
                "labels are taken by their numbers.",
                stacklevel=2,
            )
            return labels.tolist()
        return [numbers[number] for number in labels.tolist()]

    def of_folders(self, classes: Sequence[str], numbers: Sequence[int], where: str) -> list[int]:
        known = self.model.labels
        count = kinds.classes(self.model.spec)
        order = match(classes, known, where) if known else in_order(classes, count, where)
        return [order[number] for number in numbers]

    def in_memory(self, targets: Any, count: int) -> list[int]:
        found = np.asarray(targets)
        if found.shape != (count,) or not np.issubdtype(found.dtype, np.integer):
            raise ValueError(f"labels are {count} whole numbers, not {found.dtype} of shape {found.shape}.")
        return found.tolist()
