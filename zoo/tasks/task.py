"""What is known of one kind of answer: a `Task`, and the `Metric`s that measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.lazy import fetch

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = "zoo.tasks.targets:Classes"


@dataclass(frozen=True)
class Metric:
    """A figure by its name, with the unit that stands behind its value, and the name that the Hub has for it."""

    name: str
    unit: str = "%"
    higher_is_better: bool = True
    hub: str = "accuracy"

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`."""
        return before - after if self.higher_is_better else after - before


@dataclass(frozen=True)
class Task:
    """One kind of answer. Parts that need torch are named as "module:attribute"; `fetch` imports them.

    Args:
        name (str): the value of `ModelSpec.task`: Hugging Face's name for the task, where it has one.
        outputs (str): what the numbers of the main output are: "probability", "score" or "features".
        activation (str): from logits to probabilities: "softmax" or "sigmoid". Default: empty, none.
        usual (str): the task under which other libraries list such networks. Default: empty, `name`.
        metrics (tuple[Metric, ...]): what `zoo.evaluate` measures, the main one first. Default: none; `zoo.evaluate`
            then raises ValueError.
        judge (str): the class that computes the metrics, (metric, source) -> `zoo.tasks.metrics.Judge`. Default: empty.
        targets (str): the class that reads targets, (model) -> `zoo.tasks.targets.Targets`. Default: empty.
        loss (str): the loss, (outputs, targets, *, label_smoothing) -> scalar. Default: empty.
        layout (str): the scores and classes that a loss compares, (outputs, targets) -> (scores (P, K), classes), of
            the positions that count. Default: empty; the network then has no soft labels to learn from.
        texts (str): what makes training examples of texts, (opened, classes) -> `zoo.train.texts.TextSet`. Default:
            empty; texts are not trained on.
        taught (str): what gives training data a teacher's answers for targets, (data, teachers, recipe, log) -> data.
            Default: empty.
        files (tuple[str, ...]): what the names of files end in that hold examples, beside those of the input. Default:
            none.
        shown (str): what shows an answer, (model, output of one example) -> `zoo.tasks.answers.Shown`. Default: empty.
        answered (str): what answers one raw input, where it takes more than the output for it, (model, input) ->
            `zoo.tasks.answers.Shown`. Default: empty.
        predicted (str): what makes the answers that the judge sees of raw inputs, (model, inputs) -> a sequence.
            Default: empty, the judge sees main outputs.
        verbs (Mapping[str, str]): methods of such a network of texts: name -> the function, (model, ...). Default:
            empty.
        columns (tuple[tuple[str, ...], ...]): well-known columns of tables with the examples, where the input's do not
            do. Default: empty.
        chooses (bool): whether the largest output is the answer, so that two networks can agree. Default: False.
        alike (str): what counts how much of their answers two networks share where no largest output is the answer,
            (answers, other answers) -> (shared, all), for a batch. Default: empty.
        continues (bool): whether an answer continues the input. Default: False.
        binary (bool): whether the output is one logit, of yes against no. Default: False.
        pixels (bool): whether every pixel of a picture is answered for: outputs are (B, K, H, W). Default: False.
        pairs (str): how pictures with targets of their pixels are found, a `zoo.data.pairs.PairData`. Default: empty,
            examples are found as the input says.
        batch (int): how many examples are evaluated together. Default: 0, as many as the input says.
        objective (str): what a step of training minimises, (model, recipe, teacher) -> `zoo.train.objective.Objective`,
            where it is more than a loss of outputs and targets. Default: empty.
        objects (bool): whether objects are found, so that outputs are numbers of boxes, (B, N, ...). Default: False.
        signature (str): what goes in and comes out of an export, where it is not what the input says. Default: empty.
        runner (str): the call in another runtime, where it is not the one of the input. Default: empty.
        models (Mapping[str, str]): type of input -> model class, where it is not the one that the input names.
            Default: empty.

    Example:
        >>> from zoo import tasks
        >>> tasks.of(zoo.create("mobilenet").spec).metrics[0].name
        'top-1 accuracy'
    """

    name: str
    outputs: str
    activation: str = ""
    usual: str = ""
    metrics: tuple[Metric, ...] = ()
    judge: str = ""
    targets: str = ""
    loss: str = ""
    layout: str = ""
    texts: str = ""
    taught: str = ""
    files: tuple[str, ...] = ()
    shown: str = ""
    answered: str = ""
    predicted: str = ""
    verbs: Mapping[str, str] = field(default_factory=dict, hash=False)
    columns: tuple[tuple[str, ...], ...] = ()
    chooses: bool = False
    alike: str = ""
    continues: bool = False
    binary: bool = False
    pixels: bool = False
    pairs: str = ""
    batch: int = 0
    objective: str = ""
    objects: bool = False
    signature: str = ""
    runner: str = ""
    models: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "usual", self.usual or self.name)

    @property
    def agrees(self) -> bool:
        """Whether two networks can give the same answer; others are compared by their distance."""
        return self.chooses or bool(self.alike)

    @property
    def has_classes(self) -> bool:
        """Whether each output stands for a class, which may have a label."""
        return self.targets == CLASSES

    def scores(self, outputs: Tensor) -> Tensor:
        """Scores (positions, K) of outputs: (B, K) for examples, (B, N, K) for tokens, (B, K, H, W) for pixels."""
        return (outputs.movedim(1, -1) if self.pixels else outputs).flatten(0, -2)

    def fetch(self, part: str) -> Any:
        """Import a part of the task.

        Args:
            part (str): the field that names the part: "judge", "targets", "loss", "shown" or "pairs".

        Returns:
            Any: the class or function.

        Raises:
            ValueError: the task has no such part.
        """
        if part == "layout" and not self.layout:
            raise ValueError(f"A network for {self.name} has no classes, and a teacher's soft labels are over classes.")
        if not (target := getattr(self, part)):
            raise ValueError(f"A network for {self.name} has no {part}: give it a head (num_classes=).")
        return fetch(target)
