"""How many channels leave where: least loss for the budget, by one price for all multiply-accumulates or parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zoo import kinds
from zoo.passes.damage import LEAST, Loss
from zoo.passes.groups import Group, narrowed
from zoo.spec import ModelSpec

TURNS = 3
HALVINGS = 14
DEAREST = 1e6  # damage for one multiply-accumulate

Widths = dict[str, int]


def allotted(
    spec: ModelSpec,
    groups: Sequence[Group],
    losses: Mapping[str, Loss],
    without: Sequence[tuple[list[str], float]],
    widths: Mapping[str, Sequence[int]],
    measure: str,
    budget: float,
) -> tuple[Widths, list[str]]:
    """(group -> width, blocks that leave) for `budget`, a share of the network's "macs" or "parameters".

    `widths` are those that each group may have, `without` sets of blocks and what is lost with each, none at first.
    With each set the widths are found that keep the budget; the set is taken with which least is lost in all.
    Raises ValueError for a budget out of reach.
    """
    allowed = budget * getattr(kinds.cost(spec), measure)
    best: tuple[float, Widths, list[str]] | None = None
    for gone, lost in without:
        if best and lost >= best[0]:
            continue
        left = spec.replace(rows=tuple(row for row in spec if row.name not in gone))
        names = {row.name for row in left}
        here = [group for group in groups if any(row in names for row, _ in group.members)]
        found = _within(left, here, losses, widths, measure, allowed)
        if found is None:
            continue
        lost += sum(losses[group.name].lost[group.size - found[group.name]] for group in here)
        if best is None or lost < best[0]:
            best = (lost, {**{group.name: group.size for group in groups}, **found}, gone)
    if best is None:
        raise ValueError(
            f"{spec.name} cannot be pruned to {budget:.0%} of its {measure}; keep_at_least stands against it."
        )
    return best[1], best[2]


def _within(
    spec: ModelSpec,
    groups: Sequence[Group],
    losses: Mapping[str, Loss],
    options: Mapping[str, Sequence[int]],
    measure: str,
    allowed: float,
) -> Widths | None:
    """The widths of least loss that cost no more than `allowed`; None where there are none.

    What a channel costs depends on the widths of other groups, so costs and widths are found in turns.
    """

    def cost(widths: Widths) -> float:
        return float(getattr(kinds.cost(narrowed(spec, widths)), measure))

    widths = {group.name: group.size for group in groups}
    if cost(widths) <= allowed:
        return widths
    if cost({group.name: min(options[group.name]) for group in groups}) > allowed:
        return None
    best: tuple[float, Widths] | None = None
    for _ in range(TURNS):
        prices = {group.name: _price(group, widths, options[group.name], cost) for group in groups}

        def at(price: float, prices: Mapping[str, float] = prices) -> Widths:
            return {
                group.name: min(
                    options[group.name],
                    key=lambda width, group=group: (  # type: ignore[misc]
                        losses[group.name].lost[group.size - width] + price * prices[group.name] * width
                    ),
                )
                for group in groups
            }

        low, high = 0.0, LEAST / allowed
        while cost(at(high)) > allowed and high < DEAREST:
            low, high = high, 8 * high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if cost(at(middle)) <= allowed else (middle, high)
        widths = at(high)
        lost = sum(losses[group.name].lost[group.size - widths[group.name]] for group in groups)
        if cost(widths) <= allowed and (best is None or lost < best[0]):
            best = (lost, widths)
    return best[1] if best else None


def _price(group: Group, widths: Widths, options: Sequence[int], cost: Callable[[Widths], float]) -> float:
    """What one channel of the group costs beside the `widths` of the others."""
    now = widths[group.name]
    other = min(options) if now > min(options) else max(options)
    return (cost({**widths, group.name: other}) - cost(widths)) / (other - now) if other != now else 0.0
