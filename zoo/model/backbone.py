"""A network on a backbone: the rows that both have take the backbone's weights."""

from __future__ import annotations

from itertools import takewhile

from zoo.model.build import Model, build, from_state
from zoo.model.verify import rebuildable
from zoo.spec import ModelSpec


def on_backbone(spec: ModelSpec, backbone: Model) -> Model:
    """The network of `spec`, whose first rows are those of `backbone`, with its weights there and fresh ones behind.

    Raises ValueError for a backbone that was changed by hand.
    """
    body = rebuildable(backbone, "backbone=", float32=True)
    pairs = takewhile(lambda pair: pair[0].name == pair[1].name, zip(spec, body.spec, strict=False))
    shared = {row.name for row, _ in pairs}
    given = {key: value for key, value in body.state_dict().items() if key.partition(".")[0] in shared}
    fresh = build(spec).state_dict()
    made = from_state(spec, {key: given.get(key, value).clone() for key, value in fresh.items()})
    made.made = {"backbone": {"name": body.spec.name, **({"made": body.made} if body.made else {})}}
    return made
