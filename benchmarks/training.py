"""Images per second of training on small pictures: the zoo's loop beside one of timm's own parts.

    python benchmarks/training.py

The same network, batch, optimiser and precision. timm's loop has its loader with worker processes, its transforms
(random crop, mirror, normalisation) on decoded pictures, its optimiser and schedule, in either memory format; the
better of the two counts. The contenders take turns, an epoch each, in processes of their own; medians are compared.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor

import zoo
from zoo import formatting, registry
from zoo.report.timing import cpu_name
from zoo.train.images import ImageSet
from zoo.train.log import TrainingLog
from zoo.train.loop import fit
from zoo.train.precision import computes_in_bfloat16
from zoo.train.recipe import Recipe

PICTURES = 1_280  # of a turn


class Decoded(torch.utils.data.Dataset):
    """Pictures as timm's transforms take them, decoded beforehand."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels, self.transform = images, labels, None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def ours(name: str, pictures: ImageSet, batch: int, bfloat16: bool) -> Callable[[], float]:
    """Images per second of an epoch, each time it is called."""
    model = zoo.build(registry.spec(name))
    recipe = Recipe(
        epochs=1,
        batch_size=batch,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="constant",
        clip=0.0,
        bfloat16=bfloat16,
    )

    def epoch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            log = TrainingLog(Path(folder), quiet=True)
            fit(model, pictures, recipe, folder=Path(folder), log=log)
            return log.rows[-1]["examples_per_second"]

    return epoch


def timms(
    name: str, pictures: ImageSet, batch: int, bfloat16: bool, layout: torch.memory_format
) -> Callable[[], float]:
    """Images per second of an epoch, each time it is called."""
    model = zoo.build(registry.spec(name)).to(memory_format=layout).train()
    given = model.spec.input
    loader = create_loader(
        Decoded(pictures.images.numpy(), pictures.labels.numpy()),
        input_size=(3, *given.size),
        batch_size=batch,
        is_training=True,
        use_prefetcher=False,
        train_crop_mode="rkrc",
        color_jitter=None,
        interpolation="bicubic",
        mean=given.mean,
        std=given.std,
        num_workers=torch.get_num_threads(),
        persistent_workers=True,
        pin_memory=False,
        device=torch.device("cpu"),
    )
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=0.02, momentum=0.9)
    schedule = CosineLRScheduler(optimizer, t_initial=10_000, t_in_epochs=False)

    def epoch() -> float:
        began, seen = time.perf_counter(), 0
        for x, labels in loader:
            x = x.contiguous(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(model(x).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step_update(seen // batch)
            loss.item()
            seen += len(labels)
        return seen / (time.perf_counter() - began)

    return epoch


def contender(end: Connection, make: Callable[..., Callable[[], float]], given: tuple[Any, ...], threads: int) -> None:
    """In a process of its own, since the C library's memory is everyone's: an epoch each time it is asked."""
    torch.set_num_threads(threads)
    epoch = make(given[0], samples(), *given[1:])
    while end.recv():
        end.send(epoch())


def interleaved(contenders: dict[str, tuple[Any, ...]], rounds: int, threads: int) -> dict[str, float]:
    """Median images per second of each; the first turn warms up."""
    context = get_context("spawn")
    ends: dict[str, Connection] = {}
    for title, (make, *given) in contenders.items():
        ends[title], other = context.Pipe()
        context.Process(target=contender, args=(other, make, tuple(given), threads)).start()
    taken: dict[str, list[float]] = {title: [] for title in contenders}
    for turn in range(rounds + 1):
        for title, end in ends.items():
            end.send(True)
            speed = end.recv()
            if turn:
                taken[title].append(speed)
    for end in ends.values():
        end.send(False)
    return {title: statistics.median(speeds) for title, speeds in taken.items()}


def samples() -> ImageSet:
    shipped = zoo.samples("cifar10", "train")
    repeats = -(-PICTURES // len(shipped.labels))
    return ImageSet(
        torch.from_numpy(np.tile(shipped.images, (repeats, 1, 1, 1))[:PICTURES]),
        torch.from_numpy(np.tile(shipped.labels, repeats)[:PICTURES]),
        shipped.source,
        shipped.sha256,
    )


def main(
    network: Annotated[list[str] | None, typer.Option(help="Default: ResNet-20 and MobileNetV2.")] = None,
    batch: int = 128,
    rounds: int = 7,
    threads: int = 2,
) -> None:
    rows, titles = [], ["ours", "timm", "timm, channels_last"]
    for name in network or ["resnet20", "mobilenetv2_cifar"]:
        for bfloat16 in (False, True) if computes_in_bfloat16(torch.device("cpu")) else (False,):
            given = (name, batch, bfloat16)
            contenders = (
                (ours, *given),
                (timms, *given, torch.contiguous_format),
                (timms, *given, torch.channels_last),
            )
            speeds = interleaved(dict(zip(titles, contenders, strict=True)), rounds, threads)
            ratio = speeds["ours"] / max(speeds[title] for title in titles[1:])
            precision = "bfloat16" if bfloat16 else "float32"
            rows.append([f"{name}, {precision}", *(f"{speeds[title]:,.0f}" for title in titles), f"{ratio:.2f}"])
    print(formatting.text(["images a second", *titles, "ours / best"], rows))
    print(f"\nBatch {batch}, {PICTURES:,} pictures a turn, medians of {rounds} interleaved turns, {threads} threads.")
    print(f"{cpu_name()}, torch {torch.__version__}.")


if __name__ == "__main__":
    typer.run(main)
