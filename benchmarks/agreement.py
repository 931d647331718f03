"""How far int8 answers stand from float32's: the zoo's and NNCF's, of the same networks, calibration and pictures.

    python benchmarks/agreement.py
    python benchmarks/agreement.py --runtime onnxruntime

Both run in OpenVINO without its integer kernels, which saturate on x86 without VNNI: what differs is how the numbers
were rounded, not what multiplies them. 256 pictures to calibrate on, 500 others to compare; all ship with the package.
With `--runtime`, the int8 networks that ship answer the 500 pictures in that runtime and in torch.
Needs openvino, nncf, onnx and onnxscript.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Annotated

import nncf
import numpy as np
import openvino as ov
import torch
import torch.nn.functional as F
import typer
from contenders import folder
from torch import Tensor

import zoo
from zoo import formatting
from zoo.model.build import Model
from zoo.runtime.onnx import write_onnx


def answers(model: ov.Model, x: Tensor) -> Tensor:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    found = [np.array(request.infer({0: one.contiguous().numpy()})[0]) for one in x.split(50)]
    return torch.from_numpy(np.concatenate(found))


def opened(model: Model, where: Path) -> ov.Model:
    file = where / f"{len(list(where.iterdir()))}.onnx"
    write_onnx(model, file, model.spec.input.size)
    return ov.Core().read_model(str(file))


def in_runtime(names: list[str], runtime: str) -> str:
    """A table: how far the answers of int8 networks in a runtime are from torch's and from float32's."""
    rows = []
    for name in names:
        model, dense = zoo.create(name), zoo.create(name.removesuffix("-int8"))
        test = zoo.samples("cifar10", "test")
        x, labels = zoo.preprocess(model)(list(test.images)), torch.as_tensor(np.array(test.labels))
        with torch.inference_mode():
            right, ours = dense(x), model(x)
            theirs = zoo.to_runtime(model, runtime)(x)
        others = int((theirs.argmax(1) != ours.argmax(1)).sum())
        errors = [F.mse_loss(one, two) / right.var() for one, two in ((theirs, ours), (theirs, right), (ours, right))]
        correct = [f"{(one.argmax(1) == labels).float().mean():.1%}" for one in (theirs, ours)]
        rows.append([name, f"{others} of {len(x)}", *(f"{error:.6f}" for error in errors), *correct])
    headers = ["network", "other answers\nthan torch's", "squared error\nagainst torch"]
    short = (runtime, "torch")
    headers += [f"{one}\nagainst float32" for one in short] + [f"{one}\nright" for one in short]
    return formatting.text(headers, rows)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all that ship dense, or in int8.")] = None,
    runtime: Annotated[str | None, typer.Option(help="Compare this runtime with torch instead.")] = None,
) -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    if runtime is not None:
        families = ("mobilenet", "resnet", "efficientnet")
        print(in_runtime(names or [f"{one}{form}" for one in families for form in ("-int8", "-pruned-int8")], runtime))
        return
    rows = []
    for name in names or ["mobilenet", "resnet", "efficientnet"]:
        dense = zoo.create(name)
        prepare = zoo.preprocess(dense)
        calibration, test = prepare(list(zoo.samples("cifar10", "train").images)), zoo.samples("cifar10", "test")
        x, labels = prepare(list(test.images)), torch.as_tensor(np.array(test.labels))
        where = folder()
        try:
            with torch.inference_mode():
                right = dense(x)
            ours = opened(zoo.compress(dense, "int8", calibration=calibration), where)
            each = [one.contiguous().numpy() for one in calibration.split(1)]
            theirs = nncf.quantize(opened(dense, where), nncf.Dataset(each), subset_size=len(each))
            for title, model in (("zoo", ours), ("NNCF", theirs)):
                y = answers(model, x)
                alike = (y.argmax(1) == right.argmax(1)).float().mean()
                correct, dense_correct = ((one.argmax(1) == labels).float().mean() for one in (y, right))
                distance = F.mse_loss(y, right) / right.var()
                rows.append([name, title, f"{alike:.1%}", f"{distance:.5f}", f"{correct:.1%}", f"{dense_correct:.1%}"])
        finally:
            shutil.rmtree(where, ignore_errors=True)
    headers = ["network", "int8 of", "answers\nas float32", "squared error\nof logits", "right", "float32\nright"]
    print(formatting.text(headers, rows))


if __name__ == "__main__":
    typer.run(main)
