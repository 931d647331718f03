"""Rows that also take the outputs of earlier rows: checked, counted, run, pruned and quantized as any other."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
from torch import Tensor

import zoo
from networks import lively
from zoo import kinds, registry
from zoo.engine.cpu import call_plan
from zoo.engine.execution import reference_execution
from zoo.kinds.kind import Arg, Kind
from zoo.model.build import Model, build
from zoo.model.features import Features
from zoo.passes.compress import convert
from zoo.passes.decision import Decision
from zoo.passes.groups import channel_groups
from zoo.passes.stream import Stream
from zoo.spec import Block, ImageInput, ModelSpec, SpecError

SIZE = ImageInput(size=(16, 16))


class Plus(nn.Module):
    """The toy of these tests: what comes in, plus what is tapped."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, tapped: Tensor) -> Tensor:
        return x + tapped


@pytest.fixture(autouse=True)
def plus(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind(
        "plus",
        {"channels": Arg(int, low=1, high=64)},
        lambda args: (),
        widths={"in": "channels", "out": "channels", "tap0": "channels"},
        ties=lambda args: (("in", "out"), ("in", "tap0")),
        macs_and_shape=lambda args, shape, tapped: (0, shape),
        edges=lambda args: (),
        precisions=("float32",),
        taps=lambda args: 1,
    )
    monkeypatch.setitem(kinds.KINDS, "plus", kind)
    monkeypatch.setitem(registry.BLOCKS, ("plus", "float32"), f"{__name__}:Plus")


def conv(name: str, channels: int = 8, out: int = 8, **args: object) -> Block:
    return Block("conv_norm_act", name, in_channels=channels, out_channels=out, activation="relu", **args)


def two_branches() -> ModelSpec:
    """stem, then a and b behind each other, c beside them from the stem, and the sum of b and c."""
    rows = (
        conv("stem", 3),
        conv("a"),
        conv("b"),
        Block("branch", "back", taps=("stem",)),
        conv("c", kernel_size=1),
        Block("plus", "sum", taps=("b",), channels=8),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=5),
    )
    return ModelSpec("branches", rows, SIZE)


def by_hand(model: Model, x: Tensor) -> Tensor:
    row = model.get_submodule
    stem = row("stem")(x)
    total = row("c")(stem) + row("b")(row("a")(stem))
    return row("classifier")(row("pool")(total))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_runs_as_it_is_wired(batch: int) -> None:
    model, x = lively(two_branches()), torch.randn(batch, 3, 16, 16)
    with torch.inference_mode():
        expected = by_hand(model, x)
        torch.testing.assert_close(model(x), expected)
        y, tapped = model(x, taps=("b", "sum", "input"))
        torch.testing.assert_close(y, expected)
        assert torch.equal(tapped["input"], x)
        torch.testing.assert_close(tapped["b"], model.get_submodule("b")(tapped["b"] * 0 + _a(model, x)))
    model.train()
    model(x[:1].expand(4, -1, -1, -1)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def _a(model: Model, x: Tensor) -> Tensor:
    return model.get_submodule("a")(model.get_submodule("stem")(x))


def test_a_large_batch_in_parts_gives_what_a_small_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = lively(two_branches()), torch.randn(6, 3, 16, 16)
    with torch.inference_mode():
        for network in (model, zoo.fuse(model)):
            whole = network(x)
            monkeypatch.setattr("zoo.blocks.memory.PART", 100)
            monkeypatch.setattr(call_plan, "PART", 100)
            torch.testing.assert_close(network(x), whole, rtol=0, atol=1e-5)
            monkeypatch.undo()


def test_costs_and_shapes_follow_the_taps() -> None:
    spec = two_branches()
    shapes = dict(zip([row.name for row in spec], kinds.row_shapes(spec), strict=True))
    assert shapes["back"] == shapes["stem"] == (8, 16, 16)
    strided = spec.replace(rows=(spec.rows[0], spec.rows[1].replace(stride=2), *spec.rows[2:5], *spec.rows[6:]))
    assert [(level.row, level.reduction) for level in kinds.levels(strided)] == [("c", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Block("branch", "new"), "branch takes 1 taps, not 0"),
        (Block("branch", "new", taps=("a", "b")), "branch takes 1 taps, not 2"),
        (Block("plus", "new", taps=("input",), channels=8), "'new' takes 8 channels of 'input', which has 3"),
        (conv("new").replace(taps=("a",)), "conv_norm_act takes 0 taps, not 1"),
    ],
)
def test_taps_that_do_not_fit_are_refused(row: Block, said: str) -> None:
    rows = two_branches().rows
    with pytest.raises(SpecError, match=said):
        kinds.check(ModelSpec("bad", (*rows[:3], row), SIZE))


def test_a_network_comes_back_from_its_file(tmp_path) -> None:
    model, x = lively(two_branches()), torch.randn(2, 3, 16, 16)
    zoo.save(model, tmp_path / "m")
    again = zoo.load(tmp_path / "m")
    assert again.spec == model.spec
    with torch.inference_mode():
        torch.testing.assert_close(again(x), model(x))


def test_channels_that_a_tap_shares_are_pruned_together() -> None:
    spec = two_branches()
    (group,) = [group for group in channel_groups(spec) if ("sum", "tap0") in group.members]
    assert not group.frozen
    assert {row for row, _ in group.members} >= {"b", "c", "sum", "classifier"}
    (stem,) = [group for group in channel_groups(spec) if ("stem", "out") in group.members]
    assert {("a", "in"), ("c", "in")} <= set(stem.members) and not stem.frozen

    model, x = lively(spec), torch.randn(2, 3, 16, 16)
    kept = {group.name: [0, 2, 3, 6], stem.name: [1, 2, 4, 5]}
    pruned = convert(model, Decision("pruned", {"kept": kept}))
    with torch.inference_mode():
        for names, channels in ((("b", "c"), kept[group.name]), (("stem",), kept[stem.name])):
            gone = [channel for channel in range(8) if channel not in channels]
            for name in names:
                unit = model.get_submodule(name)
                unit.bn.weight[gone] = 0.0
                unit.bn.bias[gone] = 0.0
        torch.testing.assert_close(pruned(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("passes", ["int8", "pruned-int8", "sparse-int8"])
def test_passes_on_a_network_with_taps(passes: str, tmp_path) -> None:
    model, x = lively(two_branches()), torch.randn(32, 3, 16, 16)
    made = zoo.compress(model, passes, calibration=x)
    assert made.spec["a"].emits == "uint8" and made.spec["b"].precision == "int8"
    zoo.save(made, tmp_path / "m")
    with torch.inference_mode():
        y = made(x)
        torch.testing.assert_close(zoo.load(tmp_path / "m")(x), y)
        with reference_execution():
            torch.testing.assert_close(made(x), y, rtol=0, atol=0.02 * float(y.abs().max()))
        if passes == "int8":
            torch.testing.assert_close(y, model(x), rtol=0, atol=0.1 * float(y.abs().max()))


def test_codes_that_a_row_hands_on_are_floats_for_whoever_taps_them() -> None:
    rows = (
        conv("stem", 3),
        conv("a"),
        conv("b"),
        Block("plus", "sum", taps=("a",), channels=8),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=5),
    )
    model, x = lively(ModelSpec("tapped", rows, SIZE)), torch.randn(8, 3, 16, 16)
    int8 = zoo.compress(model, "int8", calibration=x)
    assert int8.spec["a"].emits == "uint8"
    with torch.inference_mode():
        y = int8(x)
        torch.testing.assert_close(y, model(x), rtol=0, atol=0.1 * float(y.abs().max()))
        for _ in range(2):  # the list of calls, made and used
            assert torch.equal(int8(x), y)


def test_a_stream_of_calibration_inputs_is_wired_too() -> None:
    model, x = lively(two_branches()), torch.randn(4, 3, 16, 16)
    with torch.inference_mode():
        stream = Stream(model, [x])
        last = model.spec.rows[-1].name
        torch.testing.assert_close(torch.cat(list(stream.ahead(last))), model(x))
        while stream.row != "sum":
            stream.step()
        torch.testing.assert_close(torch.cat(list(stream.ahead(last))), model(x))
        torch.testing.assert_close(torch.cat(stream.inputs), model(x, taps=["c"])[1]["c"])


def test_features_of_a_network_with_taps() -> None:
    spec = two_branches()
    model, x = lively(spec), torch.randn(2, 3, 16, 16)
    backbone = Features(model)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x)[-1], model(x, taps=["sum"])[1]["sum"])


def test_a_graph_is_exported(tmp_path) -> None:
    model = lively(two_branches())
    for network in (model, zoo.compress(model, "int8", calibration=torch.randn(16, 3, 16, 16))):
        zoo.export(network, tmp_path / "m.pt2")  # answers are compared
    assert build(model.spec, device="meta").spec == model.spec
