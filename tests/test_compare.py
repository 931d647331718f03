"""Side by side: the table and what is in it."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import toy_shipped
import zoo
from toy_shipped import DENSE, VARIANTS
from zoo.report import memory, timing
from zoo.report.compare import Comparison


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Path:
    real = timing.median_times
    monkeypatch.setattr(
        timing, "median_times", lambda models, inputs, seconds: real(models, inputs, seconds=0, rounds=(1, 1))
    )
    monkeypatch.setattr(memory, "peak_memory", lambda names: [None] * len(names))
    return toy_shipped.use(monkeypatch)


def test_a_family_is_its_dense_network_and_every_variant(toys: Path) -> None:
    steps: list[str] = []
    found = zoo.compare("mobilenet", images=20, progress=steps.append)
    assert tuple(row.variant for row in found.rows) == VARIANTS
    dense, int8 = found.rows[0], found.rows[4]
    assert (dense.agreement, dense.time_batch_1, dense.time_batch_32) == (100.0, 1.0, 1.0)
    assert dense.accuracy == pytest.approx(zoo.evaluate(zoo.create("mobilenet"), _first(20)).value)
    assert int8.bytes < dense.bytes and int8.full_accuracy == 10.25 and int8.macs == dense.macs
    assert found.images == 20 and len(steps) > 6
    assert json.loads(json.dumps(found.to_json()))["rows"][3]["nonzero"] == dense.parameters // 4


def _first(number: int) -> tuple[object, object]:
    images, labels = zoo.samples()
    return images[:number], labels[:number]


def test_one_variant_is_shown_beside_its_dense_network(toys: Path) -> None:
    assert [row.name for row in zoo.compare("mobilenet-int8", images=5).rows] == [DENSE, f"{DENSE}-int8"]


def test_files_stand_beside_names(toys: Path) -> None:
    file = str(toys / "shipped" / f"{DENSE}-int8.safetensors")
    rows = zoo.compare(["mobilenet", file], images=5).rows
    assert rows[1].bytes == Path(file).stat().st_size and rows[1].full_accuracy is None


def test_a_path_is_a_path_though_it_is_called_like_a_name(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.save(zoo.create("mobilenet-int8"), tmp_path / "mobilenet")
    monkeypatch.chdir(tmp_path)
    alone, pair = zoo.compare(Path("mobilenet")).rows, zoo.compare(["mobilenet", Path("mobilenet")], images=5)
    assert [row.bytes for row in alone] == [zoo.info(tmp_path / "mobilenet").bytes]
    assert [row.variant for row in pair.rows] == ["dense", "mobilenet"]
    assert pair.rows[1].accuracy is not None and pair.rows[1].agreement is not None


def test_answers_are_not_held_against_labels_of_another_task(toys: Path, tmp_path: Path) -> None:
    other, unnamed, wide = (zoo.create("mobilenet") for _ in range(3))
    other.labels = tuple(reversed(other.labels))
    unnamed.labels = ()
    wide = zoo.create("mobilenet", num_classes=11)
    for name, model in (("other", other), ("unnamed", unnamed), ("wide", wide)):
        zoo.save(model, tmp_path / name)
    files = [tmp_path / name for name in ("unnamed", "wide", "other")]
    found = zoo.compare(["mobilenet", *files], images=5)
    assert [row.accuracy is None for row in found.rows] == [False, True, True, True]
    assert [row.agreement is None for row in found.rows] == [False, True, True, True]
    assert "no top-1 % of unnamed, wide, other: labels other than the pictures'" in str(found)
    first_unnamed = zoo.compare([files[0], files[1], files[0], "mobilenet"], images=5).rows
    assert [row.agreement for row in first_unnamed] == [100.0, None, 100.0, None]


def test_the_table_is_readable_in_80_columns(toys: Path) -> None:
    found = zoo.compare("mobilenet", images=5)
    row = replace(found.rows[0], peak_memory=104_000_000, agreement=100.0, accuracy=100.0)
    table = str(Comparison(**{**vars(found), "rows": (row, *found.rows[1:])})).split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= 80
    assert "104 MB" in table and "CIFAR-10, 10 classes, 32x32" in str(found)
    assert found._repr_html_().count("<tr>") == 7


def test_without_examples_there_is_no_column_of_their_answers(toys: Path, tmp_path: Path) -> None:
    zoo.save(zoo.create("mobilenet"), tmp_path / "own")
    alone = zoo.compare(tmp_path / "own")
    assert alone.images == 0 and not [heading for heading in alone.headers() if "%" in heading]
    assert {len(cells) for cells in alone.cells()} == {len(alone.headers())}
    assert "top-1" not in str(alone) and "same %" not in str(alone)
    beside = zoo.compare(["mobilenet", tmp_path / "own"], images=5)
    assert [heading for heading in beside.headers() if "%" in heading] == ["top-1 %\nof 5", "same\n%", "top-1 %\nall"]


@pytest.mark.parametrize(
    ("names", "images", "message"),
    [
        ("mobilnet", 5, "Did you mean 'mobilenet'"),
        ("mobilenetv2_035", 5, "nothing to compare"),
        ([], 5, "at least one"),
        ("mobilenet", 0, "images= takes a whole number"),
        ("mobilenet", 41, "at most 40"),
        ("mobilenet", 2.5, "images= takes a whole number"),
        (["mobilenet", "no/such"], 5, "no such file"),
        (Path("mobilenet"), 5, "no such file"),
        (7, 5, "not int"),
        ([7], 5, "is a string, not int"),
    ],
)
def test_bad_arguments_give_one_clear_error(toys: Path, names: object, images: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.compare(names, images=images)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_peak_memory_is_taken_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    file = toy_shipped.use(monkeypatch) / "shipped" / f"{DENSE}.safetensors"
    peak, none = memory.peak_memory([str(file), "no/such"])
    assert peak is not None and 1e6 < peak < 1e9
    assert none is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_modules_are_imported_before_memory_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a network imports at its first call; nothing else of that call is left."""
    (tmp_path / "imported_late.py").write_text("VALUE = 7")
    monkeypatch.syspath_prepend(tmp_path)
    called: list[int] = []

    def run() -> None:
        called.append(importlib.import_module("imported_late").VALUE)
        raise ValueError("what fails here fails again where it is measured")

    memory.import_what(run)
    assert "imported_late" in sys.modules and not called
    del sys.modules["imported_late"]


def test_a_turn_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 10 ms, so that threads that slept are awake when a call counts."""
    now, began = [0.0], []

    def takes_3_ms(x: object) -> None:
        began.append(now[0])
        now[0] += 0.003

    clock = SimpleNamespace(perf_counter=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr(timing, "time", clock)
    times, rounds = timing.median_times([takes_3_ms], [None], seconds=0, rounds=(1, 1))  # type: ignore[list-item]
    assert rounds == 1 and times == [pytest.approx(0.003)]
    warm = began[3:-1]  # behind the three calls before all turns, and before the one that counts
    assert len(warm) == 4 and began[-1] - warm[0] > 0.01


def test_times_are_interleaved_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(timing, "_WARM", 0.0)  # one call
    models = [lambda x, i=i: calls.append(i) for i in range(3)]
    times, rounds = timing.median_times(models, [None] * 3, seconds=0, rounds=(4, 9))  # type: ignore[arg-type, list-item]
    assert (len(times), rounds) == (3, 4)
    assert calls == [0] * 3 + [1] * 3 + [2] * 3 + [0, 0, 1, 1, 2, 2] * 4  # of a turn's two calls one counts


def test_own_data_takes_the_place_of_the_shipped_pictures(toys: Path, tmp_path: Path) -> None:
    for name, size in (("mine", None), ("small", 0.3)):
        model = zoo.create("mobilenet", num_classes=3)
        model.labels = ("a", "b", "c")
        zoo.save(zoo.compress(model, "pruned", macs=size, importance="l1") if size else model, tmp_path / name)
    pictures = zoo.samples("cifar10").images[:12]
    found = zoo.compare([tmp_path / "mine", tmp_path / "small"], data=(pictures, np.arange(12) % 3))
    assert found.images == 12 and "shipped" not in str(found)
    assert found.rows[0].agreement == 100
    assert all(row.accuracy is not None and row.agreement is not None for row in found.rows)
