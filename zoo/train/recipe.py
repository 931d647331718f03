"""How a network is trained, as data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Literal

from zoo.checks import MAX_SEED, MOST
from zoo.passes.options import option

OF_PAIRS = ("scale_jitter", "color_jitter")  # augmentation of pictures with masks or boxes
OF_CLASSES = ("shift", "hole", "rand_augment", "erasing", "mixup", "cutmix")  # and of pictures with a class
INSIDE = ("feature_weight", "feature_rows", "attention_weight", "attention_rows")  # of a teacher
OF_TEACHERS = ("temperature", "soft_weight", "targets", *INSIDE)
LATER = ("targets", *INSIDE)  # runs of earlier releases, which lack these, go on
OF_PICTURES = ("mirror", *OF_CLASSES, *OF_PAIRS)
OF_TEXTS = ("token_masking", "ngram_sampling")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. It is saved with the weights. 0 turns an optional setting off."""

    epochs: int = option(10, "Number of times that each picture is used.")
    batch_size: int = option(64, "Examples in a batch.")
    accumulate: int = option(1, "Number of batches whose gradients make one step.")
    optimizer: str = option("adamw", "Any optimiser of timm: sgd (with Nesterov's momentum), adamw, lamb, ...")
    learning_rate: float = option(2e-3, "The highest learning rate of the schedule.")
    momentum: float = option(0.9, "The optimiser's momentum, if it has one.")
    weight_decay: float = option(0.02, "Weight decay of kernels and matrices. Biases and batch norm have none.")
    schedule: Literal["one_cycle", "cosine", "constant"] = option(
        "cosine",
        "one_cycle: cosine slopes (Smith and Topin, 2018). cosine: after a warm-up (Loshchilov and Hutter, 2017).",
    )
    warmup: float = option(0.1, "Share of the steps in which the learning rate rises.")
    clip: float = option(1.0, "Largest norm of all gradients together; larger ones are scaled down.")
    label_smoothing: float = option(0.0, "Share of every label that is spread over all classes (Szegedy et al., 2016).")
    average: float = option(0.0, "Decay of the weights' moving average, which becomes the result. 0.999 is usual.")
    shift: int = option(
        4, "Largest random shift of small pictures, in pixels. Large pictures are cropped at random instead."
    )
    mirror: bool = option(True, "Mirror half of the pictures left to right. Turn it off for digits and text.")
    hole: int = option(
        0, "Side of the square that is cut out of every picture, in pixels (Cutout: DeVries and Taylor, 2017)."
    )
    rand_augment: int = option(
        0, "Magnitude, up to 30, of two random operations on every picture (Cubuk et al., 2020); 9 is usual."
    )
    erasing: float = option(
        0.0, "Probability of a rectangle of noise in a picture (Random erasing: Zhong et al., 2020)."
    )
    mixup: float = option(0.0, "Alpha of mixup (Zhang et al., 2018).")
    cutmix: float = option(
        0.0, "Alpha of CutMix (Yun et al., 2019). With mixup too, each batch gets one of the two at random."
    )
    scale_jitter: float = option(
        2.0, "Pictures with masks or boxes are resized at random, by 1 / this to this, and cut. 1 cuts nothing."
    )
    color_jitter: float = option(
        0.3, "Strength, up to 1, of random brightness, contrast and saturation of pictures with masks or boxes."
    )
    token_masking: float = option(
        0.0, "Share of a text's tokens that become the mask token, for a teacher to answer (Tang et al., 2019)."
    )
    ngram_sampling: float = option(
        0.0, "Share of the texts that are cut to a random part, for a teacher to answer (Tang et al., 2019)."
    )
    temperature: float = option(4.0, "Temperature of the teacher's soft labels. Used only with a teacher.")
    soft_weight: float = option(0.9, "Share of the loss that comes from the teacher. Used only with a teacher.")
    targets: Literal["data", "teacher", "both"] = option(
        "data",
        "Translations that are learned: the data's, the teacher's, which are made once, with beams (sequence-level "
        "distillation: Kim and Rush, 2016), or both. Other than data, for translation with one teacher.",
    )
    feature_weight: float = option(
        0.0,
        "Weight of the distance between the teacher's hidden maps (FitNets: Romero et al., 2015) or hidden states "
        "(TinyBERT: Jiao et al., 2020) and the student's, added to the loss; 0.5 to 2 is usual. For networks of "
        "pictures and Transformers with a teacher.",
    )
    feature_rows: str = option(
        "",
        "Rows that are compared, separated by commas, as row or row=row_of_the_teacher, such as h0=h2,h1=h5. Default: "
        "the last map of every resolution that both networks have; of Transformers the embedding and every block, with "
        "the teacher's block as deep. Used only with feature_weight.",
    )
    attention_weight: float = option(
        0.0,
        "Weight of the distance between the relations among queries, keys and values of student and teacher, added to "
        "the loss (MiniLMv2: Wang et al., 2021); any widths and heads. 1 is usual. For Transformers with a teacher.",
    )
    attention_rows: str = option(
        "",
        "Blocks whose relations are compared, as feature_rows has them. Default: the last block of both networks. Used "
        "only with attention_weight.",
    )
    freeze: int = option(
        0, "Number of rows, from the first, whose weights and statistics stay as they are: quicker steps, less memory."
    )
    recompute: bool = option(
        False,
        "Compute rows again in the backward pass instead of keeping their activations: less memory, a third more time.",
    )
    bfloat16: bool | None = option(
        None,
        "Compute in bfloat16. Not given: on where it is quicker, and off in quantization-aware training.",
    )
    seed: int = option(0, "The same recipe, data and seed give the same weights on the same machine.")

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            _require(one.name, value, not isinstance(value, float) or math.isfinite(value), "a finite number")
        for name in ("epochs", "batch_size", "accumulate"):
            _require(
                name,
                getattr(self, name),
                _whole(getattr(self, name)) and 1 <= getattr(self, name) <= MOST,
                f"from 1 to {MOST:,}",
            )
        for name in ("shift", "hole", "freeze"):
            _require(
                name,
                getattr(self, name),
                _whole(getattr(self, name)) and 0 <= getattr(self, name) <= MOST,
                f"from 0 to {MOST:,}",
            )
        _require("seed", self.seed, _whole(self.seed) and 0 <= self.seed <= MAX_SEED, f"from 0 to {MAX_SEED}")
        magnitude = self.rand_augment
        _require("rand_augment", magnitude, _whole(magnitude) and 0 <= magnitude <= 30, "from 0 to 30")
        _require("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _require("temperature", self.temperature, self.temperature > 0, "above 0")
        for name in ("warmup", "label_smoothing", "average"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "from 0 to below 1")
        _require("scale_jitter", self.scale_jitter, 1 <= self.scale_jitter <= 100, "from 1 to 100")
        for name in ("token_masking", "ngram_sampling", "erasing", "soft_weight", "momentum", "color_jitter"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name in ("weight_decay", "clip", "mixup", "cutmix", "feature_weight", "attention_weight"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        for name in ("feature_rows", "attention_rows"):
            right = isinstance(getattr(self, name), str)
            _require(name, getattr(self, name), right, "names of rows, separated by commas")
        whose = ("data", "teacher", "both")
        _require("targets", self.targets, self.targets in whose, f"one of {whose}")
        schedules = ("one_cycle", "cosine", "constant")
        _require("schedule", self.schedule, self.schedule in schedules, f"one of {schedules}")

    def check_used(self, *, teacher: bool, shifts: bool = True) -> None:
        """Raise ValueError for a setting that a training without a `teacher`, or one that `shifts` nothing, ignores."""
        changed = self.changed()
        if not teacher and (idle := [f"{name}=" for name in OF_TEACHERS if name in changed]):
            raise ValueError(f"{' and '.join(idle)} {'needs' if len(idle) == 1 else 'need'} a teacher.")
        if not teacher and (idle := [f"{name}=" for name in OF_TEXTS if name in changed]):
            raise ValueError(f"{' and '.join(idle)}: a text that is changed needs a teacher to answer it.")
        for what in ("feature", "attention"):
            if f"{what}_rows" in changed and f"{what}_weight" not in changed:
                raise ValueError(f"{what}_rows= names rows that are compared only with a {what}_weight= above 0.")
        if "momentum" in changed and not _has_momentum(self.optimizer):
            raise ValueError(f"momentum= is for an optimizer that has one, such as sgd; {self.optimizer} has none.")
        if not shifts and self.shift and "shift" in changed:
            raise ValueError("shift= is for pictures that fit in memory; larger ones are cut at random instead.")

    def identity(self) -> dict[str, object]:
        """What distinguishes a run from others. Runs of earlier releases, which lack the later settings, go on."""
        changed = self.changed()
        return {name: value for name, value in asdict(self).items() if name not in LATER or name in changed}

    def changed(self) -> dict[str, object]:
        """The settings that differ from their defaults, for a short description."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def _has_momentum(optimizer: str) -> bool:
    """Of an optimiser that timm does not know, too: that is refused where it is made."""
    from timm.optim import get_optimizer_info, list_optimizers

    name = optimizer.lower()
    return name not in list_optimizers() or get_optimizer_info(name).has_momentum


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(name: str, value: object, right: bool, valid: str) -> None:
    if not right:
        raise ValueError(f"{name}= is {valid}, not {value!r}.")
