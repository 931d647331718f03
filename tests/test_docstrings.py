"""Public docstrings: every parameter is documented by name, and every example runs."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import zoo
from zoo import passes, tasks
from zoo.catalog.info import Info
from zoo.data.preprocess import Preprocess
from zoo.data.samples import Samples
from zoo.inputs import Feature, ImageInput, TableInput, TextInput
from zoo.model.build import Model
from zoo.model.features import FeatureInfo, Features
from zoo.parallel.processes import processes
from zoo.parallel.saving import save
from zoo.planning.plan import Plan
from zoo.planning.result import Planned
from zoo.report import memory, timing
from zoo.report.bench import Bench, Timing
from zoo.report.compare import Comparison, Row
from zoo.report.evaluate import Evaluation
from zoo.tasks import Task
from zoo.text.decoder import TextDecoder
from zoo.text.model import TextModel, TextOutput
from zoo.text.translator import Translator
from zoo.train import finetune, loop

OWN_FORM = {"compress"}  # one paragraph an argument, with its example; tests/test_passes.py runs them
ON_THE_HUB = {"push_to_hub"}  # their examples need the Hub, so they are shown without >>>
RESULTS = (Bench, Comparison, Evaluation, FeatureInfo, Features, Model, Planned, Preprocess, Row, Samples, Timing)
# what docs/ and CONTRIBUTING.md name beside the public names
NAMED = (
    Feature,
    ImageInput,
    Info,
    Plan,
    TableInput,
    Task,
    TextDecoder,
    TextInput,
    TextModel,
    TextOutput,
    finetune.finetune,
    loop.fit,
    passes.register,
    processes,
    save,
    tasks.register,
    TextDecoder.forward,
    TextDecoder.generate,
    TextDecoder.stream,
    TextModel.forward,
    Translator,
    Translator.decode,
    Translator.encode,
    Translator.forward,
    Translator.translate,
    Translator.translate_ids,
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
SECTION = re.compile(r"^(Args|Attributes):\n((?:\n| .*\n?)*)", re.MULTILINE)
ENTRY = re.compile(r"^    (\*{0,2}\w+) \(.+\): ", re.MULTILINE)


def public() -> Iterator[tuple[str, Any]]:
    """(name, value) of the public functions and classes, and of those in the public modules."""
    for name in sorted(set(zoo.__all__) - {"__version__"}):
        value = getattr(zoo, name)
        if not isinstance(value, ModuleType):
            yield name, value
        else:
            for inner, part in sorted(vars(value).items()):
                if callable(part) and not inner.startswith("_") and part.__module__.startswith(value.__name__):
                    yield f"{name}.{inner}", part


def methods(owner: type) -> Iterator[tuple[str, Any]]:
    """(name, function or property) of what the class itself defines for its users.

    A block's class docstring has the shape that `forward` takes; `forward` has its own where it takes more.
    """
    block = owner.__module__.startswith("zoo.blocks.")
    for name, value in vars(owner).items():
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        own = name == "forward" and len(parameters(value)) > 1 if block else not name.startswith("_")
        if own and (inspect.isfunction(function) or isinstance(value, property)):
            yield f"{owner.__name__}.{name}", function


def parameters(value: Any) -> list[str]:
    if isinstance(value, property):
        return []
    if inspect.isclass(value) and (issubclass(value, Exception) or value.__init__ is torch.nn.Module.__init__):
        return []
    found = inspect.signature(value).parameters.values()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(one.kind, "") + one.name for one in found if one.name not in ("self", "cls")]


PUBLIC = dict(public())
CLASSES = {*RESULTS, *(value for value in PUBLIC.values() if inspect.isclass(value))}
METHODS = dict(method for owner in sorted(CLASSES, key=lambda one: one.__name__) for method in methods(owner))
TO_DOCUMENT = {
    **PUBLIC,
    **{one.__name__: one for one in RESULTS},
    **{f"{one.__module__}.{one.__qualname__}": one for one in NAMED},
    **METHODS,
}


def documented(value: Any) -> list[str]:
    return [name for _, body in SECTION.findall(inspect.getdoc(value) or "") for name in ENTRY.findall(body + "\n")]


@pytest.mark.parametrize("name", sorted(TO_DOCUMENT.keys() - OWN_FORM))
def test_every_parameter_is_documented(name: str) -> None:
    value = TO_DOCUMENT[name]
    assert value.__doc__ and value.__doc__.strip()
    wanted, found = parameters(value), documented(value)
    if name in METHODS and not wanted:
        return
    assert [one for one in found if one in wanted] == wanted  # in the order of the signature


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - ON_THE_HUB))
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in PUBLIC[name].__doc__


@pytest.mark.parametrize("name", sorted(TO_DOCUMENT.keys() - OWN_FORM))
def test_what_raises_says_so(name: str) -> None:
    """A function whose own lines raise an error has the section."""
    value = TO_DOCUMENT[name]
    if inspect.isfunction(value) and parameters(value) and re.search(r"^ +raise \w+\(", inspect.getsource(value), re.M):
        assert re.search(r"\b[Rr]aises?\b", value.__doc__ or "")


@pytest.mark.parametrize("name", sorted(ON_THE_HUB))
def test_an_example_that_needs_the_hub_is_shown(name: str) -> None:
    doc = PUBLIC[name].__doc__
    assert "Example::" in doc and f"zoo.{name}(" in doc and ">>> " not in doc


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One round of timing, no fresh processes, and a folder to write to."""
    monkeypatch.chdir(tmp_path)
    once: Callable[..., Any] = partial(timing.median_times, rounds=(1, 1))
    monkeypatch.setattr(timing, "median_times", once)
    monkeypatch.setattr(memory, "peak_memory", lambda names, **options: [None] * len(names))


@pytest.mark.parametrize(
    "name",
    sorted(name for name, value in TO_DOCUMENT.items() if ">>> " in (value.__doc__ or "") and name not in OWN_FORM),
)
@pytest.mark.usefixtures("quick")
def test_the_examples_run(name: str) -> None:
    known = {"zoo": zoo, "torch": torch}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(TO_DOCUMENT[name]) or "", known, name, None, 0)
    torch.manual_seed(0)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    assert result.attempted and not result.failed, "".join(said)


def test_every_block_of_the_registry_is_public() -> None:
    from zoo.lazy import fetch
    from zoo.registry import BLOCKS

    floats = [fetch(where) for (_, precision), where in BLOCKS.items() if precision == "float32"]
    missing = [one.__name__ for one in floats if getattr(zoo.blocks, one.__name__, None) is not one]
    assert not missing and {one.__name__ for one in floats} <= set(zoo.blocks.__all__)
