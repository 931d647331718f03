"""Prune a trained network by first-order Taylor importance on training pictures; train.py then fine-tunes it.

python scripts/ship/narrow.py runs/dense --data cifar10 --macs 0.5 --out runs/narrow
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

import zoo
from zoo import kinds
from zoo.train.images import normalize, read_parquet, split_validation


def main(
    model: Annotated[Path, typer.Argument(help="Saved folder of the dense network.")],
    data: Annotated[Path, typer.Option(help="Folder that holds train.parquet.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    macs: Annotated[float, typer.Option(help="Share of the multiply-accumulates to keep.")] = 0.5,
    pictures: Annotated[int, typer.Option(help="Training pictures to judge channels by.")] = 2048,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    dense = zoo.load(model)
    train, _ = split_validation(read_parquet(data / "train.parquet"))
    inputs = normalize(train.images[:pictures], dense.spec.input.mean, dense.spec.input.std)
    narrow = zoo.compress(dense, "pruned", macs=macs, importance="taylor", data=(inputs, train.labels[:pictures]))
    zoo.save(narrow, out)
    print(f"{out}: {kinds.cost(narrow.spec)}, of {kinds.cost(dense.spec)}")


if __name__ == "__main__":
    typer.run(main)
