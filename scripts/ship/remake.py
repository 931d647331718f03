"""Make int8 forms that ship again, of what ships, by the passes of today.

    python scripts/ship/remake.py resnet20.cifar10-int8 --data cifar10

A form that was not trained comes from the float network that ships. A form that was trained quantization-aware keeps
its weights, and its residual streams get one scale each. `--data` holds train.parquet and test.parquet. The file and
its figures in the manifest are replaced; a form that would lose more than `--most` points of top-1 accuracy is not.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from one_scale import with_one_scale
from ship import CALIBRATION, PACKAGE, read_manifest, ship, write_manifest

import zoo
from zoo.train.images import normalize, read_parquet, split_validation
from zoo.train.loop import accuracy


def main(
    names: Annotated[list[str], typer.Argument(help="Names in the manifest that end in int8.")],
    data: Annotated[Path, typer.Option()],
    most: Annotated[float, typer.Option(help="Points of top-1 accuracy that may be lost.")] = 0.2,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    train, validation = split_validation(read_parquet(data / "train.parquet"))
    test, tables = read_parquet(data / "test.parquet"), read_manifest()
    for name in names:
        entry, origin = tables[name], tables[name.removesuffix("-int8")]
        metric = entry["metric"]
        dense = zoo.load(PACKAGE / "weights" / "shipped" / origin["file"])
        before = zoo.load(PACKAGE / "weights" / "shipped" / entry["file"])
        if (metric["sha256"], metric["train_sha256"]) != (test.sha256, train.sha256):
            raise typer.BadParameter(f"{data} is not the data of {name}.")
        inputs = normalize(train.images[:CALIBRATION], dense.spec.input.mean, dense.spec.input.std)
        trained = before.made["passes"][-1].get("trained")
        model = with_one_scale(before, inputs) if trained else zoo.compress(dense, "int8", calibration=inputs)
        value = round(accuracy(model, test), 2)
        print(f"{name:40} {metric['value']:.2f} -> {value:.2f}")
        if value < metric["value"] - most:
            raise typer.BadParameter(f"{name} would lose {metric['value'] - value:.2f} points.")
        metric["value"] = value
        if "validation" in metric:
            metric["validation"] = round(accuracy(model, validation), 2)
        entry.update(ship(model, name))
    write_manifest(tables)


if __name__ == "__main__":
    typer.run(main)
