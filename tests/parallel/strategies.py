"""What each process does to train together, by name: functions (mesh, folder) that leave what they found there."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which torch would import in every process
from one_process import PLAIN, SHARDED, UNEVEN, data, network, plain, trained

from short_runs import Cut
from zoo import tasks
from zoo.parallel.auto import Auto, Forecast
from zoo.parallel.planned import strategy_for
from zoo.parallel.replicated import Replicated
from zoo.parallel.sharded import FullySharded
from zoo.planning.candidates import Prediction
from zoo.planning.plan import Plan
from zoo.tasks.binary import BinaryMetrics
from zoo.tasks.segmentation import PixelMetrics
from zoo.train.accuracy import accuracy
from zoo.train.loop import Interrupted
from zoo.train.sharing import settled


def leave(found: Any, mesh: Any, folder: Path, name: str) -> None:
    torch.save(found, folder / f"{name}-{mesh.get_local_rank()}.pt")


def refusal(call: Any) -> str:
    """What a call is refused with."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def replicated(mesh: Any, folder: Path) -> None:
    """Twenty steps of uneven parts, and with three parts to a step."""
    leave(trained(Replicated(mesh), folder / "data"), mesh, folder, "data")
    parts = replace(UNEVEN, accumulate=2, epochs=10, average=0.9, optimizer="sgd")
    leave(trained(Replicated(mesh), folder / "parts", parts), mesh, folder, "parts")


def resumed(mesh: Any, folder: Path) -> None:
    """A run that stops everywhere, since one process has heard a signal; the same run then goes on."""
    stopped(mesh, folder, "stopped", "interrupted")
    leave(trained(Replicated(mesh), folder / "stopped", after_step=Cut(0)), mesh, folder, "again")
    stopped(mesh, folder, "plain stopped", "plain interrupted", recipe=PLAIN, start=plain())


def stopped(mesh: Any, folder: Path, name: str, told: str, make: Any = Replicated, **more: Any) -> None:
    mine = mesh.get_local_rank() == mesh.size() - 1
    try:
        trained(make(mesh), folder / name, after_step=Cut(7 if mine else 0, how=signal.SIGTERM), **more)
    except Interrupted as error:
        leave(str(error), mesh, folder, told)


def sharded(mesh: Any, folder: Path) -> None:
    """FSDP2: twenty steps, what a process holds, and a run that stops and goes on."""
    share = FullySharded(mesh)
    leave(trained(share, folder / "fsdp", SHARDED), mesh, folder, "fsdp")
    share.close()
    stopped(mesh, folder, "fsdp stopped", "fsdp interrupted", recipe=SHARDED, make=FullySharded)
    leave(trained(FullySharded(mesh), folder / "fsdp stopped", SHARDED), mesh, folder, "fsdp again")
    stopped(mesh, folder, "fsdp moved", "fsdp interrupted", recipe=PLAIN, start=plain(), make=FullySharded)
    held, _ = FullySharded(mesh).wrapped(network(), SHARDED)
    refusals = {
        "held": sum(one.to_local().numel() for one in held.parameters()),  # type: ignore[attr-defined]
        "average": refusal(lambda: share.check(network(), replace(SHARDED, average=0.9))),
        "sparsity": refusal(lambda: share.check(network(), SHARDED, sparsity=True)),
        "optimizer": refusal(lambda: share.check(network(), replace(SHARDED, optimizer="lamb"))),
        "data": refusal(lambda: trained(Replicated(mesh), folder / "fsdp moved", PLAIN, plain())),
    }
    leave(refusals, mesh, folder, "fsdp refused")


def judged(mesh: Any, folder: Path) -> None:
    tasks.batch_of = lambda spec: 16  # type: ignore[assignment]
    leave(accuracy(network(), data().take(torch.arange(37)), Replicated(mesh)), mesh, folder, "accuracy")
    if mesh.get_local_rank() == 0:  # figures of what one process has seen need no other one
        told, marked = BinaryMetrics("AUC", "here"), PixelMetrics("mIoU", "here")
        told.add(torch.tensor([[1.0], [-1.0], [-2.0]]), torch.tensor([1, 0, 1]))
        marked.add(torch.eye(2)[None, :, None], [[[0, 1]]])
        leave((told.figures()["AUC"], marked.figures()["mIoU"]), mesh, folder, "alone")


def refused(mesh: Any, folder: Path) -> None:
    rank = mesh.get_local_rank()
    other = replace(UNEVEN, learning_rate=0.5) if rank == mesh.size() - 1 else UNEVEN
    leave(
        {
            "recipe": refusal(lambda: trained(Replicated(mesh), folder / "other", other)),
            "few": refusal(lambda: Replicated(mesh).check(network(), replace(UNEVEN, batch_size=1))),
            "sync": refusal(lambda: Replicated(mesh, synchronised=True)),
            "diverged": refusal(lambda: diverging(mesh, folder)),
        },
        mesh,
        folder,
        "refused",
    )


def diverging(mesh: Any, folder: Path) -> None:
    """The loss of the last process alone is not finite."""
    from zoo.train.objective import Supervised

    class Bad(Supervised):
        def loss(self, model: Any, batch: Any) -> Any:
            loss, x = super().loss(model, batch)
            return (loss * float("nan"), x * float("nan")) if mesh.get_local_rank() == mesh.size() - 1 else (loss, x)

    model = network()
    from zoo.train.log import NoLog
    from zoo.train.loop import fit

    fit(
        model,
        data(),
        UNEVEN,
        folder=folder / "diverged",
        strategy=Replicated(mesh),
        objective=Bad(model, UNEVEN),
        log=NoLog(folder),
    )


PIPELINE = Plan(stages=(("embed", "h0"), ("norm", "head")), microbatches=4)
FSDP, DATA, TABLES = Plan(data=2, sharded=True), Plan(data=2), Plan(data=2, tables=True)


def automatic(mesh: Any, folder: Path) -> None:
    """A run by the planner, the same run in the way that it chose, and what it does with plans that are given."""
    recipe = replace(PLAIN, batch_size=8)
    auto = Auto(mesh)
    leave(trained(auto, folder / "auto", recipe, plain()), mesh, folder, "auto")
    made = settled(auto, plain(), data(), recipe, folder)
    found = Plan.from_json(json.loads(made.plan))
    again = strategy_for(found, mesh)
    leave(trained(again, folder / "explicit", recipe, plain()), mesh, folder, "explicit")
    again.close()

    def chosen(plans: Sequence[Plan], alone: float = 2.0, run: str = "new", **used: Any) -> tuple[str, str]:
        """The strategy of plans that take 1, 1.1, ... s, and what is said."""
        ranked = [Prediction(plan, 1 + 0.1 * at, 0, 0, 0) for at, plan in enumerate(plans)]
        one = Auto(mesh)
        one._forecast = lambda *given: Forecast(ranked, Prediction(Plan(), alone, 0, 0, 0))  # type: ignore[method-assign]
        changed = replace(recipe, average=used.pop("average", 0.0), freeze=used.pop("freeze", 0))
        made = settled(one, plain(), data(), changed, folder / run, **used)
        return made.name, made.notice

    ranked = (PIPELINE, FSDP, DATA)
    leave(
        {
            "notice": made.notice,
            "before": settled(Auto(mesh), plain(), data(), recipe, folder / "auto").notice,
            "pipeline": chosen(ranked, alone=1.02),
            "teacher": chosen(ranked, teacher=True),
            "freeze": chosen(ranked, freeze=1),
            "average": chosen(ranked, average=0.9),
            "sparsity": chosen(ranked, sparsity=True),
            "tables": chosen((TABLES, DATA)),
            "of data": chosen(ranked, run="plain stopped"),
            "of parts": chosen((DATA, FSDP), run="fsdp stopped"),
        },
        mesh,
        folder,
        "chosen",
    )
