"""Cut the small picture sets that the package ships out of the full Parquet files, bytes as they are.

    python scripts/ship/make_samples.py --data cifar10 --out zoo/data/samples

The test set's is for `zoo compare`, the training set's (none of the held-out pictures) for int8 calibration.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import torch
import typer

from zoo.train.images import VALIDATION, class_names


def main(data: Annotated[Path, typer.Option()], out: Annotated[Path, typer.Option()]) -> None:
    for split, count, held_out in (("test", 500, 0), ("train", 256, VALIDATION)):
        table = pq.read_table(data / f"{split}.parquet")
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))[held_out : held_out + count]
        rows = table.take(order.numpy()).to_pylist()
        _write(out / f"{data.name}-{split}.zip", rows, class_names(data / f"{split}.parquet"))


def _write(path: Path, rows: list[dict], classes: tuple[str, ...]) -> None:
    buffer, labels = io.BytesIO(), {}
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, row in enumerate(rows):
            name = f"{number:04d}.jpg"
            labels[name] = row["label"]
            archive.writestr(zipfile.ZipInfo(name), row["image"]["bytes"])
        archive.writestr(zipfile.ZipInfo("labels.json"), json.dumps({"classes": classes, "labels": labels}))
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {len(rows)} pictures, {len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    typer.run(main)
