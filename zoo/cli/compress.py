"""`zoo compress`."""

from __future__ import annotations

from dataclasses import fields
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, inputs_of, open_model, print_json
from zoo.cli.options import Command, build, given, parameters
from zoo.cli.screen import err, out, remark, whole
from zoo.files import check_folder, path_to_write
from zoo.passes import PASSES, in_order
from zoo.passes.options import about

if TYPE_CHECKING:
    from zoo.model.build import Model

WRECKED = 70.0  # percent of equal answers; a network with fewer needs training before use


def _options() -> list[Parameter]:
    """The options of every pass, without options that need inputs which this command does not read."""
    found: dict[str, Parameter] = {}
    for each in in_order():
        unread = {one.name for one in fields(each.options) if about(one).needs not in ("", "calibration")}
        options = parameters(each.options, f"{each.name}: {each.about}")
        found |= {one.name: one for one in options if one.name not in unread}
    return list(found.values())


def _run(
    name: NameArgument,
    passes: Annotated[str, typer.Argument(help="One pass, or several joined by hyphens: pruned-int8.")],
    folder: Annotated[Path, typer.Option("--out", help="The folder for the new network.")],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="Inputs to calibrate on: pictures, folders of them (with masks or boxes too), Parquet files, JSON "
            "of COCO; text files with one text a line; tables of texts or rows. May be repeated."
        ),
    ] = None,
    json: JsonOption = False,
    **options: Any,
) -> None:
    """Prune, sparsify or quantize a network without training, and save the result."""
    from zoo.catalog.info import info
    from zoo.naming import parse_passes

    wanted = parse_passes(passes)
    before = info(name)
    with err().status(Text(whole(f"{name}: {passes}"))):
        from zoo.passes.compress import compress
        from zoo.passes.data import Uncalibrated
        from zoo.weights.file import save

        model = open_model(name)
        check_folder(path_to_write(folder))
        settings = {one: build(PASSES[one].options, options) for one in wanted if "calibration" in PASSES[one].takes}
        calibrated = any(one.uses("calibration") for one in settings.values())
        data = inputs_of(model, name, calibration or [], "train") if calibrated else None
        chosen = {key: value for one in in_order() for key, value in given(one.options, options).items()}
        try:
            made = compress(model, passes, calibration=data, **chosen)
        except Uncalibrated as error:  # here inputs are files with raw examples
            kind = model.spec.input
            raise ValueError(
                f"{str(error).replace('preprocessed inputs', kind.unit)} Give --calibration {kind.files}."
            ) from None
        same, inputs, of_what = _agreement(made, model, name, calibration or [])
        save(made, folder)
    after = info(folder)
    if json:
        told = {"agreement": same, "agreement_inputs": inputs}
        print_json({"before": before.to_json(), "after": after.to_json(), "passes": passes, **told})
        return
    console = out()
    console.print(
        Text.assemble((whole(folder), "bold"), f": {whole(before.name)}, {passes} ({before.purpose})"), soft_wrap=True
    )
    for what, old, new in (
        ("parameters", before.parameters, after.parameters),
        ("MACs", before.macs, after.macs),
        ("bytes", before.bytes, after.bytes),
    ):
        was = f" (was {old:,})" if old is not None and old != new else ""
        console.print(Text(f"  {what:<10}  {new:,}{was}"))
    if same is not None:
        console.print(Text(f"  {'agreement':<10}  {same:.1f}% of {of_what.format(inputs)} {whole(name)}"))
    elif inputs:
        remark(
            f"Neither {name} nor {folder} finds an object in the {inputs} inputs, so no share of equal ones is told."
        )
    elif calibration:
        remark(f"{name} gives numbers, not classes, so no share of equal answers is told. Measure it with zoo eval.")
    else:
        remark(f"The answers were not compared with those of {name}. Give inputs with --calibration to compare them.")
    if "pruned" in wanted and data is None and settings["pruned"].criterion(False) == "l2":
        remark("Channels were judged by the size of their weights. With --calibration far less accuracy is lost.")
    if same is not None and same < WRECKED:
        remark(
            f"Warning: {folder} often answers differently from {name}. "
            f"Train it before use: zoo finetune {folder} --data ..."
        )
    remark(f"Measure it: zoo eval {folder} --data ..., and zoo compare {name} {folder}")


run = Command(_run, _options)


def _agreement(made: Model, model: Model, name: str, paths: list[Path]) -> tuple[float | None, int, str]:
    """(percent of equal answers, number of inputs, of what); percent is None without inputs or without answers.

    Where a pass was solved on the inputs given, it is the percent of those that were left out.
    """
    from zoo import tasks
    from zoo.report.agreement import left_out, likeness, worse

    task = tasks.of(model.spec)
    what = "{} inputs get the same answer as from"
    if task.pixels:
        what = "the pixels of {} inputs get the same answer as from"
    if task.objects:
        what = "the objects in {} inputs, of both networks, are found by both, it and"
    inputs = inputs_of(model, name, paths, "test") if task.agrees else None
    if inputs is None:
        return None, 0, what
    found = worse(likeness(made, model, [inputs]), left_out(made.made) if paths else None)
    return found.get("agreement"), found["inputs"], what
