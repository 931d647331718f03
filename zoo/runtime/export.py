"""`export`: a network as a file for other systems, checked against the network before it counts as done."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.blocks.int8 import reference_execution
from zoo.blocks.int8.arithmetic import undisturbed
from zoo.build import Model, is_whole
from zoo.kinds import usual_size
from zoo.runtime import engines, text
from zoo.runtime.cache import written_whole
from zoo.runtime.compiled import check_alike, saturates
from zoo.runtime.executorch import program_of
from zoo.runtime.needs import need
from zoo.runtime.onnx import write_onnx
from zoo.spec import TextInput
from zoo.weights.header import FileError

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "executorch": ".pte"}


def export(model: Model, file: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002
    """Write the network for pictures of its own size (`model.spec.input.size`) and any batch to `file`; a language
    model for any batch and number of tokens, its tensors named as its call and its answer name them.

    `format`, by default as the file's suffix says: "onnx" (.onnx; int8 as QuantizeLinear and DequantizeLinear),
    "openvino" (.xml, and .bin beside it), "pt2" (torch.export, in plain float operators), or "executorch" (.pte, for
    XNNPACK, one picture at a time, or one text of 128 tokens). The file is read back by its own runtime, and its
    answers are compared with the network's. Raises ValueError for another format or a missing package, FileError for
    what cannot be written or answers otherwise.
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
    pair = (target, target.with_suffix(".bin")) if format == "openvino" else (target,)
    if taken := [one for one in pair if os.path.isdir(one)]:  # which takes a name too long, too
        raise FileError(f"{taken[0]}: cannot be written: it is a folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target.parent}: cannot be a folder: {error.strerror}.") from None
    with undisturbed():
        WRITERS[format](model, target)
    return target


def _onnx(model: Model, file: Path) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    with written_whole(file) as part:
        write_onnx(model, part, usual_size(model.spec))
        _check(model, _engine(engines.onnxruntime, model, part), "onnxruntime")


def _openvino(model: Model, file: Path) -> None:
    need("openvino", "onnx", "onnxscript")
    import openvino as ov

    with written_whole(file) as xml, written_whole(file.with_suffix(".bin")):
        source = xml.with_suffix(".onnx")
        try:
            write_onnx(model, source, usual_size(model.spec))
            converted = ov.convert_model(str(source))
            try:
                ov.save_model(converted, str(xml), compress_to_fp16=False)  # and the .bin beside it
            except RuntimeError as error:  # OpenVINO's of a full disk
                raise FileError(f"{file}: cannot be written: {error}") from None
            _check(model, _engine(engines.openvino, model, xml), "openvino")
        finally:
            source.unlink(missing_ok=True)


def _pt2(model: Model, file: Path) -> None:
    with written_whole(file) as part:
        written = io.BytesIO()  # given a path, torch says of a disk what is no OSError
        torch.export.save(_exported(model), written)
        part.write_bytes(written.getbuffer())
        _check(model, torch.export.load(part).module(), "torch.export")


def _executorch(model: Model, file: Path) -> None:
    need("executorch")
    from executorch.runtime import Runtime

    with written_whole(file) as part:
        part.write_bytes(program_of(model, _example(model, 1)))
        method = Runtime.get().load_program(part).load_method("forward")

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            each = [method.execute([one[None].contiguous() for one in parts]) for parts in zip(*given, strict=True)]
            return tuple(torch.cat([one.clone() for one in same]) for same in zip(*each, strict=True))

        _check(model, run, "executorch")


def _exported(model: Model) -> torch.export.ExportedProgram:
    """In plain operators, for any batch, and of texts any number of tokens."""
    for module in model.children():
        if hasattr(module, "edge_list"):
            module.edge_list  # noqa: B018  # read while the tensors have values
    whole: torch.nn.Module = model
    shapes: Any = {"x": {0: torch.export.Dim("batch")}}
    if isinstance(model.spec.input, TextInput):
        whole = named = text.NamedTensors(model)
        shapes = named.dynamic_shapes()
    with reference_execution(), torch.inference_mode(False), torch.no_grad():
        return torch.export.export(whole, _example(model, 2), dynamic_shapes=shapes)


def _example(model: Model, batch: int) -> tuple[Tensor, ...]:
    if isinstance(model.spec.input, TextInput):
        return tuple(one.clone() for one in text.example(model, batch))
    shape = (batch, model.spec.input.channels, *model.spec.input.size)
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)),)


def _engine(make: Callable[..., engines.Engine], model: Model, file: Path) -> Callable[..., Any]:
    shape = None if isinstance(model.spec.input, TextInput) else (2, model.spec.input.channels, *model.spec.input.size)
    run = make(file, shape, torch.get_num_threads(), exact=saturates(model))
    return lambda *x: tuple(map(torch.from_numpy, run(*(one.contiguous().numpy() for one in x))))


def _check(model: Model, run: Callable[..., Any], by: str) -> None:
    """`run` takes what the network takes, and gives its answer, or a tuple of what it gives."""
    given = _example(model, 2)
    with torch.no_grad():
        found = run(*given)
    found = found if isinstance(found, tuple) else (found,)
    with torch.inference_mode():
        expected = model(*given)
    if isinstance(model.spec.input, TextInput):
        outputs, mask = text.names(model)[1], given[1]
        one, other = (text.answer_of(x, outputs, mask) for x in (found, tuple(expected[name] for name in outputs)))
        check_alike(one, other, model.spec, by)
    else:
        check_alike(found[0], expected, model.spec, by)


WRITERS: dict[str, Callable[[Model, Path], None]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _pt2,
    "executorch": _executorch,
}
