"""The runtimes themselves: an ONNX file to a function of arrays, for one input shape and number of threads.

`exact` asks for arithmetic that cannot saturate: on x86 without VNNI sums of two products of uint8 and int8 do, in 16
bits and silently, unless weights have 7 bits.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Engine = Callable[[Array], Array]


@functools.cache
def core() -> Any:
    """OpenVINO's, one for the process, never given back: with the last one goes the stack that it has given to signal
    handlers, and the next Ctrl-C would end the process by a segmentation fault."""
    import openvino as ov

    return ov.Core()


def openvino(file: Path, shape: Sequence[int], threads: int, *, exact: bool) -> Engine:
    """OpenVINO, in float32 where it is not int8; `exact` is its float execution of the rounded values."""
    model = core().read_model(str(file))
    model.reshape(list(shape))
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if exact:
        settings["LP_TRANSFORMS_MODE"] = "NO"
    compiled = core().compile_model(model, "CPU", settings)
    local = threading.local()

    def run(x: Array) -> Array:
        request = getattr(local, "request", None)
        if request is None:
            request = local.request = compiled.create_infer_request()
        answers = request.infer({0: x}, share_inputs=True, share_outputs=True)
        return np.array(answers[0])

    return run


def onnxruntime(file: Path, shape: Sequence[int], threads: int, *, exact: bool) -> Engine:
    """ONNX Runtime; `exact` is its products of uint8 and uint8."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    (entry,) = (one.name for one in session.get_inputs())

    def run(x: Array) -> Array:
        return session.run(None, {entry: x})[0]

    return run


ENGINES: dict[str, Callable[..., Engine]] = {"openvino": openvino, "onnxruntime": onnxruntime}
