"""OpenVINO: it reads ONNX files from the cache, and its own files are written for others."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zoo.files import FileError, written_whole
from zoo.kinds import usual_size
from zoo.model.build import Model
from zoo.runtime.alike import Array, Engine, check_file, run_by
from zoo.runtime.facts import facts
from zoo.runtime.needs import need
from zoo.runtime.onnx import write_onnx
from zoo.runtime.sums import keep_sums_inside, round_once


@functools.cache
def core() -> Any:
    """OpenVINO's, one for the process, never given back: with the last one goes the stack that it has given to signal
    handlers, and the next Ctrl-C would end the process by a segmentation fault."""
    import openvino as ov

    return ov.Core()


@contextmanager
def _whole_processor() -> Iterator[None]:
    """Without the limit that users set for torch's oneDNN. OpenVINO's own copy reads it too, but OpenVINO asks the
    processor itself which kernels to use: where the two disagree, it crashes."""
    limit = os.environ.pop("ONEDNN_MAX_CPU_ISA", None)
    try:
        yield
    finally:
        if limit is not None:
            os.environ["ONEDNN_MAX_CPU_ISA"] = limit


def engine(file: Path, shape: Sequence[int] | None, threads: int, *, exact: bool) -> Engine:
    """In float32 where it is not int8; `exact` is the float execution of the rounded values."""
    model = core().read_model(str(file))
    round_once(model)
    if shape is not None:
        model.reshape(list(shape))
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if exact:
        settings["LP_TRANSFORMS_MODE"] = "NO"
    else:
        keep_sums_inside(model)
    with _whole_processor():
        compiled = core().compile_model(model, "CPU", settings)
    local = threading.local()

    def run(*arrays: Array) -> tuple[Array, ...]:
        request = getattr(local, "request", None)
        if request is None:
            request = local.request = compiled.create_infer_request()
        answers = request.infer(dict(enumerate(arrays)), share_inputs=True, share_outputs=True)
        return tuple(np.array(one) for one in answers.values())

    return run


def export(model: Model, file: Path) -> None:
    need("openvino", "onnx", "onnxscript", extra="openvino")
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
            check_file(model, run_by(engine, model, xml), "openvino")
            os.replace(beside, weights)
        finally:
            source.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)
