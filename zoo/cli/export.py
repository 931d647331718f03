"""`zoo export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from zoo import tables
from zoo.cli.common import JsonOption, NameArgument, err, open_model, out, print_json


def run(
    name: NameArgument,
    format: Annotated[  # noqa: A002
        str | None, typer.Option("--format", help="onnx, openvino, pt2 or executorch; default: as FILE is called.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Default: NAME in this folder.")] = None,
    json: JsonOption = False,
) -> None:
    """Write a network as a file for other systems, and check that it answers as the network does."""
    from zoo.runtime.export import SUFFIXES, export

    if file is None:
        if format not in SUFFIXES:
            raise ValueError(f"--format is one of {', '.join(SUFFIXES)}.")
        file = Path(f"{Path(name).stem if '/' in name else name}{SUFFIXES[format]}")
    with err().status(Text(f"{name}: exporting and checking {file.name}")):
        export(open_model(name), file, format)
    files = [file, *([file.with_suffix(".bin")] if file.suffix == ".xml" else [])]
    if json:
        print_json({"name": name, "files": {str(one): one.stat().st_size for one in files}})
        return
    for one in files:
        out().print(Text(f"{one}  {tables.size(one.stat().st_size)}"), soft_wrap=True)
    out().print(Text(f"It answers as {name} does."))
