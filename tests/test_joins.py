"""Rows that join, part and resize maps: alone against torch, and as a network through every pass and precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

import zoo
from networks import joined, lively, pictures
from qat_networks import rows_agree
from zoo import blocks, kinds
from zoo.engine.execution import reference_execution
from zoo.kinds.streams import joined as joined_places
from zoo.model.build import Model
from zoo.model.features import Features
from zoo.passes.compress import convert
from zoo.passes.decision import Decision
from zoo.passes.groups import channel_groups, kept_channels, narrowed
from zoo.passes.sensitivity import sensitivity
from zoo.spec import Block, ImageInput, ModelSpec, SpecError


def by_hand(model: Model, x: Tensor) -> Tensor:
    """The network of `joined` in torch's words."""
    row = model.get_submodule
    a = row("a")(row("stem")(x))
    b = row("b")(a[:, 8:])
    smooth = F.avg_pool2d(row("c")(a[:, :8]), 3, 1, 1, count_include_pad=False)
    up = F.interpolate(smooth, b.shape[2:], mode="nearest")
    d = row("d")(torch.cat([up, b, a], 1))
    total = F.relu(d + a)
    grown = F.interpolate(row("e")(F.adaptive_avg_pool2d(total, 3)), total.shape[2:], mode="bilinear")
    gated = grown * torch.sigmoid(d.mean((2, 3)) @ row("gate").fc.weight.T)[..., None, None]
    finer = F.interpolate(gated, scale_factor=2, mode="bilinear")
    head = row("classifier")
    scores = F.interpolate(head.fc(finer), b.shape[2:], mode="bilinear") + head.side(b)
    return F.interpolate(scores, x.shape[2:], mode="bilinear")


@pytest.mark.parametrize("size", [(32, 40), (33, 47)])
def test_a_network_of_joins_is_what_torch_says(size: tuple[int, int]) -> None:
    model, x = joined(), torch.randn(3, 3, *size)
    with torch.inference_mode():
        expected = by_hand(model, x)
        assert expected.shape == (3, 5, *size)
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        fused = zoo.fuse(model)
        for _ in range(2):
            torch.testing.assert_close(fused(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert kinds.row_shapes(model.spec, size)[-1] == (5, *size)


def test_pyramid_pooling_has_the_same_parts_where_torch_watches() -> None:
    x, block = torch.randn(2, 3, 7, 11), blocks.AdaptiveAvgPool(size=3)
    program = torch.export.export(block, (x,)).module()
    torch.testing.assert_close(program(x), F.adaptive_avg_pool2d(x, 3))
    torch.testing.assert_close(block(x), F.adaptive_avg_pool2d(x, 3))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Block("add", "new", taps=("half",), channels=8), r"'new': .*maps of one size, not of \(16, 16\) and \(8, 8\)"),
        (Block("concat", "new", taps=("half",), in_channels=8, tap0_channels=8), "maps of one size"),
        (Block("concat", "new", taps=("a", "a"), in_channels=8, tap0_channels=8), "concat takes 1 taps, not 2"),
        (
            Block("concat", "new", taps=("a", "a"), in_channels=8, tap0_channels=8, tap2_channels=8),
            "tap1_channels is 0, and a later one is not",
        ),
        (Block("slice", "new", channels=8, before=8), "'new' takes 16 channels, but 8 come in"),
        (Block("upsample", "new", scale_factor=2, taps=("a",)), "upsample takes 0 taps, not 1"),
    ],
)
def test_joins_that_do_not_fit_are_refused(row: Block, said: str) -> None:
    rows = (
        Block("conv_norm_act", "half", in_channels=3, out_channels=8, stride=2),
        Block("branch", "back", taps=("input",)),
        Block("conv_norm_act", "a", in_channels=3, out_channels=8),
        row,
    )
    with pytest.raises(SpecError, match=said):
        kinds.check(ModelSpec("bad", rows, ImageInput(size=(16, 16))))


def test_groups_follow_channels_through_slices_and_concatenations() -> None:
    spec = joined().spec
    groups = {group.name: group for group in channel_groups(spec)}
    low, high = groups["a.out"], groups["a.out+8"]
    assert (low.size, high.size) == (8, 8) and not (low.frozen or high.frozen)
    assert {("c", "in"), ("d", "out"), ("sum", "tap0"), ("cat", "tap1")} <= set(low.members)
    assert {("b", "in"), ("d", "in")} <= set(high.members)
    at = dict(zip(high.members, high.starts, strict=True))
    assert at["d", "in"] == 24 and at["b", "in"] == 0  # behind eight of `up`, eight of `b` and the first eight of `a`
    small = narrowed(spec, {"a.out": 4, "b.out": 4})
    assert small["cat"].args == {"in_channels": 8, "tap0_channels": 4, "tap1_channels": 12}
    assert small["second"].args == {"channels": 8, "before": 4} and small["first"].args == {"channels": 4, "after": 8}
    assert small["d"].args["in_channels"] == 24 and kinds.check(small)


def test_pruned_answers_as_the_dense_network_with_zeros() -> None:
    model = joined()
    groups = channel_groups(model.spec)
    kept = {g.name: list(range(g.size))[1::2] for g in groups if not g.frozen}
    pruned, x = convert(model, Decision("pruned", {"kept": kept})), pictures(model, 3)
    of_node = kept_channels(groups, kept)
    assert ("classifier", "tap1") in of_node and ("gate", "tap0") in of_node
    state = model.state_dict()
    for row in model.spec:
        for key, (_, axes) in kinds.state(row).items():
            for dim, axis in enumerate(axes):
                if isinstance(axis, kinds.Axis) and (row.name, axis.space) in of_node and "running" not in key:
                    gone = sorted(set(range(axis.length)) - set(of_node[row.name, axis.space]))
                    state[f"{row.name}.{key}"].index_fill_(dim, torch.tensor(gone), 0)
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(pruned(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert kinds.cost(pruned.spec).macs < 0.4 * kinds.cost(model.spec).macs


@pytest.mark.parametrize("importance", ["l2", "bn_scale", "calibrated"])
def test_pruning_keeps_its_budget(importance: str) -> None:
    model = joined()
    x = pictures(model, 16)
    given = {"calibration": x} if importance == "calibrated" else {}
    pruned = zoo.compress(model, "pruned", macs=0.6, importance=importance, round_to=2, **given)
    assert 0.35 < kinds.cost(pruned.spec).macs / kinds.cost(model.spec).macs <= 0.6
    with torch.inference_mode():
        assert pruned(x).shape == model(x).shape


def test_solving_again_mends_what_was_taken_away() -> None:
    model = joined()
    x = pictures(model, 48)
    plain = zoo.compress(model, "pruned", macs=0.6, importance="l2", round_to=2)
    solved = zoo.compress(model, "pruned", macs=0.6, calibration=x[:32], round_to=2)
    with torch.inference_mode():
        y = model(x[32:])
        assert (solved(x[32:]) - y).square().mean() < 0.8 * (plain(x[32:]) - y).square().mean()


@pytest.mark.parametrize("passes", ["int8", "pruned-int8", "sparse-int8"])
def test_int8_flows_in_codes_and_comes_back(passes: str, tmp_path) -> None:
    model = joined()
    x = pictures(model, 32)
    made = zoo.compress(model, passes, calibration=x)
    assert {row.precision for row in made.spec} == {"int8"}
    assert [row.emits for row in made.spec] == ["uint8"] * (len(made.spec.rows) - 1) + ["float32"]
    zoo.save(made, tmp_path / "m")
    with torch.inference_mode():
        y = made(x)
        assert torch.equal(made(x), y)
        torch.testing.assert_close(zoo.load(tmp_path / "m")(x), y, rtol=0, atol=0)
        for other in (33, 47):
            assert made(torch.randn(1, 3, other, 40)).shape == (1, 5, other, 40)
        with reference_execution():
            torch.testing.assert_close(made(x), y, rtol=0, atol=0.05 * float(y.std()))
        if passes == "int8":
            assert (y - model(x)).std() < 0.1 * y.std()
        alone = torch.cat([made(one) for one in x.split(1)])
    torch.testing.assert_close(alone, y, rtol=0, atol=1e-4 * float(y.abs().max()))


def test_a_concatenation_shares_one_scale_and_copies_codes() -> None:
    model = joined()
    int8 = zoo.compress(model, "int8", calibration=pictures(model, 16))
    (places,) = joined_places(int8.spec, int8.spec.rows)
    assert set(places) == {("smooth", "out"), ("b", "out"), ("a", "out"), ("cat", "out")}
    cat = int8.get_submodule("cat")
    assert len({tuple(edge) for edge in cat.edges.tolist()}) == 1
    maps = [torch.randint(0, 256, (2, width, 4, 4), dtype=torch.uint8) for width in (8, 8, 16)]
    assert torch.equal(cat(*maps), torch.cat(maps, 1))


def test_codes_of_another_scale_are_converted() -> None:
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, activation="relu"),
        Block("basic_block", "a", in_channels=8, mid_channels=8, out_channels=8),
        Block("conv_norm_act", "b", in_channels=8, out_channels=8, activation="relu"),
        Block("concat", "cat", taps=("a",), in_channels=8, tap0_channels=8),
        Block("conv_norm_act", "c", in_channels=16, out_channels=8, activation="relu"),
        Block("segmentation_head", "head_", taps=("input",), in_channels=8, num_classes=3),
    )
    model = lively(ModelSpec("stream", rows, ImageInput(size=(16, 16)), "image-segmentation"))
    x = pictures(model, 16)
    int8 = zoo.compress(model, "int8", calibration=x)  # a residual stream keeps its own scale
    first, second, out = int8.get_submodule("cat").qparams
    assert first == out != second
    with torch.inference_mode():
        y, taps = int8(x, taps=("a", "b", "cat"))
        wanted = torch.cat([taps["b"], taps["a"]], 1)
        assert (taps["cat"] - wanted).abs().max() <= 0.51 * out.scale + (wanted - wanted.clamp(*out.ends)).abs().max()
        with reference_execution():
            torch.testing.assert_close(int8(x), y, rtol=0, atol=0.05 * float(y.std()))


@pytest.mark.parametrize("mode", blocks.joins.MODES)
def test_upsampled_codes_are_the_nearest(mode: str) -> None:
    rows = (
        Block("conv_norm_act", "a", in_channels=3, out_channels=4, activation="none"),
        Block("upsample", "up", scale_factor=3, mode=mode),
    )
    model = lively(ModelSpec("up", rows, ImageInput(size=(8, 8)), "feature-extraction"))
    x = pictures(model, 8)
    int8 = zoo.compress(model, "int8", calibration=x)
    with torch.inference_mode():
        y, taps = int8(x, taps=("a",))
        exact = F.interpolate(taps["a"], scale_factor=3, mode=mode)
    (edge,) = int8.get_submodule("up").qparams
    assert (y - exact).abs().max() <= (0.501 if mode == "bilinear" else 1e-4) * edge.scale


def test_training_rounds_as_int8_does() -> None:
    model = joined()
    x = pictures(model, 16)
    qat = zoo.prepare_qat(model, x).train()
    qat(x[:4]).square().mean().backward()
    idle = [name for name, p in qat.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    with torch.no_grad():
        for p in qat.parameters():
            if p.grad is not None:
                p -= 1e-2 * p.grad.sign() * p.abs().mean().clamp_min(0.1)
    qat.eval()
    rows_agree(qat, x[:2])
    int8 = zoo.compress(qat, "int8")
    assert len({tuple(edge) for edge in int8.get_submodule("cat").edges.tolist()}) == 1  # one scale, learned together
    with torch.inference_mode():
        y = int8(x)
        torch.testing.assert_close(qat(x), y, rtol=0, atol=0.05 * float(y.std()))
        again = zoo.prepare_qat(int8)
        torch.testing.assert_close(again(x), y, rtol=0, atol=0.05 * float(y.std()))


def test_what_a_row_writes_over_is_kept_for_who_taps_it() -> None:
    """A residual row adds into the codes that come in; they are tapped further on."""
    common = {"in_channels": 8, "mid_channels": 16, "out_channels": 8, "skip": True}
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8),
        Block("inverted_residual", "a", **common),
        Block("branch", "again", taps=("stem",)),
        Block("inverted_residual", "b", **common),
        Block("concat", "cat", taps=("stem", "a"), in_channels=8, tap0_channels=8, tap1_channels=8),
        Block("segmentation_head", "classifier", taps=("input",), in_channels=24, num_classes=3),
    )
    model = lively(ModelSpec("twice", rows, ImageInput(size=(16, 16)), "image-segmentation"))
    x = pictures(model, 8)
    int8 = zoo.compress(model, "int8", calibration=x)
    with torch.inference_mode():
        y = int8(x)
        for _ in range(2):
            assert torch.equal(int8(x), y)
        with reference_execution():
            torch.testing.assert_close(int8(x), y, rtol=0, atol=0.05 * float(y.std()))


def test_joins_elsewhere(tmp_path) -> None:
    model = joined()
    x = pictures(model, 16)
    for network in (model, zoo.compress(model, "int8", calibration=x)):
        if network is not model:
            zoo.export(network, tmp_path / "m.pt2")  # answers are compared
        with torch.inference_mode():
            y = network(x[:2])
        for runtime in ("onnxruntime", "openvino"):
            found = zoo.to_runtime(network, runtime, cache_dir=tmp_path)(x[:2])
            assert (found - y).std() < 0.05 * y.std(), runtime


def test_a_table_of_levels_follows_upsampling() -> None:
    found = [(level.row, level.reduction, level.channels) for level in kinds.levels(joined().spec)]
    assert found == [("finer", 1, 16), ("gate", 2, 16), ("smooth", 4, 8)]
    model, x = joined(), torch.randn(1, 3, 32, 40)
    with torch.inference_mode():
        maps = Features(model)(x)
        _, expected = model(x, taps=("finer", "gate", "smooth"))
    assert all(torch.equal(one, expected[row]) for one, (row, *_) in zip(maps, found, strict=True))


def test_dilated_blocks_have_the_window_that_they_say() -> None:
    x = torch.randn(1, 8, 16, 16)
    for kind, args in (
        ("inverted_residual", {"mid_channels": 8}),
        ("depthwise_separable", {}),
        ("basic_block", {"mid_channels": 8, "first_dilation": 2}),
        ("bottleneck", {"mid1_channels": 8, "mid2_channels": 8}),
    ):
        row = Block(kind, "a", in_channels=8, out_channels=8, dilation=3, **args)
        model = lively(ModelSpec("d", (row,), ImageInput(size=(16, 16), channels=8, mean=(0.5,) * 8, std=(0.5,) * 8)))
        found = {
            conv.dilation[0] for conv in model.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] > 1
        }
        assert found == ({2, 3} if kind == "basic_block" else {3})
        with torch.inference_mode():
            torch.testing.assert_close(zoo.fuse(model)(x), model(x), rtol=1e-4, atol=1e-4)
            int8 = zoo.compress(model, "int8", calibration=torch.randn(16, 8, 16, 16))
            assert (int8(x) - model(x)).std() < 0.1 * model(x).std()


@pytest.mark.parametrize("kept", [("cat",), ("a", "again"), ("sum", "gate", "classifier"), ("up", "grid", "first")])
def test_rows_of_floats_and_of_codes_side_by_side(kept: tuple[str, ...]) -> None:
    model = joined()
    x = pictures(model, 16)
    mixed = zoo.compress(model, "int8", calibration=x, keep_float=kept)
    floats = {row.name for row in mixed.spec if row.precision == "float32"}
    assert set(kept) <= floats <= {*kept, "again"}  # a branch of floats is one
    with torch.inference_mode():
        y = mixed(x)
        assert (y - model(x)).std() < 0.1 * y.std()
        assert torch.equal(mixed(x), y)


def test_other_ways_to_int8_know_the_joins() -> None:
    model = joined()
    x = pictures(model, 16)
    errors = sensitivity(model, x)
    assert set(errors) == {row.name for row in model.spec} and all(0 <= error < 0.1 for error in errors.values())
    learned = zoo.compress(model, "int8", calibration=x, rounding="gptq")
    with torch.inference_mode():
        y = model(x)
        assert (learned(x) - y).std() < 0.1 * y.std()
