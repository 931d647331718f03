"""The task of recommenders, yes or no by one logit: its loss, its figures against scikit-learn's, and its targets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo import tasks
from zoo.inputs import Feature, TableInput
from zoo.model.build import Model
from zoo.spec import Block, ModelSpec
from zoo.tasks.binary import BinaryMetrics
from zoo.tasks.objectives import of_binary

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("torchmetrics")

INPUT = TableInput((Feature("height", "numeric"), Feature("weight", "numeric", mean=2.0)))
TASK = tasks.TASKS["tabular-classification"]


def model() -> Model:
    """height - 2 * (weight - 2), of columns (there, height, there, weight - 2)."""
    rows = (Block("classifier", "sum", in_features=4, num_classes=1),)
    made = zoo.build(ModelSpec("sums", rows, INPUT, task=TASK.name)).double()
    with torch.no_grad():
        made.get_submodule("sum").fc.weight.copy_(torch.tensor([[0.0, 1.0, 0.0, -2.0]]))  # type: ignore[union-attr, operator]
        made.get_submodule("sum").fc.bias.zero_()  # type: ignore[union-attr, operator]
    return made


def table(rows: int = 300) -> dict[str, list[float]]:
    """With answers that are often right, and with ties."""
    generator = torch.Generator().manual_seed(1)
    height, weight = (torch.randn(2, rows, generator=generator) * 3).round()
    label = (height - 2 * (weight - 2) + 8 * torch.randn(rows, generator=generator) > 0).long()
    return {"height": height.tolist(), "weight": weight.tolist(), "label": label.tolist(), "name": ["x"] * rows}


def logits(given: dict[str, list[float]]) -> Tensor:
    return torch.tensor(given["height"]).double() - 2 * (torch.tensor(given["weight"]).double() - 2)


def test_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    given = table()
    expected = {
        "AUC": 100 * metrics.roc_auc_score(given["label"], logits(given)),
        "log loss": metrics.log_loss(given["label"], logits(given).sigmoid()),
    }
    rows = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    pq.write_table(pa.table(given), tmp_path / "test.parquet", row_group_size=70)
    frame = pytest.importorskip("pandas").DataFrame(given)
    for data in (tmp_path / "test.parquet", (given, given["label"]), (rows, given["label"]), (frame, frame["label"])):
        found = zoo.evaluate(model(), data, batch_size=64)
        assert found.metrics == pytest.approx(expected, rel=1e-6) and found.value == found.metrics["AUC"]
        assert (found.metric, found.examples, found.skipped, found.per_class) == ("AUC", 300, (), {})
    assert "AUC on 300 rows of" in repr(found)


def test_auc_tells_close_logits_apart() -> None:
    """In float32 the probabilities of these would be one."""
    judge = BinaryMetrics("AUC", "here")
    judge.add(torch.tensor([[40.0], [40.000004], [50.0], [60.0]]), [0, 1, 0, 1])
    assert judge.figures()["AUC"] == 75.0


def test_auc_needs_both_classes() -> None:
    with pytest.raises(ValueError, match=r"has label 1 alone, so there is no AUC\."):
        zoo.evaluate(model(), ({"height": [1.0, 2.0], "weight": [1.0, 2.0]}, [1, 1]))


def test_the_loss_is_binary_cross_entropy() -> None:
    x, y = torch.tensor([[0.3], [-2.0]]), torch.tensor([1, 0])
    p = x.flatten().sigmoid().tolist()
    assert of_binary(x, y).item() == pytest.approx(-(math.log(p[0]) + math.log(1 - p[1])) / 2)
    smooth = (
        -(0.95 * math.log(p[0]) + 0.05 * math.log(1 - p[0]) + 0.05 * math.log(p[1]) + 0.95 * math.log(1 - p[1])) / 2
    )
    assert of_binary(x[:, 0], y, label_smoothing=0.1).item() == pytest.approx(smooth)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 2], "label 2 in row 1; labels are 0 and 1"),
        ([0, 0.5], r"label 0\.5 in row 1"),
        ([None, 1], "no label in row 0"),
        ([0, 1, 1], "labels are 2 numbers"),
        (["no", "yes"], "labels are 2 numbers"),
    ],
)
def test_other_labels_are_refused(tmp_path: Path, labels: list[Any], said: str) -> None:
    given = {"height": [1.0, 2.0], "weight": [1.0, 2.0]}
    with pytest.raises(ValueError, match=said):
        zoo.evaluate(model(), (given, labels))
    if len(labels) == 2:
        pq.write_table(pa.table({**given, "clicked": labels}), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match="labels are 0 and 1"):
            zoo.evaluate(model(), tmp_path / "a.parquet")


def test_labels_may_be_flags_and_floats(tmp_path: Path) -> None:
    given = table(20)
    values = []
    for kind in (pa.bool_(), pa.float32(), pa.int8()):
        pq.write_table(pa.table({**given, "label": pa.array(given["label"]).cast(kind)}), tmp_path / "a.parquet")
        values.append(zoo.evaluate(model(), tmp_path / "a.parquet").value)
    assert len(set(values)) == 1


def test_files_without_a_column_are_refused(tmp_path: Path) -> None:
    given = table(20)
    del given["weight"]
    pq.write_table(pa.table(given), tmp_path / "a.parquet")
    with pytest.raises(
        ValueError, match=r"a\.parquet has no column 'weight'; its columns are 'height', 'label', 'name'"
    ):
        zoo.evaluate(model(), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="reads the columns of its features"):
        zoo.evaluate(model(), tmp_path / "a.parquet", input_columns=["height"])


def test_an_answer_is_a_probability() -> None:
    shown = TASK.fetch("shown")(model(), torch.tensor([1.5]))
    assert shown.to_json() == {"score": pytest.approx(1 / (1 + math.exp(-1.5)))}
    assert list(shown.lines()) == [" 81.76%"]
