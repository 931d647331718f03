"""How far int8 answers stand from float32's: the zoo's and NNCF's, of the same networks, calibration and pictures.

    python benchmarks/agreement.py

Both run in OpenVINO without its integer kernels, which saturate on x86 without VNNI: what differs is how the numbers
were rounded, not what multiplies them. 256 pictures to calibrate on, 500 others to compare; all ship with the package.
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
from zoo import tables
from zoo.build import Model
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


def main(names: Annotated[list[str] | None, typer.Argument(help="Default: all that ship dense.")] = None) -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("nncf").setLevel(logging.ERROR)
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
    print(tables.text(headers, rows))


if __name__ == "__main__":
    typer.run(main)
