"""Data parallel training: every process holds the whole network and computes its part of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from zoo.model.build import Model, copy_metadata, from_state
from zoo.parallel.processes import agree, compare, gathered, told
from zoo.parallel.strategy import Strategy
from zoo.parallel.watch import Watch


class Shared(Strategy):
    """What several processes have in common, however they share the work.

    Args:
        mesh (DeviceMesh): all processes, on one axis.
        watch (Watch | None): what tells which process a failure came from. Default: None.
    """

    def __init__(self, mesh: DeviceMesh, watch: Watch | None = None) -> None:
        self.mesh, self.watch = mesh, watch
        self.first = mesh.get_local_rank() == 0
        self._step = 0
        self.replicas, self.replica = mesh.size(), mesh.get_local_rank()

    @property
    def seed(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.replica,) if self.replicas > 1 else ()

    @property
    def device(self) -> torch.device | None:
        return torch.device("cuda", torch.cuda.current_device()) if self.mesh.device_type == "cuda" else None

    def check(self, model: Model, recipe: Any, **used: bool) -> None:
        if recipe.batch_size < self.replicas:
            raise ValueError(
                f"batch_size= is of all processes together: {recipe.batch_size} examples are too few for "
                f"{self.replicas}."
            )

        if getattr(recipe, "targets", "data") != "data" and self.mesh.size() > 1:
            raise ValueError(
                f"targets={recipe.targets!r}: the teacher's answers are made by one process; run it once without "
                "parallel=, and give the data that it has made."
            )

    def compare(self, run_id: Mapping[str, Any]) -> None:
        compare(self.mesh, {**run_id, "parallel": self.name})

    def begin(self, step: int) -> None:
        self._step = step
        self.reached("the data")

    def reached(self, what: str) -> None:
        """Note for the other processes where this one is."""
        if self.watch is not None:
            self.watch.at = f"{what} of step {self._step:,}"

    def share(self, index: Tensor) -> Tensor:
        return index.tensor_split(self.replicas)[self.replica]

    def weight(self, examples: int, batch_size: int) -> float:
        """What a loss over `examples` of a batch counts, where gradients are averaged over the replicas."""
        return self.replicas * examples / batch_size

    def mean(self, loss: float) -> float:
        self.reached("the loss")
        return float(self._sum([loss])[0])

    def any(self, *wishes: bool) -> Sequence[bool]:
        self.reached("the end")
        return [bool(one) for one in self._sum(list(map(float, wishes)))]

    def told(self, find: Callable[[], Any]) -> Any:
        return next((one for one in gathered(find(), self.mesh) if one is not None), None)

    def judged(self, judge: Any, add: Callable[[Any, Sequence[int]], None], count: int) -> None:
        me, problem = self.mesh.get_local_rank(), ""
        try:
            add(judge, range(me, count, self.mesh.size()))
        except ValueError as error:
            problem = str(error)
        agree(self.mesh, problem)
        for number, seen in enumerate(gathered(judge.seen(), self.mesh)):
            if number != me:
                judge.join(seen)

    def _sum(self, values: Sequence[float]) -> Tensor:
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total


class Replicated(Shared):
    """`DistributedDataParallel`: gradients are averaged over the processes while they are computed.

    Each process normalises its own part of a batch; the statistics of batch norm are averaged after every step.

    Args:
        mesh (DeviceMesh): the processes, on one axis.
        watch (Watch | None): what tells which process a failure came from. Default: None.
        synchronised (bool): normalise over the whole batch, on GPUs (`torch.nn.SyncBatchNorm`). Default: False.
    """

    name = "data"

    def __init__(self, mesh: DeviceMesh, watch: Watch | None = None, *, synchronised: bool = False) -> None:
        super().__init__(mesh, watch)
        if synchronised and mesh.device_type == "cpu":
            raise ValueError("sync_batch_norm= is for GPUs: torch has none on the CPU, where each process normalises.")
        self.synchronised = synchronised
        self._weight = 1.0
        self._beside: list[Tensor] = []
        self._statistics: list[Tensor] = []

    def wrapped(self, model: Model, recipe: Any) -> tuple[Model, Any]:
        if self.synchronised:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        self._begin(model, recipe)
        if self.replicas == 1:
            return model, model
        often = any(row.precision == "qat" for row in model.spec) or hasattr(model, "losses")  # unused at times
        apart = [name for name, _ in model.named_buffers()]  # DDP would give all processes those of the first
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, apart)
        return model, _Replica(model, find_unused_parameters=often)

    def _begin(self, model: Model, recipe: Any) -> None:
        own = len(self.share(torch.arange(recipe.batch_size)))
        self._weight = self.weight(own, recipe.batch_size)
        self._statistics = statistics(model)

    def gradients(
        self, objective: Any, network: Any, batch: Any, *, parts: int = 1, last: bool = True
    ) -> tuple[float, Any]:
        self.reached("the forward pass")
        with self._together(network, last):
            loss, x = objective.loss(network, batch)
            self.reached("the backward pass")
            (loss * self._weight / parts).backward()
        if last:
            learned = getattr(objective, "learned", None)  # trains beside the network, outside the wrapper
            beside = [one.grad for one in learned.parameters() if one.grad is not None] if learned is not None else []
            average([*beside, *self._statistics], self.mesh)
        return loss.item() * self._weight / self.replicas, x

    def _together(self, network: Any, last: bool) -> Any:
        return torch.enable_grad() if last or self.replicas == 1 else network.no_sync()

    def whole(self, model: Model) -> Model:
        if not self.synchronised:
            return model
        plain = from_state(model.spec, {key: value.clone() for key, value in model.state_dict().items()})
        return copy_metadata(plain, model)  # type: ignore[no-any-return]

    def save(
        self, checkpoints: Any, step: int, parts: Mapping[str, Any], more: Mapping[str, Any], *, last: bool = False
    ) -> None:
        """The first process writes, the same file as one process alone."""
        problem = ""
        if self.first:
            try:
                super().save(checkpoints, step, parts, more)
            except OSError as error:
                problem = str(error)
        agree(self.mesh, problem, OSError)

    def restore(self, checkpoints: Any, parts: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
        found, problem = None, ""
        if self.first:
            try:
                found = checkpoints.latest()
            except (OSError, ValueError) as error:
                problem = str(error)
        agree(self.mesh, problem)
        found = told(found, self.mesh)
        if found is None:
            return None
        step, state = found
        for name, one in parts.items():
            one.load_state_dict(state[name])
        return int(step), state


class _Replica(DistributedDataParallel):
    """It has the methods of the network inside, which an objective may call."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def statistics(model: nn.Module) -> list[Tensor]:
    """The means and variances that batch norm keeps, where it normalises by the batch."""
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
    return [
        kept
        for one in norms
        for kept in (one.running_mean, one.running_var)
        if kept is not None and not isinstance(one, nn.SyncBatchNorm)
    ]


def average(tensors: Iterable[Tensor], mesh: DeviceMesh) -> None:
    """Replace tensors, which every process has, by their means over the processes: in one message."""
    tensors = list(tensors)
    if not tensors or mesh.size() == 1:
        return
    flat = torch.cat([one.reshape(-1) for one in tensors])
    dist.all_reduce(flat, group=mesh.get_group())
    flat /= mesh.size()
    torch._foreach_copy_(
        tensors,
        [one.view(like.shape) for one, like in zip(flat.split([one.numel() for one in tensors]), tensors, strict=True)],
    )
