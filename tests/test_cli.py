"""The command, as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import toy_shipped
import zoo
from networks import tiny
from toy_shipped import DENSE
from zoo.cli import app
from zoo.report import memory, timing

PURPOSE = "CIFAR-10, 10 classes, 32x32"


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Path:
    real = timing.median_times
    monkeypatch.setattr(
        timing, "median_times", lambda models, inputs, seconds: real(models, inputs, seconds=0, rounds=(1, 1))
    )
    monkeypatch.setattr(memory, "peak_memory", lambda names: [None] * len(names))
    return toy_shipped.use(monkeypatch)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    return str(path)


def run(*args: str, status: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, args)
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done.stdout, done.stderr


def run_json(*args: str, status: int = 0) -> object:
    return json.loads(run(*args, "--json", status=status)[0])


def test_list(toys: Path) -> None:
    shown, _ = run("list")
    assert f"{DENSE}-pruned-int8" in shown and PURPOSE in shown and "mobilenetv2_100" in shown
    hub, fresh = shown.index("On the Hugging Face Hub"), shown.index("Architectures (fresh weights")
    assert hub < shown.index("mobilenetv2_100.ra_in1k") < fresh < shown.index("mobilenetv2_035")
    assert [one["name"] for one in run_json("list", "*int8", "--shipped")] == [f"{DENSE}-int8", f"{DENSE}-pruned-int8"]
    assert "Did you mean 'mobilenet'" in run("list", "mobilnet")[1]
    assert run_json("list", "mobilnet") == []
    assert run("list", "--task", "text-generation")[0].count("gpt2") > 1
    assert "No network of the catalogue is for text-scoring" in run("list", "--task", "text-scoring")[1]
    assert "Nothing matches 'gpt2'" in run("list", "gpt2", "--task", "image-classification")[1]
    assert run_json("list", "--task", "text-scoring") == []


def test_info(toys: Path) -> None:
    shown, _ = run("info", "mobilenet-int8")
    assert PURPOSE in shown and "10.25% top-1 accuracy" in shown
    assert run_json("info", "mobilenet-int8")["name"] == f"{DENSE}-int8"
    assert run_json("info", str(toys / "shipped" / f"{DENSE}.safetensors"))["labels"] == list(toy_shipped.CLASSES)


def test_predict(toys: Path, picture: str) -> None:
    shown, _ = run("predict", "mobilenet", picture)
    assert PURPOSE in shown and shown.count("%") == 5
    found = run_json("predict", "mobilenet", picture)
    top = found["images"][0]["top"]
    assert len(top) == 5 and top[0]["probability"] >= top[1]["probability"] and top[0]["label"] in toy_shipped.CLASSES


def test_predict_answers_for_the_good_pictures(toys: Path, picture: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("hello")
    shown, complaint = run("predict", "mobilenet", str(tmp_path / "bad.png"), picture, status=1)
    assert shown.count("%") == 5 and complaint.count("\n") == 1 and "is not a picture" in complaint
    found = run_json("predict", "mobilenet", str(tmp_path / "bad.png"), picture, status=1)
    assert "is not a picture" in found["images"][0]["error"] and len(found["images"][1]["top"]) == 5
    run("predict", "mobilenet", str(tmp_path / "absent.png"), status=2)


def test_eval(toys: Path, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "data" / label / "a.png")
    shown, remark = run("eval", "mobilenet", "--data", str(tmp_path / "data"))
    assert PURPOSE in shown and "top-1 accuracy on 2 pictures" in shown and "other data than this" in remark
    assert run_json("eval", "mobilenet", "--data", str(tmp_path / "data"))["examples"] == 2


def test_compare(toys: Path) -> None:
    shown, _ = run("compare", "mobilenet", "--images", "5")
    table = shown.partition("\n\n")[2].partition("\n\n")[0]
    assert PURPOSE in shown and "pruned-int8" in table and max(map(len, table.splitlines())) <= 80
    assert len(run_json("compare", "mobilenet", "--images", "5")["rows"]) == 6
    assert len(run_json("compare", "mobilenet", "mobilenet-int8", "--images", "5")["rows"]) == 2


def test_compress(toys: Path, tmp_path: Path, picture: str) -> None:
    shown, remark = run("compress", "mobilenet", "sparse-int8", "--out", str(tmp_path / "new"), "--sparsity", "0.5")
    assert PURPOSE in shown and "cifar10-train.zip" in remark
    assert run_json("info", str(tmp_path / "new"))["variant"] == "int8"
    assert "Did" not in run("predict", str(tmp_path / "new"), picture)[1]
    saved = str(toys / "shipped" / f"{DENSE}.safetensors")
    found = run_json("compress", saved, "pruned", "--out", str(tmp_path / "newer"), "--macs", "0.4")
    assert found["after"]["macs"] <= 0.4 * found["before"]["macs"]
    assert found["after"]["bytes"] < found["before"]["bytes"]
    run(
        "compress",
        "mobilenet",
        "int8",
        "--out",
        str(tmp_path / "own"),
        "--calibration",
        str(tmp_path),
        "--observer",
        "minmax",
    )
    assert zoo.load(tmp_path / "own").labels == toy_shipped.CLASSES
    for asked, kept in (("2", 2), ("stem, head,classifier", 3)):
        run("compress", "mobilenet", "int8", "--out", str(tmp_path / "mixed"), "--keep-float", asked)
        assert [row.precision for row in zoo.load(tmp_path / "mixed").spec].count("float32") == kept


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("info", "mobilnet"), "Did you mean 'mobilenet'"),
        (("info", "no/such/folder"), "no such file or folder"),
        (("info", "pickles"), "holds only pickles"),
        (("info", "empty"), "it holds nothing"),
        (("info", ""), "Cannot read the name"),
        (("info", "a" * 300), "Unknown model"),
        (("info", "./" + "a" * 300), "File name too long"),
        (("predict", "no/such/folder", "text.png"), "no such file or folder"),
        (("predict", "pickles", "text.png"), "holds only pickles"),
        (("predict", "empty", "text.png"), "it holds nothing"),
        (("eval", "pickles", "--data", "empty"), "holds only pickles"),
        (("eval", "empty", "--data", "empty"), "it holds nothing"),
        (("eval", "mobilenet", "--data", "empty"), "neither Parquet files nor folders of pictures"),
        (("eval", "mobilenet", "--data", "text.png"), "is not a .parquet file"),
        (("eval", "mobilenet", "--data", "text.parquet"), "cannot be read as Parquet"),
        (("compare", "no/such/folder"), "no such file or folder"),
        (("compare", "pickles"), "holds only pickles"),
        (("compare", "mobilenet", "empty", "--images", "5"), "it holds nothing"),
        (("compare", "mobilenet", "text.png", "--images", "5"), "not a safetensors file"),
        (("compare", "mobilenet", "--images", "0"), "--images takes a whole number"),
        (("compress", "pickles", "sparse", "--out", "x"), "holds only pickles"),
        (("compress", "empty", "sparse", "--out", "x"), "it holds nothing"),
        (("compress", "mobilenet", "sparse", "--out", "text.png"), "cannot be a folder"),
        (("compress", "mobilenet", "int4", "--out", "x"), "Unknown pass"),
        (
            ("compress", "mobilenet", "pruned", "--out", "x", "--macs", "nan"),
            "--macs takes a number between 0 and 1, not nan",
        ),
        (("compress", "mobilenet", "int8", "--out", "x", "--calibration", "empty"), "a folder without pictures"),
        (("compress", "mobilenet", "int8", "--out", "x", "--calibration", "text.png"), "is not a picture"),
        (("compress", "mobilenet", "int8", "--out", "x", "--calibration", "absent.png"), "No such picture"),
        (("list", "--task", "knitting"), "the tasks are"),
        (("predict", "mobilenet", ""), "there is no such picture"),
        (("eval", "mobilenet", "--data", ""), "--data is given an empty value"),
        (("predict", "mobilenetv2_100", "a.png"), "weights=None"),
        (("eval", "mobilenet", "--data", "absent.parquet"), "No such data"),
        (("eval", "mobilenet", "--data", ".", "--batch-size", "0"), "--batch-size"),
        (("compare", "mobilenet", "--images", "1000000"), "at most"),
        (("compare", "mobilenetv2_035"), "nothing to compare"),
        (("compress", "mobilenet", "int8-pruned", "--out", "x"), "write 'pruned-int8'"),
        (
            ("compress", "mobilenet", "sparse", "--out", "x", "--sparsity", "7"),
            "--sparsity takes a number between 0 and 1, not 7.0",
        ),
        (("compress", "mobilenet", "int8", "--out", "x", "--observer", "eye"), "--observer takes one of"),
        (("compress", "mobilenet", "int8", "--out", "x", "--keep-float", "s9"), "--keep-float names no rows"),
        (("compress", "mobilenet", "int8", "--out", "x", "--keep-float", "99"), "rows, not 99"),
        (
            ("compress", "mobilenet", "sparse", "--out", "x", "--keep-float", "2"),
            "--keep-float is an option of the pass 'int8'; you asked for 'sparse' only",
        ),
        (("compress", "mobilenet", "distilled", "--out", "x"), "distil"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "pickles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pickles" / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    for file in ("text.png", "text.parquet"):
        (tmp_path / file).write_text("hello, I am text and nothing else")
    for extra in ((), ("--json",)):
        shown, complaint = run(*args, *extra, status=2)
        assert shown == ""
        last = complaint.rstrip("\n").splitlines()[-1]
        assert message in last, complaint
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("image", "message"),
    [(".", "text.png is not a picture"), ("text.png", "is not a picture"), ("absent.png", "No such picture")],
)
def test_what_is_no_picture_is_one_line(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("hello")
    complaint = run("predict", "mobilenet", image, status=2)[1]
    assert message in complaint and complaint.count("\n") == 1
    assert message in run_json("predict", "mobilenet", image, status=2)["images"][0]["error"]


@pytest.mark.parametrize(
    "args",
    [
        ("compare", "mobilenet", "--images", "many"),
        ("eval", "mobilenet", "--data", ".", "--batch-size", "1.5"),
        ("compress", "mobilenet", "sparse", "--out", "x", "--sparsity", "half"),
        ("predict", "mobilenet", "a.png", "--top", "3"),
    ],
)
def test_options_of_the_wrong_type_exit_2(args: tuple[str, ...]) -> None:
    complaint = run(*args, status=2)[1]
    assert "Invalid value" in complaint or "No such option" in complaint


def test_an_error_cannot_steer_the_terminal(toys: Path) -> None:
    complaint = run("info", "./\x1b[2J\x9b31m", status=2)[1]
    assert complaint.rstrip("\n").isprintable() and "no such file or folder" in complaint


def test_missing_arguments_exit_2() -> None:
    assert "Missing argument" in run("info", status=2)[1]
    assert "No such command" in run("lisst", status=2)[1]


def test_python_m_zoo_and_the_version() -> None:
    done = subprocess.run([sys.executable, "-m", "zoo", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"zoo {zoo.__version__}\n"


def test_bench() -> None:
    how = ("--runtime", "eager", "--runtime", "torch", "--batch", "2", "--size", "16", "--seconds", "0", "--no-memory")
    found = run_json("bench", "mobilenet", "mobilenet-int8", *how)
    timings = [(one["name"], one["runtime"], one["batch"]) for one in found["timings"]]
    assert timings == [("mobilenet", "eager", 2), ("mobilenet", "torch", 2), ("mobilenet-int8", "eager", 2)]
    assert all(one["throughput"] == pytest.approx(2000 / one["latency"]) for one in found["timings"])
    assert found["timings"][0]["ratio"] == 1.0
    shown, _ = run("bench", "mobilenet", *how)
    assert "pictures" in shown and "mobilenet" in shown
    (alone,) = run_json("bench", "mobilenet-int8", "--runtime", "torch", *how[4:])["timings"]
    assert alone["runtime"] == "torch", "what was asked for is timed"
    assert "choose of eager" in run("bench", "mobilenet", "--runtime", "tensorrt", status=2)[1]
    assert "Did you mean" in run("bench", "mobilnet", *how, status=2)[1]


@pytest.mark.multiprocess
def test_bench_measures_memory() -> None:
    if not memory._STATUS.exists():
        pytest.skip("the system does not tell")
    (one,) = run_json("bench", "mobilenet", "--runtime", "torch", "--batch", "1", "--seconds", "0")["timings"]
    assert 1e6 < one["peak_memory"] < 1e9


def test_export(tmp_path: Path) -> None:
    file, name = tmp_path / "m.pt2", str(tmp_path / "tiny")
    zoo.save(tiny(), name)
    assert "answers as" in run("export", name, "--out", str(file))[0]
    assert run_json("export", name, "--format", "pt2", "--out", str(file)) == {
        "name": name,
        "files": {str(file): file.stat().st_size},
    }
    assert "--format is one of" in run("export", "resnet-int8", status=2)[1]
