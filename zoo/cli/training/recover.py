"""Win back what compression cost, without labels: the small network learns the dense one's answers.

    zoo compress mobilenet pruned --macs 0.5 --out runs/half
    zoo recover runs/half --teacher mobilenet --minutes 5 --out runs/better
    zoo recover runs/half --teacher mobilenet --data photographs --minutes 5 --out runs/better

--data takes pictures, folders of pictures, text files with one text a line, or tables of texts; without it, the
pictures that ship for the network's data set are used. To continue a stopped run, give the same command again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from zoo import formatting, kinds
from zoo.checks import MAX_THREADS
from zoo.cli.common import inputs_of, open_model
from zoo.files import path_to_write
from zoo.passes.options import Options, option
from zoo.train.recover import MINUTES, RECIPE, recover


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The compressed network: a folder, or a name.")]
    teacher: str = option(help="The dense network that it was made of: a name, or a folder.")
    out: Path = option(help="The folder for the network. Checkpoints and curves go to its subfolder training/.")
    data: tuple[str, ...] = option(
        (),
        "Pictures, folders of them, Parquet files or JSON of COCO; or text files, one text a line, and tables of "
        "texts. Labels are not read. May be repeated.",
    )
    minutes: float | None = option(None, f"How long to train. Default: {MINUTES:g}, without --steps.", above=0)
    steps: int | None = option(None, "The number of steps, in place of --minutes.", least=1)
    batch_size: int = option(RECIPE.batch_size, "Inputs in a step.", least=1)
    learning_rate: float = option(RECIPE.learning_rate, "The highest learning rate of the schedule.", above=0)
    seed: int = option(0, "The same inputs, options and seed give the same weights on the same machine.")
    device: str = option("cpu", "The device: cpu, cuda or mps.")
    threads: int = option(0, least=0, most=MAX_THREADS, help="Number of CPU threads. 0: torch chooses.")
    save_seconds: float = option(300, least=0, help="Longest time between two checkpoints, in seconds.")


def run(settings: Settings) -> None:
    out = path_to_write(settings.out)
    small, dense = open_model(settings.model), open_model(settings.teacher)
    data = inputs_of(dense, settings.teacher, [Path(path) for path in settings.data], "train")
    if data is None:
        raise ValueError(f"No pictures ship for {settings.teacher}: give --data some that it will see.")
    options = ("minutes", "steps", "batch_size", "learning_rate", "seed", "device", "save_seconds")
    better = recover(small, dense, data, out=out, **{name: getattr(settings, name) for name in options})
    told = better.made["trained"]
    what = "agreement" if "agreement" in told else "cosine"
    rows = []
    for title, one, near in ((settings.model, small, told[f"{what}_before"]), (str(settings.out), better, told[what])):
        cost = kinds.cost(one.spec)
        rows.append([title, formatting.count(cost.parameters), formatting.count(cost.macs), str(near)])
    column = {"agreement": "agreement %", "cosine": "cosine"}[what]
    print(formatting.text(["network", "parameters", "MACs", f"{column} with {settings.teacher}"], rows))
