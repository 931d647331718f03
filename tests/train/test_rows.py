"""Recommenders train on rows in memory and on rows that are streamed, by the one loop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import zoo
from zoo import registry
from zoo.cli import app
from zoo.inputs import Feature, TableInput
from zoo.tabular import keys
from zoo.tabular.fresh import for_data
from zoo.tabular.schema import fit_vocabulary
from zoo.train import loop
from zoo.train.finetune import finetune
from zoo.train.recipe import Recipe
from zoo.train.table_data import RowSet, RowStream, open_rows
from zoo.train.teachers import Ensemble

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("timm")
pytest.importorskip("torchmetrics")

ROWS = 1000
RECIPE = Recipe(epochs=4, batch_size=64, learning_rate=0.02, bfloat16=False)


def table(seed: int = 0, rows: int = ROWS) -> Any:
    """Some people click more, and some items are clicked more."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 40, rows), rng.integers(0, 60, rows)
    click = ((user % 5 + item % 5 >= 4) ^ (rng.random(rows) < 0.05)).astype(np.int8)
    names = [f"item {one}" for one in item]
    return pa.table({"user_id": user, "item": names, "age": rng.normal(30, 9, rows), "click": click})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files, with row groups of 64 rows."""
    (tmp_path / "data").mkdir()
    whole = table()
    pq.write_table(whole.slice(0, 700), tmp_path / "data" / "train-1.parquet", row_group_size=64)
    pq.write_table(whole.slice(700), tmp_path / "data" / "train-2.parquet", row_group_size=64)
    pq.write_table(table(1, 400), tmp_path / "data" / "test.parquet")
    return tmp_path / "data"


@pytest.fixture
def model(data: Path) -> Any:
    return for_data("deepfm", data)


def opened(data: Path, model: Any, **options: Any) -> Any:
    return open_rows(data, model.spec.table, learned=model.vocabulary, **options)


def drained(examples: Any, batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    parts = list(examples.stream(batches, 0))
    return torch.cat([rows for rows, _ in parts]), torch.cat([labels for _, labels in parts])


def test_rows_are_prepared_as_the_network_asks(data: Path, model: Any) -> None:
    rows = opened(data, model)
    assert isinstance(rows, RowSet) and len(rows) == ROWS
    assert rows.rows.equal(model.encode(table())) and rows.labels.tolist() == table()["click"].to_pylist()
    assert rows.source == "data/train" and len(rows.sha256) == 64
    assert opened(data, model, split="test").rows.equal(model.encode(table(1, 400)))


def test_streamed_rows_are_those_in_memory(data: Path, model: Any) -> None:
    here, there = opened(data, model), opened(data, model, cache=False)
    assert isinstance(there, RowStream) and (there.source, there.sha256) == (here.source, here.sha256)
    index = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    for one, other in (
        (here, there),
        (here.take(index.sort().values[::3]), there.take(index.sort().values[::3].flip(0))),
    ):
        batches = list(one_order(other).split(50))
        assert all(torch.equal(*pair) for pair in zip(drained(one, batches), drained(other, batches), strict=True))
        assert one.labels.equal(other.labels)


def one_order(examples: Any) -> Tensor:
    return examples.order(torch.Generator().manual_seed(5))


def test_an_epoch_has_every_row_once_and_reads_every_row_group_once(
    data: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = replace(opened(data, model, cache=False), window=3 * 64 * 8 * model.spec.table.width)
    order = one_order(rows)
    assert order.sort().values.equal(torch.arange(ROWS)) and not order.equal(torch.arange(ROWS))
    assert 2 < len(rows._groups_of(order[:150])) <= 4, "three row groups, or four small ones, are shuffled together"
    read: list[int] = []
    whole = RowStream._read
    monkeypatch.setattr(RowStream, "_read", lambda self, group: read.append(group) or whole(self, group))
    so_far = [len(read) for _ in rows.stream(list(order.split(32)), 0)]
    assert sorted(read) == list(range(16))
    assert so_far[0] <= 7, "not all is read before the first batch"
    again = rows.take(torch.arange(0, ROWS, 2))
    assert one_order(again).sort().values.equal(torch.arange(500))


def test_it_learns_and_continues_to_the_same_bits(data: Path, model: Any, tmp_path: Path) -> None:
    for cache in (True, False):
        rows = opened(data, model, cache=cache)
        whole = finetune(model, rows, RECIPE, tmp_path / f"whole{cache}", quiet=True)
        assert zoo.evaluate(whole, data / "test.parquet").value > 85
        stopped = tmp_path / f"stopped{cache}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop._Run, "_step", stop_at(20, loop._Run._step))
            with pytest.raises(loop.Interrupted):
                finetune(model, rows, RECIPE, stopped, quiet=True)
        again = finetune(model, rows, RECIPE, stopped, quiet=True)
        assert all(
            torch.equal(*pair) for pair in zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
        )
        assert again.vocabulary.equal(model.vocabulary)


def stop_at(step: int, run: Any) -> Any:
    def stopping(self: Any, batches: Any) -> None:
        run(self, batches)
        if self.done == step:
            self._save()
            self._stop([15])

    return stopping


def test_labels_and_columns_are_checked_before_anything_is_written(data: Path, model: Any, tmp_path: Path) -> None:
    pq.write_table(table().drop_columns("age"), tmp_path / "lacking.parquet")
    with pytest.raises(ValueError, match=r"lacking\.parquet has no column 'age'"):
        opened(tmp_path / "lacking.parquet", model)
    for kind, said in (
        (pa.string(), "has string in the column 'click'; labels are 0 and 1"),
        (pa.int8(), "has label 3 in row 4"),
    ):
        values = pa.array([0, 1, 0, 1, 3]).cast(kind)
        pq.write_table(table(rows=5).set_column(3, "click", values), tmp_path / "wrong.parquet")
        with pytest.raises(ValueError, match=said):
            opened(tmp_path / "wrong.parquet", model)
    told = zoo.create("deepfm", schema=TableInput((*model.spec.table.features[:1], Feature("click", num_embeddings=4))))
    with pytest.raises(ValueError, match="the schema reads the column 'click', which is the label"):
        opened(data, told)
    with pytest.raises(ValueError, match="has no column 'bought'"):
        opened(data, model, label_column="bought")


def graded(seed: int = 0, rows: int = ROWS) -> Any:
    """The same with labels that say how sure a yes is."""
    whole = table(seed, rows)
    sure = np.where(whole["click"].to_numpy() == 1, 0.9, 0.2)
    return whole.set_column(3, "click", pa.array(sure))


@pytest.mark.parametrize("cache", [True, False])
def test_labels_may_be_shares_of_yes(data: Path, model: Any, tmp_path: Path, cache: bool) -> None:
    pq.write_table(graded(), tmp_path / "train.parquet", row_group_size=64)
    rows = opened(tmp_path / "train.parquet", model, cache=cache)
    assert rows.labels.unique().tolist() == [0.2, 0.9]
    taught = finetune(model, rows, RECIPE, tmp_path / "out", quiet=True)
    assert zoo.evaluate(taught, data / "test.parquet").value > 85
    with torch.inference_mode():
        low, high = taught(taught.encode(graded())).sigmoid().quantile(torch.tensor([0.1, 0.9])).tolist()
    assert abs(low - 0.25) < 0.1 and abs(high - 0.85) < 0.1, "answers are as sure as the labels"
    student = finetune(model, rows, RECIPE, tmp_path / "student", teachers=[taught], quiet=True)
    assert zoo.evaluate(student, data / "test.parquet").value > 85


def test_shares_of_yes_are_refused_where_labels_are_counted(data: Path, model: Any, tmp_path: Path) -> None:
    pq.write_table(graded(), tmp_path / "train.parquet")
    rows = opened(tmp_path / "train.parquet", model)
    with pytest.raises(ValueError, match=r"has shares of yes for labels, .* --held-out 0"):
        finetune(model, opened(data, model), RECIPE, tmp_path / "out", validation=rows, quiet=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"label 0\.9 in row|label 0\.2 in row"):
        zoo.evaluate(model, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="shares of yes for labels; the AUC needs labels 0 and 1"):
        loop.accuracy(model, rows)
    wrong = graded().set_column(3, "click", pa.array([0.5] * (ROWS - 1) + [1.5]))
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match=r"label 1\.5 in row 999; labels are 0 and 1, or shares of yes"):
        opened(tmp_path / "wrong.parquet", model)


def test_a_teacher_may_lack_the_crosses_of_its_student(data: Path, model: Any) -> None:
    given = replace(model.spec.table, crosses=(("user_id", "item", 64),))
    student = zoo.build(registry.spec("wide_deep", schema=given))
    student.vocabulary.copy_(model.vocabulary)
    torch.testing.assert_close(Ensemble([model], student)(student.encode(table())), model(table()))
    with pytest.raises(ValueError, match="may lack the crosses"):
        Ensemble([student], model)


def test_a_folder_with_a_run_on_another_column_of_labels_is_refused(model: Any, tmp_path: Path) -> None:
    pq.write_table(table().append_column("bought", pa.array([0, 1] * (ROWS // 2))), tmp_path / "train.parquet")
    first = opened(tmp_path / "train.parquet", model, label_column="click")
    finetune(model, first, RECIPE, tmp_path / "out", quiet=True)
    with pytest.raises(ValueError, match="another run"):
        finetune(
            model,
            opened(tmp_path / "train.parquet", model, label_column="bought"),
            RECIPE,
            tmp_path / "out",
            quiet=True,
        )


def test_shares_of_yes_are_calibrated_on_and_not_measured(model: Any, tmp_path: Path) -> None:
    pq.write_table(graded(), tmp_path / "train.parquet")
    zoo.save(model, tmp_path / "dense")
    done = CliRunner().invoke(
        app,
        ["quantize", str(tmp_path / "dense"), "--data", str(tmp_path / "train.parquet"), "--out", str(tmp_path / "q")],
    )
    assert done.exit_code == 0 and "has shares of yes for labels, so no AUC is measured" in done.output, done.output


def test_csv_trains_and_is_measured_as_parquet_is(data: Path, model: Any, tmp_path: Path) -> None:
    """Alone in a folder, compressed, and with shares of yes behind rows of 0 and 1."""
    from pyarrow import csv

    (tmp_path / "csv").mkdir()
    for part in ("train-1", "train-2"):
        csv.write_csv(pq.read_table(data / f"{part}.parquet"), tmp_path / "csv" / f"{part}.csv")
    with pa.CompressedOutputStream(tmp_path / "csv" / "test.csv.gz", "gzip") as file:
        csv.write_csv(pq.read_table(data / "test.parquet"), file)
    assert for_data("deepfm", tmp_path / "csv").vocabulary.equal(model.vocabulary)
    rows, same = (opened(where, model) for where in (tmp_path / "csv", data))
    assert rows.rows.equal(same.rows) and rows.labels.equal(same.labels)
    found, expected = zoo.evaluate(model, tmp_path / "csv"), zoo.evaluate(model, data)
    assert (found.metrics, found.examples, found.source) == (expected.metrics, 400, "csv/test")
    with pytest.raises(ValueError, match=r"1,000 rows, .* CSV is not streamed: write it as Parquet"):
        opened(tmp_path / "csv", model, cache=False)
    (tmp_path / "shares.csv").write_text("user_id,item,age,click\n1,a,2,1\n2,b,,0\n1,a,3,0.25\n")
    assert opened(tmp_path / "shares.csv", model).labels.tolist() == [1, 0, 0.25]
    (tmp_path / "words.csv").write_text("user_id,item,age,click\n1,a,2,yes\n2,b,,no\n")
    with pytest.raises(ValueError, match="has texts in the column 'click'"):
        opened(tmp_path / "words.csv", model)


def test_it_is_fine_tuned_and_distilled_by_commands(data: Path, tmp_path: Path) -> None:
    """From the schema that another command printed; the student reads what its teacher reads."""
    run = CliRunner()
    schema = run.invoke(app, ["schema", str(data / "train-1.parquet")])
    edited = json.loads(schema.stdout)
    edited["features"] = [
        {**one, **({"num_embeddings": 30} if one["name"] == "item" else {})} for one in edited["features"]
    ]
    (tmp_path / "schema.json").write_text(json.dumps(edited))
    common = ["--data", str(data), "--epochs", "6", "--learning-rate", "0.02", "--no-bfloat16", "--threads", "1"]
    out = str(tmp_path / "teacher")
    done = run.invoke(
        app, ["finetune", "deepfm", "--fresh", "--schema", str(tmp_path / "schema.json"), *common, "--out", out]
    )
    assert done.exit_code == 0, done.output
    assert (
        "deepfm reads user_id (40 values), item (28 values), age (number)" in done.output and "test AUC" in done.output
    )
    teacher = zoo.load(out)
    assert teacher.spec.input == TableInput.from_json(edited)
    assert teacher.vocabulary.equal(fit_vocabulary(teacher.spec.input, table()))
    assert teacher.made["trained"]["validation_AUC"] > 70
    student = str(tmp_path / "student")
    done = run.invoke(app, ["distill", "wide_deep", "--teacher", out, *common, "--out", student])
    assert done.exit_code == 0, done.output
    assert zoo.load(student).spec.input == teacher.spec.input and zoo.load(student).vocabulary.equal(teacher.vocabulary)
    assert zoo.evaluate(zoo.load(student), data / "test.parquet").value > 70
    refused = run.invoke(app, ["finetune", out, "--schema", "x.json", *common, "--out", str(tmp_path / "other")])
    assert refused.exit_code == 2 and "--schema is for a recommender that starts from random weights" in refused.output
    assert not (tmp_path / "other").exists()


def test_its_forms_are_trained_or_refused_by_name(data: Path, model: Any, tmp_path: Path) -> None:
    """Pruned by what the loss misses and trained again; int8 has no such training."""
    zoo.save(model, tmp_path / "dense")
    common = ["--data", str(data), "--epochs", "1", "--no-bfloat16", "--threads", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["prune", str(tmp_path / "dense"), "--macs", "0.6", *common])
    assert done.exit_code == 0, done.output
    before, after = model.spec, zoo.load(tmp_path / "out").spec
    assert after["deep1"].args["out_features"] < before["deep1"].args["out_features"]
    int8 = zoo.compress(model, "int8", calibration=model.encode(table()))
    with pytest.raises(ValueError, match="There is no quantization-aware training for"):
        finetune(int8, opened(data, int8), RECIPE, tmp_path / "int8", quiet=True)
    assert not (tmp_path / "int8").exists()


def test_a_pruned_student_learns_of_a_teacher_that_knows_more_values(data: Path, model: Any, tmp_path: Path) -> None:
    """The teacher gets the rows in its own numbers: those of values that both know, and unknown ones."""
    x = model.encode(table())
    small = zoo.compress(model, "pruned", calibration=x, min_count=17, ratio=0.3)
    assert 0 < len(small.vocabulary) < len(model.vocabulary)
    known, rows = set(small.vocabulary.tolist()), table(1, 300).to_pylist()
    seen = [
        {name: value if name == "age" or keys.of_value(value) in known else "?" for name, value in row.items()}
        for row in rows
    ]
    assert any("?" in row.values() for row in seen) and any(row["item"] != "?" for row in seen)
    assert torch.equal(Ensemble([model], small)(small.encode(rows)), model(seen))
    shorter = replace(RECIPE, epochs=1)
    tuned = finetune(small, opened(data, small), shorter, tmp_path / "tuned", teachers=[model], quiet=True)
    assert tuned.vocabulary.equal(small.vocabulary)
    other = for_data("deepfm", data)
    other.spec = other.spec.replace(input=TableInput(other.spec.table.features[:2]))
    with pytest.raises(ValueError, match="deepfm reads other features than deepfm"):
        Ensemble([other], small)
