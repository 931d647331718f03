"""In which order the devices of a pipeline compute: the orders of torch.distributed.pipelining, without torch.

Device d of D has the stages d, d + D, d + 2 D, ... A microbatch goes forward through all stages in order, and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

SCHEDULES = ("gpipe", "1f1b", "interleaved", "zero_bubble")
LOOPED = ("interleaved", "zero_bubble")  # those that take several stages a device

FORWARD, BACKWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = "F", "B", "I", "W"


class Action(NamedTuple):
    """What a device does next: `kind` is F, B (the whole backward pass), I (of the input) or W (of the weights).

    As text it is torch's own: "2F0" is the forward pass of microbatch 0 through stage 2.
    """

    stage: int
    kind: str
    microbatch: int

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.microbatch}"


def misfit(schedule: str, devices: int, microbatches: int, stages_each: int = 1) -> str:
    """Why torch has no such schedule; "" where it has."""
    if schedule not in SCHEDULES:
        return f"the schedule is one of {', '.join(SCHEDULES)}, not {schedule!r}"
    if min(devices, microbatches, stages_each) < 1:
        return "devices, microbatches and stages of a device are whole numbers from 1 on"
    if schedule not in LOOPED and stages_each != 1:
        return f"{schedule} has one stage a device, not {stages_each}"
    if schedule == "1f1b" and microbatches < devices:
        return f"1f1b on {devices} stages takes at least {devices} microbatches, not {microbatches}"
    if schedule in LOOPED and microbatches % (rounds := max(1, microbatches // devices)):
        return f"{schedule} on {devices} devices takes a multiple of {rounds} microbatches, not {microbatches}"
    return ""


def order(schedule: str, devices: int, microbatches: int, stages_each: int = 1) -> list[list[Action]]:
    """The actions of each device, in order.

    Raises ValueError for what `misfit` tells.
    """
    if problem := misfit(schedule, devices, microbatches, stages_each):
        raise ValueError(f"{problem[0].upper()}{problem[1:]}.")
    if schedule == "gpipe":
        return [_gpipe(device, microbatches) for device in range(devices)]
    if schedule == "1f1b":
        return [_one_by_one(device, devices, microbatches) for device in range(devices)]
    zero_bubble = schedule == "zero_bubble"
    return [_looped(device, devices, microbatches, stages_each, zero_bubble) for device in range(devices)]


def _gpipe(stage: int, microbatches: int) -> list[Action]:
    """Huang et al., 2019: all forward passes, then all backward passes."""
    return [Action(stage, kind, one) for kind in (FORWARD, BACKWARD) for one in range(microbatches)]


def _one_by_one(stage: int, stages: int, microbatches: int) -> list[Action]:
    """PipeDream-flush (Narayanan et al., 2021): one forward, one backward, as soon as there is one."""
    ahead = stages - 1 - stage
    actions = [Action(stage, FORWARD, one) for one in range(ahead)]
    for one in range(ahead, microbatches):
        actions += (Action(stage, FORWARD, one), Action(stage, BACKWARD, one - ahead))
    return actions + [Action(stage, BACKWARD, one) for one in range(microbatches - ahead, microbatches)]


def _looped(device: int, devices: int, microbatches: int, stages_each: int, zero_bubble: bool) -> list[Action]:
    """Interleaved 1F1B (Narayanan et al., 2021), or ZB-H1 (Qi et al., 2023), which puts off the gradients of weights.

    Microbatches go in rounds: as many as there are devices pass one stage of a device before its next one.
    """
    total = microbatches * stages_each
    each_round = microbatches // max(1, microbatches // devices)
    ahead = (stages_each - 1) * each_round + (1 if zero_bubble else 2) * (devices - 1 - device)
    ahead = min(ahead, total)

    def numbered(stage_of: Callable[[int], int], kind: str) -> list[Action]:
        seen: Counter[int] = Counter()
        actions = []
        for step in range(total):
            stage = stage_of(step)
            actions.append(Action(stage, kind, seen[stage]))
            seen[stage] += 1
        return actions

    def going(step: int) -> int:
        return step // each_round % stages_each * devices + device

    def returning(step: int) -> int:
        return (stages_each - 1 - step // each_round % stages_each) * devices + device

    forward = numbered(going, FORWARD)
    back = numbered(returning, BACKWARD_INPUT if zero_bubble else BACKWARD)
    weights = numbered(returning, BACKWARD_WEIGHT) if zero_bubble else []
    actions, done = forward[:ahead], 0
    for step in range(total):
        actions += forward[ahead + step : ahead + step + 1]
        actions.append(back[step])
        if zero_bubble and step >= device:
            actions.append(weights[done])
            done += 1
    return _merged(actions + weights[done:])


def _merged(actions: list[Action]) -> list[Action]:
    """The gradients of an input and of the weights, one right behind the other, as one backward pass."""
    found: list[Action] = []
    for one in actions:
        if found and one == found[-1]._replace(kind=BACKWARD_WEIGHT) and found[-1].kind == BACKWARD_INPUT:
            found[-1] = one._replace(kind=BACKWARD)
        else:
            found.append(one)
    return found
