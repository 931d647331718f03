"""Train the recommenders that ship, make their variants, measure them on the test part, and write the manifest.

    python scripts/ship/split_movielens.py movielens-100k/train.parquet --out data/ml100k
    python scripts/ship/ship_recommenders.py --data data/ml100k --runs runs/ml100k

Settings were chosen on the validation part, with `--data data/ml100k/choose`, which ships nothing. A stopped run goes
on. Without `--write` the files and a manifest are written into `--runs` and nothing into the package.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as parquet
import torch
import typer
from ship import read_manifest, ship, write_manifest

import zoo
from zoo import registry, tasks
from zoo.inputs import Feature, TableInput
from zoo.model.build import Model
from zoo.report.bootstrap import intervals
from zoo.tabular.schema import fit_vocabulary
from zoo.train.finetune import finetune
from zoo.train.recipe import Recipe
from zoo.train.table_data import RowSet, open_rows
from zoo.weights.file import save_file

TAG, LEAST_RATINGS = "ml100k", 10
ARCHITECTURES = ("deepfm", "wide_deep")
TEACHER = ARCHITECTURES[0]  # of all others
LARGE: dict[str, Any] = {"dim": 64, "hidden": (32, 16), "dropout": 0.2}
SMALL: dict[str, Any] = {"dim": 16, "hidden": (32, 16), "dropout": 0.2}
CROSSES = (("gender", "age", 64), ("occupation", "year", 256))
DENSE = Recipe(epochs=8, batch_size=512, learning_rate=1e-2, weight_decay=1.0, average=0.99, bfloat16=False)
TAUGHT = replace(DENSE, soft_weight=0.9, temperature=1.0)
BORN_AGAIN = replace(DENSE, soft_weight=0.7, temperature=1.0)
TEACHERS = (11, 12, 13, 14)  # seeds of the same network, which teach the dense one
TUNED = replace(TAUGHT, epochs=5, learning_rate=2e-3)
SPARSITY = 0.8
PARAMETERS, LEAST_COUNT = 0.4, 5  # of the pruned networks
CALIBRATION = 4096
FACTS = {
    "purpose": "MovieLens-100k, will a user give a film four stars or more",
    "licence": (
        "research only, no commercial use without permission of GroupLens: trained on MovieLens-100k, cite Harper and "
        "Konstan, 2015; no row or title of it is in the file"
    ),
    "source": "trained from scratch for this package",
}
SPLIT = "the last ten ratings of each user, by time"


def main(
    data: Annotated[Path, typer.Option(help="The folder that scripts/ship/split_movielens.py wrote.")],
    runs: Annotated[Path, typer.Option(help="The folder for trainings, and for a trial's files.")],
    write: Annotated[bool, typer.Option(help="Write into the package.")] = False,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    held_out = "test" if (data / "test.parquet").exists() else "validation"
    if write and held_out != "test":
        raise typer.BadParameter(f"{data} has no test.parquet, so nothing can ship.")
    tables = read_manifest() if write else {}
    teacher = None
    for arch in ARCHITECTURES:
        made = variants(arch, data, runs / arch, teacher)
        teacher = teacher or made[""]["teacher"]
        tables |= measured(arch, made, data, held_out, runs, write)
    if write:
        write_manifest(tables)
    else:
        (runs / "figures.json").write_text(json.dumps(tables, indent=1))


def schema(data: Path, crosses: Sequence[tuple[str, str, int]] = ()) -> TableInput:
    """What a network reads. Films with fewer ratings than ten in train are unknown films."""
    train = parquet.read_table(data / "train.parquet").to_pandas()
    films = int((train.item_id.value_counts() >= LEAST_RATINGS).sum())
    given = (
        Feature("user_id", num_embeddings=2 + train.user_id.nunique()),
        Feature("item_id", num_embeddings=2 + films),
        Feature("age", "bucketed", boundaries=(18.0, 23.0, 27.0, 31.0, 36.0, 43.0, 50.0)),
        Feature("gender", num_embeddings=4),
        Feature("occupation", num_embeddings=23),
        Feature("year", "bucketed", boundaries=tuple(map(float, YEARS))),
        Feature("genres", "list", num_embeddings=21, max_length=6),
    )
    return TableInput(given, crosses=tuple(crosses))


YEARS = (1950, 1970, 1980, 1986, 1990, 1992, 1993, 1994, 1995, 1996, 1997)


def variants(arch: str, data: Path, runs: Path, teacher: Model | None) -> dict[str, Any]:
    """Variant -> network; and "distilled" and "plain" students, one for each of two seeds.

    Without a `teacher` the dense network learns from four of its own kind, and teaches the others.
    """
    given = schema(data, CROSSES if arch == "wide_deep" else ())
    known = fit_vocabulary(given, data / "train.parquet")
    rows = partial(open_rows, data, learned=known)
    train = rows(given)

    def trained(name: str, start: Model, recipe: Recipe, on: RowSet = train, **options: Any) -> Model:
        return finetune(start, on, recipe, runs / name, **options)

    def start(sizes: dict[str, Any], seed: int) -> Model:
        torch.manual_seed(seed)
        made = zoo.build(registry.spec(arch, schema=given, **sizes))
        made.vocabulary.copy_(known)  # type: ignore[operator, union-attr]
        return made

    if teacher is None:
        first = [trained(f"teacher_{seed}", start(LARGE, seed), replace(DENSE, seed=seed)) for seed in TEACHERS]
        dense = trained("dense", start(LARGE, 0), BORN_AGAIN, teachers=first)
        teacher = copy.copy(dense)
        teacher.made = {**dense.made, "source": {"name": f"{arch}.{TAG}"}}  # what the notes of its students call it
    else:
        dense = trained("dense", start(LARGE, 0), TAUGHT, teachers=[teacher])
    students, alone = [], []
    for seed in (0, 1):
        taught = replace(TAUGHT, seed=seed)
        students.append(trained(f"distilled_{seed}", start(SMALL, seed), taught, teachers=[teacher]))
        alone.append(trained(f"plain_{seed}", start(SMALL, seed), replace(DENSE, seed=seed)))
    sparse = trained("sparse", dense, TUNED, teachers=[teacher], sparsity=SPARSITY)
    narrow = zoo.compress(dense, "pruned", parameters=PARAMETERS, min_count=LEAST_COUNT, calibration=train.rows)
    narrow_rows = open_rows(data, narrow.spec.table, learned=narrow.vocabulary)
    pruned = trained("pruned", narrow, TUNED, narrow_rows, teachers=[teacher])
    seen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CALIBRATION]
    int8 = zoo.compress(dense, "int8", calibration=train.rows[seen])
    pruned_int8 = zoo.compress(pruned, "int8", calibration=narrow_rows.rows[seen])
    four = zoo.compress(dense, "int8", calibration=train.rows[seen], tables="int4")
    return {
        "dense": dense,
        "distilled": students[0],
        "pruned": pruned,
        "sparse": sparse,
        "int8": int8,
        "pruned-int8": pruned_int8,
        "": {"distilled": students, "plain": alone, "int4": four, "teacher": teacher},
    }


def measured(
    arch: str, made: dict[str, Any], data: Path, held_out: str, runs: Path, write: bool
) -> dict[str, dict[str, Any]]:
    """The manifest's entries of one architecture; with `write` the files go to the package, else to `runs`."""
    file = data / f"{held_out}.parquet"
    users = parquet.read_table(file, columns=["user_id"])["user_id"].to_numpy()
    digests = {key: hashlib.sha256((data / f"{key}.parquet").read_bytes()).hexdigest() for key in ("train", held_out)}
    others = made.pop("")
    dense = figures(made["dense"], data, held_out, None)
    tables = {}
    for variant, model in made.items():
        found = figures(model, data, held_out, users)
        metric = {
            "name": "AUC",
            "value": found["AUC"],
            "dense": dense["AUC"],
            "dataset": "MovieLens-100k",
            "split": SPLIT,
            "examples": len(users),
            "encoding": "Parquet",
            "sha256": digests[held_out],
            "train_sha256": digests["train"],
            "interval": found["interval"],
            "log_loss": found["log loss"],
            "log_loss_interval": found["log_loss_interval"],
        }
        if variant == "distilled":
            for key, kind in (("with_teacher", "distilled"), ("without_teacher", "plain")):
                metric[key] = [figures(one, data, held_out, None)["AUC"] for one in others[kind]]
            metric["teacher"] = f"{TEACHER}.{TAG}"
        name = f"{arch}.{TAG}" if variant == "dense" else f"{arch}.{TAG}-{variant}"
        tables[name] = {
            **ship(model, name, None if write else runs),
            **FACTS,
            "recipe": recipe_of(arch, variant),
            "metric": metric,
        }
        report(name, tables[name]["bytes"], found, dense)
    four = runs / f"{arch}-int4.safetensors"
    save_file(others["int4"], four)
    report(
        f"{arch}, int4 tables (does not ship)",
        four.stat().st_size,
        figures(others["int4"], data, held_out, None),
        dense,
    )
    return tables


def report(name: str, size: int, found: dict[str, Any], dense: dict[str, Any]) -> None:
    lost = dense["AUC"] - found["AUC"]
    print(
        f"{name:40} {size:9,} bytes  AUC {found['AUC']:.2f}  lost {lost:5.2f}  log loss {found['log loss']:.4f}",
        flush=True,
    )


def figures(model: Model, data: Path, held_out: str, users: Any) -> dict[str, Any]:
    """AUC, log loss, and with the `users` of the rows their intervals."""
    rows = open_rows(data, model.spec.table, split=held_out, learned=model.vocabulary)
    model.eval()
    with torch.inference_mode():
        outputs = torch.cat([model(part) for part in rows.rows.split(4096)])
    judge = partial(tasks.of(model.spec).fetch("judge"), "AUC", rows.source)
    one = judge()
    one.add(outputs, rows.labels.tolist())
    found: dict[str, Any] = {"AUC": round(one.figures()["AUC"], 2), "log loss": round(one.figures()["log loss"], 4)}
    if users is not None:
        ends = intervals(outputs, rows.labels.tolist(), judge, groups=users)
        found["interval"] = [round(end, 2) for end in ends["AUC"]]
        found["log_loss_interval"] = [round(end, 4) for end in ends["log loss"]]
    return found


def recipe_of(arch: str, variant: str) -> str:
    """One line; docs/recipes.md has the commands."""
    words = {
        "dense": f"{DENSE.epochs} epochs, batches of {DENSE.batch_size:,}, AdamW, moving average of the weights"
        + (
            f", 70% of the loss from {len(TEACHERS)} networks of its own kind"
            if arch == TEACHER
            else f", 90% of the loss from {TEACHER}.{TAG}"
        ),
        "distilled": f"vectors of {SMALL['dim']}, {DENSE.epochs} epochs, 90% of the loss from {TEACHER}.{TAG}",
        "sparse": f"{SPARSITY:.0%} of the weights to zero on a cubic schedule, {TUNED.epochs} epochs",
        "pruned": (
            f"values rarer than {LEAST_COUNT} leave, {PARAMETERS:.0%} of the parameters stay; {TUNED.epochs} epochs, "
            f"{TEACHER}.{TAG} as teacher"
        ),
    }
    if "int8" in variant:
        start = words["pruned"] + "; then" if "pruned" in variant else "post-training:"
        return f"{start} int8, a scale for each row of a table, {CALIBRATION:,} training rows; docs/recipes.md"
    return f"scripts/ship/ship_recommenders.py, {words[variant]}; docs/recipes.md"


if __name__ == "__main__":
    typer.run(main)
