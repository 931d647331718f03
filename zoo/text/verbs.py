"""What networks of texts do with plain strings: a method for each task, such as `answer`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from zoo import kinds, tasks
from zoo.lazy import fetch


class NoVerb(AttributeError, ValueError):
    """A network is asked for a method of another task."""


def bound(model: Any, name: str) -> Any:
    """The method `name` of the network; raises NoVerb where its task has no such method."""
    task = tasks.of(model.spec)
    if name not in task.verbs or not kinds.head(model.spec):
        others = ", ".join(tasks.VERBS[name])
        own = f" It has {', '.join(f'{one}()' for one in task.verbs)}." if task.verbs else ""
        raise NoVerb(f"{model.spec.name} is for {model.spec.task} and has no {name}(), which is for {others}.{own}")
    return MethodType(fetch(task.verbs[name]), model)


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Eval mode while open."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def check_count(name: str, value: Any) -> None:
    """Raise ValueError unless it is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}= is a whole number above 0, not {value!r}.")
