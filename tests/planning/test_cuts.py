"""The split of rows into stages is the best there is, by trying all."""

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.planning import cuts

TIMES = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=8)


@given(times=TIMES, carried=st.lists(st.floats(0.0, 5.0), min_size=9, max_size=9), stages=st.integers(1, 5),
       room=st.integers(1, 6))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_split_is_better(times: list[float], carried: list[float], stages: int, room: int) -> None:
    """With messages that cost time, and room for few rows, less of it in early stages."""
    rows = len(times)

    def cost(stage: int, first: int, last: int) -> float:
        if last - first > room + stage:
            return math.inf
        return sum(times[first:last]) + (carried[first] if first else 0) + (carried[last] if last < rows else 0)

    def worst(split: cuts.Cuts) -> float:
        return max(cost(stage, *ends) for stage, ends in enumerate(cuts.spans(split, rows)))

    tried = [worst(split) for split in combinations(range(1, rows), stages - 1)]
    found = cuts.best(rows, stages, cost, lambda first, last: sum(times[first:last]) - 1e-9)
    if found is None:
        assert not tried or math.isinf(min(tried))
    else:
        assert len(found) == stages - 1
        assert worst(found) == pytest.approx(min(tried))
        assert worst(found) <= worst(cuts.even([1.0] * rows, stages)) + 1e-9


def test_equal_rows_are_split_equally() -> None:
    assert cuts.even([1.0] * 12, 4) == (3, 6, 9)
    assert cuts.even([4, 1, 1, 1, 1], 2) == (1,)
    with pytest.raises(ValueError, match="3 rows make no 4 stages"):
        cuts.even([1.0] * 3, 4)


def test_of_equally_slow_splits_the_one_that_sends_less_is_taken() -> None:
    sent = [0, 3, 1, 3, 0]
    assert cuts.best(4, 2, lambda stage, first, last: sent[first] if stage else 10.0) == (2,)
    late = [0, 2, 1, 5, 9, 0]  # the third stage is the slowest, whatever the first two are
    found = cuts.best(5, 3, lambda stage, first, last: (0.0, late[first], 12.0)[stage])
    assert found and found[0] == 2
