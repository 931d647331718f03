"""Fine-tune a network on your own pictures; a pruned, sparse or int8 one stays what it is.

    python scripts/finetune.py mobilenet --data digits --out runs/digits
    python scripts/finetune.py mobilenet-int8 --data digits --out runs/digits-int8
    python scripts/finetune.py resnet20 --fresh --data cifar10 --epochs 30 --out runs/scratch

--data is a folder with a folder for every class (below train/ and validation/, or not), Parquet files, or a data set
of the Hub. A run that was stopped goes on where the same command is given again.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro
from common import Common, for_classes, main, open_data, open_model, open_teachers, recipe_of, show

from zoo.finetune import finetune
from zoo.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A network's name, or the folder of a saved one."""
    fresh: bool = False
    """Start from random weights."""
    teacher: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A network of the same classes whose answers to follow; given again, the mean of several."""
    sparsity: float = 0.0
    """Share of the weights to bring to zero over the first half of the steps."""
    recipe: tyro.conf.OmitArgPrefixes[Recipe] = field(default_factory=Recipe)


def run(settings: Settings) -> None:
    torch.manual_seed(settings.recipe.seed)
    start = open_model(settings.model, fresh=settings.fresh)
    data = open_data(settings, start)
    tuned = finetune(
        for_classes(start, data.train.classes),
        data.train,
        settings.recipe,
        settings.out,
        validation=data.validation,
        teachers=open_teachers(settings.teacher, data.train.classes),
        sparsity=settings.sparsity,
        identity=recipe_of(settings),
        save_seconds=settings.save_seconds,
        device=settings.device,
    )
    show(tuned, data, settings.out)


if __name__ == "__main__":
    main(Settings, run)
