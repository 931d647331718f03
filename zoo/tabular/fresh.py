"""A recommender with random weights for a table: its schema and the values that it knows follow from the data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import registry
from zoo.checks import SpecError, require, short
from zoo.files import local_path
from zoo.inputs import TableInput, known
from zoo.model.build import Model, build
from zoo.tabular.reader import training_files
from zoo.tabular.schema import infer_schema

MOST_BYTES = 2**26  # of a schema's file


def for_data(
    arch: str,
    data: str | Path,
    *,
    label_column: str | None = None,
    schema: Path | None = None,
    dim: int | None = None,
    like: Model | None = None,
) -> Any:
    """The recommender called `arch` for the training part of `data`, with vectors of width `dim`.

    Its schema is that of the file `schema`, else that of `like`, whose vocabulary it takes too, else the data's own.
    """
    wide = {} if dim is None else {"dim": dim}
    if like is not None and schema is None:
        model = build(registry.spec(arch, schema=like.spec.table, **wide))
        model.vocabulary.copy_(like.vocabulary)  # type: ignore[arg-type, operator, union-attr]
        return model
    _, files = training_files(data, "train")
    given = infer_schema(files, label_column) if schema is None else read_schema(schema)
    return build(registry.spec(arch, schema=given, **wide)).fit_vocabulary(files)  # type: ignore[operator]


def as_schema(given: Any) -> TableInput:
    """A schema in any form: itself, the dict of its JSON, or the path of a file with that."""
    if known(given) and given.embedded:
        return given  # type: ignore[no-any-return]
    if isinstance(given, Mapping):
        return _of_json(given, "The dict of schema=")
    if isinstance(given, (str, os.PathLike)):
        return read_schema(os.fspath(given))
    raise ValueError(
        f"schema= is a TableInput, as zoo.infer_schema(table) makes it, the dict of its JSON, or the path of a file "
        f"that zoo schema printed, not {type(given).__name__}."
    )


def _of_json(data: Any, what: str) -> TableInput:
    try:
        kind = data.get("type", TableInput.type) if isinstance(data, Mapping) else TableInput.type
        require(kind == TableInput.type, f"it is of type {short(kind)}, not {TableInput.type!r}")
        require(isinstance(data, Mapping), f"a schema is an object, not {type(data).__name__}")
        return TableInput.from_json(data)
    except SpecError as error:
        raise ValueError(f"{what} is no schema: {str(error).removeprefix('Not a model spec: ')}") from None


def read_schema(path: str | Path) -> TableInput:
    """The schema in a JSON file, as `zoo schema` prints it; raises ValueError for another file."""
    file = local_path(path)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"{file} is larger than {MOST_BYTES:,} bytes, which no schema is.")
        return _of_json(json.loads(file.read_text(encoding="utf-8")), str(file))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{file} cannot be read as a schema ({(str(error).splitlines() or ['too deep'])[0]})."
        ) from None
