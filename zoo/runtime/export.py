"""`export`: a network as a file for other systems, checked against the network before it counts as done."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.engine import reference_execution
from zoo.engine.arithmetic import undisturbed
from zoo.files import FileError, make_folder, path_to_write, written_whole
from zoo.kinds import usual_size
from zoo.model.build import Model
from zoo.model.features import Features
from zoo.model.verify import rebuildable
from zoo.runtime import engines
from zoo.runtime.compiled import check_alike, saturates
from zoo.runtime.executorch import program_of
from zoo.runtime.facts import facts
from zoo.runtime.needs import need
from zoo.runtime.onnx import write_onnx
from zoo.runtime.opset import OPSET, check_opset
from zoo.runtime.quiet import quiet
from zoo.runtime.signature import signature
from zoo.runtime.sums import keep_sums_inside, round_once

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "executorch": ".pte"}


def export(
    model: Model,
    file: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    opset: int | None = None,
) -> Path:
    """Write a network to a file for another system, and check the file against the network.

    The file is read back by its own runtime, and its answers are compared with the network's. Pictures have the
    network's own size, and the batch is free; the texts of a language model may have any length too. The file also
    holds labels and preprocessing (`zoo.runtime.facts`): in ONNX's metadata, in OpenVINO's runtime information under
    "zoo", in torch.export's extra file "zoo.json", and beside an ExecuTorch program in FILE.pte.json.

    Args:
        model (Model): the network, or a backbone (`features_only=True`), which has one named output a map.
        file (str | os.PathLike[str]): the file to write; its folder is made if it is missing.
        format (str | None): "onnx" (.onnx; int8 as QuantizeLinear and DequantizeLinear), "openvino" (.xml, with .bin
            beside it), "pt2" (.pt2; torch.export, in plain float operators) or "executorch" (.pte; XNNPACK, one
            picture, or one text of 128 tokens, at a time). Default: None, what the file's suffix says.
        opset (int | None): the version of ONNX's operators. Default: None, 18.

    Returns:
        The path of the file.

    Raises:
        ValueError: the format is unknown or does not fit the suffix, a package is missing, or the model was changed by
            hand or is in quantization-aware training.
        FileError: the file cannot be written, or gives other answers than the network.

    Example:
        >>> zoo.export(zoo.create("resnet20"), "resnet20.pt2").name
        'resnet20.pt2'
        >>> program = torch.export.load("resnet20.pt2").module()
        >>> program(torch.randn(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """
    if not isinstance(model, Features):
        model = rebuildable(model, "export", float32=True)
    target = path_to_write(file, "file")
    if format is None:
        format = next((name for name, suffix in SUFFIXES.items() if suffix == target.suffix), None)  # noqa: A001
    if format is None:
        ends = f"No format ends in {target.suffix}" if target.suffix else f"{target.name!r} ends in no format"
        raise ValueError(f"{ends}; choose {', '.join(SUFFIXES.values())}.")
    if format not in WRITERS:
        raise ValueError(f"Unknown format {format!r} for {target.name!r}; choose one of {', '.join(WRITERS)}.")
    if target.suffix != SUFFIXES[format]:
        raise ValueError(f"A file of {format} ends in {SUFFIXES[format]}, and {target.name!r} does not.")
    if opset is not None:
        check_opset(opset)
        if format != "onnx":
            raise ValueError(f"opset is for ONNX files, and {target.name!r} is of {format}.")
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    pair = (target, *(companion_files(target)))
    if taken := [one for one in pair if os.path.isdir(one)]:  # isdir raises nothing for a name that is too long
        raise FileError(f"{taken[0]}: cannot be written: it is a folder.")
    make_folder(target.parent)
    with undisturbed():
        if format == "onnx":
            _onnx(model, target, opset or OPSET)
        else:
            WRITERS[format](model, target)
    return target


def companion_files(file: Path) -> list[Path]:
    """What is written beside an export: OpenVINO's weights, and the facts of an ExecuTorch program."""
    others = {".xml": [file.with_suffix(".bin")], ".pte": [file.with_name(f"{file.name}.json")]}
    return others.get(file.suffix, [])


def _onnx(model: Model, file: Path, opset: int = OPSET) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    with written_whole(file) as part:
        write_onnx(model, part, usual_size(model.spec), opset=opset)
        try:
            run = _engine(engines.onnxruntime, model, part)
        except Exception as error:  # ONNX Runtime's own, of an operator that it does not know in that version
            if opset == OPSET:
                raise
            raise ValueError(f"ONNX Runtime cannot run {model.spec.name} in opset {opset}: {error}") from None
        _check(model, run, "onnxruntime")


def _openvino(model: Model, file: Path) -> None:
    need("openvino", "onnx", "onnxscript")
    import openvino as ov

    with written_whole(file) as xml, written_whole(file.with_suffix(".bin")) as weights:
        source, beside = xml.with_suffix(".onnx"), xml.with_suffix(".bin")
        try:
            write_onnx(model, source, usual_size(model.spec))
            converted = ov.convert_model(str(source))
            round_once(converted)
            keep_sums_inside(converted)
            for key, value in facts(model).items():
                converted.set_rt_info(value, ["zoo", key])
            try:
                ov.save_model(converted, str(xml), compress_to_fp16=False)  # and the .bin beside it
            except RuntimeError as error:  # OpenVINO's of a full disk
                raise FileError(f"{file}: cannot be written: {error}") from None
            _check(model, _engine(engines.openvino, model, xml), "openvino")
            os.replace(beside, weights)
        finally:
            source.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)


def _pt2(model: Model, file: Path) -> None:
    with written_whole(file) as part:
        written = io.BytesIO()  # given a path, torch says of a disk what is no OSError
        torch.export.save(_exported(model), written, extra_files={"zoo.json": json.dumps(facts(model))})
        part.write_bytes(written.getbuffer())
        with part.open("rb") as opened:  # torch opens no path whose bytes are not UTF-8
            _check(model, torch.export.load(opened).module(), "torch.export")


def _executorch(model: Model, file: Path) -> None:
    need("executorch")
    from executorch.runtime import Runtime

    with written_whole(file) as part, written_whole(*companion_files(file)) as said:
        part.write_bytes(program_of(model, signature(model).example(1)))
        said.write_text(json.dumps(facts(model), indent=2))
        method = Runtime.get().load_program(part).load_method("forward")

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            each = [method.execute([one[None].contiguous() for one in parts]) for parts in zip(*given, strict=True)]
            return tuple(torch.cat([one.clone() for one in same]) for same in zip(*each, strict=True))

        _check(model, run, "executorch")


def _exported(model: Model) -> torch.export.ExportedProgram:
    """In plain operators, for any batch, and of texts any number of tokens."""
    for module in model.children():
        if hasattr(module, "qparams"):
            module.qparams  # noqa: B018  # read while the tensors have values
    ready = signature(model)
    with reference_execution(), torch.inference_mode(False), torch.no_grad(), quiet():
        return torch.export.export(ready.module, ready.example(2), dynamic_shapes=ready.shapes())


def _engine(make: Callable[..., engines.Engine], model: Model, file: Path) -> Callable[..., Any]:
    shape = None if model.spec.input.ragged else (2, *model.spec.input.shape())
    run = make(file, shape, torch.get_num_threads(), exact=saturates(model))
    return lambda *x: tuple(map(torch.from_numpy, run(*(one.contiguous().numpy() for one in x))))


def _check(model: Model, run: Callable[..., Any], by: str) -> None:
    """`run` takes what the network takes, and gives its answer, or a tuple of what it gives."""
    ready = signature(model)
    given = ready.example(2)
    with torch.no_grad():
        found = run(*given)
    with torch.inference_mode():
        expected = ready.module(*given)
    for one, other in zip(ready.parts(found, given), ready.parts(expected, given), strict=True):
        check_alike(one, other, model.spec, by)


WRITERS: dict[str, Callable[[Model, Path], None]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _pt2,
    "executorch": _executorch,
}
