"""Replays a schedule: when each device computes what, how long a step takes and how much memory it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.planning.devices import Link
from zoo.planning.schedules import BACKWARD, BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD, Action


@dataclass(frozen=True)
class Stage:
    """What a stage costs: times of one microbatch in seconds, sizes in bytes.

    Args:
        forward (float): of the forward pass.
        backward_input (float): of the gradient of its input.
        backward_weight (float): of the gradients of its weights; the whole backward pass takes both.
        sent (float): what goes to the next stage, and as a gradient comes back. Default: 0.
        kept (float): what one microbatch keeps from its forward to its backward pass. Default: 0.
        held (float): weights, gradients, states of the optimizer: what is there all the time. Default: 0.
        work (float): what a pass takes beside, while it runs. Default: 0.
        finish (float): seconds behind the last backward pass: gradients of other replicas, the optimizer. Default: 0.
    """

    forward: float
    backward_input: float
    backward_weight: float
    sent: float = 0.0
    kept: float = 0.0
    held: float = 0.0
    work: float = 0.0
    finish: float = 0.0

    def seconds(self, kind: str) -> float:
        both = self.backward_input + self.backward_weight
        of_kind = {BACKWARD: both, BACKWARD_INPUT: self.backward_input, BACKWARD_WEIGHT: self.backward_weight}
        return self.forward if kind == FORWARD else of_kind[kind]


@dataclass(frozen=True)
class Span:
    """An action of a device, from `start` to `end` in seconds of the step."""

    device: int
    action: Action
    start: float
    end: float


@dataclass(frozen=True)
class Simulation:
    """A step as replayed.

    Attributes:
        seconds (float): until the last device has its new weights.
        passes (float): seconds until the last forward or backward pass has ended.
        bubble (float): the share of the devices' time until then in which they wait.
        memory (tuple[float, ...]): bytes of each device at the fullest.
        busy (tuple[float, ...]): seconds that each device computes.
        spans (tuple[Span, ...]): what ran when; empty unless it was asked for.
    """

    seconds: float
    passes: float
    bubble: float
    memory: tuple[float, ...]
    busy: tuple[float, ...]
    spans: tuple[Span, ...] = ()


def simulate(
    orders: Sequence[Sequence[Action]], stages: Sequence[Stage], link: Link | None = None, *, spans: bool = False
) -> Simulation:
    """Replay the actions of each device; without a link, messages take no time.

    Raises ValueError where devices wait for each other for ever, and names the first action that waits.
    """
    devices, count = len(orders), len(stages)
    microbatches = 1 + max(one.microbatch for actions in orders for one in actions)
    home = {one.stage: device for device, actions in enumerate(orders) for one in actions}
    apart = [home.get(at) != home.get(at + 1) for at in range(count)]
    sending = [link.send(stage.sent) if link and away else 0.0 for stage, away in zip(stages, apart, strict=True)]
    blocked = 1 - link.overlap if link else 0.0  # the share of a message during which its sender computes nothing
    seconds = {kind: [stage.seconds(kind) for stage in stages] for kind in "FBIW"}
    gone: list[float | None] = [None] * (count * microbatches)  # when a microbatch is through a stage, and received
    back: list[float | None] = [None] * (count * microbatches)
    waiting: dict[tuple[bool, int], int] = {}  # (forward, place in `gone` or `back`) -> the device that needs it
    clock, busy, place = [0.0] * devices, [0.0] * devices, [0] * devices
    holding, peak, done = [0.0] * devices, [0.0] * devices, list[Span]()
    ready = list(range(devices))
    while ready:
        device = ready.pop()
        actions, now, at = orders[device], clock[device], place[device]
        while at < len(actions):
            one = actions[at]
            stage, kind, microbatch = one
            forward, own = kind == FORWARD, stage * microbatches + microbatch
            start = now
            if kind != BACKWARD_WEIGHT:
                needed, source = (own - microbatches, gone) if forward else (own + microbatches, back)
                if 0 <= needed < len(gone):
                    arrived = source[needed]
                    if arrived is None:
                        waiting[forward, needed] = device
                        break
                    start = max(now, arrived)
            now = end = start + seconds[kind][stage]
            busy[device] += end - start
            if forward:
                holding[device] += stages[stage].kept
                message = sending[stage]
                gone[own] = end + message
            else:
                message = sending[stage - 1] if stage and kind != BACKWARD_WEIGHT else 0.0
                if kind != BACKWARD_WEIGHT:
                    back[own] = end + message
            now += blocked * message
            peak[device] = max(peak[device], holding[device] + stages[stage].work)
            if kind in (BACKWARD, BACKWARD_WEIGHT):
                holding[device] -= stages[stage].kept
            if spans:
                done.append(Span(device, one, start, end))
            if kind != BACKWARD_WEIGHT and (forward, own) in waiting:
                ready.append(waiting.pop((forward, own)))
            at += 1
        clock[device], place[device] = now, at
    stuck = [orders[device][at] for device, at in enumerate(place) if at < len(orders[device])]
    if stuck:
        raise ValueError(f"The devices wait for each other for ever: {stuck[0]} has nothing to start with.")
    held, finish = [0.0] * devices, [0.0] * devices
    for number, cost in enumerate(stages):
        held[home[number]] += cost.held
        finish[home[number]] += cost.finish
    last = max(clock)
    return Simulation(
        seconds=max(one + more for one, more in zip(clock, finish, strict=True)),
        passes=last,
        bubble=1 - sum(busy) / (devices * last) if last else 0.0,
        memory=tuple(one + more for one, more in zip(held, peak, strict=True)),
        busy=tuple(busy),
        spans=tuple(done),
    )
