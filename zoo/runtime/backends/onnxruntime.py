"""ONNX Runtime: it reads ONNX files, and answers for those that are written for others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.files import written_whole
from zoo.kinds import usual_size
from zoo.model.build import Model
from zoo.runtime.alike import Array, Engine, check_file, run_by
from zoo.runtime.needs import need
from zoo.runtime.onnx import write_onnx
from zoo.runtime.opset import OPSET


def engine(file: Path, shape: Sequence[int] | None, threads: int, *, exact: bool) -> Engine:
    """`exact` is its products of uint8 and uint8."""
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


def export(model: Model, file: Path, opset: int = OPSET) -> None:
    need("onnx", "onnxscript", "onnxruntime", extra="onnx")
    with written_whole(file) as part:
        write_onnx(model, part, usual_size(model.spec), opset=opset)
        try:
            run = run_by(engine, model, part)
        except Exception as error:  # ONNX Runtime's own, of an operator that it does not know in that version
            if opset == OPSET:
                raise
            raise ValueError(f"ONNX Runtime cannot run {model.spec.name} in opset {opset}: {error}") from None
        check_file(model, run, "onnxruntime")
