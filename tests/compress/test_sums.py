"""One scale for a residual stream: a runtime that rounds before a sum answers as one that does not."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from daily import daily
from networks import pictures, small, sums
from qat_networks import OPTIMIZERS, train
from zoo import kinds
from zoo.engine.arithmetic import QParams, Range, dequantize, quantize
from zoo.engine.execution import executing
from zoo.engine.reference import Reference
from zoo.kinds.streams import ADDED, edges_of, streams
from zoo.model.build import Model, from_state, learned_edges
from zoo.model.layers import visit_layers
from zoo.passes import OBSERVERS
from zoo.passes.compress import compress
from zoo.passes.observers import Histogram
from zoo.passes.qat import prepare_qat
from zoo.passes.sums import with_one_scale
from zoo.runtime.choose import to_runtime
from zoo.runtime.numerics import unrounded
from zoo.runtime.numerics.qdq import whole_bias
from zoo.runtime.settle import settled
from zoo.weights.file import load, save_file

RESIDUAL = ("sums", "resnet20", "mobilenetv2_cifar", "efficientnet_cifar", "resnet50", "mobilenetv3_small_050")
WAYS = ("calibrated", "trained", "trained from int8", "trained, saved and trained")


def network(name: str) -> Model:
    return sums() if name == "sums" else small(name)


class RoundedFirst(Reference):
    """The reference, which rounds what is added as ONNX Runtime does, and keeps where that clipped it."""

    clipped: Tensor

    def before_sum(self, y: Tensor, skip_qparams: QParams, after: str, target: QParams, seen: Range | None) -> Tensor:  # type: ignore[override]
        edge = unrounded.summand_qparams(skip_qparams, after, target, seen)
        rounded = dequantize(quantize(y, edge), edge)
        self.clipped = (rounded - y).abs() > 0.51 * edge.scale
        return rounded


def trained(model: Model, observer: str = "mse") -> Model:
    """In quantization-aware training, after steps that move every scale."""
    qat = prepare_qat(model, pictures(model, 32), observer=observer)
    train(qat, lambda parameters: torch.optim.AdamW(parameters, 3e-4, weight_decay=0.01), steps=10)
    return qat


@pytest.mark.parametrize(
    ("name", "observer"),
    daily(
        product(RESIDUAL, (*OBSERVERS, "trained")),
        [
            *(("sums", observer) for observer in (*OBSERVERS, "trained")),
            ("resnet20", "mse"),
            ("resnet50", "percentile"),
            ("mobilenetv3_small_050", "trained"),
        ],
    ),
)
def test_a_rounding_before_the_sum_changes_no_code(name: str, observer: str) -> None:
    """Each row of the same codes, once and twice rounded."""
    model = network(name)
    x = pictures(model, 32)
    if observer == "trained":
        int8 = compress(trained(model), "int8")
    else:
        int8 = compress(model, "int8", calibration=x, observer=observer)
    twice, rows = RoundedFirst(), 0
    with torch.inference_mode(), settled(int8, twice, lambda *_: None) as ready:
        for row, own, plain in zip(int8.spec.rows, ready.children(), int8.children(), strict=True):
            with executing(Reference()):
                once = plain(x)
            if kinds.residual(row):
                others = own(x) != once
                assert (others & ~twice.clipped).sum() <= 1 + 1e-4 * others.numel(), row.name  # ties
                # Values that calibration did not see, or left out: after training there are more.
                assert others.float().mean() < (0.05 if observer == "trained" else 0.02), row.name
                rows += 1
            x = once
    assert rows > 2


@pytest.mark.parametrize(
    ("name", "how"),
    daily(
        product(RESIDUAL, WAYS),
        [
            *(("sums", how) for how in WAYS),
            ("resnet50", "calibrated"),
            ("resnet20", "trained from int8"),
            ("mobilenetv3_small_050", "trained, saved and trained"),
        ],
    ),
)
def test_shortcut_sum_and_what_is_added_have_one_scale(name: str, how: str, tmp_path: Path) -> None:
    model = network(name)
    int8 = compress(model, "int8", calibration=pictures(model, 16))
    if how != "calibrated":
        qat = prepare_qat(int8) if how == "trained from int8" else trained(model)
        before = [edges[1:] for edges in learned_edges(qat).values() if len(edges) > 1]
        if how == "trained, saved and trained":
            save_file(qat, tmp_path / "qat.safetensors")
            again = load(tmp_path / "qat.safetensors")
            assert all(torch.equal(one, learned_edges(qat)[row]) for row, one in learned_edges(again).items())
            qat = again
        train(copy.deepcopy(qat), OPTIMIZERS["sgd"])  # a copy follows its own rows
        same = [edges[1:] for edges in learned_edges(qat).values() if len(edges) > 1]
        assert all(torch.equal(one, other) for one, other in zip(before, same, strict=True))
        train(qat, OPTIMIZERS["adamw"])
        moved = [edges[1:] for edges in learned_edges(qat).values() if len(edges) > 1]
        assert any(not torch.equal(one, other) for one, other in zip(before, moved, strict=True))
        int8 = compress(qat, "int8")
    told = int8.made["passes"][-1]["sums"]
    for row in int8.spec.rows:
        if added := kinds.residual(row):
            edges = dict(zip(edges_of(row), int8.get_submodule(row.name).qparams, strict=True))  # type: ignore[call-overload]
            assert edges[added.shortcut].scale == edges["out"].scale, row.name
            assert told[row.name][1] - told[row.name][0] == pytest.approx(255 * edges["out"].scale, rel=1e-4)


def test_scales_that_were_trained_apart_stay_so() -> None:
    """As files of earlier versions hold them."""
    qat = prepare_qat(sums(), pictures(sums(), 16))
    state = {key: value.clone() for key, value in qat.state_dict().items()}
    state["a.log_scale"][-1], state["c.log_scale"][-1] = 0.5, 0.25
    wanted = state["a.edges"][-1, 0] * torch.tensor(0.5).exp()
    qat.load_state_dict(state)
    for model in (qat, from_state(qat.spec, {key: value.clone() for key, value in state.items()})):
        assert torch.equal(model.get_submodule("a").current_edges[-1, 0], wanted)  # type: ignore[union-attr, index]
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert "a" not in compress(model, "int8").made.get("passes", [{}])[-1].get("sums", {})


def test_ranges_of_sums_that_are_none_are_refused() -> None:
    qat = prepare_qat(sums(), pictures(sums(), 16))
    (told,) = qat.made["passes"]
    for wrong in ("x", [1.0], [1.0, 2.0], [0.0, 0.0], [None, 1.0]):
        qat.made = {"passes": [{**told, "sums": {"a": wrong}}]}
        with pytest.raises(ValueError, match="no range of the sums of row 'a'"):
            compress(qat, "int8")


def test_streams_end_at_projections() -> None:
    spec = sums().spec
    first = [("stem", "out"), ("a", ADDED), ("a", "out")]
    second = [("b", "shortcut"), ("b", ADDED), ("b", "out"), ("c", ADDED), ("c", "out")]
    assert streams(spec, spec.rows) == [first, second]
    without = [row for row in spec.rows if row.name not in ("stem", "max", "b")]
    alone = [[("a", "in"), ("a", ADDED), ("a", "out")], [("c", "in"), ("c", ADDED), ("c", "out")]]
    assert streams(spec, without) == alone


def test_a_sum_that_more_than_a_clip_follows_is_no_stream() -> None:
    spec = sums().spec
    rows = tuple(row.replace(activation="swish") if row.name in ("a", "b") else row for row in spec.rows)
    assert streams(spec.replace(rows=rows), rows) == [[("b", "out"), ("c", ADDED), ("c", "out")]]


def filled(x: Tensor) -> Histogram:
    histogram = Histogram()
    histogram.widen(x)
    histogram.count(x)
    return histogram


@pytest.mark.parametrize("seed", range(4))
def test_the_scale_loses_least_of_all(seed: int) -> None:
    """No scale and no zero points, tried one by one, lose less than a hundredth less."""
    generator = torch.Generator().manual_seed(seed)
    tails = torch.randn(2, 4000, generator=generator) * torch.tensor([[1.0], [0.6]]) + 0.3 * seed
    values = {("a", "out"): tails[0].relu(), ("b", "out"): tails[1], ("b", ADDED): tails[1] ** 3 / 3}

    def lost(place: tuple[str, str], scale: float, zero: int) -> float:
        x = values[place].double() / scale
        rounded = x if place[1] == ADDED else x.round()
        return float(((rounded.clamp(-zero, 255 - zero) - x) * scale).square().sum())

    edges = with_one_scale({place: filled(x) for place, x in values.items()}, "mse")
    assert len({scale for scale, _ in edges.values()}) == 1
    ours = sum(lost(place, *edge) for place, edge in edges.items())
    width = max(float(x.max().clamp(min=0) - x.min().clamp(max=0)) for x in values.values())
    best = min(
        sum(min(lost(place, width * share / 100 / 255, zero) for zero in range(0, 256, 5)) for place in values)
        for share in range(30, 101, 5)
    )
    assert ours <= 1.01 * best


@pytest.mark.parametrize("name", ["sums", "efficientnet_cifar"])
def test_biases_are_whole_products(name: str) -> None:
    """An export, which holds them as integers, has the very biases that torch adds."""
    model = network(name)
    x = pictures(model, 16)
    seen = []

    def look(part: object, source: QParams, target: QParams | None) -> None:
        if hasattr(part, "scale") and hasattr(part, "bias"):
            _, scale, whole = whole_bias(source, part.weight, part.scale, part.bias)  # type: ignore[attr-defined]
            torch.testing.assert_close((whole * scale.double() * source.scale).float(), part.bias, rtol=1e-6, atol=0)
            seen.append(part)

    for int8 in (compress(model, "int8", calibration=x), compress(prepare_qat(model, x), "int8")):
        visit_layers(int8, look)
    assert len(seen) > 10


def test_onnx_runtime_answers_a_trained_network_as_torch_does(tmp_path: Path) -> None:
    """To the last bit but for ties and clipped sums, of which half of the pictures may have one; else none is equal."""
    pytest.importorskip("onnxruntime")
    int8 = compress(trained(sums()), "int8")
    x = pictures(int8, 32)
    fast = to_runtime(int8, "onnxruntime", cache_dir=tmp_path)
    with torch.inference_mode(), executing(Reference()):
        expected = int8(x)
    same = (fast(x) - expected).abs().amax(1) < 1e-4 * expected.abs().max()
    assert same.float().mean() > 0.25
