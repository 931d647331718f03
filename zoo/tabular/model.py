"""A network of table rows: it takes prepared tensors, and raw values too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Self

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.blocks.table_rows import Table
from zoo.blocks.traced import traced
from zoo.checks import noted
from zoo.model.build import Model
from zoo.spec import ModelSpec

LARGE = 2**26  # bytes of a float table whose rows are looked at when they are asked for
_FAR = 1e300  # a number that float64 holds


class TableModel(Model):
    """A `Model` whose spec has a `TableInput`: it scores rows of a table.

    Args:
        spec (ModelSpec): the rows of the network, in order, and the features that it reads.

    Example:
        >>> model = zoo.create("deepfm", weights=None)
        >>> person = {"user_id": 7, "item_id": "A-12", "genres": ["drama"], "device": None, "age": 31, "price": 9.5}
        >>> model(person).shape
        torch.Size([1, 1])
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._encoder: tuple[Any, Any] = (None, None)  # what it was made of, and the encoder
        self._bounds: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def forward(self, x: Any, *, taps: Iterable[str] = ()) -> Any:
        """Score rows.

        Args:
            x (Any): what `zoo.preprocess(model)` makes, float64 (B, columns); or raw values, which are prepared first:
                a dict of single values, or of columns, a list of dicts, a table of pandas or pyarrow.
            taps (Iterable[str]): names of rows of the network whose outputs are returned too. Default: none.

        Returns:
            Logits (B, 1); a sigmoid makes probabilities of them. With `taps`, a pair: the logits, and
            {row name: output of that row}.

        Raises:
            ValueError: a column is missing or of another type, or `x` has a shape, a dtype or values that the network
                does not take.

        Example:
            >>> model = zoo.create("deepfm", weights=None)
            >>> model(model.spec.input.example(2)).shape
            torch.Size([2, 1])
        """
        return super().forward(x if isinstance(x, Tensor) else self.encode(x).to(self.device), taps=taps)

    def encode(self, rows: Any) -> Tensor:
        """Prepare raw values, as `zoo.preprocess(model)` does.

        Args:
            rows (Any): as `forward` takes them.

        Returns:
            A float64 tensor (rows, columns) on the CPU.

        Raises:
            ValueError: a column is missing or of another type.
        """
        vocabulary = self.vocabulary
        made_of = (id(self.spec), vocabulary.data_ptr(), 0 if vocabulary.is_inference() else vocabulary._version)
        if self._encoder[0] != made_of:
            self._encoder = (made_of, self.spec.input.fetch("preparer")(self.spec, vocabulary))
        return self._encoder[1](rows)  # type: ignore[no-any-return]

    def fit_vocabulary(self, data: Any, *, progress: Callable[[int], object] = lambda rows: None) -> Self:
        """Learn which values of a table to know: of each feature the most frequent, as many as its table has rows.

        Call it before training. Rows that were trained for other values would stand for the new ones.

        Args:
            data (Any): the table to train on, as `zoo.infer_schema` takes it: a Parquet or CSV file of any size, a
                glob, a folder; a `pandas.DataFrame`, a `pyarrow.Table` or a dict of columns.
            progress (Callable[[int], object]): called with the number of rows of each batch that was read. Default:
                does nothing.

        Returns:
            The network itself.

        Raises:
            ValueError: the table cannot be read, lacks a column or has no rows, or the network was trained: its rows
                stand for the values that it knows.

        Example:
            >>> table = {"user_id": [1, 1, 2, 2], "click": [0, 1, 0, 1]}
            >>> model = zoo.create("deepfm", schema=zoo.infer_schema(table)).fit_vocabulary(table)
            >>> zoo.preprocess(model)({"user_id": [1, 2, 3, None]})  # known, known, unknown, missing
            tensor([[2.],
                    [3.],
                    [1.],
                    [0.]], dtype=torch.float64)
        """
        from zoo.tabular.schema import fit_vocabulary

        if noted(self.made, "trained"):
            raise ValueError(
                f"{self.spec.name} was trained, and its rows stand for the values that it knows. For other values "
                f"train a fresh one: zoo.create({self.spec.name!r}, schema=model.spec.input).fit_vocabulary(table)."
            )
        with torch.no_grad():
            self.vocabulary.copy_(fit_vocabulary(self.spec.table, data, progress=progress))
        return self

    @property
    def vocabulary(self) -> Tensor:
        """The keys of the known values, int64, feature by feature, sorted in each (Tensor)."""
        for row, module in zip(self.spec.rows, self.children(), strict=True):
            if kinds.KINDS[row.kind].keys is not None:
                return module.vocabulary  # type: ignore[return-value]
        return torch.zeros(0, dtype=torch.int64)

    def initialize(self) -> None:
        """Fresh weights: linear layers by fan-in (He et al., 2015), so that a tower passes its input on."""
        super().initialize()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def _looked_up_later(self) -> list[str]:
        """Reading such a table takes longer than all else that a first call does."""
        found = list[str]()
        for path, part in self.named_modules():
            if isinstance(part, Table) and part.weight.nbytes >= LARGE:
                part._unread = f"The table {path!r} of {self.spec.name}"
                found.append(f"{path}.weight")
        return found

    def check_input(self, x: Any) -> None:
        """Check the shape, the dtype and the values of a prepared input.

        Args:
            x (Any): what `forward` would be given.

        Raises:
            ValueError: `x` has another shape or dtype, or a row number that its table does not have.
        """
        self.spec.input.check(self.spec.name, x)
        if traced() or x.is_meta or not x.numel():
            return
        if x.shape[0] == 1 and x.device.type == "cpu":  # Python's numbers are quicker than tensors of one row
            for value, (least, most, broken) in zip(x[0].tolist(), self._of_columns, strict=True):
                if not least <= value < most or not (broken or value == int(value)):
                    self._refuse(x)
            return
        low, high, free = self._limits(x.device)
        if not bool(((x >= low) & (x < high) & ((x == x.trunc()) | free)).all()):
            self._refuse(x)

    def _limits(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Of each column: its least value, what it is below, and whether it may be broken."""
        found = self._bounds.get(device)
        if found is None:
            low, high, free = zip(*self._of_columns, strict=True)
            with torch.inference_mode(False):
                least, most = (torch.tensor(one, dtype=torch.float64, device=device) for one in (low, high))
                found = self._bounds[device] = (least, most, torch.tensor(free, device=device))
        return found

    @cached_property
    def _of_columns(self) -> list[tuple[float, float, bool]]:
        """The same in Python's numbers, column by column."""
        laid: Mapping[str, tuple[Any, ...]] = self.spec.input.embedded
        found = list[tuple[float, float, bool]]()
        for rows, columns, read in zip(laid["rows"], laid["columns"], laid["reads"], strict=True):
            found += [(0.0, float(rows), False)] * (1 if read == "number" else columns)
            found += [(-_FAR, _FAR, True)] if read == "number" else []
        return found + [(0.0, float(rows), False) for rows in laid["crosses"]]

    def _refuse(self, x: Tensor) -> None:
        low, high, free = self._limits(x.device)
        good = (x >= low) & (x < high) & ((x == x.trunc()) | free)
        row, column = (~good).nonzero()[0].tolist()
        value, most = float(x[row, column]), int(high[column])
        name = self.spec.table.column_name(column)
        if bool(free[column]):
            raise ValueError(f"{self.spec.name}: {name} is {value:g} in row {row}, which is no finite number.")
        raise ValueError(
            f"{self.spec.name}: {name} has the row number {value:.17g} in row {row}, and its table the rows 0 to "
            f"{most - 1}. zoo.preprocess(model) of this very network makes the numbers."
        )

    def _misfit(self, x: Tensor) -> str:
        if self.device == x.device:
            return ""
        return f"{self.spec.name} is on {self.device}, and its input on {x.device}: give it x.to(model.device)."

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": (None, None), "_bounds": {}}
