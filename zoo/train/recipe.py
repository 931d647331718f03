"""How a network is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; kept with the weights it makes. 0 turns off what is optional."""

    epochs: int = 10
    """Times that every picture is seen."""
    batch_size: int = 64
    """Pictures that go through the network together."""
    accumulate: int = 1
    """Batches whose gradients make one step."""
    optimizer: str = "adamw"
    """Any of timm's: sgd (with Nesterov's momentum), adamw, lamb, ..."""
    learning_rate: float = 2e-3
    """At the top of the schedule."""
    momentum: float = 0.9
    """Where the optimizer has one."""
    weight_decay: float = 0.02
    """On kernels and matrices alone, not on biases and batch norm."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "cosine"
    """One cycle with cosine slopes (Smith and Topin, 2018), or warm-up and a cosine (Loshchilov and Hutter, 2017)."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of all gradients together."""
    label_smoothing: float = 0.0
    """Share of every label spread over all classes (Szegedy et al., 2016)."""
    average: float = 0.0
    """Decay of the weights' moving average, which is then what counts; 0.999, say."""
    shift: int = 4
    """Pixels that small pictures move by at most; large ones are cut at random instead."""
    mirror: bool = True
    """Whether half of the pictures are turned left to right; not for digits or text."""
    hole: int = 0
    """Side of the square cut out of every picture (Cutout: DeVries and Taylor, 2017)."""
    rand_augment: int = 0
    """Magnitude, up to 30, of two random operations on every picture (Cubuk et al., 2020); 9 is usual."""
    erasing: float = 0.0
    """Chance of a rectangle of noise (Random erasing: Zhong et al., 2020)."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al., 2018)."""
    cutmix: float = 0.0
    """Alpha of CutMix (Yun et al., 2019); with mixup, either one by turns of chance."""
    temperature: float = 4.0
    """Of soft labels; matters only where there is a teacher."""
    soft_weight: float = 0.9
    """Share of the loss that comes from the teacher; matters only where there is one."""
    recompute: bool = False
    """Compute rows again on the way back rather than keep their insides: less memory, a third more time."""
    bfloat16: bool | None = None
    """Compute in bfloat16; None: where the device has it, and not while quantization is trained."""
    seed: int = 0
    """The same recipe, data and seed give the same weights on the same machine."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            _require(name, getattr(self, name), _whole(getattr(self, name)) and getattr(self, name) >= 1, "at least 1")
        for name in ("shift", "hole"):
            _require(name, getattr(self, name), _whole(getattr(self, name)) and getattr(self, name) >= 0, "at least 0")
        magnitude = self.rand_augment
        _require("rand_augment", magnitude, _whole(magnitude) and 0 <= magnitude <= 30, "from 0 to 30")
        _require("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _require("temperature", self.temperature, self.temperature > 0, "above 0")
        for name in ("warmup", "label_smoothing", "average"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "from 0 to below 1")
        for name in ("erasing", "soft_weight", "momentum"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name in ("weight_decay", "clip", "mixup", "cutmix"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        schedules = ("one_cycle", "cosine", "constant")
        _require("schedule", self.schedule, self.schedule in schedules, f"one of {schedules}")

    def changed(self) -> dict[str, object]:
        """What differs from the defaults: how the recipe is told in a line."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(name: str, value: object, right: bool, valid: str) -> None:
    if not right:
        raise ValueError(f"{name} is {valid}, not {value!r}.")
