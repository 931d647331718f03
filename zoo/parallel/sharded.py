"""Fully sharded training (FSDP2: Zhao et al., 2023): each process holds a part of every weight and of its states."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from zoo.model.build import Model, copy_metadata, from_state
from zoo.parallel.checkpoints import ShardedCheckpoints
from zoo.parallel.replicated import Replicated, Shared

OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop")  # each value's step depends on that value alone


class Divided(Shared):
    """Where no process holds the whole network: checkpoints that each process writes its part of."""

    _kept: ShardedCheckpoints | None = None

    def check(self, model: Model, recipe: Any, **used: bool) -> None:
        super().check(model, recipe, **used)
        ignored = [name for name in ("average", "feature_weight", "attention_weight") if getattr(recipe, name, 0)]
        if ignored := [*ignored, *(name for name in ("sparsity",) if used.get(name))]:
            raise ValueError(
                f"{', '.join(f'{name}=' for name in ignored)}: not with parallel={self.name}, but with data."
            )
        if used.get("sparse") or any(row.precision != "float32" for row in model.spec):
            raise ValueError(f"parallel={self.name} trains dense networks in float32; parallel=data trains this one.")
        if recipe.optimizer.lower() not in OPTIMIZERS:
            raise ValueError(f"parallel={self.name} takes the optimizers {', '.join(OPTIMIZERS)}.")

    def save(
        self, checkpoints: Any, step: int, parts: Mapping[str, Any], more: Mapping[str, Any], *, last: bool = False
    ) -> None:
        """Beside the training; a checkpoint appears when all of it is on the disk."""
        kept = self._checkpoints(checkpoints)
        kept.write(step, parts["model"], parts["optimizer"], more)
        if last:
            kept.finish()

    def restore(self, checkpoints: Any, parts: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
        step, beside = self._checkpoints(checkpoints).read(parts["model"], parts["optimizer"])
        return (step, beside) if step else None

    def close(self) -> None:
        if self._kept is not None:
            self._kept.finish()

    def _checkpoints(self, given: Any) -> ShardedCheckpoints:
        if self._kept is None or self._kept.folder != given.folder:
            self._kept = ShardedCheckpoints(given.folder, given.run_id, self.mesh, beside_training=True)
        return self._kept


class FullySharded(Divided, Replicated):
    """`fully_shard` on every row: a row's weights are together only while it computes.

    Args:
        mesh (DeviceMesh): the processes, on one axis.
        watch (Watch | None): what tells which process a failure came from. Default: None.
    """

    name = "fsdp"

    def wrapped(self, model: Model, recipe: Any) -> tuple[Model, Any]:
        self._begin(model, recipe)
        tables = {row.args.get("tied") for row in model.spec}  # used outside of their rows
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()
        for name, row in model.named_children():
            if name not in tables and any(True for _ in row.parameters()):
                fully_shard(row, mesh=self.mesh)
        fully_shard(model, mesh=self.mesh)
        return model, model

    def _together(self, network: Any, last: bool) -> Any:
        network.set_requires_gradient_sync(last)
        return nullcontext()

    def whole(self, model: Model) -> Model:
        """Each process holds the whole network for a moment, without its optimiser's states."""
        state = {
            key: value.full_tensor() if isinstance(value, DTensor) else value.clone()
            for key, value in model.state_dict().items()
        }
        return copy_metadata(from_state(model.spec, state), model)
