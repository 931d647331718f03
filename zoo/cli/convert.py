"""`zoo convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, print_json
from zoo.cli.screen import err, out, remark, whole
from zoo.files import lines_of, local_path


def run(
    checkpoint: Annotated[
        Path, typer.Argument(help="A state dict, a training checkpoint, or a folder with a pytorch_model.bin.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="The folder for the network.")],
    arch: Annotated[
        str,
        typer.Option(help="The architecture, such as resnet50; `zoo list` shows them. Not needed for a folder."),
    ] = "",
    labels: Annotated[
        str | None,
        typer.Option(help='Names of the classes: a text file with one name a line, "imagenet-1k" or "none".'),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Convert a checkpoint of timm, torchvision, efficientnet_pytorch or transformers to a folder of the zoo."""
    from zoo.catalog.info import info
    from zoo.printable import printable

    names = None if labels is None else _names(labels)
    with err().status(Text(whole(f"{checkpoint}: {arch}"))):
        from zoo.weights.convert import convert
        from zoo.weights.file import save

        model = convert(checkpoint, arch, labels=names)
        save(model, folder)
    made, known = model.made["converted"], info(folder)
    if json:
        print_json({"converted": made, "network": known.to_json()})
        return
    console = out()
    console.print(Text.assemble((whole(folder), "bold"), f": {known.purpose}, from {made['library']}"), soft_wrap=True)
    console.print(Text(f"  {known.parameters:,} parameters, {known.macs:,} MACs, {known.bytes:,} bytes"))
    if left_out := made.get("left_out"):
        remark(f"Not converted, because they are not weights: {printable(', '.join(left_out), 200)}")
    if made.get("average"):
        remark(f"The checkpoint holds a moving average, {printable(made['average'])}. The network has its weights.")
    if made.get("labels"):
        remark(f"The classes have the names of {made['labels']}. Use --labels none for no names.")
    remark(f"Measure it: zoo eval {folder} --data ...")


def _names(labels: str) -> list[str]:
    """The names in a file, ImageNet's names, or no names."""
    if labels == "none":
        return []
    if labels == "imagenet-1k":
        from zoo.weights.foreign import imagenet_labels

        return list(imagenet_labels())
    return [line.strip() for line in lines_of(local_path(labels), "--labels takes a text file with one name a line")]
