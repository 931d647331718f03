"""Rows are counted and measured as they run."""

import pytest
import torch

from zoo import registry
from zoo.model.build import build
from zoo.planning.devices import Device
from zoo.planning.ledger import Ledger
from zoo.planning.observed import _medians, backward_seconds, costs_of, forward_seconds, loss_of, observe
from zoo.planning.planner import plan, spec_of
from zoo.planning.profile import estimated, least_batch, measured
from zoo.spec import Block, ModelSpec, SpecError

TINY = ModelSpec(
    "tiny",
    (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=5),
    ),
)
DEVICE = Device(1e12, 1e11, 0.0)


def test_memory_is_what_the_graph_holds() -> None:
    """The ledger's sum is that of all storages that autograd saved, and of the outputs that still live."""
    model = build(TINY).train()
    x = torch.randn(4, 3, 16, 16)
    saved: dict[int, int] = {}

    def pack(one: torch.Tensor) -> torch.Tensor:
        saved[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        loss = loss_of(model, model(x))
    there = {one.untyped_storage().data_ptr() for one in (x, *model.parameters(), *model.buffers())}
    expected = sum(size for at, size in saved.items() if at not in there)
    loss.backward()
    found = costs_of(model, x, Ledger())
    assert found.total("kept") == pytest.approx(expected, abs=200)  # the loss, a target, a counter
    assert found.total("parameters") == 4 * sum(one.numel() for one in model.parameters())


def test_without_a_device_at_hand_the_same_memory_is_counted() -> None:
    (real,) = measured(TINY, 4, 4, size=32, seconds=0.01).points
    counted = estimated(TINY, DEVICE, size=32).at(4)
    assert counted.rows[0].kept == pytest.approx(real.rows[0].kept)
    assert counted.rows[0].work == pytest.approx(real.rows[0].work, rel=0.02)
    assert [row.output for row in counted.rows] == [row.output for row in real.rows]


def test_time_is_that_of_products_or_of_bytes() -> None:
    x = torch.zeros(64, 256, device="meta")
    for device, seconds in (
        (Device(1e9, 1e15, 0.0), 2 * 64 * 256 * 128 / 1e9),
        (Device(1e15, 1e9, 0.0), 229_376 / 1e9),
    ):
        with Ledger(device) as ledger:
            torch.mm(x, torch.zeros(256, 128, device="meta"))
        filling = 256 * 128 * 4 / device.memory_bandwidth
        assert ledger.seconds == pytest.approx(seconds + filling)


def test_a_lookup_reads_its_rows_alone() -> None:
    with Ledger(Device(1e15, 1e9, 0.0)) as ledger:
        table = torch.empty(100_000_000, 16, device="meta")
        table.index_select(0, torch.empty(8, dtype=torch.int64, device="meta"))
    assert ledger.seconds == pytest.approx((2 * 8 * 16 * 4 + 64) / 1e9)


def test_rows_add_up_to_the_whole_step_in_every_wiring() -> None:
    """No time and no row is lost: branches, taps and a tied head."""
    for name in ("deepfm", "gpt2_tiny"):
        model = build(registry.spec(name), device="meta").train()
        x = model.spec.input.example(2).to("meta")
        whole = Ledger(DEVICE)
        with whole:
            loss_of(model, model(x)).backward()
        model.zero_grad(set_to_none=True)
        going, coming, _ = observe(model, x, ledger=(ledger := Ledger(DEVICE)))
        rows = len(model.spec.rows)
        assert [mark.place for mark in going] == [-1, *range(rows), rows]  # the loss comes last
        forward, backward = forward_seconds(going, rows), backward_seconds(coming, rows)
        assert sum(forward.values()) + sum(backward.values()) == pytest.approx(ledger.seconds)
        assert ledger.seconds == pytest.approx(whole.seconds, rel=0.02)


def test_measuring_leaves_the_model_and_the_time_alone() -> None:
    model = build(TINY)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = plan(model, 2, batch=8, size=16, seconds=0.05)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()) and not model.training
    assert found.measured and found.chosen.seconds > 0 and "measured on" in found.assumed


def test_a_plan_of_a_recommender_and_its_options() -> None:
    found = plan("deepfm", 8, batch=4096, device_flops="50TFLOPS", device_memory_bandwidth="1TB/s", link="25GB/s")
    assert {one.plan.kind for one in (found.chosen, *found.others)} >= {"one process", "data", "tables", "pipeline"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"devices": 0}, "devices= takes a whole number"),
        ({"devices": 2, "device_flops": 1e12}, "give both, or none"),
        ({"devices": 2, "optimizer": "lion"}, "optimizer= is one of adamw, sgd"),
        ({"devices": 2, "link": "fast"}, "link= takes bandwidth"),
        ({"devices": 2, "overlap": 2.0}, "overlap of a link"),
        ({"devices": 2, "schema": {}}, "schema= is for a recommender"),
    ],
)
def test_wishes_that_cannot_be_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        plan(TINY, **options)  # type: ignore[arg-type]


def test_a_network_that_normalises_single_values_needs_two_examples() -> None:
    assert (least_batch(TINY, 32), least_batch(registry.spec("deeplabv3plus"), 64)) == (1, 2)


def test_what_does_not_train_is_refused_and_names_are_found() -> None:
    with pytest.raises(SpecError, match=r"Row 'stem' is in int8, which does not train"):
        plan("mobilenet-int8", 2)
    assert spec_of("gpt2_tiny").task == "text-generation"
    with pytest.raises(ValueError, match="plan takes a zoo model"):
        plan(torch.nn.Linear(2, 2), 2)  # type: ignore[arg-type]


def test_rows_add_up_to_the_median_pass_though_each_is_slow_in_another() -> None:
    passes = [{0: 1.0, 1: 9.0}, {0: 9.0, 1: 1.0}, {0: 1.0, 1: 1.0}]
    assert _medians(passes, 2) == pytest.approx([5.0, 5.0])
    assert _medians([{}, {}], 2) == [0.0, 0.0]
