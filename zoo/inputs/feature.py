"""One feature of a table: what stands in its column, and how many rows its embedding table has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from zoo.checks import MOST, check_keys, is_int, is_number, require, short

KINDS = ("categorical", "list", "numeric", "bucketed")
POOLINGS = ("mean", "sum")
MISSING, UNKNOWN, KNOWN = 0, 1, 2  # rows of every embedding table: the third is the first of a known value
MAX_NAME = 200
MAX_LENGTH = 4096  # values of a list that count
MAX_BOUNDARIES = 4096
FURTHEST = 1e15  # from 0: means, deviations and boundaries of which every number stays finite

_OWN = {  # kind -> the fields that it has; the others keep their defaults
    "categorical": {"num_embeddings", "hashed"},
    "list": {"num_embeddings", "hashed", "max_length", "pooling"},
    "numeric": {"mean", "std"},
    "bucketed": {"boundaries"},
}


@dataclass(frozen=True)
class Feature:
    """One column of a table as a network reads it. Immutable.

    Row 0 of a feature's embedding table stands for a missing value, and row 1 for an unknown one.

    Args:
        name (str): the name of the column.
        kind (str): "categorical" (one value of many), "list" (several such values), "numeric" (standardised by `mean`
            and `std`) or "bucketed" (a number that becomes the number of its bucket). Default: "categorical".
        num_embeddings (int): the rows of the embedding table, from 3: missing, unknown, and one for each known value.
            For categorical features and lists. Default: 0, for the other kinds.
        hashed (bool): the known rows are shared by all values, by a hash: for open vocabularies. Default: False.
        max_length (int): the first so many values of a list count. Default: 0, for the other kinds.
        boundaries (tuple[float, ...]): where buckets begin, increasing, as in `torch.bucketize(..., right=True)`: a
            value on a boundary belongs to the bucket above. Default: none.
        mean (float): what is subtracted from a number. Default: 0.0.
        std (float): what a number is then divided by; positive. Default: 1.0.
        pooling (str): how the values of a list are joined, "mean" or "sum". Default: "mean".

    Raises:
        SpecError: a field is out of range, or is not one of the kind's.

    Example:
        >>> from zoo.inputs import Feature
        >>> Feature("age", "bucketed", boundaries=(18.0, 35.0, 60.0)).rows
        6
    """

    name: str
    kind: str = "categorical"
    num_embeddings: int = 0
    hashed: bool = False
    max_length: int = 0
    boundaries: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    pooling: str = "mean"

    def __post_init__(self) -> None:
        proper = isinstance(self.name, str) and self.name.isprintable() and 1 <= len(self.name) <= MAX_NAME
        require(proper, f"a feature's name has 1 to {MAX_NAME} printable characters, not {short(self.name)}")
        what = f"feature {short(self.name)}"
        require(self.kind in KINDS, f"{what} is of kind {short(self.kind)}, which is none of {list(KINDS)}")
        for field in fields(self)[2:]:
            if field.name not in _OWN[self.kind]:
                value = getattr(self, field.name)
                same = value == field.default and type(value) is type(field.default)
                require(same, f"{what} is {self.kind} and has no {field.name}, which is {short(value)}")
        if self.kind in ("categorical", "list"):
            proper = is_int(self.num_embeddings) and KNOWN < self.num_embeddings <= MOST
            told = f"has {KNOWN + 1} to {MOST:,} num_embeddings (missing, unknown, and the known values)"
            require(proper, f"{what} {told}, not {short(self.num_embeddings)}")
            require(isinstance(self.hashed, bool), f"{what}: hashed is true or false, not {short(self.hashed)}")
        if self.kind == "list":
            proper = is_int(self.max_length) and 1 <= self.max_length <= MAX_LENGTH
            require(proper, f"{what}: max_length is from 1 to {MAX_LENGTH}, not {short(self.max_length)}")
            require(self.pooling in POOLINGS, f"{what}: pooling is one of {list(POOLINGS)}, not {short(self.pooling)}")
        for key in ("mean", "std"):
            value = getattr(self, key)
            require(is_number(value) and abs(value) <= FURTHEST, f"{what}: {key} is a number, not {short(value)}")
        require(self.std >= 1 / FURTHEST, f"{what}: std is positive, at least {1 / FURTHEST:g}, not {short(self.std)}")
        if self.kind == "bucketed":
            bounds = self.boundaries
            proper = isinstance(bounds, tuple) and 1 <= len(bounds) <= MAX_BOUNDARIES and all(map(is_number, bounds))
            require(proper, f"{what} has 1 to {MAX_BOUNDARIES} boundaries, which are numbers, not {short(bounds)}")
            rising = all(a < b for a, b in pairwise(bounds))
            require(rising and max(map(abs, bounds)) <= FURTHEST, f"{what}: boundaries increase, not {short(bounds)}")

    @property
    def rows(self) -> int:
        """The rows of its embedding table. Of a numeric feature: missing, present; of a bucketed one: missing, unused,
        and the buckets.
        """
        if self.kind == "numeric":
            return 2
        return KNOWN + len(self.boundaries) + 1 if self.kind == "bucketed" else self.num_embeddings

    @property
    def columns(self) -> int:
        """How many columns of the network's input it takes."""
        return {"list": self.max_length, "numeric": 2}.get(self.kind, 1)

    @property
    def keys(self) -> int:
        """How many known values it has, each with a key in the network's vocabulary."""
        return self.num_embeddings - KNOWN if self.num_embeddings and not self.hashed else 0

    def to_json(self) -> dict[str, Any]:
        """The feature as a dict of JSON values, without the fields of other kinds."""
        values = {key: getattr(self, key) for key in _ordered(_OWN[self.kind])}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"name": self.name, "kind": self.kind, **plain}

    @staticmethod
    def from_json(data: Any) -> Feature:
        """Read a feature, checked; raises SpecError for a dict that is none."""
        require(isinstance(data, Mapping), f"a feature is an object, not {type(data).__name__}")
        every = {field.name for field in fields(Feature)}
        check_keys(data, "a feature", required={"name", "kind"}, optional=every - {"name", "kind"})
        boundaries = data.get("boundaries", [])
        require(isinstance(boundaries, list), f"a feature's boundaries are a list, not {short(boundaries)}")
        require(len(boundaries) <= MAX_BOUNDARIES, f"a feature has at most {MAX_BOUNDARIES} boundaries")
        return Feature(**{**data, "boundaries": tuple(boundaries)})


def _ordered(names: set[str]) -> list[str]:
    return [field.name for field in fields(Feature) if field.name in names]
