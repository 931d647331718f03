"""`zoo bench`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from zoo.checks import MAX_THREADS
from zoo.cli.common import JsonOption, print_json
from zoo.cli.screen import err, out
from zoo.runtime import RUNTIMES


def run(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names, or folders or files of saved networks.")
    ],
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", help=f"eager (not fused), {', '.join(RUNTIMES)}. May be repeated. Default: all installed."
        ),
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option("--batch", help="Batch size. Repeat it for several. Default: 1 and 32.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_THREADS, help="Threads of each runtime. Default: torch's number.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Height and width of pictures, or tokens of a text. Default: the network's own."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds to measure each batch size.")] = 6.0,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too, in new processes.")] = True,
    json: JsonOption = False,
) -> None:
    """Measure latency, throughput and peak memory of networks on this machine."""
    with err().status(Text("importing torch")) as status:
        import torch

        from zoo.report.bench import bench

        if threads is not None:
            torch.set_num_threads(threads)
        found = bench(
            names,
            runtimes=runtimes,
            batches=tuple(batches or (1, 32)),
            size=size,
            seconds=seconds,
            memory=memory,
            report=lambda step: status.update(Text(step)),
        )
    if json:
        print_json(found.to_json())
    else:
        out().print(Text(repr(found)), soft_wrap=True)
