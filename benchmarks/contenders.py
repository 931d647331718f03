"""The contenders of `int8.py`: each takes a timm network, calibration and an example, and gives a function of inputs,
or `Turns` that open one.

Every one has the same weights, but for torchvision's int8 networks, which are random (their time does not depend on
it). A contender whose package is missing, or that cannot take the network, raises.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

import zoo
from zoo.engine.cpu import onednn

Run = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Turns:
    """A contender with threads of its own, which spin for a while after each call: `open` gives its function for one
    turn, and with that go the threads, so that no other contender is timed beside them."""

    open: Callable[[], Run]


@dataclass(frozen=True)
class Case:
    """One network, its calibration, and the input that is timed. `replace(case, x=..., threads=...)` shares `made`."""

    network: nn.Module  # timm's, in eval mode
    calibration: Tensor
    x: Tensor
    threads: int
    folder: Path
    made: dict[str, Any] = field(default_factory=dict)  # whatever depends on neither `x` nor `threads`

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """`make()` of the first call for `what`."""
        if what not in self.made:
            self.made[what] = make()
        return self.made[what]


def eager(case: Case) -> Run:
    return copy.deepcopy(case.network)


def eager_channels_last(case: Case) -> Run:
    return copy.deepcopy(case.network).to(memory_format=torch.channels_last)


def compiled(case: Case) -> Run:
    torch._dynamo.reset()
    return torch.compile(copy.deepcopy(case.network).to(memory_format=torch.channels_last))


def torchvision_int8(case: Case) -> Run:
    from torchvision.models import quantization

    make = {"mobilenetv2_100": "mobilenet_v2", "resnet18": "resnet18", "resnet50": "resnet50"}
    engines = torch.backends.quantized.supported_engines
    torch.backends.quantized.engine = next(one for one in ("onednn", "x86", "fbgemm") if one in engines)
    return getattr(quantization, make[case.network.default_cfg["architecture"]])(weights=None, quantize=True).eval()


def torchao_compiled(case: Case) -> Run:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    torch._dynamo.reset()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    network = copy.deepcopy(case.network).to(memory_format=torch.channels_last)
    prepared = prepare_pt2e(torch.export.export(network, (case.x,)).module(), quantizer)
    prepared(case.calibration[:1].expand(case.x.shape).contiguous(memory_format=torch.channels_last))
    converted = convert_pt2e(prepared)
    import torch._inductor.config as inductor

    inductor.freezing = True
    return torch.compile(converted)


def onnxruntime_static(case: Case) -> Turns:
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(case.calibration.split(1))

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self.rest, None)
            return None if one is None else {"input": one.contiguous().numpy()}

    def quantized() -> str:
        ready, int8 = (str(case.folder / f"{name}.onnx") for name in ("ready", "int8"))
        quant_pre_process(_to_onnx(case), ready)
        weights = {"per_channel": True, "weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
        quantize_static(ready, int8, Reader(), quant_format=QuantFormat.QDQ, **weights)
        return int8

    int8 = case.once("onnxruntime's static int8", quantized)
    options = ort.SessionOptions()
    options.intra_op_num_threads = case.threads

    def opened() -> Run:
        session = ort.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
        return lambda x: torch.from_numpy(session.run(None, {"input": x.contiguous().numpy()})[0])

    return Turns(opened)


def openvino_nncf(case: Case) -> Run:
    import nncf
    import openvino as ov

    def quantized() -> Any:
        inputs = [one.contiguous().numpy() for one in case.calibration.split(1)]
        return nncf.quantize(ov.Core().read_model(_to_onnx(case)), nncf.Dataset(inputs), subset_size=len(inputs))

    model = case.once("NNCF's int8", quantized).clone()
    model.reshape(list(case.x.shape))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": case.threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()

    def run(x: Tensor) -> Tensor:
        found = request.infer({0: x.contiguous().numpy()}, share_inputs=True, share_outputs=True)[0]
        return torch.from_numpy(np.array(found))

    return run


def zoo_eager(case: Case) -> Run:
    return copy.deepcopy(_adopted(case))


def zoo_float_onnxruntime(case: Case) -> Turns:
    model = _adopted(case)
    return Turns(lambda: zoo.to_runtime(model, "onnxruntime", cache_dir=case.folder))


def zoo_fused(case: Case) -> Run:
    return zoo.fuse(_adopted(case))


def zoo_int8(case: Case, *, seven_bits: bool | None = None) -> nn.Module:
    """Weights of 7 bits where this processor's products of 8 saturate, but for the runtimes, which have exact modes."""
    reduced = not onednn.trusted() if seven_bits is None else seven_bits
    made = case.once(
        f"int8, {reduced}",
        lambda: zoo.compress(_adopted(case), "int8", calibration=case.calibration, reduce_range=reduced),
    )
    return copy.deepcopy(made)


def zoo_openvino(case: Case) -> Run:
    return zoo.to_runtime(zoo_int8(case), "openvino", cache_dir=case.folder)


def zoo_onnxruntime(case: Case) -> Turns:
    model = zoo_int8(case)
    return Turns(lambda: zoo.to_runtime(model, "onnxruntime", cache_dir=case.folder))


def zoo_executorch(case: Case) -> Run:
    return zoo.to_runtime(zoo_int8(case, seven_bits=False), "executorch", cache_dir=case.folder)


def _adopted(case: Case) -> zoo.Model:
    return case.once("adopted", lambda: zoo.adopt(case.network))


def _to_onnx(case: Case) -> str:
    """The file of the float network, by torch's own exporter."""
    file = str(case.folder / "dense.onnx")
    example = case.x[:1].contiguous().repeat(2, 1, 1, 1)
    case.once(
        "dense.onnx",
        lambda: torch.onnx.export(
            case.network,
            (example,),
            file,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["input"],
            verbose=False,
            external_data=False,
        ),
    )
    return file


CONTENDERS: dict[str, Callable[[Case], Run | Turns]] = {
    "zoo int8, torch": zoo_int8,
    "zoo int8, openvino": zoo_openvino,
    "zoo int8, onnxruntime": zoo_onnxruntime,
    "zoo int8, executorch": zoo_executorch,
    "zoo float32, eager": zoo_eager,
    "zoo float32, fused": zoo_fused,
    "zoo float32, onnxruntime": zoo_float_onnxruntime,
    "timm float32": eager,
    "timm float32, channels_last": eager_channels_last,
    "timm float32, torch.compile": compiled,
    "torchvision int8": torchvision_int8,
    "torchao PT2E int8, torch.compile": torchao_compiled,
    "onnxruntime's static int8": onnxruntime_static,
    "OpenVINO, NNCF's int8": openvino_nncf,
}
PYTORCH = ("timm float32", "timm float32, channels_last", "timm float32, torch.compile", "torchvision int8",
           "torchao PT2E int8, torch.compile")  # fmt: skip
BASE = "timm float32, channels_last"

# Rows below each table: their name with the most that we aim at, whose time, over the least of whose.
BOUNDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("zoo int8, torch / best PyTorch peer", "zoo int8, torch", PYTORCH),
    ("zoo float32, eager / timm's better memory format (1.05)", "zoo float32, eager", ("timm float32", BASE)),
    ("zoo int8 / onnxruntime's static int8 (1.05)", "zoo int8, onnxruntime", ("onnxruntime's static int8",)),
    ("zoo int8 / zoo float32, onnxruntime (1.00)", "zoo int8, onnxruntime", ("zoo float32, onnxruntime",)),
)


def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="zoo-int8-"))
