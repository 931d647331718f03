"""What the package promises of the recommenders that it ships. The ratings do not ship: these tests need none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

import zoo
from zoo.catalog import manifest
from zoo.cli import app
from zoo.naming import parse

ENTRIES = {name: entry for name, entry in manifest.entries().items() if entry.task == "tabular-classification"}
COMPRESSED = [name for name in ENTRIES if parse(name).passes]
ROWS = {
    "user_id": [3, "17", 943, -5, None],
    "item_id": [50, 1, 258, 10**9, 100],
    "age": [24, 53, None, 33, 19.5],
    "gender": ["F", "M", "M", None, "X"],
    "occupation": ["writer", "student", "other", "astronaut", None],
    "year": [1977, 1995, 1997, 2020, None],
    "genres": [["Action", "Sci-Fi"], "Comedy|Drama", [], None, ["Drama"] * 50],
    "label": [1, 0, 1, 0, 1],
}


def dense_of(name: str) -> manifest.Entry:
    return ENTRIES[parse(name).dense]


def test_they_are_small_together() -> None:
    assert {parse(name).dense for name in ENTRIES} == {"deepfm.ml100k", "wide_deep.ml100k"}
    assert zoo.info("deepfm-int8").name == "deepfm.ml100k-int8"
    assert sum(entry.bytes for entry in ENTRIES.values()) < 3_000_000


@pytest.mark.parametrize("name", ENTRIES)
def test_the_figures_are_whole(name: str) -> None:
    """A figure lies in its interval, which is as wide as 9,430 rows of 943 users make it."""
    entry = ENTRIES[name]
    metric = entry.metric
    low, high = metric.interval
    assert metric.name == "AUC" and 50 < low < metric.value < high < 100
    assert 0.5 < high - low < 5
    assert metric.log_loss is not None
    low, high = metric.log_loss_interval
    assert 0 < low < metric.log_loss < high < 0.6931  # what a coin reaches
    assert metric.examples == 9_430 and "last ten" in metric.split
    assert {len(metric.sha256), len(metric.train_sha256)} == {64} and metric.sha256 != metric.train_sha256
    assert metric.dense == dense_of(name).metric.value
    assert len({(one.metric.sha256, one.metric.train_sha256) for one in ENTRIES.values()}) == 1


@pytest.mark.parametrize("name", ENTRIES)
def test_the_licence_is_told(name: str) -> None:
    said = repr(zoo.info(name))
    assert "MovieLens" in said and "research" in said and "no commercial use" in said and "log loss" in said


@pytest.mark.parametrize("name", COMPRESSED)
def test_what_each_variant_costs(name: str) -> None:
    entry, dense = ENTRIES[name], dense_of(name)
    lost, share = dense.metric.value - entry.metric.value, entry.bytes / dense.bytes
    match parse(name).variant:
        case "int8":
            assert lost <= 0.1 and share <= 0.27
        case "pruned":
            assert lost <= 0.4 and share <= 0.5
        case "pruned-int8":
            assert lost <= 0.5 and share <= 0.25
        case "sparse":
            assert 1 - entry.nonzero / entry.parameters >= 0.75
        case "distilled":
            with_teacher, without = entry.metric.with_teacher, entry.metric.without_teacher
            assert entry.parameters <= 0.5 * dense.parameters and len(with_teacher) == len(without) >= 2
            assert sum(with_teacher) > sum(without)


@pytest.mark.parametrize("name", ENTRIES)
def test_raw_rows_are_scored(name: str) -> None:
    """Texts, missing and unknown values; one row alone as in a table; nothing depends on the label."""
    model = zoo.create(name)
    with torch.inference_mode():
        together = model(ROWS)
        alone = torch.cat([model({key: column[row] for key, column in ROWS.items()}) for row in range(5)])
        known = {key: column for key, column in ROWS.items() if key != "label"}
        assert torch.equal(model(known), together)
    assert together.shape == (5, 1) and bool(torch.isfinite(together).all())
    assert len(together.unique()) == 5
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up ratings: the same rows four times."""
    pa = pytest.importorskip("pyarrow")
    texts = {key: [None if one is None else str(one) for one in ROWS[key]] for key in ("user_id", "item_id")}
    genres = [[], ["Action"], None, ["Drama", "War"], ["Comedy"]]
    file = tmp_path_factory.mktemp("rows") / "rows.parquet"
    whole = pa.table({**ROWS, **texts, "genres": genres})
    pytest.importorskip("pyarrow.parquet").write_table(pa.concat_tables([whole] * 4), file)
    return file


def test_commands_score_rows(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file's order, whatever its label says; the figures of a variant beside those of its dense network."""
    monkeypatch.setattr("zoo.report.memory.peak_memory", lambda names: [None] * len(names))
    run = CliRunner().invoke(app, ["predict", "deepfm-int8", "--rows", str(table), "--json"])
    assert run.exit_code == 0, run.output
    scores = json.loads(run.stdout)["scores"]
    assert len(scores) == 20 and scores[:5] == pytest.approx(scores[15:]) and all(0 < one < 1 for one in scores)
    pytest.importorskip("torchmetrics")
    run = CliRunner().invoke(app, ["eval", "wide_deep", "--data", str(table)])
    assert run.exit_code == 0 and "AUC" in run.output, run.output
    run = CliRunner().invoke(app, ["compare", "deepfm-int8", "--data", str(table)])
    assert run.exit_code == 0 and "AUC" in run.output and "MovieLens" in run.output, run.output


@pytest.mark.parametrize("name", ENTRIES)
def test_no_title_is_in_the_file(name: str) -> None:
    with safe_open(ENTRIES[name].path, "pt") as file:
        said = json.dumps(file.metadata())
    assert "title" not in said.lower() and "timestamp" not in said
