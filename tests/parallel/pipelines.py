"""Pipelines of tiny networks of every kind, and what one process computes on the same microbatches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which torch would import in every process
from one_process import PLAIN, plain, trained
from sharded_training import SCHEMA
from strategies import leave, refusal
from torch import Tensor

from reduced import TOKENS, VOCABULARY, reduced
from zoo import kinds, registry, tasks
from zoo.model.answer import answer
from zoo.model.build import Model, build
from zoo.parallel.pipeline import SCHEDULES, Pipelined
from zoo.text.heads import with_outputs
from zoo.train.recipe import Recipe

RECIPE = Recipe(batch_size=16, bfloat16=False)
MICROBATCHES = 4
SIZE = 64  # smaller maps would be a single pixel, which batch norm makes of rounding errors
SMALL = ("resnet20", "vit_cifar")  # whose maps are large enough
NETWORKS = ("mobilenetv2_050", "resnet20", "lraspp", "vit_cifar", "bert_tiny", "gpt2_tiny", "marian_tiny", "deepfm")


def network(name: str) -> Model:
    torch.manual_seed(0)
    if name == "deepfm":
        return build(registry.spec(name, schema=SCHEMA)).train()
    model = build(reduced(registry.spec(name), size=32 if name in SMALL else SIZE))
    model = with_outputs(model, 3) if name.startswith("bert") else model
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms that do something
            torch.nn.init.normal_(parameter, 1.0, 0.1)
    return model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]


class Task:
    """The task's loss on random examples."""

    bfloat16 = False

    def __init__(self, model: Model) -> None:
        self.spec = model.spec
        self.of = tasks.of(model.spec).fetch("loss")

    def inputs(self, batch: Any) -> Any:
        return batch

    def of_answers(self, answers: Tensor, labels: Tensor) -> Tensor:
        return self.of(answers, labels)  # type: ignore[no-any-return]


def batch(model: Model) -> tuple[Any, Tensor]:
    count, draw = RECIPE.batch_size, torch.Generator().manual_seed(1)
    if model.spec.input.ids:
        ids = torch.randint(1, VOCABULARY, (count, TOKENS // 2), generator=draw)
        lengths = torch.randint(3, TOKENS // 2 + 1, (count, 1), generator=draw)
        mask = (torch.arange(TOKENS // 2) < lengths).long()
        given = {"input_ids": ids, "attention_mask": mask}
        if model.spec.input.translates:
            return {**given, "decoder_input_ids": ids, "decoder_attention_mask": mask}, ids
        if tasks.of(model.spec).continues:
            return {"input_ids": ids}, ids
        return given, torch.randint(0, 3, (count,), generator=draw)
    if tasks.of(model.spec).binary:
        return model.spec.input.example(count), torch.randint(0, 2, (count, 1), generator=draw).float()
    side = model.spec.pictures.size[0]
    x = torch.randn(count, 3, side, side, generator=draw).contiguous(memory_format=torch.channels_last)
    size = (count, side, side) if kinds.per_pixel(model.spec) else (count,)
    return x, torch.randint(0, 3, size, generator=draw)


def piece(given: tuple[Any, Tensor], count: int, number: int) -> tuple[Any, Tensor]:
    """One of `count` parts of a batch."""
    x, labels = given
    parts = {k: v.chunk(count)[number] for k, v in x.items()} if isinstance(x, dict) else x.chunk(count)[number]
    return parts, labels.chunk(count)[number]


def alone(model: Model) -> dict[str, Tensor]:
    """The gradients of one process on the same microbatches."""
    task, given = Task(model), batch(model)
    for number in range(MICROBATCHES):
        x, labels = piece(given, MICROBATCHES, number)
        (task.of(answer(model, x), labels) / MICROBATCHES).backward()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def gradients(mesh: Any, name: str, schedule: str, microbatches: int = MICROBATCHES, **options: Any) -> Any:
    """(those of the rows that this process holds, the loss, the squared norm of its rows after clipping to 0.1)."""
    model = network(name)
    share = Pipelined(mesh, schedule=schedule, microbatches=microbatches, **options)
    given = piece(batch(model), share.replicas, share.replica)
    part, handle = share.wrapped(model, RECIPE)
    loss = share.mean(share.gradients(Task(model), handle, given)[0])
    found = {key: one.grad.clone() for key, one in part.named_parameters() if one.grad is not None}
    share.clip(part.parameters(), 0.1)
    own = [one.grad for key, one in part.named_parameters() if one.grad is not None and share._is_own(key)]
    return found, loss, sum(float(one.double().square().sum()) for one in own)


def all_networks(mesh: Any, folder: Path) -> None:
    for name in NETWORKS:
        schedules = SCHEDULES if name in ("resnet20", "gpt2_tiny") else ("1f1b",)
        for schedule in schedules:
            leave(gradients(mesh, name, schedule), mesh, folder, f"{name}-{schedule}")


def cuts(mesh: Any, folder: Path) -> None:
    """Taps that cross a cut are carried, wherever it is."""
    rows = [row.name for row in network("lraspp").spec.rows]
    for start in (rows[2], rows[-3], rows[-1]):
        leave(gradients(mesh, "lraspp", "gpipe", stages=start), mesh, folder, f"lraspp-{start}")
    for row in network("deepfm").spec.rows[1:]:
        leave(gradients(mesh, "deepfm", "gpipe", stages=row.name), mesh, folder, f"deepfm-{row.name}")


def runs(mesh: Any, folder: Path) -> None:
    """A training, and one that stops and goes on."""
    recipe = replace(PLAIN, batch_size=8)

    def share() -> Pipelined:
        return Pipelined(mesh, schedule="1f1b", microbatches=4)

    leave(trained(share(), folder / "pipeline", recipe, plain()), mesh, folder, "pipeline")
    leave(
        {
            "microbatches": refusal(lambda: Pipelined(mesh, microbatches=3).check(plain(), recipe)),
            "few": refusal(lambda: Pipelined(mesh, stages=3)),
            "row": refusal(lambda: Pipelined(mesh, stages="nothing").check(plain(), recipe)),
            "freeze": refusal(lambda: share().check(plain(), replace(recipe, freeze=1))),
        },
        mesh,
        folder,
        "pipeline refused",
    )
