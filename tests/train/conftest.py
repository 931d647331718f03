"""Pictures to train on."""

from __future__ import annotations

import pytest

from short_runs import pictures
from zoo.train.images import ImageSet


@pytest.fixture
def data() -> ImageSet:
    return pictures()
