"""What networks answer, as data: a `Task` a kind of answer. Names are those of Hugging Face, where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo import kinds
from zoo.lazy import fetch
from zoo.spec import ModelSpec

CLASSES = "zoo.tasks.targets:Classes"


@dataclass(frozen=True)
class Metric:
    """A figure by its name, with the unit that stands behind its value."""

    name: str
    unit: str = "%"


@dataclass(frozen=True)
class Task:
    """One kind of answer. What needs torch stands as "module:attribute"; `fetch` imports it.

    `outputs` says what the numbers of the main output are: "probability" (by a `softmax` or a `sigmoid`), "score",
    "features". `metrics` are what `zoo.evaluate` measures, the main one first; without any it cannot. `models` has the
    types of inputs whose networks can do more for this task than the class that the input names.
    """

    name: str
    outputs: str
    activation: str = ""  # from logits to probabilities
    usual: str = ""  # the task that stands for it where other libraries list networks
    metrics: tuple[Metric, ...] = ()
    judge: str = ""  # (metric, source) -> zoo.tasks.metrics.Judge
    targets: str = ""  # (model) -> zoo.tasks.targets.Targets: what stands beside the examples
    loss: str = ""  # (outputs, targets, label_smoothing=) -> scalar
    shown: str = ""  # (model, main output of one example) -> what a person reads: zoo.tasks.answers.Shown
    chooses: bool = False  # the largest output is the answer, so that two networks can agree
    continues: bool = False  # its answers go on where the input ends
    models: Mapping[str, str] = field(default_factory=dict, hash=False)  # type of input -> class of the network's call

    def __post_init__(self) -> None:
        object.__setattr__(self, "usual", self.usual or self.name)

    @property
    def has_classes(self) -> bool:
        """Whether each output stands for a class, which may have a label."""
        return self.targets == CLASSES

    def fetch(self, part: str) -> Any:
        """The object that stands under the name `part`: "loss", "judge" ...; raises ValueError where there is none."""
        if not (target := getattr(self, part)):
            raise ValueError(f"A network for {self.name} has no {part}: give it a head (num_classes=).")
        return fetch(target)


TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known by its name; raises ValueError where another one has it."""
    if TASKS.setdefault(task.name, task) != task:
        raise ValueError(f"There is another task {task.name!r} already.")
    return task


def of(spec: ModelSpec) -> Task:
    """The task of a spec: by its name, else (in files of others and of earlier versions) by its input and its head."""
    if spec.task in TASKS:
        return TASKS[spec.task]
    if kinds.classes(spec) and (named := f"{spec.input.type}-classification") in TASKS:
        return TASKS[named]
    return TASKS["token-classification" if kinds.outputs(spec) and spec.input.ids else "feature-extraction"]


def model_class(spec: ModelSpec) -> Any:
    """The class of the network's call: that of the task for such an input, else that of the input."""
    special = of(spec).models.get(spec.input.type)
    return fetch(special) if special else spec.input.fetch("model")


def _classifying(name: str, metric: str) -> None:
    """The task itself, that of several labels at once, and that of scores without bounds, which other tools lack."""
    one = {
        "metrics": (Metric(metric),),
        "judge": "zoo.tasks.metrics:Accuracy",
        "targets": CLASSES,
        "shown": "zoo.tasks.answers:Top",
    }
    loss = "zoo.tasks.objectives:of_classes"
    register(Task(name, "probability", "softmax", loss=loss, chooses=True, **one))  # type: ignore[arg-type]
    several = f"multi-label-{name}"
    register(Task(several, "probability", "sigmoid", usual=name, loss=loss, chooses=True, **one))  # type: ignore[arg-type]
    scoring = name.replace("classification", "scoring")
    register(Task(scoring, "score", usual=name, loss=loss, **one))  # type: ignore[arg-type]


_classifying("image-classification", "top-1 accuracy")
_classifying("text-classification", "accuracy")
register(Task("token-classification", "probability", "softmax", loss="zoo.tasks.objectives:of_tokens", chooses=True))
register(Task("question-answering", "probability", "softmax", loss="zoo.tasks.objectives:of_tokens"))
register(
    Task(
        "text-generation",
        "probability",
        "softmax",
        loss="zoo.tasks.objectives:of_next_token",
        continues=True,
        models={"text": "zoo.text.decoder:TextDecoder"},
    )
)
register(Task("feature-extraction", "features"))
register(Task("sentence-similarity", "features"))
