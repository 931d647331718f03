"""scripts/train_sharded.py: a table in Parquet becomes a recommender, by one process or by several."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

import zoo

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("timm")

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_sharded.py"
ROWS = 1003


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any) -> Path:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 40, ROWS), rng.integers(0, 60, ROWS)
    click = ((user % 5 + item % 5 >= 4) ^ (rng.random(ROWS) < 0.05)).astype(np.int8)
    table = pa.table({"user": user, "item": [f"item {one}" for one in item], "click": click})
    folder: Path = tmp_path_factory.mktemp("clicks")
    pq.write_table(table.slice(0, 803), folder / "train.parquet", row_group_size=200)
    pq.write_table(table.slice(803), folder / "test.parquet")
    return folder


def options(data: Path, out: Path, *more: str) -> list[str]:
    common = ["--data", str(data), "--out", str(out), "--label-column", "click"]
    return ["deepfm", *common, "--batch-size", "25", "--learning-rate", "0.02", "--epochs", "4", *more]


def run(arguments: list[str]) -> Any:
    described = importlib.util.spec_from_file_location("train_sharded", SCRIPT)
    assert described is not None and described.loader is not None
    script = importlib.util.module_from_spec(described)
    described.loader.exec_module(script)
    app = Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, arguments)


def test_one_process_trains_and_goes_on(data: Path, tmp_path: Path) -> None:
    done = run(options(data, tmp_path / "out"))
    assert done.exit_code == 0 and "step 128 of 128: loss 0." in done.stdout
    model = zoo.load(tmp_path / "out")
    assert model.made["trained"]["rows"] == 803 and model.made["trained"]["processes"] == 1
    found = zoo.evaluate(model, str(data), label_column="click")
    assert found.metrics["AUC"] > 75
    file = (tmp_path / "out" / "model.safetensors").read_bytes()
    again = run(options(data, tmp_path / "out"))
    assert again.exit_code == 0 and "step" not in again.stdout  # nothing was left to do
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == file
    other = run(options(data, tmp_path / "out", "--seed", "1"))
    assert other.exit_code == 2 and "belongs to another run, which differs in recipe" in other.stderr


def test_a_bad_request_is_one_line_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    for more, told in (
        (("--label-column", "buy"), "buy"),
        (("--optimizer", "lamb"), "--optimizer is adamw, sgd or adagrad, not 'lamb'"),
        (("--batch-size", "9000"), "803 examples make no step of 9000"),
        (("--epochs", "0"), "epochs= is from 1"),
    ):
        done = run([*options(data, tmp_path / "out"), *more])
        assert done.exit_code == 2 and told in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.nightly
@pytest.mark.multiprocess
def test_two_processes_of_torchrun_make_the_network_of_one(data: Path, tmp_path: Path) -> None:
    assert run(options(data, tmp_path / "one", "--epochs", "1")).exit_code == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    done = subprocess.run(
        [*command, *options(data, tmp_path / "two", "--epochs", "1")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    one, two = (zoo.load(tmp_path / name).state_dict() for name in ("one", "two"))
    for key, value in one.items():
        assert (value.double() - two[key].double()).abs().max() < 1e-5, key
