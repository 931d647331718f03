"""Which cases of a test run in every run of the tests; the others run nightly."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def daily(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """For `parametrize`: all `cases`, of which those that are not among `kept` run nightly."""
    every = list(cases)
    gone = [case for case in kept if case not in every]
    assert not gone, f"no case is {gone}: nothing would run in its place"
    return [case if case in kept else nightly(case) for case in every]


def nightly(case: Any) -> Any:
    """A case (a tuple for several arguments) that runs nightly."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.nightly)
