"""DeepFM and Wide & Deep beside DeepCTR-Torch's and FuxiCTR's: AUC, log loss, rows a second, in one run.

    pip install deepctr-torch ray polars msgpack pyyaml h5py scikit-learn
    pip install --no-deps fuxictr==2.3.10
    python scripts/ship/split_movielens.py movielens-100k/train.parquet --out data/ml100k
    python benchmarks/recommenders.py --data data/ml100k

The same rows, known values, width of vectors, tower, batch and number of epochs. Each library trains in its own loop
with its own loader; the zoo's has checkpoints, a log and its schedule. The peers are trained twice: with AdamW and the
zoo's rates, and by their own defaults (Adam at 0.001, an L2 penalty of 1e-5 on the embeddings); the better AUC counts.
Speeds are medians of turns: of each library's loop with its loader (the zoo's without the moving average, which the
peers do not have), of steps on batches that are ready, and of the network alone on prepared rows, without gradients.
All take the same row numbers, so no encoding is timed; the zoo's encoding of raw values is a line of its own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import torch
import typer
from recommender_peers import DeepCTR, FuxiCTR, Settings
from rich.progress import track
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

import zoo
from zoo import formatting, registry
from zoo.inputs import Feature, TableInput
from zoo.report.timing import cpu_name, median_times
from zoo.tabular.schema import fit_vocabulary
from zoo.train.log import TrainingLog
from zoo.train.loop import fit
from zoo.train.objective import Supervised
from zoo.train.optim import make_optimizer
from zoo.train.recipe import Recipe
from zoo.train.table_data import RowSet, open_rows

PEERS = {"DeepCTR-Torch": DeepCTR, "FuxiCTR": FuxiCTR}
ROWS = {256: 25_600, 4096: 40_960}  # batch -> rows of a turn


class Zoo:
    """The zoo's network, and its loop."""

    def __init__(self, arch: str, schema: TableInput, settings: Settings, seed: int, known: Tensor) -> None:
        torch.manual_seed(seed)
        sizes = {key: settings[key] for key in ("dim", "hidden", "dropout")}
        self.model: Any = zoo.build(registry.spec(arch, schema=schema, **sizes))
        self.model.vocabulary.copy_(known)
        self.settings, self.seed = settings, seed
        self.stepping: Any = None
        self.folder = tempfile.TemporaryDirectory()
        self.averages = True  # the recipe's moving average of the weights, which the peers do not have

    def recipe(self, batch: int, epochs: int) -> Recipe:
        rates = {key: self.settings[key] for key in ("learning_rate", "weight_decay")}
        average = 0.99 if self.averages else 0.0
        return Recipe(epochs=epochs, batch_size=batch, average=average, bfloat16=False, seed=self.seed, **rates)

    def fit(self, x: Tensor, labels: Tensor, batch: int, epochs: int) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.folder.name))  # of this run; all are removed at the end
        rows, log = RowSet(x, labels.double(), "rows", ""), TrainingLog(folder, quiet=True)
        fit(self.model, rows, self.recipe(batch, epochs), folder=folder, log=log)

    def prepared(self, x: Tensor) -> Tensor:
        return x

    def step(self, x: Tensor, labels: Tensor) -> None:
        """Forward, backward and the optimiser, as the peers' steps; the loop's schedule, averages and log not."""
        if self.stepping is None:
            recipe = self.recipe(1, 1)
            objective = Supervised(self.model, recipe)
            self.stepping = objective, make_optimizer(self.model, recipe)
        objective, optimizer = self.stepping
        self.model.train()
        optimizer.zero_grad()
        objective.loss(self.model, (x, labels))[0].backward()
        optimizer.step()

    def shares(self, x: Tensor) -> Tensor:
        return self.model.eval()(x).sigmoid().view(-1)


def schema(data: Path) -> TableInput:
    """What every contender reads; numbers in buckets, for not every peer standardises."""
    users = pq.read_table(data / "train.parquet", columns=["user_id"])["user_id"].unique()
    return TableInput(
        (
            Feature("user_id", num_embeddings=2 + len(users)),
            Feature("item_id", num_embeddings=1154),
            Feature("age", "bucketed", boundaries=(18.0, 23.0, 27.0, 31.0, 36.0, 43.0, 50.0)),
            Feature("gender", num_embeddings=4),
            Feature("occupation", num_embeddings=23),
            Feature("year", "bucketed", boundaries=(1950.0, 1970.0, 1980.0, 1986.0, 1990.0, 1993.0, 1995.0, 1996.0)),
            Feature("genres", "list", num_embeddings=21, max_length=6),
        )
    )


def accuracy(makers: dict[str, Callable[[int], Any]], train: RowSet, test: RowSet, seeds: int, epochs: int) -> Any:
    """Contender -> (mean AUC in percent, mean log loss)."""
    found: dict[str, tuple[float, float]] = {}
    for title, make in makers.items():
        figures = []
        for seed in track(range(seeds), description=title):
            one = make(seed)
            one.fit(train.rows, train.labels, 512, epochs)
            with torch.inference_mode():
                shares = torch.cat([one.shares(one.prepared(part)) for part in test.rows.split(4096)])
            figures.append((100 * roc_auc_score(test.labels, shares), log_loss(test.labels, shares.double())))
        found[title] = tuple(statistics.mean(column) for column in zip(*figures, strict=True))  # type: ignore[assignment]
    return found


def by_turns(runs: dict[str, Callable[[], Any]], rows: int, rounds: int) -> dict[str, float]:
    """Median rows a second of each; the first turn warms up."""
    taken: dict[str, list[float]] = {title: [] for title in runs}
    for turn in range(rounds + 1):
        for title, run in runs.items():
            began = time.perf_counter()
            run()
            if turn:
                taken[title].append(rows / (time.perf_counter() - began))
    return {title: statistics.median(found) for title, found in taken.items()}


def training(contenders: dict[str, Any], train: RowSet, batch: int, rounds: int) -> tuple[Any, Any]:
    """Rows a second of (each loop, steps on batches that are ready)."""
    x, labels = train.rows[: ROWS[batch]], train.labels[: ROWS[batch]].float()
    loops = {title: lambda one=one: one.fit(x, labels, batch, 1) for title, one in contenders.items()}

    def stepped(one: Any) -> Callable[[], None]:
        ready = [(one.prepared(part), of) for part, of in zip(x.split(batch), labels.split(batch), strict=True)]

        def run() -> None:
            for part, of in ready:
                one.step(part, of)

        return run

    alone = {title: stepped(one) for title, one in contenders.items()}
    return by_turns(loops, len(x), rounds), by_turns(alone, len(x), rounds)


def scoring(contenders: dict[str, Any], test: RowSet, batch: int, seconds: float) -> dict[str, float]:
    """Median seconds of a call."""
    inputs = [one.prepared(test.rows[:batch]) for one in contenders.values()]
    times, _ = median_times([one.shares for one in contenders.values()], inputs, seconds=seconds)
    return dict(zip(contenders, times, strict=True))


def main(
    data: Annotated[Path, typer.Option(help="The folder that scripts/ship/split_movielens.py wrote.")],
    network: Annotated[list[str] | None, typer.Option(help="Default: deepfm and wide_deep.")] = None,
    dim: int = 64,
    hidden: tuple[int, int] = (48, 32),
    seeds: Annotated[int, typer.Option(help="Trainings whose mean AUC is shown; 0 for speeds alone.")] = 3,
    epochs: int = 8,
    weight_decay: Annotated[float, typer.Option(help="AdamW's; 0.3 was best for wide_deep on choose/.")] = 1.0,
    rounds: Annotated[int, typer.Option(help="Turns of each speed; 0 for AUC alone.")] = 5,
    threads: int = 2,
) -> None:
    torch.set_num_threads(threads)
    settings: Settings = {
        "dim": dim,
        "hidden": hidden,
        "dropout": 0.2,
        "learning_rate": 1e-2,
        "weight_decay": weight_decay,
    }
    given = schema(data)
    known = fit_vocabulary(given, data / "train.parquet")
    train, test = (open_rows(data, given, split=part, learned=known, cache=True) for part in ("train", "test"))
    for arch in network or ["deepfm", "wide_deep"]:
        makers: dict[str, Callable[[int], Any]] = {
            "zoo": lambda seed, arch=arch: Zoo(arch, given, settings, seed, known)
        }
        for title, make in PEERS.items():
            for own in (False, True):
                makers[f"{title}, its own rates" if own else title] = lambda seed, arch=arch, make=make, own=own: make(
                    arch, given, settings, seed, own
                )
        rows = []
        if seeds:
            figures = accuracy(makers, train, test, seeds, epochs)
            for column, digits in ((0, 2), (1, 4)):
                cells = [f"{one[column]:.{digits}f}" for one in figures.values()]
                rows.append([("test AUC, %", "test log loss")[column], *cells, ""])
            print(formatting.text([arch, *makers, ""], rows))
            print()
        if rounds:
            print(formatting.text([arch, "zoo", *PEERS, "zoo / faster"], speeds(makers, train, test, data, rounds)))
            print()
    print(f"Vectors of {dim}, tower {hidden}; {seeds} seeds of {epochs} epochs, {rounds} turns, {threads} threads.")
    print(f"{cpu_name()}, torch {torch.__version__}.")


def speeds(
    makers: dict[str, Callable[[int], Any]], train: RowSet, test: RowSet, data: Path, rounds: int
) -> list[list[str]]:
    contenders = {title: makers[title](0) for title in ("zoo", *PEERS)}
    contenders["zoo"].averages = False
    rows = []
    for batch in (256, 4096):
        for title, found in zip(("loop", "steps alone"), training(contenders, train, batch, rounds), strict=True):
            rows.append(line(f"training, {title}, batch {batch:,}: rows/s", found))
    for batch in (256, 4096):
        taken = scoring(contenders, test, batch, 4)
        rows.append(line(f"scoring, batch {batch:,}: rows/s", {title: batch / one for title, one in taken.items()}))
    taken = scoring(contenders, test, 1, 3)
    cells = [f"{1e6 * one:,.0f}" for one in taken.values()]
    model = contenders["zoo"].model.eval()
    with tempfile.TemporaryDirectory() as folder:
        served = zoo.to_runtime(model, "onnxruntime", cache_dir=folder)
        (one, many), _ = median_times([served] * 2, [test.rows[:1], test.rows[:4096]], seconds=3)
    rows.append(["scoring, batch 1: microseconds", *cells, f"{min(list(taken.values())[1:]) / taken['zoo']:.1f}"])
    rows.append(["the zoo's in ONNX Runtime, batch 1: microseconds", f"{1e6 * one:,.0f}", "", "", ""])
    rows.append(["the zoo's in ONNX Runtime, batch 4,096: rows/s", f"{4096 / many:,.0f}", "", "", ""])
    return [*rows, raw(contenders["zoo"], data)]


def line(title: str, found: dict[str, float]) -> list[str]:
    best = max(speed for name, speed in found.items() if name != "zoo")
    return [title, *(f"{speed:,.0f}" for speed in found.values()), f"{found['zoo'] / best:.1f}"]


def raw(contender: Zoo, data: Path) -> list[str]:
    """Scoring of raw values of a table in memory: the keys of values, lookups and the network."""
    table = pq.read_table(data / "test.parquet").slice(0, 4096)
    (taken,), _ = median_times([contender.model.eval()], [table], seconds=3)
    return ["scoring raw values, batch 4,096: rows/s", f"{table.num_rows / taken:,.0f}", "", "", ""]


if __name__ == "__main__":
    typer.run(main)
