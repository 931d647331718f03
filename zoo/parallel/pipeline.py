"""Pipeline parallel training: processes hold stages of the network, and microbatches go through them one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining import schedules as of_torch

from zoo.model.build import Model, build, copy_metadata, from_state
from zoo.parallel.processes import gathered
from zoo.parallel.replicated import average, statistics
from zoo.parallel.sharded import Divided
from zoo.parallel.stages import Part, Stage, cut, even_cuts, keep_rows
from zoo.parallel.watch import Watch

# name -> (torch's schedule, stages on a process, whether they are placed there and back)
SCHEDULES: dict[str, tuple[Any, int, bool]] = {
    "gpipe": (of_torch.ScheduleGPipe, 1, False),  # Huang et al., 2019
    "1f1b": (of_torch.Schedule1F1B, 1, False),  # PipeDream-Flush: Narayanan et al., 2021
    "interleaved": (of_torch.ScheduleInterleaved1F1B, 2, False),  # Narayanan et al., 2021
    "zero_bubble": (of_torch.ScheduleZBVZeroBubble, 2, True),  # Qi et al., 2024
}


class Pipelined(Divided):
    """Stages on processes; with more processes than stages need, several pipelines, each with a part of every batch.

    Args:
        mesh (DeviceMesh): all processes, on one axis.
        watch (Watch | None): what tells which process a failure came from. Default: None.
        stages (str | int | Sequence[str] | None): the number of stages, or the rows at which the second and later
            ones begin; in a text separated by commas. Default: None, as many as all processes take, of about equal
            multiply-accumulates.
        schedule (str): one of `SCHEDULES`. Default: "1f1b".
        microbatches (int | None): the parts that a pipeline's share of a batch is cut into. Default: None, the most
            that divide it, up to four for each process of a pipeline.

    Raises:
        ValueError: the processes make no pipelines of so many stages.
    """

    name = "pipeline"

    def __init__(
        self,
        mesh: DeviceMesh,
        watch: Watch | None = None,
        *,
        stages: str | int | Sequence[str] | None = None,
        schedule: str = "1f1b",
        microbatches: int | None = None,
    ) -> None:
        super().__init__(mesh, watch)
        if schedule not in SCHEDULES:
            raise ValueError(f"pipeline_schedule= is one of {', '.join(SCHEDULES)}, not {schedule!r}.")
        self.schedule, each = schedule, SCHEDULES[schedule][1]
        self.starts, self.count = _asked(stages, mesh.size() * each)
        length = self.length = self.count // each
        if self.count < 2 or self.count % each or mesh.size() % length:
            needed = f"{each} stages on each process" if each > 1 else "one stage on each process"
            raise ValueError(
                f"stages=: {mesh.size()} process{'es' * (mesh.size() > 1)} cannot hold {self.count} stages, with "
                f"{needed} by pipeline_schedule={schedule}. Start a multiple of {max(2, length)} processes, as "
                f"torchrun --nproc-per-node {max(2, length)}, or give other stages=."
            )
        self.replicas, self.replica = mesh.size() // length, mesh.get_local_rank() // length
        self.microbatches = microbatches
        self._runs: dict[Any, Any] = {}

    def check(self, model: Model, recipe: Any, **used: bool) -> None:
        super().check(model, recipe, **used)
        if used.get("teacher") or recipe.freeze:
            idle = "teacher=" if used.get("teacher") else "freeze="
            raise ValueError(f"{idle}: not with parallel=pipeline, but with data.")
        if hasattr(model, "losses"):
            raise ValueError(f"{model.spec.name} finds objects: parallel=pipeline does not train it, but data does.")
        self._cut(model)
        self._parts(recipe.batch_size)

    def _cut(self, model: Model) -> list[Part]:
        return cut(model.spec, self.starts or even_cuts(model.spec, self.count))

    def _parts(self, batch_size: int) -> int:
        """The number of microbatches. Raises ValueError where they would differ in size, or be too few."""
        own, rest = divmod(batch_size, self.replicas)
        least = 1 if self.schedule == "gpipe" else self.count
        wanted = self.microbatches or next(
            (n for n in range(4 * self.length, least - 1, -1) if not own % n and not n % self.length), 0
        )
        if rest or not wanted or own % wanted or wanted < least:
            raise ValueError(
                f"batch_size={batch_size} is not {self.replicas} x microbatches x examples: with "
                f"{self.microbatches or 'any number of'} microbatches, and at least {least} of them, choose another "
                "batch_size= or microbatches=."
            )
        if self.schedule == "interleaved" and wanted % max(1, wanted // self.length):
            raise ValueError(f"microbatches= is a multiple of {self.length} for pipeline_schedule=interleaved.")
        return wanted

    def wrapped(self, model: Model, recipe: Any) -> tuple[Model, Any]:
        parts, length = self._cut(model), self.length
        shape = (self.replicas, length)
        self.grid = init_device_mesh(self.mesh.device_type, shape, mesh_dim_names=("dp", "pp"))
        self.data, self.line = self.grid["dp"], self.grid["pp"]
        me = self.line.get_local_rank()
        self._shapes = _Shapes(model, parts)
        self._number = self._parts(recipe.batch_size)
        back = SCHEDULES[self.schedule][2]
        home = {
            stage: 2 * length - 1 - stage if back and stage >= length else stage % length for stage in range(len(parts))
        }
        own = [stage for stage, process in home.items() if process == me]
        self._own = {row.name for stage in own for row in parts[stage].rows}
        self._tied = self._of_tables(parts, home)
        keep_rows(model, [parts[stage] for stage in own])
        self._stages = {stage: Stage(model, parts[stage]) for stage in own}
        self._ends = len(parts) - 1 in own
        self._statistics = statistics(model)
        return model, model

    def _of_tables(self, parts: list[Part], home: Mapping[int, int]) -> dict[str, Any]:
        """Table -> the group of processes that hold it, in this pipeline, where there are several."""
        found: dict[str, Any] = {}
        for table in dict.fromkeys(name for part in parts for name in part.tables):
            holders = sorted(
                {
                    home[stage]
                    for stage, part in enumerate(parts)
                    if table in part.tables or any(row.name == table for row in part.rows)
                }
            )
            for line in self.grid.mesh.tolist():  # every process makes every group
                ranks = [line[one] for one in holders]
                group = dist.new_group(ranks)
                if dist.get_rank() in ranks and len(ranks) > 1:
                    found[table] = group
        return found

    def gradients(
        self, objective: Any, network: Any, batch: Any, *, parts: int = 1, last: bool = True
    ) -> tuple[float, Any]:
        x, labels = objective.inputs(batch)
        given = dict(x) if isinstance(x, Mapping) else {"input": x}
        device = next(iter(given.values())).device
        if len(labels) % self._number:
            raise ValueError(
                f"{len(labels)} examples, of which some cannot be read, make no {self._number} microbatches."
            )
        cut_up = zip(*(value.chunk(self._number) for value in given.values()), strict=True)
        pieces = [dict(zip(given, one, strict=True)) for one in cut_up]
        losses: list[Tensor] = []
        run = self._run(objective, pieces[0], parts, device)
        self.reached("the pipeline")
        with torch.autocast(device.type, torch.bfloat16, enabled=objective.bfloat16):
            run.step(
                arg_mbs=[(_leading(one),) if 0 in self._stages else () for one in pieces],
                kwarg_mbs=[{"given": one} for one in pieces],
                target_mbs=list(labels.chunk(self._number)) if self._ends else None,
                losses=losses if self._ends else None,
                return_outputs=False,
            )
        if last:
            self._synchronise(network)
        return sum(one.item() for one in losses) * parts / self.replicas, x

    def _run(self, objective: Any, piece: Mapping[str, Tensor], parts: int, device: torch.device) -> Any:
        """torch's schedule for microbatches of these shapes; each has its own buffers, and all have the same stages."""
        shapes = tuple((name, tuple(one.shape)) for name, one in piece.items())
        if (shapes, parts) in self._runs:
            return self._runs[shapes, parts]
        schedule, each, _ = SCHEDULES[self.schedule]
        ends = self._shapes.of(piece)
        stages = [
            PipelineStage(
                module,
                stage,
                self.count,
                device,
                input_args=ends[stage],
                output_args=ends[stage + 1],
                group=self.line.get_group(),
            )
            for stage, module in self._stages.items()
        ]
        scale = self._number * parts
        run = self._runs[shapes, parts] = schedule(
            stages if each > 1 else stages[0],
            n_microbatches=self._number,
            loss_fn=lambda answers, labels: objective.of_answers(answers, labels) / scale,
            scale_grads=False,
        )
        return run

    def _synchronise(self, model: Model) -> None:
        for table, group in self._tied.items():
            for parameter in model.get_submodule(table).tokens.parameters():  # type: ignore[union-attr]
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad, group=group)
        gradients = [one.grad for one in model.parameters() if one.grad is not None]
        average([*gradients, *self._statistics], self.data)

    def clip(self, parameters: Iterable[Tensor], most: float) -> None:
        """By the norm of all stages together; a table that several hold counts once."""
        gradients = {id(one): one.grad for one in parameters if one.grad is not None}
        own = [one.grad for name, one in self._model_parameters() if one.grad is not None and self._is_own(name)]
        square = torch.zeros((), dtype=torch.float64)
        for one in own:
            square += one.double().square().sum().cpu()
        dist.all_reduce(square, group=self.line.get_group())
        scale = float(min(1.0, most / (float(square) ** 0.5 + 1e-6)))
        if scale < 1:
            for gradient in gradients.values():
                gradient.mul_(scale)

    def _is_own(self, name: str) -> bool:
        return name.partition(".")[0] in self._own

    def _model_parameters(self) -> Iterable[tuple[str, Tensor]]:
        seen: set[int] = set()
        for stage in self._stages.values():
            for name, one in stage.named_parameters():
                if id(one) not in seen:
                    seen.add(id(one))
                    yield name, one

    def whole(self, model: Model) -> Model:
        """Each process holds the whole network for a moment."""
        own = {key: value.cpu() for key, value in model.state_dict().items() if self._is_own(key)}
        state = {key: value for one in gathered(own, self.line) for key, value in one.items()}
        made = from_state(model.spec, {key: state[key].clone() for key in self._shapes.keys})
        return copy_metadata(made, model)


class _Shapes:
    """What goes in and out of every stage, by a run of the whole network on the meta device."""

    def __init__(self, model: Model, parts: list[Part]) -> None:
        self.model: Any = build(model.spec, device="meta").train()
        self.keys = list(self.model.state_dict())
        self.stages = [Stage(self.model, part, amid=False) for part in parts]

    def of(self, piece: Mapping[str, Tensor]) -> list[tuple[Tensor, ...]]:
        """For each stage what goes in, and what comes out of the last one; examples on the meta device."""
        given = {name: one.to("meta") for name, one in piece.items()}
        ends: list[tuple[Tensor, ...]] = [(_leading(given).contiguous(),)]
        for stage in self.stages:
            left = stage(*ends[-1], given=given)
            left = left if isinstance(left, tuple) else (left,)
            ends.append(tuple(torch.empty(one.shape, device="meta", requires_grad=True) for one in left))
        return ends


def _leading(given: Mapping[str, Any]) -> Tensor:
    """What the first row takes."""
    return given["input"] if "input" in given else given["input_ids"]  # type: ignore[no-any-return]


def _asked(stages: str | int | Sequence[str] | None, usual: int) -> tuple[tuple[str, ...], int]:
    """(the rows at which stages begin, where they are named; the number of stages)."""
    if stages is None:
        return (), usual
    if not isinstance(stages, (str, int)):
        return tuple(stages), len(stages) + 1
    text = str(stages).strip()
    if text.isascii() and text.isdecimal():
        return (), int(text)
    starts = tuple(one.strip() for one in text.split(","))
    return starts, len(starts) + 1
