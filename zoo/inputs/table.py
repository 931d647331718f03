"""Rows of a table: categorical values, lists of them, and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from zoo.checks import MOST, check_keys, is_int, require, short
from zoo.inputs.base import Input, Size, register
from zoo.inputs.feature import KNOWN, Feature

if TYPE_CHECKING:
    from torch import Tensor

MAX_FEATURES = 4096
MAX_CROSSES = 4096
MAX_CROSSED = 8  # features of one cross
MAX_COLUMNS = 2**16  # of the network's input

Cross = tuple[str | int, ...]  # the names of features, and the number of rows


@register
@dataclass(frozen=True)
class TableInput(Input):
    """The input of a recommender: one float64 tensor (batch, columns), which `zoo.preprocess(model)` makes of rows.

    float64 holds every row number exactly. A feature has its columns in order: a categorical or bucketed one has one,
    the number of a row of its embedding table; a list has `max_length`, padded by 0; a numeric one has two, 0 or 1 for
    missing or present, and the standardised value. Then come the crosses, one column each.

    Args:
        features (tuple[Feature, ...]): the columns of the table, 1 to 4096, with names that differ.
        crosses (tuple[tuple[str | int, ...], ...]): pairs (or more) of single-valued features whose values count
            together, each with the number of rows behind the names: `("user_id", "genre", 10_000)`. Row 0 is for a
            missing value; all else shares the other rows by a hash (Cheng et al., 2016). Default: none.

    Raises:
        SpecError: a feature or a cross is out of bounds, or two features have one name.

    Example:
        >>> from zoo.inputs import Feature, TableInput
        >>> user, age = Feature("user_id", num_embeddings=945), Feature("age", "numeric", mean=33.0, std=11.5)
        >>> given = TableInput((user, age))
        >>> given.width, given.columns("age")
        (3, slice(1, 3, None))
    """

    type: ClassVar[str] = "table"
    unit: ClassVar[str] = "rows"
    one: ClassVar[str] = "row"
    later: ClassVar[frozenset[str]] = frozenset({"crosses"})
    keys: ClassVar[tuple[str, str]] = ("row", "rows")
    batch: ClassVar[int] = 4096
    double: ClassVar[bool] = True
    raw: ClassVar[bool] = True
    files: ClassVar[str] = "rows.parquet"
    tables: ClassVar[tuple[str, ...]] = (".parquet", ".pq", ".csv", ".tsv", ".csv.gz", ".tsv.gz")
    model: ClassVar[str] = "zoo.tabular.model:TableModel"
    runner: ClassVar[str] = "zoo.runtime.compiled:TableRuntimeModel"
    preparer: ClassVar[str] = "zoo.tabular.encoder:TableEncoder"
    learned: ClassVar[str] = "vocabulary"
    translation: ClassVar[str] = "zoo.tabular.translate:translation"
    loader: ClassVar[str] = "zoo.train.table_data:open_rows"
    fresh_options: ClassVar[tuple[str, ...]] = ("schema", "dim")
    fresh: ClassVar[str] = "zoo.tabular.fresh:for_data"
    reader: ClassVar[str] = "zoo.tabular.reader:RowReader"

    features: tuple[Feature, ...]
    crosses: tuple[Cross, ...] = ()

    def __post_init__(self) -> None:
        proper = isinstance(self.features, tuple) and all(isinstance(one, Feature) for one in self.features)
        require(proper, f"input features are Features in a tuple, not {short(self.features)}")
        count = len(self.features)
        require(1 <= count <= MAX_FEATURES, f"a table has 1 to {MAX_FEATURES:,} features, not {count:,}")
        names = [one.name for one in self.features]
        twice = [name for name, times in Counter(names).items() if times > 1]
        require(not twice, f"two features are called {short(twice and twice[0])}")
        require(isinstance(self.crosses, tuple), f"input crosses are a tuple, not {short(self.crosses)}")
        require(len(self.crosses) <= MAX_CROSSES, f"a table has at most {MAX_CROSSES:,} crosses")
        single = {one.name for one in self.features if one.kind in ("categorical", "bucketed")}
        for cross in self.crosses:
            _check_cross(cross, single)
        require(self.width <= MAX_COLUMNS, f"its features take {self.width:,} columns, and at most {MAX_COLUMNS:,} are")
        require(self.rows <= MOST, f"its embedding tables have {self.rows:,} rows, more than {MOST:,}")

    # ------------------------------------------------------------------------------------------------ columns

    @cached_property
    def width(self) -> int:
        return sum(one.columns for one in self.features) + len(self.crosses)

    @property
    def rows(self) -> int:
        """The rows of all embedding tables, those of the crosses included."""
        return sum(one.rows for one in self.features) + sum(int(cross[-1]) for cross in self.crosses)

    @property
    def known_values(self) -> int:
        """The length of the vocabulary: the known values of all features that are not hashed."""
        return sum(one.keys for one in self.features)

    def feature(self, name: str) -> Feature:
        """The feature of this name; raises KeyError where there is none."""
        for one in self.features:
            if one.name == name:
                return one
        raise KeyError(f"There is no feature {name!r}; the features are {[one.name for one in self.features]}.")

    def columns(self, name: str) -> slice:
        """The columns of the network's input that a feature has.

        Args:
            name (str): the feature's name.

        Returns:
            A slice.

        Raises:
            KeyError: there is no such feature.
        """
        return self._place(name, "columns")

    @property
    def embedded(self) -> dict[str, tuple[Any, ...]]:
        reads = {"categorical": "row", "bucketed": "row", "numeric": "number"}
        return {
            "rows": tuple(one.rows for one in self.features),
            "columns": tuple(one.columns for one in self.features),
            "reads": tuple(reads.get(one.kind, one.pooling) for one in self.features),
            "keys": tuple(one.keys for one in self.features),
            "crosses": tuple(int(cross[-1]) for cross in self.crosses),
        }

    def column_name(self, place: int) -> str:
        """What a column of the input holds, for messages: `feature 'age'`."""
        start = 0
        for one in self.features:
            start += one.columns
            if place < start:
                return f"feature {short(one.name)}"
        names = self.crosses[place - start][:-1]
        return f"the cross of {' and '.join(short(name) for name in names)}"

    @property
    def cross_columns(self) -> slice:
        """The last columns of the input, one for each cross."""
        return slice(self.width - len(self.crosses), self.width)

    def vocabulary(self, name: str) -> slice:
        """Where the keys of a feature are in the vocabulary of all features; empty for one without keys.

        Args:
            name (str): the feature's name.

        Returns:
            A slice.

        Raises:
            KeyError: there is no such feature.
        """
        return self._place(name, "keys")

    def _place(self, name: str, of: str) -> slice:
        """Where the columns or keys of a feature are among those of all."""
        own = self.feature(name)
        before = self.features[: self.features.index(own)]
        start = sum(getattr(one, of) for one in before)
        return slice(start, start + getattr(own, of))

    # ------------------------------------------------------------------------------------------------ files

    def to_json(self) -> dict[str, Any]:
        crosses = {"crosses": [list(one) for one in self.crosses]} if self.crosses else {}
        return {"type": self.type, "features": [one.to_json() for one in self.features], **crosses}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        check_keys(data, "a table's input", required={"features"}, optional={"type", "crosses"})
        features, crosses = data["features"], data.get("crosses", [])
        for key, given, most in (("features", features, MAX_FEATURES), ("crosses", crosses, MAX_CROSSES)):
            require(isinstance(given, list), f"a table's {key} are a list, not {type(given).__name__}")
            require(len(given) <= most, f"a table has at most {most:,} {key}, not {len(given):,}")
        short_lists = all(isinstance(one, list) and len(one) <= MAX_CROSSED + 1 for one in crosses)
        require(short_lists, f"a cross is a list of at most {MAX_CROSSED} names and a number of rows")
        return cls(tuple(map(Feature.from_json, features)), tuple(map(tuple, crosses)))

    # ------------------------------------------------------------------------------------------------ words

    def shape(self, size: Size | None = None) -> tuple[int, ...]:
        return (self.width,)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.features)

    @property
    def brief(self) -> str:
        count = len(self.features)
        return f"{count:,} feature{'s' if count > 1 else ''}"

    @property
    def described(self) -> str:
        """Every feature in a few words: "user_id (943 values), age (number)"."""
        what = {"categorical": "{:,} values", "list": "lists of {:,} values", "numeric": "number"}
        told = [what.get(one.kind, "number in {:,} buckets").format(one.rows - KNOWN) for one in self.features]
        return ", ".join(f"{one.name} ({said})" for one, said in zip(self.features, told, strict=True))

    def facts(self) -> dict[str, Any]:
        said = self.to_json()
        del said["type"]
        return said

    # ------------------------------------------------------------------------------------------------ tensors

    def example(self, batch: int, size: int | Size | None = None) -> Tensor:
        """Random row numbers and standardised values, float64 (batch, columns); lists are padded at their ends."""
        import torch

        generator = torch.Generator().manual_seed(0)
        found = []
        for one in self.features:
            if one.kind == "numeric":
                found += [torch.ones(batch, 1), torch.randn(batch, 1, generator=generator, dtype=torch.float64)]
                continue
            numbers = torch.randint(1, one.rows, (batch, one.columns), generator=generator)
            if one.kind == "list":
                lengths = torch.randint(0, one.max_length + 1, (batch, 1), generator=generator)
                numbers = numbers * (torch.arange(one.max_length) < lengths)
            found.append(numbers)
        for cross in self.crosses:
            found.append(torch.randint(1, int(cross[-1]), (batch, 1), generator=generator))
        return torch.cat([part.double() for part in found], 1)

    def probes(self) -> Tensor:
        return self.example(3)

    def check(self, name: str, x: Any) -> None:
        import torch

        if isinstance(x, torch.Tensor) and x.dtype is torch.float64 and x.dim() == 2 and x.shape[1] == self.width:
            return
        tensor = isinstance(x, torch.Tensor)
        found = f"{str(x.dtype)[6:]} of shape {tuple(x.shape)}" if tensor else type(x).__name__
        raise ValueError(
            f"{name} takes row numbers and values, float64 of shape (batch, {self.width}), not {found}; "
            "zoo.preprocess(model) makes them of rows."
        )


def _check_cross(cross: Any, single: set[str]) -> None:
    """`single` are the features of which a row has one value."""
    proper = isinstance(cross, tuple) and 3 <= len(cross) <= MAX_CROSSED + 1
    told = f"a cross is 2 to {MAX_CROSSED} names of categorical or bucketed features, and a number of rows"
    require(proper, f"{told}, not {short(cross)}")
    *names, rows = cross
    proper = all(isinstance(name, str) and name in single for name in names) and len(set(names)) == len(names)
    require(proper, f"{told}, each once, not {short(cross)}")
    require(is_int(rows) and KNOWN <= rows <= MOST, f"a cross has {KNOWN} to {MOST:,} rows, not {short(rows)}")
