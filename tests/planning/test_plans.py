"""Plans: predicted by hand where that is easy, never worse than plain ones, and refused in words."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.checks import SpecError
from zoo.planning.candidates import BUCKET, Predictor
from zoo.planning.costs import INPUT, Costs, Profile, RowCost
from zoo.planning.cuts import even
from zoo.planning.devices import Link
from zoo.planning.plan import Plan
from zoo.planning.planner import choose
from zoo.planning.search import Search, cuts_of, named
from zoo.planning.units import read

SLOW, FAST = Link(1e4, 1e-3, 0.0), Link(1e12, 1e-9, 1.0)


def profile(times: list[float], parameters: float = 1e6, tables: float = 0.0) -> Profile:
    """Rows that take these times at a batch of 16, in proportion at any other."""
    rows = tuple(
        RowCost(f"r{at}", one / 3, one / 3, one / 3, 1e6, 1e5, 1e4, parameters, tables, 100 * bool(tables))
        for at, one in enumerate(times)
    )
    taps = tuple((at - 1,) for at in range(len(rows)))
    return Profile("net", (Costs(rows, 16, taps, (INPUT,) * len(rows), 1e3),), 1e-9, 2, True, "a toy")


def test_one_process_takes_the_sum_of_its_rows_and_of_the_update() -> None:
    found = choose(profile([0.1, 0.2, 0.3]), 1, 32, FAST, float("inf")).chosen
    assert found.plan == Plan()  # no microbatches without need
    assert found.seconds == pytest.approx(2 * 0.6 + 3e6 * 1e-9)
    assert found.bubble == found.communication == 0


def test_slow_links_leave_one_process_and_fast_ones_take_all_devices() -> None:
    slow = choose(profile([0.01] * 8), 4, 64, SLOW, float("inf"))
    assert slow.plan.kind == "one process" and "One process is fastest" in slow.why
    fast = choose(profile([0.1] * 8), 4, 64, FAST, float("inf"))
    assert fast.plan.devices == 4 and fast.plan.pipeline == 1
    assert fast.one_process.seconds / fast.chosen.seconds == pytest.approx(4, rel=0.02)


def test_large_gradients_and_short_messages_make_a_pipeline() -> None:
    found = choose(profile([0.1] * 8, parameters=1e8), 4, 64, Link(1e9, 1e-6, 0.0), float("inf"))
    assert found.plan.pipeline == 4 and found.plan.data == 1
    assert [len(stage) for stage in found.plan.stages][:4] in ([2, 2, 2, 2], [1, 1, 1, 1])
    assert "device 3" in found.timeline() and "pipeline" in repr(found)
    assert json.loads(json.dumps(found.to_json()))["chosen"]["plan"]["stages"][0][0] == "r0"


def test_too_little_memory_for_one_makes_devices_share() -> None:
    found = choose(profile([0.1] * 8, parameters=1e8), 8, 64, FAST, 1.5e9)
    assert found.chosen.fits and (found.plan.sharded or found.plan.pipeline > 1)
    assert not found.one_process.fits and "does not fit" in found.why


def test_long_tables_are_shared() -> None:
    found = choose(profile([0.01] * 2, parameters=4e9, tables=4e9), 8, 1024, Link(1e10, 1e-5, 1.0), 60e9)
    assert found.plan.tables and found.plan.data == 8 and found.plan.kind == "tables"
    assert found.chosen.memory < 2 * 4 * 4e9 / 8 * 1.2


def test_what_fits_nowhere_is_named_with_how_much() -> None:
    toy = profile([0.1] * 4)
    one, two, three, four = toy.points[0].rows
    costs = replace(toy.points[0], rows=(one, two, replace(three, name="large", parameters=1e10), four))
    with pytest.raises(ValueError, match=r"No plan fits net on 2 devices of 8 GB: row 'large' needs .* GB too much"):
        choose(replace(toy, points=(costs,)), 2, 16, FAST, 8e9)


@given(times=st.lists(st.floats(0.01, 1.0), min_size=4, max_size=8), speed=st.floats(5, 9), hidden=st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_chosen_plan_is_no_slower_than_even_splits(times: list[float], speed: float, hidden: bool) -> None:
    predict = Predictor(profile(times), 32, Link(10**speed, 1e-5, float(hidden)), float("inf"))
    costs = predict.profile.points[0]
    for found in (one for one in Search(predict, 3).best() if one.plan.pipeline > 1):
        assert found.seconds == pytest.approx(predict(found.plan, cuts_of(found.plan)).seconds)
        for weights in ([1.0] * len(times), [row.parameters for row in costs.rows]):
            cuts = even(weights, len(found.plan.stages))
            other = replace(found.plan, stages=named(costs, cuts))
            assert found.seconds <= predict(other, cuts).seconds + 1e-12


def test_replicas_wait_for_the_last_bucket_at_least() -> None:
    link = Link(1e9, 0.0, 1.0)
    found = Predictor(profile([1.0] * 4, parameters=1e8), 32, link, 1e12)(Plan(data=2), ())
    assert found.communication == pytest.approx(link.all_reduce(BUCKET, 2))
    assert found.seconds == pytest.approx(4.0 + link.all_reduce(BUCKET, 2) + 4e8 * 1e-9)


def test_outputs_that_later_rows_tap_are_carried_over_the_cuts_between() -> None:
    rows = tuple(RowCost(name, output=size) for name, size in zip("abcd", (1, 10, 100, 1000), strict=True))
    costs = Costs(rows, 1, ((INPUT,), (0,), (1, INPUT), (2, 0)), (INPUT,) * 4, 5)
    assert costs.carried == (0.0, 1 + 5, 10 + 5 + 1, 100 + 1, 0.0)


def test_costs_between_batches_are_linear_and_never_below_nothing() -> None:
    toy = profile([0.3])
    low = toy.points[0]
    two = replace(toy, points=(low, replace(low, rows=(replace(low.rows[0], forward=0.3),), batch=32)))
    assert [two.at(batch).rows[0].forward for batch in (24, 64, 4)] == pytest.approx([0.2, 0.6, 0.025])
    assert replace(two, measured=False).at(64).rows[0].forward == pytest.approx(0.7)
    assert (two.at(64).rows[0].parameters, two.at(64).rows[0].kept) == (1e6, 1e6)


def test_no_microbatch_is_smaller_than_the_network_trains_with() -> None:
    for least in (1, 4):
        search = Search(Predictor(replace(profile([0.1] * 4), least=least), 16, FAST, float("inf")), 4)
        assert min(search.predict.microbatch(plan) for plan in search.plans()) == least


def test_a_tied_table_is_copied_to_the_stage_that_uses_it() -> None:
    rows = tuple(RowCost(f"r{at}", parameters=10.0 * (at + 1)) for at in range(3))
    costs = Costs(rows, 1, ((-1,), (0,), (1,)), (-1, -1, 0))
    assert (costs.copied(2, 3), costs.copied(0, 3), costs.copied(1, 2)) == (10.0, 0, 0)


def test_a_plan_survives_json_and_refuses_what_is_none() -> None:
    plan = Plan(2, (("a", "b"), ("c",), ("d",), ("e",)), "interleaved", 4, True, False, 2)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert (plan.devices, plan.pipeline, plan.kind) == (4, 2, "pipeline x fsdp")
    for wrong in (
        {"data": 0}, {"schedule": "pipedream"}, {"stages": [["a"], []]}, {"stages": "abc"}, {"sharded": 1},
        {"pipelines": 3}, {"stages": [["a"], ["b"]], "microbatches": 1},
    ):  # fmt: skip
        with pytest.raises(SpecError, match="plan"):
            Plan.from_json(wrong)


@pytest.mark.parametrize(
    ("text", "what", "value"),
    [
        ("8GB", "bytes", 8e9), ("16GiB", "bytes", 2.0**34), (" 1.5 MB", "bytes", 1.5e6),
        ("10Gbps", "bandwidth", 1.25e9), ("10gbps", "bandwidth", 1.25e9), ("10GBps", "bandwidth", 1e10),
        ("25GB/s", "bandwidth", 2.5e10), ("50us", "seconds", 5e-5), ("0s", "seconds", 0.0),
        ("60TFLOPS", "flops", 6e13), ("6e13", "flops", 6e13), (6e13, "flops", 6e13),
    ],
)  # fmt: skip
def test_units_are_read(text: str | float, what: str, value: float) -> None:
    assert read("memory", text, what) == pytest.approx(value)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [("8", "bytes"), ("GB", "bytes"), ("-1GB", "bytes"), ("8 Gb ps", "bandwidth"), ("0B", "bytes"), (True, "bytes"),
     ("10", "seconds"), ("ten", "flops"), (float("nan"), "flops")],
)  # fmt: skip
def test_what_is_no_size_is_refused(wrong: str | float, what: str) -> None:
    with pytest.raises(ValueError, match=r"link= takes .* such as"):
        read("link", wrong, what)
