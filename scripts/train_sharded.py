"""Train a recommender whose embedding tables lie on several processes, on Parquet of any size.

torchrun --nproc-per-node 2 scripts/train_sharded.py deepfm --data clicks/ --label-column click --out runs/big

Each process holds a part of the rows of every table, and trains on its part of every batch. The result is one ordinary
network: `zoo eval runs/big --data clicks/`. Without torchrun one process does the same. A run that was stopped goes on
from its last checkpoint, with any number of processes.
"""

import hashlib
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
import typer
from torch.nn.parallel import DistributedDataParallel

import zoo
from zoo import registry
from zoo.cli.screen import complain
from zoo.files import path_to_write
from zoo.parallel.checkpoints import ShardedCheckpoints
from zoo.parallel.gradients import clip_grad_norm, mean
from zoo.parallel.processes import agree, part, processes, told
from zoo.parallel.saving import save
from zoo.tabular.fresh import read_schema
from zoo.tabular.reader import training_files
from zoo.tabular.schema import fit_vocabulary, infer_schema
from zoo.train.loop import steps_an_epoch
from zoo.train.optim import Schedule, make_optimizer
from zoo.train.pictures import order_of
from zoo.train.recipe import Recipe
from zoo.train.table_data import open_rows


def main(
    arch: Annotated[str, typer.Argument(help="wide_deep, deepfm, dcnv2 or finalmlp.")],
    data: Annotated[str, typer.Option(help="Parquet files: a file, or a folder with train.parquet and others.")],
    out: Annotated[Path, typer.Option(help="The folder for the network. Checkpoints go to training/ in it.")],
    label_column: Annotated[str | None, typer.Option(help="The column of labels, 0 and 1.")] = None,
    schema: Annotated[Path | None, typer.Option(help="A file of `zoo schema`. Default: inferred.")] = None,
    epochs: int = 1,
    batch_size: Annotated[int, typer.Option(help="Rows of a step, of all processes together.")] = 1024,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    optimizer: Annotated[str, typer.Option(help="adamw, sgd or adagrad.")] = "adamw",
    clip: Annotated[float, typer.Option(help="Largest norm of all gradients together; 0: any.")] = 1.0,
    seed: int = 0,
    save_steps: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
) -> None:
    try:
        recipe = Recipe(
            epochs, batch_size, 1, optimizer, learning_rate, weight_decay=weight_decay, clip=clip, seed=seed
        )
        if optimizer not in ("adamw", "sgd", "adagrad"):
            raise ValueError(f"--optimizer is adamw, sgd or adagrad, not {optimizer!r}.")
        with processes() as mesh:
            train(arch, data, path_to_write(out), label_column, schema, recipe, save_steps, mesh)
    except (ValueError, OSError) as error:
        if os.environ.get("RANK", "0") == "0":
            complain(str(error))
        raise typer.Exit(2) from None


def train(
    arch: str, data: str, out: Path, label: str | None, schema: Path | None, recipe: Recipe, save_steps: int, mesh: Any
) -> None:
    first = mesh.get_local_rank() == 0
    given, known = looked_at(data, label, schema, mesh)
    # On "meta" the tables take no memory; each process then makes its own rows.
    model: Any = zoo.shard_tables(zoo.build(registry.spec(arch, schema=given), device="meta"), mesh, seed=recipe.seed)
    model.vocabulary.copy_(known)
    rows = open_rows(data, given, learned=known, label_column=label)
    steps = steps_an_epoch(rows, recipe)
    opt = make_optimizer(model, recipe)
    schedule = Schedule(opt, recipe, recipe.epochs * steps)
    run = hashlib.sha256(model.spec.dumps().encode() + known.numpy().tobytes()).hexdigest()
    run_id = {"network": run, "recipe": asdict(recipe), "train": rows.sha256}
    checkpoints = ShardedCheckpoints(out / "training" / "checkpoints", run_id, mesh)
    done = checkpoints.resume(model, opt)
    ddp = DistributedDataParallel(model.train())
    while done < recipe.epochs * steps:
        epoch, skipped = divmod(done, steps)
        order = order_of(rows, torch.Generator().manual_seed(recipe.seed + epoch))
        batches = order[: steps * recipe.batch_size].split(recipe.batch_size)[skipped:]
        total = torch.zeros(())
        for x, y in rows.stream([part(batch, mesh) for batch in batches], 0):
            schedule.at(done)
            opt.zero_grad()
            losses = F.binary_cross_entropy_with_logits(ddp(x).squeeze(1), y.float(), reduction="none")
            loss = mean(losses, recipe.batch_size, mesh)
            loss.backward()
            if recipe.clip:
                clip_grad_norm(model.parameters(), recipe.clip, mesh)
            opt.step()
            done += 1
            total += loss.detach() / mesh.size()
            if done % save_steps == 0 or done % steps == 0:
                dist.all_reduce(total, group=mesh.get_group())
                if not math.isfinite(total):
                    raise ValueError(f"The loss is {float(total)} by step {done:,}: try a smaller --learning-rate.")
                checkpoints.write(done, model, opt)
                if first:
                    count = done - epoch * steps - skipped
                    print(f"step {done:,} of {recipe.epochs * steps:,}: loss {total / count:.4f}")
                total, skipped = torch.zeros(()), done - epoch * steps
    model.eval().made = {
        "trained": {
            "on": rows.source,
            "sha256": rows.sha256,
            "rows": len(rows),
            **recipe.changed(),
            "processes": mesh.size(),
        }
    }
    save(model, out)


def looked_at(data: str, label: str | None, schema: Path | None, mesh: Any) -> Any:
    """(schema, keys of the known values) of the training part, which the first process looks at."""
    found, problem = None, ""
    if mesh.get_local_rank() == 0:
        try:
            _, files = training_files(data, "train")
            given = infer_schema(files, label) if schema is None else read_schema(schema)
            found = given, fit_vocabulary(given, files)
        except (ValueError, OSError) as error:
            problem = str(error)
    agree(mesh, problem)
    return told(found, mesh)


if __name__ == "__main__":
    typer.run(main)
