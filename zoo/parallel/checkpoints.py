"""Checkpoints of a run on several processes, by torch.distributed.checkpoint: each process writes its own part."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh

from zoo.model.build import Model
from zoo.parallel.processes import agree, told

KEPT = 2
RUN, BESIDE = "run.json", "beside.json"
BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)  # a process may hold any part of the network


class ShardedCheckpoints:
    """The checkpoints of one run, in folders that appear whole or not at all; the last two are kept.

    Another number of processes can go on from them. The index that torch.distributed.checkpoint writes is a pickle, so
    go on only from folders that you wrote.

    Args:
        folder (Path): where they are; every process sees it.
        run_id (Mapping[str, Any]): JSON values; the checkpoints of another run are refused.
        mesh (DeviceMesh): the processes.
        beside_training (bool): write while the training goes on. Default: False.
    """

    def __init__(
        self, folder: Path, run_id: Mapping[str, Any], mesh: DeviceMesh, *, beside_training: bool = False
    ) -> None:
        self.folder, self.mesh = folder, mesh
        self.run_id = json.loads(json.dumps(run_id))
        self._first = mesh.get_local_rank() == 0
        # The thread that writes talks in a group of its own, so that no message meets one of the training.
        self._group: Any = dist.new_group(backend="gloo") if beside_training else None
        self._written: tuple[Any, threading.Event, list[str]] | None = None

    def write(
        self, step: int, model: Model, optimizer: torch.optim.Optimizer, beside: Mapping[str, Any] | None = None
    ) -> None:
        """Write the state at `step`, with `beside` (JSON values). Every process calls it.

        Raises OSError on every process if one cannot write; beside a training, the next call or `finish` does.
        """
        self.finish()
        part = self.folder / f"unfinished-{step:09d}"
        problem = ""
        try:
            if self._first:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
        except OSError as error:
            problem = f"{part} cannot be made: {error.strerror}."
        agree(self.mesh, problem, OSError)
        if self._group is None:
            try:
                checkpoint.save(  # type: ignore[attr-defined]
                    _state(model, optimizer), checkpoint_id=part, process_group=self.mesh.get_group()
                )
            except (OSError, CheckpointException) as error:  # torch raises it on every process
                raise _unwritten(step, error) from None
            agree(self.mesh, self._appear(part, step, beside), OSError)
            return
        future: Any = checkpoint.async_save(_state(model, optimizer), checkpoint_id=part, process_group=self._group)  # type: ignore[attr-defined]
        done, problems = threading.Event(), list[str]()

        def ended(one: Any) -> None:
            try:
                failure = one.exception()
                problems.append(str(_unwritten(step, failure)) if failure else self._appear(part, step, beside))
            finally:
                done.set()

        future.add_done_callback(ended)
        self._written = future, done, problems

    def finish(self) -> None:
        """Wait for what is being written. Every process calls it. Raises OSError on every process if one failed."""
        if self._written is None:
            return
        _, done, problems = self._written
        self._written = None
        done.wait()
        agree(self.mesh, problems[0] if problems else "A checkpoint was not written.", OSError)

    def resume(self, model: Model, optimizer: torch.optim.Optimizer) -> int:
        """Read the newest checkpoint into both, and return its step; 0 where there is none. Every process calls it.

        Raises ValueError for checkpoints of another run.
        """
        return self.read(model, optimizer)[0]

    def read(self, model: Model, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]]:
        """As `resume`; returns what was written beside the state too."""
        found, problem = None, ""
        if self._first:
            for left in self.folder.glob("unfinished-*"):
                shutil.rmtree(left, ignore_errors=True)
            newest = self._folders()[-1:]
            if any(self.folder.glob("step-*.pt")):
                problem = (
                    f"{self.folder} holds checkpoints of one process or of parallel=data: go on in that way, or choose "
                    "another folder."
                )
            elif newest:
                problem = self._misfit(json.loads((newest[0] / RUN).read_text()))
                beside = newest[0] / BESIDE
                found = newest[0], json.loads(beside.read_text()) if beside.exists() else {}
        agree(self.mesh, problem)
        found = told(found, self.mesh)
        if found is None:
            return 0, {}
        path, beside_it = found
        state = _state(model, optimizer)
        checkpoint.load(  # type: ignore[attr-defined]
            state, checkpoint_id=path, process_group=self.mesh.get_group()
        )
        set_state_dict(
            model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=BY_NAME
        )
        return int(path.name.removeprefix("step-")), beside_it

    def _misfit(self, found: Mapping[str, Any]) -> str:
        differing = sorted(key for key in {*found, *self.run_id} if found.get(key) != self.run_id.get(key))
        if not differing:
            return ""
        return (
            f"{self.folder} belongs to another run, which differs in {', '.join(differing)}; choose another folder, or "
            "delete this one."
        )

    def _appear(self, part: Path, step: int, beside: Mapping[str, Any] | None) -> str:
        """Give a folder that is whole its name, on the first process; returns the problem, if there is one."""
        if not self._first:
            return ""
        try:
            (part / RUN).write_text(json.dumps(self.run_id))
            (part / BESIDE).write_text(json.dumps(beside or {}))
            shutil.rmtree(self.folder / f"step-{step:09d}", ignore_errors=True)
            part.rename(self.folder / f"step-{step:09d}")
        except OSError as error:
            return f"{part} cannot be renamed: {error.strerror}."
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return ""

    def _folders(self) -> list[Path]:
        return sorted(one for one in self.folder.glob("step-*") if one.is_dir())


def _unwritten(step: int, error: BaseException) -> OSError:
    return OSError(f"The checkpoint of step {step} was not written; earlier ones are whole. {error}")


def _state(model: Model, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    weights, states = get_state_dict(model, optimizer, options=BY_NAME)
    return {"model": weights, "optimizer": states}
