"""A whole network as data: a `ModelSpec`, its checks, and JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from zoo import inputs
from zoo.checks import SpecError, check_keys, require, short
from zoo.inputs import ImageInput, Input, TableInput, TextInput
from zoo.spec.block import MAX_ROWS, Block, Value

MAX_TEXT = 200  # characters of a spec's name and of its task


@dataclass(frozen=True)
class ModelSpec:
    """A whole network as data: `zoo.build` makes the network of it. Immutable.

    Args:
        name (str): the architecture's name, 1 to 200 printable characters.
        rows (tuple[Block, ...]): the rows in order, 1 to 4096, with names that differ.
        input (Input): what the network takes. Default: `ImageInput()`, normalised pictures of 224x224.
        task (str): what the network is for. Default: "image-classification".

    Raises:
        SpecError: a field is of another type or out of bounds, or a row taps one that does not come before it.

    Example:
        >>> spec = zoo.create("resnet20").spec
        >>> spec.name, len(spec.rows), spec["classifier"].kind
        ('resnet20', 12, 'classifier')
    """

    name: str
    rows: tuple[Block, ...]
    input: Input = field(default_factory=ImageInput)
    task: str = "image-classification"

    def __post_init__(self) -> None:
        for key, text in (("name", self.name), ("task", self.task)):
            proper = isinstance(text, str) and text.isprintable() and 1 <= len(text) <= MAX_TEXT
            said = f"its name and task are printable strings of 1 to {MAX_TEXT} characters"
            require(proper, f"{said}, and the {key} is {short(text)}")
        require(inputs.known(self.input), f"its input is one of {list(inputs.INPUTS)}, not {short(self.input)}")
        rows = isinstance(self.rows, (tuple, list)) and all(isinstance(row, Block) for row in self.rows)
        require(rows, "its rows are Blocks in a tuple")
        object.__setattr__(self, "rows", tuple(self.rows))  # a list would make the spec unhashable
        require(0 < len(self.rows) <= MAX_ROWS, f"a spec has 1 to {MAX_ROWS} rows, not {len(self.rows)}")
        seen = {"input"}
        for row in self.rows:
            require(row.name.isidentifier(), f"row name {row.name!r} is not an identifier")
            require(row.name not in seen, f"two rows are called {row.name!r}")
            unknown = set(row.taps) - seen
            require(not unknown, f"row {row.name!r} taps {sorted(unknown)}, which do not come before it")
            seen.add(row.name)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Block:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{self.name} has no row {name!r}; its rows are {[row.name for row in self.rows]}")

    @property
    def pictures(self) -> ImageInput:
        """The input of a network that takes pictures; raises SpecError where it takes something else."""
        return inputs.narrowed(self.input, ImageInput, self.name)

    @property
    def texts(self) -> TextInput:
        """The input of a network that takes text; raises SpecError where it takes something else."""
        return inputs.narrowed(self.input, TextInput, self.name)

    @property
    def table(self) -> TableInput:
        """The input of a network that takes rows of a table; raises SpecError where it takes something else."""
        return inputs.narrowed(self.input, TableInput, self.name)

    def replace(self, **changes: Any) -> ModelSpec:
        """Copy the spec with some fields changed.

        Args:
            **changes (Any): new values of `name`, `rows`, `input` or `task`.

        Returns:
            A new `ModelSpec`.

        Raises:
            SpecError: a value is not allowed.
        """
        return ModelSpec(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **changes})

    def edit(self, row: str, **changes: Value) -> ModelSpec:
        """Copy the spec with one row changed. `zoo.edit` does the same to a network, with its weights.

        Args:
            row (str): the row's name.
            **changes (Value): new values of the row's fields or arguments.

        Returns:
            A new `ModelSpec`.

        Raises:
            KeyError: there is no such row.
            SpecError: a value is not allowed.

        Example:
            >>> zoo.create("resnet20").spec.edit("classifier", num_classes=5)["classifier"].args["num_classes"]
            5
        """
        old = self[row]
        return self.replace(rows=tuple(old.replace(**changes) if r is old else r for r in self.rows))

    def upto(self, row: str) -> ModelSpec:
        """Copy the spec up to one row, whose output becomes the network's, as float32.

        Args:
            row (str): the name of the last row to keep.

        Returns:
            A new `ModelSpec`.

        Raises:
            KeyError: there is no such row.

        Example:
            >>> [row.name for row in zoo.create("resnet20").spec.upto("s1_2")]
            ['stem', 's1_1', 's1_2']
        """
        last = self[row]
        return self.replace(rows=(*self.rows[: self.rows.index(last)], last.replace(emits="float32")))

    def to_json(self) -> dict[str, Any]:
        """The spec as a dict of JSON values."""
        return {
            "name": self.name,
            "task": self.task,
            "input": self.input.to_json(),
            "rows": [row.to_json() for row in self.rows],
        }

    @staticmethod
    def from_json(data: Any) -> ModelSpec:
        """Read a spec, checked.

        Args:
            data (Any): a dict as `to_json` gives it.

        Returns:
            A `ModelSpec`.

        Raises:
            SpecError: the dict is no spec.
        """
        check_keys(data, "a spec", required={"name", "task", "input", "rows"})
        require(isinstance(data["rows"], list), "a spec's rows are a list")
        return ModelSpec(
            name=data["name"],
            task=data["task"],
            input=inputs.from_json(data["input"]),
            rows=tuple(Block.from_json(row) for row in data["rows"]),
        )

    def dumps(self) -> str:
        """The spec as JSON text, without blanks."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> ModelSpec:
        """Read a spec from JSON text, checked.

        Args:
            text (str): text as `dumps` gives it.

        Returns:
            A `ModelSpec`.

        Raises:
            SpecError: the text is no JSON, or no spec.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"Not a model spec: the JSON does not parse ({error}).") from None
        return ModelSpec.from_json(data)
