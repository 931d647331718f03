"""`export`: a network as a file for other systems, checked against the network before it counts as done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from zoo.blocks.int8 import reference_execution
from zoo.build import Model, is_whole
from zoo.runtime import engines
from zoo.runtime.cache import written_whole
from zoo.runtime.compiled import check_alike, saturates
from zoo.runtime.needs import need
from zoo.runtime.onnx import write_onnx
from zoo.weights.header import FileError

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "executorch": ".pte"}


def export(model: Model, file: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002
    """Write the network for pictures of its own size (`model.spec.input.size`) and any batch to `file`.

    `format`, by default as the file's suffix says: "onnx" (.onnx; int8 as QuantizeLinear and DequantizeLinear),
    "openvino" (.xml, and .bin beside it), "pt2" (torch.export, in plain float operators), or "executorch" (.pte, for
    XNNPACK, one picture at a time). The file is read back by its own runtime, and its answers are compared with the
    network's. Raises ValueError for another format or a missing package, FileError for what cannot be written or
    answers otherwise.
    """
    if not is_whole(model):
        raise ValueError(f"export takes a zoo model, not {type(model).__name__}.")
    target = Path(file)
    if format is None:
        format = next((name for name, suffix in SUFFIXES.items() if suffix == target.suffix), "")  # noqa: A001
    if format not in WRITERS:
        raise ValueError(f"Unknown format {format!r} for {target.name!r}; choose one of {', '.join(WRITERS)}.")
    if target.suffix != SUFFIXES[format]:
        raise ValueError(f"A file of {format} ends in {SUFFIXES[format]}, and {target.name!r} does not.")
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target.parent}: cannot be a folder: {error.strerror}.") from None
    WRITERS[format](model, target)
    return target


def _onnx(model: Model, file: Path) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    with written_whole(file) as part:
        write_onnx(model, part, model.spec.input.size)
        _check(model, _engine(engines.onnxruntime, model, part), "onnxruntime")


def _openvino(model: Model, file: Path) -> None:
    need("openvino", "onnx", "onnxscript")
    import openvino as ov

    with written_whole(file.with_suffix(".bin")) as part:
        source, xml = part.with_suffix(".onnx"), part.with_suffix(".xml")
        try:
            write_onnx(model, source, model.spec.input.size)
            ov.save_model(ov.convert_model(str(source)), str(xml), compress_to_fp16=False)
            _check(model, _engine(engines.openvino, model, xml), "openvino")
            os.replace(xml, file)
        finally:
            source.unlink(missing_ok=True)
            xml.unlink(missing_ok=True)


def _pt2(model: Model, file: Path) -> None:
    with written_whole(file) as part:
        torch.export.save(_exported(model, 2, {0: torch.export.Dim("batch")}), part)
        _check(model, torch.export.load(part).module(), "torch.export")


def _executorch(model: Model, file: Path) -> None:
    need("executorch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    lowered = to_edge_transform_and_lower(_exported(model, 1, None), partitioner=[XnnpackPartitioner()])
    with written_whole(file) as part:
        part.write_bytes(lowered.to_executorch().buffer)
        method = Runtime.get().load_program(part).load_method("forward")

        def run(x: Tensor) -> Tensor:
            return torch.cat([method.execute([one[None].contiguous()])[0].clone() for one in x])

        _check(model, run, "executorch")


def _exported(model: Model, batch: int, dynamic: dict[int, object] | None) -> torch.export.ExportedProgram:
    x = torch.zeros(batch, model.spec.input.channels, *model.spec.input.size)
    for row, module in zip(model.spec.rows, model.children(), strict=True):
        if row.precision == "int8":
            module.edge_list  # noqa: B018  # read while the tensors have values
    with reference_execution(), torch.inference_mode(False), torch.no_grad():
        return torch.export.export(model, (x,), dynamic_shapes={"x": dynamic} if dynamic else None)


def _engine(make: Callable[..., engines.Engine], model: Model, file: Path) -> Callable[[Tensor], Tensor]:
    shape = (2, model.spec.input.channels, *model.spec.input.size)
    run = make(file, shape, torch.get_num_threads(), exact=saturates(model))
    return lambda x: torch.from_numpy(run(x.contiguous().numpy()))


def _check(model: Model, run: Callable[[Tensor], Tensor], by: str) -> None:
    shape = (2, model.spec.input.channels, *model.spec.input.size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(x)
    with torch.no_grad():
        check_alike(run(x), expected, model.spec, by)


WRITERS: dict[str, Callable[[Model, Path], None]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _pt2,
    "executorch": _executorch,
}
