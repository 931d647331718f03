"""`zoo plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, print_json
from zoo.cli.screen import err, out, show, whole


def run(
    name: NameArgument,
    devices: Annotated[int, typer.Option(min=1, max=1024, help="How many there are. A plan may use fewer.")],
    batch: Annotated[int, typer.Option(min=1, help="Examples of a step, on all devices together.")] = 256,
    memory: Annotated[str | None, typer.Option(help="Of each device, such as 8GB. Default: no limit.")] = None,
    link: Annotated[
        str, typer.Option(help="Between any two devices, in each direction, such as 10Gbps or 25GB/s.")
    ] = "10Gbps",
    latency: Annotated[str, typer.Option(help="Of a message, such as 50us.")] = "50us",
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of a message that goes on while the device computes. "
            "Default: 1 for estimated devices, 0 for processors.",
        ),
    ] = None,
    device_flops: Annotated[
        str | None,
        typer.Option(
            help="Operations a second that a device reaches in large products, such as 60TFLOPS. "
            "Default: rows are measured on this processor."
        ),
    ] = None,
    device_memory_bandwidth: Annotated[
        str | None, typer.Option(help="Between a device and its memory, such as 1.5TB/s.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Height and width of pictures, or tokens of a text. Default: the network's own."),
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adamw or sgd, with momentum.")] = "adamw",
    schema: Annotated[
        Path | None, typer.Option(help="What a recommender reads: a file of `zoo schema`.", dir_okay=False)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads that rows are measured with. Default: torch's number.")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw which device computes what and when.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say how to train a network on several devices: data, pipeline or sharded parallel, and how long a step takes."""
    with err().status(Text("importing torch")) as status:
        import torch

        from zoo.planning.planner import plan
        from zoo.planning.result import HEADERS
        from zoo.planning.timeline import check_path

        if timeline is not None:
            check_path(timeline)
        if threads is not None:
            torch.set_num_threads(threads)
        found = plan(
            name,
            devices,
            batch=batch,
            memory=memory,
            link=link,
            latency=latency,
            overlap=overlap,
            device_flops=device_flops,
            device_memory_bandwidth=device_memory_bandwidth,
            size=size,
            optimizer=optimizer,
            schema=schema,
            report=lambda step: status.update(Text(step)),
        )
    if timeline is not None:
        found.draw(timeline)
    if json:
        print_json(found.to_json())
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, heading in enumerate(HEADERS):
        table.add_column(heading, justify="right" if at else "left", overflow="fold", vertical="bottom")
    for at, row in enumerate(found.rows()):
        table.add_row(*(Text(whole(cell), style="bold" if at == 0 else "") for cell in row))
    show(table)
    told = ["", found.why, *found.stages(), found.assumed]
    if found.plan.pipeline > 1:
        told += ["", found.timeline()]
    out().print(Text("\n".join(told)), soft_wrap=True)
