"""Checkpoints of a run on several processes, by torch.distributed.checkpoint: each process writes its own part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh

from zoo.model.build import Model
from zoo.parallel.processes import agree, told

KEPT = 2
RUN = "run.json"


class ShardedCheckpoints:
    """The checkpoints of one run, in folders that appear whole or not at all; the last two are kept.

    Another number of processes can go on from them. The index that torch.distributed.checkpoint writes is a pickle, so
    go on only from folders that you wrote.

    Args:
        folder (Path): where they are; every process sees it.
        run_id (Mapping[str, Any]): JSON values; the checkpoints of another run are refused.
        mesh (DeviceMesh): the processes.
    """

    def __init__(self, folder: Path, run_id: Mapping[str, Any], mesh: DeviceMesh) -> None:
        self.folder, self.mesh = folder, mesh
        self.run_id = json.loads(json.dumps(run_id))
        self._first = mesh.get_local_rank() == 0

    def write(self, step: int, model: Model, optimizer: torch.optim.Optimizer) -> None:
        """Write the state at `step`. Every process calls it. Raises OSError on every process if one cannot write."""
        part = self.folder / f"unfinished-{step:09d}"
        problem = ""
        try:
            if self._first:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
        except OSError as error:
            problem = f"{part} cannot be made: {error.strerror}."
        agree(self.mesh, problem, OSError)
        try:
            checkpoint.save(  # type: ignore[attr-defined]
                _state(model, optimizer), checkpoint_id=part, process_group=self.mesh.get_group()
            )
        except (OSError, CheckpointException) as error:  # torch raises it on every process
            raise OSError(f"The checkpoint of step {step} was not written; earlier ones are whole. {error}") from None
        problem = ""
        if self._first:
            try:
                (part / RUN).write_text(json.dumps(self.run_id))
                part.rename(self.folder / f"step-{step:09d}")
            except OSError as error:
                problem = f"{part} cannot be renamed: {error.strerror}."
            for old in self._folders()[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        agree(self.mesh, problem, OSError)

    def resume(self, model: Model, optimizer: torch.optim.Optimizer) -> int:
        """Read the newest checkpoint into both, and return its step; 0 where there is none. Every process calls it.

        Raises ValueError for checkpoints of another run.
        """
        newest = self._folders()[-1:] if self._first else []
        problem = ""
        if newest:
            found = json.loads((newest[0] / RUN).read_text())
            if found != self.run_id:
                differing = sorted(key for key in {*found, *self.run_id} if found.get(key) != self.run_id.get(key))
                problem = (
                    f"{self.folder} belongs to another run, which differs in {', '.join(differing)}; choose another "
                    "folder, or delete this one."
                )
        agree(self.mesh, problem)
        path = told(newest[0] if newest else None, self.mesh)
        if path is None:
            return 0
        state = _state(model, optimizer)
        checkpoint.load(  # type: ignore[attr-defined]
            state, checkpoint_id=path, process_group=self.mesh.get_group()
        )
        set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        return int(path.name.removeprefix("step-"))

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _state(model: Model, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    weights, states = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": states}
