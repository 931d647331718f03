"""`zoo compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, err, open_model, out, pictures_in, print_json, remark, texts_in
from zoo.spec import TextInput

if TYPE_CHECKING:
    from zoo.build import Model


def run(
    name: NameArgument,
    passes: Annotated[str, typer.Argument(help="pruned, sparse, int8, or several: pruned-int8.")],
    folder: Annotated[Path, typer.Option("--out", help="Where to save the new network.")],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="For int8: pictures, folders of them, or text files of a text a line; may be given again."),
    ] = None,
    macs: Annotated[float | None, typer.Option(help="pruned: share of the multiply-accumulates to keep.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="sparse: share of the weights to set to zero.")] = None,
    observer: Annotated[str | None, typer.Option(help="int8: mse, minmax or percentile.")] = None,
    keep_float: Annotated[
        str | None,
        typer.Option(help="int8: rows that stay float32, as names with commas, or how many of the most sensitive."),
    ] = None,
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="int8: weights of 7 bits, for x86 without VNNI.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a smaller network of one, and save it."""
    from zoo.listing import info
    from zoo.naming import parse_passes

    wanted = parse_passes(passes)
    before = info(name)
    with err().status(Text(f"{name}: {passes}")):
        from zoo.compress import compress
        from zoo.weights.file import save

        model = open_model(name)
        data = _calibration(model, name, calibration or []) if "int8" in wanted else None
        given = {"macs": macs, "sparsity": sparsity, "observer": observer, "keep_float": _rows(keep_float)}
        given["reduce_range"] = reduce_range or None
        options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        save(compress(model, passes, calibration=data, **options), folder)
    after = info(folder)
    if json:
        print_json({"before": before.to_json(), "after": after.to_json(), "passes": passes})
        return
    console = out()
    console.print(Text.assemble((str(folder), "bold"), f": {before.name}, {passes} ({before.purpose})"), soft_wrap=True)
    for what, old, new in (
        ("parameters", before.parameters, after.parameters),
        ("MACs", before.macs, after.macs),
        ("bytes", before.bytes, after.bytes),
    ):
        was = f" (was {old:,})" if old is not None and old != new else ""
        console.print(Text(f"  {what:<10}  {new:,}{was}"))
    remark(f"Measure it: zoo eval {folder} --data ..., and zoo compare {name} {folder}")


def _rows(text: str | None) -> int | tuple[str, ...] | None:
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else tuple(name.strip() for name in text.split(","))


def _calibration(model: Model, name: str, paths: list[Path]) -> Any:
    """The pictures given, else the shipped ones of the data a shipped network was trained on; None without either."""
    from zoo.listing import find, is_path
    from zoo.preprocess import preprocess
    from zoo.samples import available, samples

    if paths:
        texts = isinstance(model.spec.input, TextInput)
        return preprocess(model)(texts_in(paths) if texts else pictures_in(paths))
    dataset = "" if is_path(name) else find(name)[0].tag
    if (dataset, "train") not in available():
        return None
    pictures = samples(dataset, "train")
    remark(f"Calibrating with {pictures!r}.")
    return preprocess(model)(pictures.images)
