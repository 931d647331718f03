"""A run that was cut at any step ends as the uninterrupted one, and takes no other run's checkpoint."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from torch import Tensor

from daily import daily
from short_runs import EVERYTHING, RECIPE, STEPS, Cut, Killed, assert_equal, fresh, newest, run
from zoo.files import FileError
from zoo.passes.sparsify import Sparsifier
from zoo.train.images import ImageSet
from zoo.train.log import TrainingLog
from zoo.train.loop import Interrupted, fit
from zoo.train.recipe import Recipe


@pytest.mark.parametrize(
    ("recipe", "every_step", "cut"),
    daily(
        product([RECIPE, EVERYTHING], [True, False], [1, 4, 5, 6]),
        [
            (EVERYTHING, True, 1),
            (EVERYTHING, True, 4),
            (EVERYTHING, False, 5),
            (EVERYTHING, False, 6),
            (RECIPE, True, 6),
        ],
    ),
)
def test_a_run_cut_at_any_step_ends_as_the_uninterrupted_one(
    data: ImageSet, tmp_path: Path, cut: int, every_step: bool, recipe: Recipe
) -> None:
    recipe = replace(recipe, epochs=4 if recipe is EVERYTHING else 2)
    whole = run(data, tmp_path / "whole", recipe, after_step=Cut(0))
    often = {"save_seconds": 0 if every_step else 1000}
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", recipe, after_step=Cut(cut), **often)
    assert_equal(run(data, tmp_path / "cut", recipe, after_step=Cut(0), **often), whole)
    figures = [
        [{k: v for k, v in row.items() if k not in ("seconds", "examples_per_second")} for row in csv.DictReader(file)]
        for file in ((tmp_path / name / "metrics.csv").open() for name in ("whole", "cut"))
    ]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("end", [0.4, 0.9])
def test_a_sparse_run_resumes_with_its_masks(data: ImageSet, tmp_path: Path, end: float) -> None:
    def sparse(folder: str, cut: int) -> dict[str, Tensor]:
        model = fresh()
        sparsifier = Cut(cut, Sparsifier(model, sparsity=0.6, end=end, every=3))
        log = TrainingLog(tmp_path, quiet=True)
        fit(model, data, RECIPE, folder=tmp_path / folder, after_step=sparsifier, log=log)
        return model.state_dict()

    whole = sparse("whole", 0)
    assert sum(int((v == 0).sum()) for v in whole.values() if v.ndim > 1) > 100
    with pytest.raises(Killed):
        sparse("cut", 12)
    assert_equal(sparse("cut", 0), whole)


def test_a_finished_run_is_only_loaded(data: ImageSet, tmp_path: Path) -> None:
    whole = run(data, tmp_path)
    before = newest(tmp_path).stat().st_mtime_ns
    assert_equal(run(data, tmp_path), whole)
    assert newest(tmp_path).stat().st_mtime_ns == before
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoints", "metrics.csv", "curves.png", "tensorboard"}, "something unfinished was left behind"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on(data: ImageSet, tmp_path: Path, signal_number: signal.Signals) -> None:
    whole = run(data, tmp_path / "whole")
    before = signal.getsignal(signal_number)
    with pytest.raises(Interrupted):
        run(data, tmp_path / "cut", after_step=Cut(7, how=signal_number))
    assert signal.getsignal(signal_number) is before
    assert newest(tmp_path / "cut").name == "step-000000007.pt"
    assert_equal(run(data, tmp_path / "cut", after_step=Cut(0)), whole)


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    data: ImageSet, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(data, tmp_path / "whole")
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", after_step=Cut(13))
    path = newest(tmp_path / "cut")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut short": content[: len(content) // 2], "one bit": content, "empty": b""}[damage])
    assert_equal(run(data, tmp_path / "cut", after_step=Cut(0), log=TrainingLog(tmp_path / "cut")), whole)
    said = capsys.readouterr().err
    assert f"{path} is damaged" in said
    assert f"Going on from step {STEPS}" in said


def test_a_full_disk_is_told_and_costs_no_checkpoint(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(data, tmp_path / "whole")
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", after_step=Cut(7))
    kept = newest(tmp_path / "cut")

    place = os.replace

    def full(source: Path, target: Path) -> None:
        if target.suffix == ".pt":
            raise OSError(28, "No space left on device")
        place(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(FileError, match=r"checkpoint of step 10 was not written.*Make room.*No space left"):
            run(data, tmp_path / "cut", after_step=Cut(0))
    assert newest(tmp_path / "cut") == kept
    assert not list((tmp_path / "cut").rglob("*.tmp*"))
    assert_equal(run(data, tmp_path / "cut", after_step=Cut(0)), whole)


def test_another_runs_checkpoint_is_refused(data: ImageSet, tmp_path: Path) -> None:
    run(data, tmp_path, replace(RECIPE, epochs=1))
    with pytest.raises(ValueError, match=r"belongs to another run, which differs in recipe\.epochs; choose"):
        run(data, tmp_path)
    with pytest.raises(ValueError, match="differs in teacher"):
        run(data, tmp_path, replace(RECIPE, epochs=1), identity={"teacher": "dense"})


def test_a_run_of_an_earlier_release_goes_on_under_todays_names(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, quiet=True)
    log.begin([{"epoch": 1.0, "step": 2.0, "loss": 1.0, "images_per_second": 3.0}], 2, 4)
    log.epoch({"epoch": 2.0, "step": 4.0, "loss": 1.0, "examples_per_second": 3.0})
    log.end()
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "epoch,step,loss,examples_per_second"
