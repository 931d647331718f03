"""A modality, a task and a network that the package does not have, added here alone: nothing in `zoo/` is edited.

The toy takes two named columns of numbers and says a number, their weighted sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import zoo
from zoo import inputs, registry, tasks
from zoo.checks import require, short
from zoo.cli import app
from zoo.data.parquet import ParquetFiles
from zoo.data.readers import Cells, Examples, Reader
from zoo.data.splits import parts_of
from zoo.spec import Block, ModelSpec, SpecError
from zoo.train.images import ImageSet

WEIGHTS = (2.0, -1.0)
NAMES = ("height", "weight")
ROWS = [(1.0, 2.0), (3.0, 0.0), (0.0, 1.0), (-1.0, 4.0)]
TARGETS = [0.5, 6.0, -1.0, -7.0]  # the sums are 0, 6, -1, -6


@dataclass(frozen=True)
class NumberInput(inputs.Input):
    type: ClassVar[str] = "toy-numbers"
    unit: ClassVar[str] = "pairs of numbers"
    one: ClassVar[str] = "pair of numbers"
    preparer: ClassVar[str] = f"{__name__}:Prepare"
    reader: ClassVar[str] = f"{__name__}:NumberReader"
    loader: ClassVar[str] = f"{__name__}:open_rows"

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        proper = isinstance(self.columns, tuple) and len(self.columns) == 2
        require(proper and all(isinstance(one, str) for one in self.columns), f"columns {short(self.columns)}")

    @property
    def width(self) -> int:
        return len(self.columns)

    def shape(self, size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        return (self.width,)

    @property
    def brief(self) -> str:
        return " and ".join(self.columns)

    def example(self, batch: int, size: Any = None) -> Tensor:
        return torch.randn(batch, self.width, generator=torch.Generator().manual_seed(0))

    def check(self, name: str, x: Any) -> None:
        if not isinstance(x, Tensor) or x.dim() != 2 or x.shape[1] != self.width:
            raise ValueError(f"{name} takes floats (batch, {self.width}).")


class Prepare:
    def __init__(self, spec: ModelSpec, tokenizer: str) -> None:
        pass

    def __call__(self, rows: Sequence[Sequence[float]]) -> Tensor:
        batch = torch.tensor(rows, dtype=torch.float32)
        if batch.dim() != 2:
            raise ValueError("A batch is a list of rows.")
        return batch


class NumberReader(Reader):
    one = "row"

    def of_table(self, table: ParquetFiles) -> Examples:
        return Cells(table, self.spec.input.columns)

    def in_memory(self, data: Any) -> tuple[Any, Any, str, str]:
        rows, targets = data
        return rows, targets, "the rows given", "0" * 64

    def of_arguments(self, arguments: Sequence[str]) -> list[Any]:
        return [tuple(map(float, one.split(":"))) for one in arguments]


def open_rows(data: Any, input: NumberInput, *, split: str, **options: Any) -> ImageSet:  # noqa: A002
    """The split as the training loop takes it, in memory; the rows stand where a picture would."""
    table = ParquetFiles(parts_of(data)[split], str(data))
    rows = torch.tensor(list(Cells(table, input.columns)))
    targets = torch.tensor(next(zip(*Cells(table, ["label"]), strict=True)))
    return ImageSet(rows, targets, f"{data} ({split})", table.sha256())


class Errors:
    """The largest and the mean absolute error."""

    def __init__(self, metric: str, source: str) -> None:
        self._errors: list[float] = []

    def add(self, outputs: Tensor, targets: Sequence[float]) -> None:
        self._errors += (outputs[:, 0] - torch.tensor(targets)).abs().tolist()

    def figures(self) -> dict[str, float]:
        return {"mean absolute error": float(np.mean(self._errors)), "largest error": max(self._errors)}

    def per_class(self) -> dict[int, float]:
        return {}


class Said:
    def __init__(self, model: Any, output: Tensor) -> None:
        self._sum = output.item()

    def to_json(self) -> dict[str, float]:
        return {"sum": self._sum}

    def lines(self) -> Iterator[str]:
        yield f"{self._sum:g}"


TASK = tasks.Task(
    "toy-sums",
    "score",
    metrics=(tasks.Metric("mean absolute error", "", higher_is_better=False), tasks.Metric("largest error", "")),
    judge=f"{__name__}:Errors",
    targets="zoo.tasks.targets:Targets",
    loss="zoo.tasks.objectives:of_numbers",
    shown=f"{__name__}:Said",
)


def network(name: str) -> ModelSpec:
    rows = (Block("classifier", "sum", in_features=2, num_classes=1),)
    return ModelSpec(name, rows, NumberInput(NAMES), task=TASK.name)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a package that adds a modality does when it is imported."""
    monkeypatch.setitem(inputs.INPUTS, NumberInput.type, NumberInput)
    monkeypatch.setitem(tasks.TASKS, TASK.name, TASK)
    monkeypatch.setitem(registry.MODELS, "toy_sum", f"{__name__}:network")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = zoo.create("toy_sum", weights=None)
    with torch.no_grad():
        model.get_submodule("sum").fc.weight.copy_(torch.tensor([WEIGHTS]))  # type: ignore[union-attr, operator]
        model.get_submodule("sum").fc.bias.zero_()  # type: ignore[union-attr, operator]
    zoo.save(model, tmp_path / "toy")
    return tmp_path / "toy"


def told(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_it_is_listed() -> None:
    assert zoo.list_models(task="toy-sums") == ["toy_sum"]
    assert [one["name"] for one in told("list", "--task", "toy-sums")] == ["toy_sum"]
    known = zoo.info("toy_sum")
    assert (known.task, known.parameters, known.macs) == ("toy-sums", 3, 2)
    assert known.purpose == "fresh weights only: toy-sums, height and weight"


def test_it_is_built_saved_and_reloaded(folder: Path) -> None:
    spec = network("toy_sum")
    assert ModelSpec.loads(spec.dumps()) == spec and spec.to_json()["input"]["type"] == "toy-numbers"
    model = zoo.load(folder)
    assert model.spec == spec and zoo.create("toy_sum", weights=folder).spec == spec
    with torch.inference_mode():
        assert model(zoo.preprocess(model)(ROWS))[:, 0].tolist() == [0.0, 6.0, -1.0, -6.0]
    with pytest.raises(ValueError, match=r"toy_sum takes floats \(batch, 2\)"):
        model(torch.zeros(1, 3))


def test_a_hostile_file_is_refused() -> None:
    text = network("toy_sum").dumps()
    for wrong in ('["height"]', "7", '[["height"],"weight"]'):
        with pytest.raises(SpecError):
            ModelSpec.loads(text.replace('["height","weight"]', wrong))
    with pytest.raises(SpecError, match="of type 'toy-pictures'"):
        ModelSpec.loads(text.replace("toy-numbers", "toy-pictures"))


def test_it_is_evaluated(folder: Path, tmp_path: Path) -> None:
    found = zoo.evaluate(zoo.load(folder), (ROWS, TARGETS), batch_size=3)
    assert found.metrics == {"mean absolute error": 0.375, "largest error": 1.0}
    assert (found.metric, found.value, found.examples) == ("mean absolute error", 0.375, 4)
    assert "0.38 mean absolute error on 4 pairs of numbers" in repr(found)
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))
    pq.write_table(pa.table({**columns, "label": TARGETS}), tmp_path / "test.parquet")
    from_file = told("eval", folder, "--data", tmp_path / "test.parquet")
    assert from_file["metrics"] == found.metrics and from_file["value"] == 0.375
    with pytest.raises(ValueError, match="4 finite numbers"):
        zoo.evaluate(zoo.load(folder), (ROWS, [1, 2]))


def test_its_own_metric_says_what_int8_may_lose(folder: Path) -> None:
    model = zoo.load(folder)
    x, targets = zoo.preprocess(model)(ROWS), torch.tensor([0.0, 6.0, -1.0, -6.0])  # as the float network answers
    for budget, rows in ((1e-9, ["sum"]), (10.0, [])):
        made = zoo.compress(model, "int8", calibration=x, max_drop=budget, labelled=(x, targets))
        told = made.made["passes"][-1]
        assert told["keep_float"] == rows and told["chosen_by"]["drop"] <= budget
    worse = zoo.evaluate(made, (ROWS, targets.tolist())).value
    assert told["chosen_by"]["drop"] == pytest.approx(worse, abs=1e-4) and worse > 1e-3


def test_it_is_compared_by_its_own_metric(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.report.memory.peak_memory", lambda names: [None] * len(names))
    table = zoo.compare([str(folder)], data=(ROWS, TARGETS))
    assert (table.metric, table.images, table.rows[0].accuracy) == ("mean absolute error", 4, 0.375)
    assert "mean absolute error" in str(table) and "same" not in str(table).split("time")[0]


def test_it_is_fine_tuned(tmp_path: Path) -> None:
    """By the command, from a fresh network to one that adds as the examples do."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("timm")
    rows = torch.randn(256, 2, generator=torch.Generator().manual_seed(1))
    columns = {**dict(zip(NAMES, rows.T.tolist(), strict=True)), "label": (rows @ torch.tensor(WEIGHTS)).tolist()}
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        pq.write_table(pa.table(columns), tmp_path / "data" / f"{split}.parquet")
    zoo.save(zoo.create("toy_sum", weights=None), tmp_path / "fresh")
    line = ["finetune", tmp_path / "fresh", "--data", tmp_path / "data", "--epochs", 20]
    options = ["--learning-rate", 0.1, "--weight-decay", 0, "--no-bfloat16", "--threads", 1]
    done = CliRunner().invoke(app, [*map(str, (*line, *options, "--out", tmp_path / "tuned"))])
    assert done.exit_code == 0 and "validation mean absolute error" in done.output, done.output
    tuned = zoo.load(tmp_path / "tuned")
    assert zoo.evaluate(tuned, (ROWS, [0.0, 6.0, -1.0, -6.0])).value < 0.05
    assert tuned.made["trained"]["validation_mean absolute error"] < 0.05
    refused = CliRunner().invoke(app, [*map(str, line), "--mixup", "0.2", "--out", str(tmp_path / "other")])
    assert refused.exit_code == 2 and "for pictures only" in refused.output and not (tmp_path / "other").exists()


def test_it_predicts(folder: Path) -> None:
    assert [one["sum"] for one in told("predict", folder, "1:2", "3:0")["inputs"]] == [0.0, 6.0]


def test_it_is_exported_and_benchmarked(folder: Path, tmp_path: Path) -> None:
    found = zoo.bench(str(folder), runtimes=["eager"], batches=[2], seconds=0.01, memory=False)
    assert found.unit == "pairs of numbers" and found.timings[0].latency > 0
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(zoo.export(zoo.load(folder), tmp_path / "toy.onnx")))
    (answers,) = session.run(None, {"input": np.array(ROWS, dtype=np.float32)})
    assert answers[:, 0].tolist() == [0.0, 6.0, -1.0, -6.0]
    assert session.get_modelmeta().custom_metadata_map["columns"] == '["height", "weight"]'
    assert zoo.to_runtime(zoo.load(folder), "onnxruntime", cache_dir=tmp_path)(torch.tensor([ROWS[1]])).item() == 6.0
