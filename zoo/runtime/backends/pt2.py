"""torch.export's programs, in plain float operators."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

from zoo.engine import reference_execution
from zoo.files import written_whole
from zoo.model.build import Model
from zoo.runtime.alike import check_file
from zoo.runtime.facts import facts
from zoo.runtime.quiet import quiet
from zoo.runtime.signature import signature


def export(model: Model, file: Path) -> None:
    with written_whole(file) as part:
        written = io.BytesIO()  # given a path, torch says of a disk what is no OSError
        torch.export.save(_exported(model), written, extra_files={"zoo.json": json.dumps(facts(model))})
        part.write_bytes(written.getbuffer())
        with part.open("rb") as opened:  # torch opens no path whose bytes are not UTF-8
            check_file(model, torch.export.load(opened).module(), "torch.export")


def _exported(model: Model) -> torch.export.ExportedProgram:
    """In plain operators, for any batch, and of texts any number of tokens."""
    for module in model.children():
        if hasattr(module, "qparams"):
            module.qparams  # noqa: B018  # read while the tensors have values
    ready = signature(model)
    with reference_execution(), torch.inference_mode(False), torch.no_grad(), quiet():
        return torch.export.export(ready.module, ready.example(2), dynamic_shapes=ready.shapes())
