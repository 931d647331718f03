"""The main figure of a network's task on labelled examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo import tasks
from zoo.model.answer import answer, to_device
from zoo.model.build import Model
from zoo.parallel.strategy import Strategy
from zoo.train.pictures import Pictures


def accuracy(model: Model, data: Pictures, strategy: Strategy | None = None) -> float:
    """The main figure of the network's task on `data`; for a classifier the accuracy in percent.

    With a `strategy` of several processes, each of them answers some batches, and all get the figure.
    """
    was_training = model.training
    model.eval()
    device = next(iter(model.state_dict().values())).device
    batches = tasks.batches(model.spec)(model)
    task = tasks.of(model.spec)
    judge = task.fetch("judge")(task.metrics[0].name, data.source)
    count = len(data.examples) if task.predicted else len(data)  # type: ignore[attr-defined]
    parts = torch.arange(count).split(tasks.batch_of(model.spec))

    def predict(judge: Any, numbers: Sequence[int]) -> None:  # answers of raw examples are judged
        chosen = torch.cat([parts[number] for number in numbers]).tolist() if numbers else []
        examples, wanted = ([getattr(data, name)[one] for one in chosen] for name in ("examples", "references"))
        if chosen:
            judge.add(task.fetch("predicted")(model, examples), wanted)

    def add(judge: Any, numbers: Sequence[int]) -> None:
        with torch.inference_mode():
            for images, labels in data.stream([parts[number] for number in numbers], 0):
                found = answer(model, to_device(batches.inputs(images), device))
                judge.add(found, labels.tolist() if isinstance(labels, Tensor) and labels.dim() == 1 else labels)

    (strategy or Strategy()).judged(judge, predict if task.predicted else add, len(parts))
    model.train(was_training)
    return float(judge.figures()[task.metrics[0].name])
