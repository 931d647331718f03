"""Train the shipped networks for small pictures: from scratch, from a teacher, or further, with zeros if asked.

    python scripts/ship/train.py mobilenetv2_cifar --data cifar10 --out runs/dense
    python scripts/ship/train.py mobilenetv2_cifar_small --data cifar10 --teacher runs/dense --out runs/distilled
    python scripts/ship/train.py runs/narrow --data cifar10 --teacher runs/dense --learning-rate 0.05 --out runs/pruned
    python scripts/ship/train.py runs/dense --data cifar10 --teacher runs/dense --sparsity 0.84 --out runs/sparse

`--data` is a folder with train.parquet in the Hub's column style. A stopped run goes on from its last checkpoint. For
networks of your own take finetune.py and distill.py.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

import zoo
from zoo import registry
from zoo.train.images import VALIDATION, class_names, read_parquet, split_validation
from zoo.train.loop import accuracy, fit
from zoo.train.recipe import Recipe
from zoo.train.teachers import Ensemble


def main(
    model: Annotated[str, typer.Argument(help="An architecture to start fresh, or a saved folder to go on from.")],
    data: Annotated[Path, typer.Option(help="Folder that holds train.parquet.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    teacher: Annotated[list[Path] | None, typer.Option(help="Saved folder of a teacher; may be given again.")] = None,
    whole: Annotated[bool, typer.Option(help="Train on the held-out pictures too, once all is chosen.")] = False,
    sparsity: Annotated[float, typer.Option(help="Share of weights to bring to zero while training.")] = 0.0,
    ramp: Annotated[float, typer.Option(help="Share of the steps over which the zeros come; 0: all at once.")] = 0.5,
    epochs: int = 30,
    learning_rate: float = 0.2,
    weight_decay: float = 3e-4,
    hole: Annotated[int, typer.Option(help="Side of the square cut out of every training picture.")] = 8,
    seed: int = 0,
    threads: int = 1,
    bfloat16: Annotated[bool | None, typer.Option(help="Default: where the processor computes in it.")] = None,
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    fresh = not Path(model).exists()
    student = zoo.build(registry.spec(model)) if fresh else zoo.load(model)
    recipe = Recipe(
        epochs=epochs,
        batch_size=128,
        optimizer="sgd",
        learning_rate=learning_rate,
        schedule="one_cycle",
        warmup=0.2,
        weight_decay=weight_decay,
        clip=0.0,
        hole=hole,
        seed=seed,
        bfloat16=bfloat16,
    )
    everything = read_parquet(data / "train.parquet")
    train, validation = (everything, None) if whole else split_validation(everything)
    teachers = [zoo.load(folder) for folder in teacher or []]
    sparsifier = zoo.Sparsifier(student, sparsity=sparsity, end=ramp) if sparsity else None
    fit(
        student,
        train,
        recipe,
        folder=out.with_name(out.name + ".training"),
        validation=validation,
        teacher=Ensemble(teachers, student) if teachers else None,
        after_step=sparsifier,
        identity={"start": model, "teacher": [str(folder) for folder in teacher or []], "sparsity": sparsity},
    )
    student.labels = class_names(data / "train.parquet")
    student.made = {
        **student.made,
        "trained": {
            "on": f"{data.name}/train.parquet" + ("" if whole else f" less {VALIDATION} held-out pictures"),
            "epochs": epochs,
            "learning_rate": learning_rate,
            "seed": seed,
            "teacher": ", ".join(folder.name for folder in teacher or []) or None,
            "sparsity": sparsity or None,
            "validation_accuracy": round(accuracy(student, validation), 2) if validation else None,
        },
    }
    zoo.save(student, out)
    print(f"{out}: {student.made['trained']}")


if __name__ == "__main__":
    typer.run(main)
