"""A runtime that the package does not have, of a few lines, added here alone: nothing in `zoo/` is edited.

The toy's file is a file of safetensors, and its engine builds the network of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from networks import pictures, small, tiny
from zoo.cli import app
from zoo.files import FileError, written_whole
from zoo.model.build import Model
from zoo.report.bench import bench
from zoo.runtime import RUNTIMES, Format, Runtime, register
from zoo.runtime.alike import check_file, run_by
from zoo.runtime.choose import there_for
from zoo.runtime.needs import MissingPackage
from zoo.weights.file import save_file

written: list[tuple[int, ...]] = []


def write(model: Model, file: Path, size: tuple[int, ...]) -> None:
    written.append(tuple(size))
    save_file(model, file)


def engine(file: Path, shape: Sequence[int] | None, threads: int, *, exact: bool) -> Callable[..., Any]:
    model = zoo.load(file)
    return lambda x: (model(torch.from_numpy(x)).detach().numpy(),)


def export(model: Model, file: Path) -> None:
    with written_whole(file) as part, written_whole(file.with_suffix(".txt")) as beside:
        save_file(model, part)
        beside.write_text("toy")
        check_file(model, run_by(engine, model, part), "toy")


TOY = Runtime(
    name="toy",
    about="for tests",
    suffix=".toy",
    write=f"{__name__}:write",
    engine=f"{__name__}:engine",
    ragged=False,
    format=Format(name="toyfile", suffix=".toy", about="", write=f"{__name__}:export", companions=("{stem}.txt",)),
)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """What a package that adds a runtime does when it is imported."""
    register(TOY)
    written.clear()
    yield
    del RUNTIMES["toy"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    zoo.save(tiny(), tmp_path / "saved")
    return tmp_path / "saved"


def told(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_it_is_listed() -> None:
    assert "toy" in there_for(tiny()) and "toy" not in there_for(small("gpt2"))
    with pytest.raises(ValueError, match=r"choose one of torch, .*, toy, auto"):
        zoo.create("resnet20", runtime="tensorrt")
    with pytest.raises(ValueError, match=r"choose of eager, .*, toy"):
        zoo.bench("resnet20", runtimes=["tensorrt"])


def test_it_runs_what_create_makes_and_keeps_the_file(tmp_path: Path, folder: Path) -> None:
    spec = zoo.load(folder).spec
    x = pictures(zoo.load(folder), 3)
    for _ in range(2):
        fast = zoo.create(spec, weights=folder, runtime="toy", cache_dir=tmp_path)
        with torch.inference_mode():
            assert torch.equal(fast(x), zoo.load(folder)(x)) and fast.runtime == "toy"
    assert written == [spec.pictures.size]
    (kept,) = (tmp_path / "zoo" / "runtime").glob("*.toy")
    kept.write_bytes(b"damaged")
    zoo.create(spec, weights=folder, runtime="toy", cache_dir=tmp_path)(x)
    assert len(written) == 2


def test_other_answers_are_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "engine", lambda *args, **how: lambda x: (torch.randn(len(x), 10).numpy(),))
    with pytest.raises(FileError, match="toy gives other answers"):
        zoo.to_runtime(tiny(), "toy", cache_dir=tmp_path)(pictures(tiny(), 2))
    with pytest.raises(FileError, match="toy gives other answers"):
        zoo.export(tiny(), tmp_path / "m.toy")
    assert not (tmp_path / "m.toy").exists() and not (tmp_path / "m.txt").exists()


def test_it_is_exported(folder: Path, tmp_path: Path) -> None:
    model = zoo.load(folder)
    assert zoo.load(zoo.export(model, tmp_path / "m.toy")).spec == model.spec
    files = told("export", folder, "--format", "toyfile", "--out", tmp_path / "n.toy")["files"]
    assert [Path(one).name for one in files] == ["n.toy", "n.txt"] and (tmp_path / "n.txt").read_text() == "toy"
    with pytest.raises(ValueError, match="opset is for ONNX files"):
        zoo.export(model, tmp_path / "m.toy", opset=17)


def test_it_is_benchmarked(folder: Path) -> None:
    found = bench(str(folder), runtimes=["eager", "toy"], batches=[2], seconds=0.01, memory=False)
    assert [one.runtime for one in found.timings] == ["eager", "toy"] and found.timings[1].latency > 0
    timed = told("bench", folder, "--runtime", "toy", "--batch", 1, "--seconds", 0.01, "--no-memory")["timings"]
    assert [one["runtime"] for one in timed] == ["toy"]


def test_what_it_says_of_itself_is_heeded() -> None:
    with pytest.raises(ValueError, match=r"toy runs .* texts of one length only: zoo.export writes the file in \.toy"):
        zoo.to_runtime(small("gpt2"), "toy")
    del RUNTIMES["toy"]
    register(Runtime(name="toy", packages=("not_there",), extra="toys", convert=f"{__name__}:tiny"))
    assert "toy" not in there_for(tiny())
    with pytest.raises(MissingPackage, match=r"pip install not_there, or zoo-efficient\[toys\]"):
        zoo.create("resnet20", runtime="toy")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"name": "auto"}, "small letters"),
        ({"name": "toy"}, "a runtime 'toy' already"),
        ({"suffix": ".onnx"}, "Files in .onnx are those of 'openvino'"),
        ({"format": Format(name="pt2", suffix=".two", about="", write="")}, "a format 'pt2'"),
        ({"format": Format(name="two", suffix=".xml", about="", write="")}, "a format 'openvino'"),
        ({"engine": ""}, "has suffix, write and engine, or it has convert"),
        ({"convert": "a:b"}, "has suffix, write and engine, or it has convert"),
    ],
)
def test_a_runtime_that_cannot_be_is_refused(fault: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        register(Runtime(**({"name": "other", "suffix": ".other", "write": "a:b", "engine": "a:c"} | fault)))
