"""What a pass decided, as data: enough to repeat it, and to say how the weights came to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """The pass, what it chose (kept channels, edges), and the recipe it chose by; all of it JSON but `state`.

    `state` are entries of the new state that the plan has solved on data, by their keys: `carry` lays them over what it
    would carry otherwise. `dumps` refuses a decision that has some, since choices alone would not repeat it.
    """

    name: str
    choices: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)

    def dumps(self) -> str:
        if self.state:
            raise ValueError(f"This decision of {self.name!r} has solved weights, which JSON does not hold.")
        return json.dumps({"name": self.name, "choices": self.choices, "recipe": self.recipe})

    @staticmethod
    def loads(text: str) -> Decision:
        data = json.loads(text)
        return Decision(data["name"], data["choices"], data["recipe"])

    def made(self) -> dict[str, Any]:
        """The line that goes into the model's history: the recipe, without the bulk of the choices."""
        return {"pass": self.name, **self.recipe}
