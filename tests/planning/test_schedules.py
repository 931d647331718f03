"""The orders are torch's own, and their replay wastes what the papers' closed forms say."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.planning.devices import Link
from zoo.planning.schedules import LOOPED, SCHEDULES, Action, misfit, order
from zoo.planning.simulate import Stage, simulate

SIZES = {"devices": st.integers(1, 6), "rounds": st.integers(1, 4), "each": st.integers(1, 3)}


def torch_order(schedule: str, devices: int, microbatches: int, each: int) -> list[list[str]]:
    """The actions as torch.distributed.pipelining orders them, without its processes."""
    from torch.distributed.pipelining import schedules as theirs

    names = {"interleaved": "ScheduleInterleaved1F1B", "zero_bubble": "ScheduleInterleavedZeroBubble"}
    kind = getattr(theirs, {"gpipe": "ScheduleGPipe", "1f1b": "Schedule1F1B"}.get(schedule) or names[schedule])
    made = object.__new__(kind)
    made._num_stages, made._n_microbatches, made.pp_group_size, made.n_local_stages = (
        devices * each, microbatches, devices, each,
    )  # fmt: skip
    made.number_of_rounds = max(1, microbatches // devices)
    made.microbatches_per_round = microbatches // made.number_of_rounds
    if schedule in LOOPED:
        found = {rank: made._calculate_single_rank_operations(rank) for rank in range(devices)}
        found = {rank: theirs._merge_bw(actions) for rank, actions in found.items()}
    else:
        found = made._get_pipeline_order()
    texts = [[str(one) for one in found[rank] if one is not None] for rank in range(devices)]
    if schedule == "1f1b":  # torch runs 0, 1, ... there, but lists 1, 2, ...
        texts[-1] = [re.sub(r"F(\d+)", lambda found: f"F{int(found[1]) - 1}", one) for one in texts[-1]]
    return [[one for one in actions if "REDUCE" not in one] for actions in texts]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_orders_are_those_of_torch(schedule: str) -> None:
    for devices, microbatches in ((1, 3), (2, 2), (2, 6), (3, 2), (4, 8), (4, 5)):
        for each in (1, 2, 3) if schedule in LOOPED else (1,):
            if not misfit(schedule, devices, microbatches, each):
                ours = [list(map(str, one)) for one in order(schedule, devices, microbatches, each)]
                assert ours == torch_order(schedule, devices, microbatches, each), (devices, microbatches, each)


@given(**SIZES, schedule=st.sampled_from(SCHEDULES))
@settings(max_examples=40, deadline=None)
def test_each_microbatch_goes_once_through_each_stage_and_back(
    devices: int, rounds: int, each: int, schedule: str
) -> None:
    each, microbatches = each if schedule in LOOPED else 1, rounds * devices
    actions = [one for found in order(schedule, devices, microbatches, each) for one in found]
    through = {(stage, one) for stage in range(devices * each) for one in range(microbatches)}
    for kinds in ("F", "BI", "BW"):
        found = [(one.stage, one.microbatch) for one in actions if one.kind in kinds]
        assert len(found) == len(through) and set(found) == through


@given(**SIZES, forward=st.floats(0.1, 3), backward=st.floats(0.1, 3), schedule=st.sampled_from(SCHEDULES[:3]))
@settings(max_examples=60, deadline=None)
def test_the_bubble_is_that_of_the_closed_form(
    devices: int, rounds: int, each: int, forward: float, backward: float, schedule: str
) -> None:
    each, microbatches = each if schedule in LOOPED else 1, rounds * devices
    stages = [Stage(forward / each, backward / each / 2, backward / each / 2)] * (devices * each)
    found = simulate(order(schedule, devices, microbatches, each), stages)
    assert found.bubble == pytest.approx((devices - 1) / (each * microbatches + devices - 1), abs=1e-9)
    assert found.seconds == pytest.approx((microbatches + (devices - 1) / each) * (forward + backward))


@given(devices=st.integers(2, 6), rounds=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_zero_bubble_wastes_a_third_of_1f1b(devices: int, rounds: int) -> None:
    """ZB-H1: (p - 1) (F + I - W), where 1F1B wastes (p - 1) (F + I + W), with no more memory."""
    microbatches = rounds * devices
    stages = [Stage(1.0, 1.0, 1.0, kept=1.0)] * devices
    found = simulate(order("zero_bubble", devices, microbatches), stages)
    assert found.seconds == pytest.approx(3 * microbatches + devices - 1)
    assert max(found.memory) <= devices


def test_memory_is_of_the_microbatches_under_way() -> None:
    stages = [Stage(1.0, 1.0, 1.0, kept=10.0, held=100.0, work=5.0)] * 4
    assert simulate(order("gpipe", 4, 8), stages).memory == (185.0,) * 4
    assert simulate(order("1f1b", 4, 8), stages).memory == (145.0, 135.0, 125.0, 115.0)


def test_messages_take_time_and_hold_the_sender_where_nothing_overlaps() -> None:
    stages = [Stage(1.0, 0.5, 0.5, sent=1e6), Stage(1.0, 0.5, 0.5)]
    orders = order("gpipe", 2, 2)
    assert simulate(orders, stages, Link(1e6, 0.5)).seconds == pytest.approx(6 + 2 * 1.5)
    held = simulate(orders, stages, Link(1e6, 0.5, overlap=0.0)).seconds
    assert held == pytest.approx(1 + 1.5 + 1 + 1.5 + 1 + 1 + 1.5 + 1 + 1.5 + 1)


def test_what_follows_the_last_backward_pass_counts() -> None:
    stages = [Stage(1.0, 0.5, 0.5, finish=3.0), Stage(1.0, 0.5, 0.5)]
    assert simulate(order("1f1b", 2, 2), stages).seconds == pytest.approx(6 + 3)


def test_a_schedule_that_waits_for_ever_is_told() -> None:
    actions = [[Action(0, "B", 0), Action(0, "F", 0)], [Action(1, "F", 0), Action(1, "B", 0)]]
    with pytest.raises(ValueError, match="0B0 has nothing to start with"):
        simulate(actions, [Stage(1, 1, 1)] * 2)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("pipedream", 2, 2, 1), "one of gpipe"),
        (("1f1b", 4, 3, 1), "at least 4 microbatches"),
        (("gpipe", 2, 2, 2), "one stage a device"),
        (("zero_bubble", 4, 9, 1), "multiple of 2"),
        (("gpipe", 0, 2, 1), "from 1 on"),
    ],
)
def test_what_torch_does_not_take_is_refused(wrong: tuple[str, int, int, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        order(*wrong)


def test_a_thousand_devices_take_seconds() -> None:
    began = time.process_time()
    found = simulate(order("gpipe", 1024, 64), [Stage(1.0, 1.0, 1.0)] * 1024)
    assert found.bubble == pytest.approx(1023 / 1087)
    assert time.process_time() - began < 10


@given(size=st.floats(1, 1e10), processes=st.integers(2, 1024))
@settings(max_examples=30, deadline=None)
def test_collectives_are_those_of_rings(size: float, processes: int) -> None:
    link = Link(1e9, 0.0)
    assert link.all_reduce(size, processes) == pytest.approx(2 * (processes - 1) / processes * size / 1e9)
    assert link.all_reduce(size, processes) == pytest.approx(
        link.reduce_scatter(size, processes) + link.all_gather(size, processes)
    )
    slow = Link(1e9, 1e-3)
    assert slow.all_reduce(8, 1024) < 0.05 < slow.all_gather(8, 1024)  # a tree for few bytes
