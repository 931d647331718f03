"""`zoo bench`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, err, out, print_json


def run(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Networks' names, or folders or files.")],
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="eager, torch (fused), openvino, onnxruntime, executorch; may be given again. Default: all installed."
        ),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Pictures at a time; may be given again.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each runtime.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Height and width, instead of the network's own.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend on each batch size.")] = 6.0,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too, in fresh processes.")] = True,
    json: JsonOption = False,
) -> None:
    """Measure latency, throughput and peak memory here and now."""
    with err().status(Text("importing torch")) as status:
        import torch

        from zoo.bench import bench

        if threads is not None:
            torch.set_num_threads(threads)
        found = bench(
            names,
            runtimes=runtime,
            batches=tuple(batch or (1, 32)),
            size=size,
            seconds=seconds,
            memory=memory,
            report=lambda step: status.update(Text(step)),
        )
    if json:
        print_json(found.to_json())
    else:
        out().print(Text(repr(found)), soft_wrap=True)
