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
    "infer_schema",
    "fuse", "to_runtime", "export", "bench", "plan", "recover", "shard_tables",
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert set(zoo.__all__) == PUBLIC
    assert set(dir(zoo)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(zoo, name)
    assert isinstance(value, ModuleType) == (name in ("blocks", "losses"))
    assert callable(value) or isinstance(value, ModuleType)


SAME = ["build", "compare", "compress", "evaluate", "preprocess", "samples"]
INSIDE = ["Model", "Comparison", "prune", "Evaluation", "ImageError", "Samples"]


def each_before_zoo_is_imported(codes: list[str]) -> None:
    script = (
        "import os, sys, torch\n"  # once; all that the lines then import is ours
        "for code in sys.argv[1:]:\n"
        "    if (child := os.fork()) == 0:\n"
        "        exec(code)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, code\n"
    )
    subprocess.run([sys.executable, "-c", script, *codes], check=True)


def test_a_module_and_a_function_of_one_name() -> None:
    """Importing the module leaves the function, and what lies in the module is imported from it."""
    each_before_zoo_is_imported(
        [
            f"import zoo, zoo.{name}; from zoo.{name} import {name} as f; assert zoo.{name} is f and callable(f)"
            for name in SAME
        ]
        + [
            f"import zoo; from zoo.{module} import {name} as a; f = zoo.{module}; "
            f"from zoo.{module} import {name} as b; assert a is b and callable(f) and zoo.{module} is f"
            for module, name in zip(SAME, INSIDE, strict=True)
        ]
    )
    assert all(isinstance(importlib.import_module(f"zoo.{name}"), ModuleType) for name in SAME)


def test_the_blocks_are_these() -> None:
    mobile = {"DepthwiseSeparable", "InvertedResidual", "SqueezeExcite"}
    residual = {"BasicBlock", "Bottleneck"}
    shared = {"ConvNormAct", "MaxPool", "GlobalPool", "Hidden", "Classifier"}
    transformer = {"Attention", "Mlp", "PatchEmbedding", "TokenEmbedding", "TransformerBlock"}
    transformer |= {"PairClassifier", "Pooler", "TokenHead", "TokenNorm", "TokenPool", "TokenProjection"}
    transformer |= {"CrossAttention", "DecoderBlock", "TargetEmbedding"}
    tables = {
        "FeatureEmbedding",
        "Wide",
        "FactorizationMachine",
        "CrossLayer",
        "FeatureGate",
        "LogitHead",
        "BilinearHead",
    }
    joins = {"Add", "AdaptiveAvgPool", "AvgPool", "Branch", "ChannelGate", "Concat", "Slice", "Upsample"}
    dense = {"DetectionHead", "GFLHead", "Predictor", "SSDHead", "SegmentationHead"}
    assert set(zoo.blocks.__all__) == mobile | residual | shared | transformer | tables | joins | dense
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
