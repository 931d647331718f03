"""Ship every form of a network: write the file, measure what the file gives, and say so in the manifest."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ship import PACKAGE, read_manifest, ship, write_manifest

import zoo
from zoo.model.build import Model


def ship_variants(
    base: str,
    made: Mapping[str, Model],
    runs: Path | None,
    parts: tuple[Path, Path],
    facts: Mapping[str, Any],
    encoding: str,
    *,
    recipe: Callable[[Model, str], str],
    students: Callable[[float], dict[str, Any]],
    **options: Any,
) -> None:
    """Files and figures of the forms `made`, the dense one first: into the package, or into `runs` where it is given.

    `parts` are the training data and the data to measure on; `facts` what the manifest says of the data set.
    `students` says, of the distilled network's value, what the figures by seed are. `options` go to `zoo.evaluate`.
    """
    train, held_out = parts
    told = {key: facts[key] for key in ("dataset", "split")}
    said = {key: value for key, value in facts.items() if key not in told}
    digest = hashlib.sha256(train.read_bytes()).hexdigest()
    tables: dict[str, Any] = {}
    for variant, model in made.items():
        name = base if variant == "dense" else f"{base}-{variant}"
        entry = ship(model, name, runs, "float32" if "int8" in variant else "float16")
        found = zoo.load((runs or PACKAGE / "weights" / "shipped") / entry["file"])  # not what was trained
        measured = zoo.evaluate(found, str(held_out), **options)
        figures = {key: round(value, 2) for key, value in measured.metrics.items()}
        metric = {
            "name": measured.metric,
            "value": figures.pop(measured.metric),
            "dense": tables[base]["metric"]["value"] if tables else round(measured.value, 2),
            **told,
            "examples": measured.examples,
            "encoding": encoding,
            "sha256": measured.sha256,
            "train_sha256": digest,
            "metrics": figures,
        }
        if variant == "distilled":
            metric |= {"teacher": base, **students(metric["value"])}
        tables[name] = {**entry, **said, "recipe": recipe(model, variant), "metric": metric}
        print(f"{name:34} {metric['value']:.2f} {figures} {entry['bytes']:,} bytes {entry['macs']:,} MACs", flush=True)
    if runs is None:
        write_manifest(read_manifest() | tables)
    else:
        (runs / "figures.json").write_text(json.dumps(tables, indent=1))
