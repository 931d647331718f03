"""How well a network continues texts: the perplexity of what comes next (Jelinek et al., 1977)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.tasks.objectives import of_next_token


class Perplexity:
    """exp of the mean cross-entropy of each token behind the first one of a piece.

    `tokens_per_character` of the whole text makes bits per character of it; 0 leaves these out.
    """

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._nats, self._tokens = 0.0, 0
        self.tokens_per_character = 0.0

    def add(self, outputs: Tensor, targets: Sequence[Any] | Tensor) -> None:
        """Scores (B, T, V) of pieces, and the pieces themselves (B, T)."""
        ids = torch.as_tensor(targets, device=outputs.device)
        count = ids[:, 1:].numel()
        self._nats += float(of_next_token(outputs.float(), ids)) * count
        self._tokens += count

    def seen(self) -> Any:
        return self._nats, self._tokens

    def join(self, seen: Any) -> None:
        self._nats += seen[0]
        self._tokens += seen[1]

    def figures(self) -> dict[str, float]:
        mean = self._nats / max(1, self._tokens)
        figures = {self._metric: math.exp(min(mean, 700.0))}
        if self.tokens_per_character:
            figures["bits per character"] = mean * self.tokens_per_character / math.log(2)
        return figures

    def per_class(self) -> dict[int, float]:
        return {}
