"""The runtimes themselves: an ONNX file to a function of arrays, for one input shape (None: any) and number of threads.

`exact` asks for arithmetic that cannot saturate: on x86 without VNNI sums of two products of uint8 and int8 do, in 16
bits and silently, unless weights have 7 bits.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zoo.runtime.program import executorch
from zoo.runtime.sums import keep_sums_inside, round_once

Array = np.ndarray[Any, Any]
Engine = Callable[..., tuple[Array, ...]]  # arrays in, arrays out


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


def openvino(file: Path, shape: Sequence[int] | None, threads: int, *, exact: bool) -> Engine:
    """OpenVINO, in float32 where it is not int8; `exact` is its float execution of the rounded values."""
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


def onnxruntime(file: Path, shape: Sequence[int] | None, threads: int, *, exact: bool) -> Engine:
    """ONNX Runtime; `exact` is its products of uint8 and uint8."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    entries = [one.name for one in session.get_inputs()]

    def run(*arrays: Array) -> tuple[Array, ...]:
        return tuple(session.run(None, dict(zip(entries, arrays, strict=True))))

    return run


ENGINES: dict[str, Callable[..., Engine]] = {"openvino": openvino, "onnxruntime": onnxruntime, "executorch": executorch}
