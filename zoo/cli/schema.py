"""`zoo schema`."""

from __future__ import annotations

import json
import warnings
from typing import Annotated, Any

import typer

from zoo.cli.screen import counting, remark


def run(
    data: Annotated[str, typer.Argument(metavar="FILE", help="A Parquet or CSV file, or a folder of either.")],
    label: Annotated[
        str | None, typer.Option(help="The column to predict. Default: label, click, clicked or target.")
    ] = None,
    min_count: Annotated[
        int, typer.Option(help="How often a value must occur to be known; rarer ones count as unknown.")
    ] = 2,
) -> None:
    """Infer the schema of a recommender from a table, as JSON. Edit it, and give it to `zoo finetune --schema`."""
    from zoo.data.table_files import open_tables
    from zoo.tabular.schema import infer_schema

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with counting("Reading", open_tables(data).rows) as advance:
            found = infer_schema(data, label, min_count=min_count, progress=advance)
    for one in told:
        remark(str(one.message))
    typer.echo(_lines(found.to_json()))


def _lines(schema: dict[str, Any]) -> str:
    """JSON with a feature a line."""
    features = ",\n".join(f"    {json.dumps(one)}" for one in schema["features"])
    return f'{{\n  "type": "{schema["type"]}",\n  "features": [\n{features}\n  ]\n}}'
