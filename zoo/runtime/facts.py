"""What an exported file says of its network: enough to prepare inputs and to read answers."""

from __future__ import annotations

import json
from typing import Any

import zoo
from zoo.model.build import Model


def facts(model: Model) -> dict[str, str]:
    """Texts by name: `name`, `task`, `zoo_version`, `labels` where they are known, and how inputs are prepared.

    What is no text is JSON. Of pictures: `size` [height, width], `color_order`, `interpolation`, `crop` (the short
    side is resized to size / crop, and the middle is cut out), `squash` (both sides are resized), `mean` and `std` of
    values from 0 to 1. Of texts: `length`, `vocabulary`, `padding` and `ends`, the tokens that end a text.
    """
    said: dict[str, Any] = {"name": model.spec.name, "task": model.spec.task, "zoo_version": zoo.__version__}
    if model.labels:
        said["labels"] = model.labels
    said |= model.spec.input.facts()
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
