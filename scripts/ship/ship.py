"""Put trained networks into the package: make the int8 forms, measure on the test split, write the manifest.

    python scripts/ship/ship.py resnet20.cifar10 --runs runs/resnet --data cifar10

`--runs` holds what scripts/ship/train.py wrote, whichever of: dense, pruned, sparse, and students of one seed or more
with and without a teacher: distilled_0, plain_0, ...; and pruned-int8 where scripts/quantize.py has trained it, which
else is made here; docs/recipes.md lists the commands. `--data` holds train.parquet and
test.parquet. What is found replaces what the package holds under that name; the rest of the manifest stays.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import zoo
from zoo import kinds
from zoo.files import write_whole
from zoo.model.build import Model
from zoo.train.images import ImageSet, normalize, read_parquet, split_validation
from zoo.train.loop import accuracy
from zoo.weights.file import save_file

PACKAGE = Path(zoo.__file__).parent
MANIFEST = PACKAGE / "catalog" / "manifest.toml"
HEADING = "# Written by scripts/ship/; every figure in it was measured.\n\n"
VARIANTS = ("dense", "distilled", "pruned", "sparse", "int8", "pruned-int8")
PURPOSE = "CIFAR-10, 10 classes, 32x32"
LICENCE = "Apache-2.0 (weights); CIFAR-10: research use, cite Krizhevsky, 2009"
SOURCE = "trained from scratch for this package"
CALIBRATION = 512


def main(
    base: Annotated[str, typer.Argument(help="The dense network's name: resnet20.cifar10")],
    runs: Annotated[Path, typer.Option()],
    data: Annotated[Path, typer.Option()],
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    train, validation = split_validation(read_parquet(data / "train.parquet"))
    test = read_parquet(data / "test.parquet")
    models = _trained(runs)
    for variant, origin in (("int8", "dense"), ("pruned-int8", "pruned")):
        if origin in models and variant not in models:
            spec = models[origin].spec
            inputs = normalize(train.images[:CALIBRATION], spec.input.mean, spec.input.std)
            models[variant] = zoo.compress(models[origin], "int8", calibration=inputs)
    tables = read_manifest()
    dense = _top1(models["dense"], test) if "dense" in models else tables[base]["metric"]["value"]
    for variant, model in models.items():
        metric = {
            "name": "top-1 accuracy",
            "value": _top1(model, test),
            "dense": dense,
            "dataset": "CIFAR-10",
            "split": "test (5,000 of the public 10,000)",
            "examples": len(test),
            "encoding": "JPEG, decoded by Pillow",
            "sha256": test.sha256,
            "train_sha256": train.sha256,
        }
        trained = model.made["trained"]
        if trained.get("validation_accuracy") is not None and not _by_command(trained):  # else it has trained on them
            metric["validation"] = _top1(model, validation)
        if variant == "distilled":
            with_teacher, without = (_students(runs, kind, test) for kind in ("distilled", "plain"))
            metric |= {"teacher": base, "with_teacher": with_teacher, "without_teacher": without}
        name = base if variant == "dense" else f"{base}-{variant}"
        facts = {"purpose": PURPOSE, "licence": LICENCE, "source": SOURCE, "recipe": _recipe(model, variant)}
        tables[name] = {**ship(model, name), **facts, "metric": metric}
        print(f"{name:45} {metric['value']:.2f}  {tables[name]['bytes']:,} bytes")
    for name, entry in tables.items():
        if _base(name) == base:
            entry["metric"]["dense"] = dense
    write_manifest(tables)


def _trained(runs: Path) -> dict[str, Model]:
    """Variant -> what was trained of it; of the students the first seed's."""
    folders = {"dense": "dense", "distilled": "distilled_0", "pruned": "pruned", "sparse": "sparse"}
    folders["pruned-int8"] = "pruned-int8"
    found = {variant: zoo.load(runs / folder) for variant, folder in folders.items() if (runs / folder).exists()}
    if not found:
        raise typer.BadParameter(f"{runs} holds none of {list(folders.values())}.")
    return found


def _students(runs: Path, kind: str, test: ImageSet) -> list[float]:
    return [_top1(zoo.load(folder), test) for folder in sorted(runs.glob(f"{kind}_[0-9]"))]


def _top1(model: Model, data: ImageSet) -> float:
    return round(accuracy(model, data), 2)


def _by_command(trained: Mapping[str, Any]) -> bool:
    """Whether `zoo finetune` has trained it, which holds out other pictures than scripts/ship/train.py."""
    return "batch_size" in trained


def _recipe(model: Model, variant: str) -> str:
    """One line; docs/recipes.md has the commands."""
    trained = model.made["trained"]
    program = "zoo finetune" if _by_command(trained) else "scripts/ship/train.py"
    tuned = any(one.get("trained") == "quantization-aware" for one in model.made["passes"])
    if tuned:
        words = [f"scripts/quantize.py --qat, {trained['epochs']} epochs"]
    else:
        words = [f"{program}, {trained['epochs']} epochs at {trained['learning_rate']}"]
    if trained.get("teacher") and not tuned:  # else its own float form
        words.append(f"teacher: {trained['teacher']}")
    if "pruned" in variant:
        narrowed = "calibrated" if _by_command(trained) else "scripts/ship/narrow.py, Taylor importance"
        words.insert(0, f"{narrowed}, half of the MACs; then")
    if trained.get("sparsity"):
        words.append(f"{trained['sparsity']:.1%} of the weights to zero on a cubic schedule")
    if "int8" in variant and not tuned:
        words.append(f"then post-training int8, {CALIBRATION} training pictures, squared-error observer")
    return ", ".join(words).replace("then,", "then") + "; docs/recipes.md"


def ship(model: Model, name: str, folder: Path | None = None, dtype: str = "float32") -> dict[str, Any]:
    """Write the model into the package, or into `folder`; returns what the manifest says of its file and size."""
    path = (folder or PACKAGE / "weights" / "shipped") / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(model, path, dtype=dtype)
    cost = kinds.cost(model.spec)
    stored = zoo.load(path).state_dict()  # float16 may round a small weight to zero
    weights = [tensor for key, tensor in stored.items() if key.endswith("weight") and tensor.ndim >= 2]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return {
        "spec_name": model.spec.name,
        "task": model.spec.task,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "parameters": cost.parameters,
        "nonzero": cost.parameters - zeros,
        "macs": cost.macs,
    }


def read_manifest() -> dict[str, dict[str, Any]]:
    return tomllib.loads(MANIFEST.read_text(encoding="utf-8")) if MANIFEST.exists() else {}


def write_manifest(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """All of it: families in the order in which they came, the variants of each in their own order."""
    bases = list(dict.fromkeys(_base(name) for name in tables))
    ordered = sorted(tables, key=lambda name: (bases.index(_base(name)), VARIANTS.index(_variant(name))))
    text = HEADING + "\n".join(_table(name, tables[name]) for name in ordered)
    write_whole(MANIFEST, (text.encode(),))


def _base(name: str) -> str:
    return name.partition("-")[0]


def _variant(name: str) -> str:
    return name.partition("-")[2] or "dense"


def _table(name: str, entry: Mapping[str, Any]) -> str:
    return "\n".join(_lines(f'"{name}"', entry)) + "\n"


def _lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    """A table of TOML, and those within it behind its own values."""
    inner = {key: value for key, value in entry.items() if isinstance(value, Mapping)}
    lines = [f"[{name}]"]
    lines += [
        f"{json.dumps(key) if ' ' in key else key} = {json.dumps(value)}"
        for key, value in entry.items()
        if key not in inner
    ]
    return lines + [line for key, value in inner.items() for line in _lines(f"{name}.{key}", value)]


if __name__ == "__main__":
    typer.run(main)
