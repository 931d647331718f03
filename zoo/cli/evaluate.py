"""`zoo eval`."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from zoo import tasks
from zoo.cli.common import JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import out, remark, whole


def run(
    name: NameArgument,
    data: Annotated[
        str,
        typer.Option(
            help="A folder with a folder for every class, or with images/ and masks/; Parquet files with the columns "
            "'image' (or 'text') and 'label' (or 'mask'), 'question', 'context' and 'answers', or 'tokens' and "
            "'ner_tags'; or a data set of the Hub, 'owner/name'. Texts may be in CSV or JSON lines too."
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="The split to measure. Default: test, or else validation, or else train.")
    ] = None,
    input_column: Annotated[
        list[str] | None,
        typer.Option(help="The column with the pictures or texts. Repeat it for the second text of a pair."),
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The column with the labels or masks.")] = None,
    ignore_index: Annotated[
        int | None,
        typer.Option(help="The value of pixels without a class, in masks. Default: the file's own, or 255.", min=0),
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out and count pictures whose mask or boxes are damaged.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Batch size. Default: 250 pictures, 32 texts or 4,096 rows.")
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            help="Draw a recommender's rows again so often, for 95% intervals, such as 1000. Default: 0.", min=0
        ),
    ] = 0,
    group_column: Annotated[
        str | None, typer.Option(help="The column whose rows are drawn together, such as user_id.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a network on your copy of the data: its accuracy, AP, mIoU, or another figure of its task."""
    from zoo.catalog.info import info
    from zoo.report.evaluate import evaluate

    known = info(name)
    found = evaluate(
        open_model(name),
        data,
        split=split,
        batch_size=batch_size,
        input_columns=input_column or (),
        label_column=label_column,
        ignore_index=ignore_index,
        skip_damaged=skip_damaged,
        resamples=resamples,
        group_column=group_column,
        progress=sys.stderr.isatty(),
    )
    if json:
        print_json({"name": known.name, "purpose": known.purpose, **found.to_json()})
        return
    console = out()
    console.print(Text.assemble((whole(known.name), "bold"), f": {known.purpose}"))
    console.print(Text(repr(found)))
    if known.metric and known.metric.sha256 == found.sha256:
        console.print(Text(f"The manifest says {known.metric.value:.2f}{found.unit} on this very file."))
    elif known.metric:
        metric = known.metric
        said = f"{metric.value:.2f}{tasks.unit_of(metric.name)}"
        remark(f"The manifest says {said} on {metric.dataset}, {metric.split}. That is other data than this.")
    if found.per_class:
        console.print(Text(f"{found.class_metric} of each class:"))
    for label, value in found.per_class.items():
        console.print(Text(f"  {value:6.2f}%  {whole(label)}"))
