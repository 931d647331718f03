"""`zoo convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, err, out, print_json, remark


def run(
    checkpoint: Annotated[Path, typer.Argument(help="A state dict or training checkpoint: .pth, .bin, .safetensors.")],
    arch: Annotated[str, typer.Option(help="Which network it is, such as resnet50; `zoo list` shows them.")],
    folder: Annotated[Path, typer.Option("--out", help="Where to save the network.")],
    labels: Annotated[Path | None, typer.Option(help="A text file with the names of the classes, one a line.")] = None,
    json: JsonOption = False,
) -> None:
    """Make the zoo's own folder of a checkpoint of timm, torchvision or efficientnet_pytorch."""
    from zoo.listing import info, printable

    names = _lines(labels) if labels else []
    with err().status(Text(f"{checkpoint}: {arch}")):
        from zoo.weights.convert import convert
        from zoo.weights.file import save

        model = convert(checkpoint, arch, labels=names)
        save(model, folder)
    made, known = model.made["converted"], info(folder)
    if json:
        print_json({"converted": made, "network": known.to_json()})
        return
    console = out()
    console.print(Text.assemble((str(folder), "bold"), f": {known.purpose}, from {made['library']}"), soft_wrap=True)
    console.print(Text(f"  {known.parameters:,} parameters, {known.macs:,} MACs, {known.bytes:,} bytes"))
    if left_out := made.get("left_out"):
        remark(f"Left out, beside the weights: {printable(', '.join(left_out), 200)}")
    remark(f"Measure it: zoo eval {folder} --data ...")


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as labels, one a line: {error}.") from None
    return [line.strip() for line in lines if line.strip()]
