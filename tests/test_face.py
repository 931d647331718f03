"""The public surface, pinned."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
import torch.nn as nn

import zoo

PUBLIC = {
    "__version__",
    "create", "list_models", "info", "compress", "prepare_qat", "save", "load", "evaluate", "compare", "preprocess",
    "samples", "build", "edit", "blocks", "losses", "Sparsifier", "ModelSpec", "Block", "Name", "parse_name",
    "SpecError",
    "UnknownName", "FileError", "adopt", "AdoptionError", "push_to_hub", "HubError",
    "fuse", "to_runtime", "export", "bench",
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert set(zoo.__all__) == PUBLIC
    assert set(dir(zoo)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(zoo, name)
    assert isinstance(value, ModuleType) == (name in ("blocks", "losses"))
    assert callable(value) or isinstance(value, ModuleType)


@pytest.mark.parametrize("name", ["build", "compare", "compress", "evaluate", "preprocess", "samples"])
def test_importing_a_module_of_the_same_name_leaves_the_function(name: str) -> None:
    code = f"import zoo, zoo.{name}; from zoo.{name} import {name} as f; assert zoo.{name} is f and callable(f)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert isinstance(importlib.import_module(f"zoo.{name}"), ModuleType)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("build", "Model"),
        ("compare", "Comparison"),
        ("compress", "prune"),
        ("evaluate", "Evaluation"),
        ("preprocess", "ImageError"),
        ("samples", "Samples"),
    ],
)
def test_what_lies_in_a_module_of_a_public_name_is_imported_from_it(module: str, name: str) -> None:
    code = f"import zoo; from zoo.{module} import {name} as a; f = zoo.{module}; from zoo.{module} import {name} as b; "
    subprocess.run([sys.executable, "-c", f"{code}assert a is b and callable(f) and zoo.{module} is f"], check=True)


def test_the_blocks_are_these() -> None:
    mobile = {"DepthwiseSeparable", "InvertedResidual", "SqueezeExcite"}
    residual = {"BasicBlock", "Bottleneck"}
    shared = {"ConvNormAct", "MaxPool", "GlobalPool", "Hidden", "Classifier"}
    transformer = {"Attention", "Mlp", "PatchEmbedding", "TokenEmbedding", "TransformerBlock"}
    transformer |= {"PairClassifier", "Pooler", "TokenHead", "TokenNorm", "TokenPool"}
    assert set(zoo.blocks.__all__) == mobile | residual | shared | transformer
    assert all(issubclass(getattr(zoo.blocks, kind), nn.Module) for kind in zoo.blocks.__all__)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="'zoo' has no attribute 'nothing'"):
        _ = zoo.nothing  # type: ignore[attr-defined]


def test_every_public_name_is_seen_by_type_checkers() -> None:
    source = importlib.import_module("inspect").getsource(zoo)
    block = source[source.index("if TYPE_CHECKING:") : source.index("_PUBLIC = {")]
    assert {line.split()[-1] for line in block.replace("  # noqa: F401", "").splitlines() if " as " in line} == (
        PUBLIC - {"__version__"}
    )
