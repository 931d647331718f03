"""Put trained networks into the package: make the int8 forms, measure on the test split, write the manifest.

    python scripts/ship.py --runs runs --data cifar10

`--runs` holds what scripts/train.py wrote: final, pruned, sparse_final, distilled_0, distilled_1 (two seeds), and the
same students without a teacher, plain_0, plain_1; docs/recipes.md lists the commands. `--data` holds train.parquet and
test.parquet. Files that are there already are replaced.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated

import torch
import typer

import zoo
from zoo import kinds
from zoo.build import Model
from zoo.train.images import ImageSet, normalize, read_parquet, split_validation
from zoo.train.loop import accuracy
from zoo.weights.file import save_file

BASE = "mobilenetv2_cifar.cifar10"
PURPOSE = "CIFAR-10, 10 classes, 32x32"
LICENCE = "Apache-2.0 (weights); CIFAR-10: research use, cite Krizhevsky, 2009"
SOURCE = "trained from scratch for this package"
CALIBRATION = 512
HOW = {
    "dense": "scripts/train.py mobilenetv2_cifar, three cycles of 30, 10 and 6 epochs: docs/recipes.md",
    "distilled": "scripts/train.py mobilenetv2_cifar_small, 16 epochs, the 30-epoch dense network as teacher",
    "pruned": "scripts/narrow.py, Taylor importance, half of the MACs; then scripts/train.py with dense as teacher",
    "sparse": "scripts/train.py final --sparsity 0.84, cubic schedule, with the dense network as teacher",
    "int8": f"post-training from dense: {CALIBRATION} training pictures, squared-error observer",
    "pruned-int8": f"post-training from pruned: {CALIBRATION} training pictures, squared-error observer",
}


def main(runs: Annotated[Path, typer.Option()], data: Annotated[Path, typer.Option()], threads: int = 1) -> None:
    torch.set_num_threads(threads)
    train, validation = split_validation(read_parquet(data / "train.parquet"))
    test = read_parquet(data / "test.parquet")
    package = Path(zoo.__file__).parent / "weights"
    sources = {"dense": "final", "pruned": "pruned", "sparse": "sparse_final", "distilled": "distilled_0"}
    models = {variant: zoo.load(runs / folder) for variant, folder in sources.items()}
    for variant, origin in (("int8", "dense"), ("pruned-int8", "pruned")):
        spec = models[origin].spec
        inputs = normalize(train.images[:CALIBRATION], spec.input.mean, spec.input.std)
        models[variant] = zoo.compress(models[origin], "int8", calibration=inputs)
    students = {
        kind: [_top1(zoo.load(runs / f"{kind}_{seed}"), test) for seed in (0, 1)] for kind in ("distilled", "plain")
    }
    dense = _top1(models["dense"], test)
    tables = []
    (package / "shipped").mkdir(exist_ok=True)
    for variant in ("dense", "distilled", "pruned", "sparse", "int8", "pruned-int8"):
        model = models[variant]
        name = BASE if variant == "dense" else f"{BASE}-{variant}"
        path = package / "shipped" / f"{name}.safetensors"
        save_file(model, path)
        top1 = _top1(model, test)
        metric = {
            "name": "top-1 accuracy",
            "value": top1,
            "dense": dense,
            "dataset": "CIFAR-10",
            "split": "test (5,000 of the public 10,000)",
            "examples": len(test),
            "encoding": "JPEG, decoded by Pillow",
            "sha256": test.sha256,
            "train_sha256": train.sha256,
        }
        if model.made["trained"]["validation_accuracy"] is not None:  # else it has trained on those pictures too
            metric["validation"] = _top1(model, validation)
        if variant == "distilled":
            metric |= {"teacher": BASE, "with_teacher": students["distilled"], "without_teacher": students["plain"]}
        tables.append(_table(name, _facts(model, path, HOW[variant]), metric))
        print(f"{name:45} {top1:.2f}  {path.stat().st_size:,} bytes")
    print("students", students)
    _write(
        package / "manifest.toml",
        "# Written by scripts/ship.py; every figure in it was measured.\n\n" + "\n".join(tables),
    )


def _top1(model: Model, data: ImageSet) -> float:
    return round(accuracy(model, data, model.spec.input.mean, model.spec.input.std), 2)


def _facts(model: Model, path: Path, recipe: str) -> dict[str, object]:
    cost = kinds.cost(model.spec)
    weights = [tensor for key, tensor in model.state_dict().items() if key.endswith("weight") and tensor.ndim >= 2]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return {
        "spec_name": model.spec.name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "parameters": cost.parameters,
        "nonzero": cost.parameters - zeros,
        "macs": cost.macs,
        "purpose": PURPOSE,
        "licence": LICENCE,
        "source": SOURCE,
        "recipe": recipe,
    }


def _table(name: str, facts: dict[str, object], metric: dict[str, object]) -> str:
    lines = [f'["{name}"]', *(f"{key} = {json.dumps(value)}" for key, value in facts.items())]
    lines += [f'["{name}".metric]', *(f"{key} = {json.dumps(value)}" for key, value in metric.items())]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    os.replace(unfinished, path)


if __name__ == "__main__":
    typer.run(main)
