"""What each of four processes does: every way to share the work, once, in as few steps as say something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from one_process import UNEVEN, trained
from pipelines import gradients
from sharded_training import sharded, together, whole
from strategies import leave

from zoo.parallel.replicated import Replicated
from zoo.parallel.sharded import FullySharded

SHORT = replace(UNEVEN, epochs=2)  # eight steps, of parts of three, two, two and two
SHARED = replace(SHORT, optimizer="sgd")
STEPS = 5  # in the fourth, all processes but the first have no row
GRIDS = ("gpt2_tiny", "vit_cifar", "deepfm")


def every_way(mesh: Any, folder: Path) -> None:
    leave(trained(Replicated(mesh), folder / "data", SHORT), mesh, folder, "data")
    share = FullySharded(mesh)
    leave(trained(share, folder / "fsdp", SHARED), mesh, folder, "fsdp")
    share.close()
    leave(gradients(mesh, "gpt2_tiny", "1f1b"), mesh, folder, "line-gpt2_tiny")
    for name in GRIDS:
        leave(gradients(mesh, name, "1f1b", stages=2, microbatches=2), mesh, folder, f"grid-{name}")
    model, optimizer = sharded("deepfm", mesh)
    together(model, optimizer, mesh, range(STEPS))
    leave(whole(model), mesh, folder, "tables")
