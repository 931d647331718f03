"""`zoo export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from zoo import formatting
from zoo.cli.common import JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import err, out, whole
from zoo.files import path_to_write
from zoo.runtime import formats


def run(
    name: NameArgument,
    format: Annotated[  # noqa: A002
        str | None, typer.Option("--format", help=f"{', '.join(formats())}. Default: by the ending of FILE.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write. Default: NAME, in this folder.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="onnx: version of the operators. Default: 18.")] = None,
    json: JsonOption = False,
) -> None:
    """Write a file for another system, and check that it gives the network's answers."""
    from zoo.runtime.export import export

    if file is None:
        if format not in formats():
            raise ValueError(
                f"--format is one of {', '.join(formats())}. Or give --out a file with the ending of one of them."
            )
        file = Path(f"{Path(name).stem if '/' in name else name}{formats()[format].suffix}")
    file = path_to_write(file, "file")
    with err().status(Text(whole(f"{name}: exporting and checking {file.name}"))):
        export(open_model(name), file, format, opset=opset)
    beside = {one.suffix: one.companion_files(file) for one in formats().values()}
    files = [file, *beside[file.suffix]]
    if json:
        print_json({"name": name, "files": {str(one): one.stat().st_size for one in files}})
        return
    for one in files:
        out().print(Text(f"{whole(one)}  {formatting.size(one.stat().st_size)}"), soft_wrap=True)
    out().print(Text(f"It answers as {whole(name)} does."))
