"""The commands that train: every variant stays what it is, and a run that was killed or misled ends well."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

import zoo
from zoo.cli.training import main
from zoo.model.build import Model
from zoo.train.recipe import Recipe

SCRIPTS = Path(__file__).parents[2] / "scripts"
QUICK = Recipe(epochs=1, batch_size=16, learning_rate=1e-4, shift=1, bfloat16=False)


def command_of(name: str) -> ModuleType:
    return importlib.import_module(f"zoo.cli.training.{name}")


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every other shipped picture of three classes in folders, and one that is none."""
    folder = tmp_path_factory.mktemp("animals")
    shipped = zoo.samples("cifar10", "train")
    for index, (picture, label) in enumerate(zip(shipped.images, shipped.labels, strict=True)):
        name = shipped.classes[label]
        if name in ("cat", "dog", "horse") and index % 2 == 0:
            split = "validation" if index % 8 == 0 else "train"
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / split / name / f"{index}.png")
    (folder / "train" / "cat" / "broken.png").write_bytes(b"no picture")
    return folder


def finetune(animals: Path, out: Path, model: str, **more: object) -> Model:
    module = command_of("finetune")
    module.run(module.Settings(data=str(animals), out=out, model=model, recipe=QUICK, **more))
    return zoo.load(out)


def dtypes(model: torch.nn.Module) -> set[torch.dtype]:
    return {t.dtype for key, t in model.state_dict().items() if key.endswith("weight") and t.ndim > 1}


@pytest.mark.slow
def test_an_int8_network_comes_back_int8_with_its_new_head(animals: Path, tmp_path: Path, capsys) -> None:
    tuned = finetune(animals, tmp_path / "out", "mobilenet-int8")
    assert dtypes(tuned) == {torch.int8}
    assert tuned.labels == ("cat", "dog", "horse")
    assert tuned.spec["classifier"].args["num_classes"] == 3
    said = capsys.readouterr()
    assert "validation top-1 %" in said.out
    assert "1 training pictures could not be read and were left out" in said.out and "broken.png" in said.out
    for name in ("metrics.csv", "tensorboard", "checkpoints"):
        assert (tmp_path / "out" / "training" / name).exists()


@pytest.mark.slow
def test_a_pruned_network_keeps_its_widths(animals: Path, tmp_path: Path) -> None:
    before = zoo.create("mobilenet-pruned", num_classes=3)
    tuned = finetune(animals, tmp_path / "out", "mobilenet-pruned")
    assert tuned.spec.rows == before.spec.rows
    assert not torch.equal(tuned.state_dict()["stem.conv.weight"], before.state_dict()["stem.conv.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet-sparse", "sparse-int8"])
def test_a_sparse_network_keeps_its_zeros(animals: Path, tmp_path: Path, name: str) -> None:
    before = zoo.create("mobilenet-sparse")
    if name == "sparse-int8":
        inputs = zoo.preprocess(before)(list(zoo.samples("cifar10", "train").images[:32]))
        before, name = zoo.compress(before, "int8", calibration=inputs), str(tmp_path / "start")
        zoo.save(before, name)
    tuned = finetune(animals, tmp_path / "out", name)
    for key, weight in before.state_dict().items():
        if key.endswith("weight") and weight.ndim > 1 and "classifier" not in key:
            after = tuned.state_dict()[key]
            assert bool((after[weight == 0] == 0).all()), key
            assert after.dtype == weight.dtype


@pytest.mark.slow
def test_distilling_starts_a_fresh_student(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shipped = zoo.samples("cifar10", "train")
    for index, (picture, label) in enumerate(zip(shipped.images[::4], shipped.labels[::4], strict=True)):
        (folder / shipped.classes[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / shipped.classes[label] / f"{index}.png")
    module = command_of("distill")
    settings = module.Settings(
        student="mobilenetv2_cifar_small", teacher=("mobilenet",), data=str(folder), out=tmp_path / "out", recipe=QUICK
    )
    module.run(settings)
    student = zoo.load(tmp_path / "out")
    assert student.spec.name == "mobilenetv2_cifar_small"
    assert student.labels == zoo.create("mobilenet").labels
    assert student.made["trained"]["teacher"] == "mobilenetv2_cifar.cifar10"


@pytest.mark.slow
def test_teachers_of_other_classes_are_refused(animals: Path, tmp_path: Path) -> None:
    module = command_of("distill")
    settings = module.Settings(
        student="resnet20", teacher=("mobilenet",), data=str(animals), out=tmp_path / "out", recipe=QUICK
    )
    with pytest.raises(ValueError, match="mobilenet knows other classes than the data has: airplane"):
        module.run(settings)


def test_known_classes_are_numbered_as_the_network_numbers_them(animals: Path, tmp_path: Path) -> None:
    common = command_of("common")
    model = zoo.create("mobilenet", num_classes=3)
    model.labels = ("horse", "cat", "dog")
    data = common.open_data(common.Common(data=str(animals), out=tmp_path), model)
    assert data.train.classes == data.validation.classes == model.labels
    assert common.for_classes(model, data.train.classes) is model
    horses = len(list((animals / "validation" / "horse").iterdir()))
    assert int((data.validation.labels == 0).sum()) == horses


@pytest.mark.slow
def test_pruning_in_rounds_and_quantizing(animals: Path, tmp_path: Path, capsys) -> None:
    tuned = tmp_path / "tuned"
    finetune(animals, tuned, "mobilenet")
    module = command_of("prune")
    common = {"data": str(animals), "recipe": QUICK}
    module.run(module.Settings(model=str(tuned), macs=0.5, rounds=2, pictures=16, out=tmp_path / "half", **common))
    dense, half = zoo.info(tuned), zoo.info(tmp_path / "half")
    assert 0.45 < half.macs / dense.macs < 0.52
    assert 0.65 < zoo.info(f"{tmp_path / 'half'}.round1").macs / dense.macs < 0.76

    module.run(
        module.Settings(model=str(tuned), macs=0.7, importance="auto", pictures=16, out=tmp_path / "judged", **common)
    )
    (judged,) = (one for one in zoo.load(tmp_path / "judged").made["passes"] if one["pass"] == "pruned")
    assert (judged["importance"], judged["examples"]) == ("calibrated", 16)

    module = command_of("quantize")
    settings = {"model": str(tmp_path / "half"), "pictures": 16, "data": str(animals)}
    module.run(module.Settings(out=tmp_path / "int8", **settings))
    assert dtypes(zoo.load(tmp_path / "int8")) == {torch.int8}
    module.run(module.Settings(out=tmp_path / "mixed", keep_float=1, **settings))
    floats = {
        name: {row.name for row in zoo.load(tmp_path / name).spec if row.precision == "float32"}
        for name in ("int8", "mixed")
    }
    assert len(floats["mixed"] - floats["int8"]) == 1, "one row stays, which may have no weights"
    capsys.readouterr()
    module.run(module.Settings(out=tmp_path / "qat", qat=True, recipe=QUICK, **settings))
    starts = [str(tmp_path / "half"), "int8, before training", str(tmp_path / "qat")]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(tuple(starts))]
    assert [row.startswith(start) for row, start in zip(rows, starts, strict=True)] == [True] * 3
    qat = zoo.load(tmp_path / "qat")
    assert dtypes(qat) == {torch.int8}
    assert qat.made["passes"][-1]["trained"] == "quantization-aware"


@pytest.mark.slow
@pytest.mark.multiprocess
def test_the_command_survives_a_kill_and_ends_with_the_same_file(animals: Path, tmp_path: Path, capsys) -> None:
    """The script dies in a process of its own; the run without a break and the one that goes on are the command's."""

    def arguments(out: str) -> list[str]:
        line = f"mobilenet-int8 --data {animals} --out {tmp_path / out} --epochs 2 --batch-size 8 --shift 1"
        return [*line.split(), "--save-seconds", "0", "--threads", "1"]

    main("finetune", arguments("whole"))
    script = [sys.executable, str(SCRIPTS / "finetune.py"), *arguments("cut")]
    process = subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "cut" / "training" / "checkpoints"
    while process.poll() is None and len(list(checkpoints.glob("step-*.pt"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    capsys.readouterr()
    main("finetune", arguments("cut"))
    assert "Going on from step" in capsys.readouterr().err
    files = [sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest() for name in ("whole", "cut")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "nowhere-at-all"), "nowhere-at-all"),
        (("--epochs", "0"), "--epochs is from 1 to"),
        (("--batch-size", "4096"), "choose a smaller --batch-size"),
        (("--sparsity", "1.5"), "--sparsity takes a number from 0 to below 1"),
        (("--sparsity", "-1"), "--sparsity takes a number from 0 to below 1"),
        (("--soft-weight", "0.5"), "--soft-weight needs a teacher"),
        (("--soft-weight", "0.5", "--temperature", "2"), "--temperature and --soft-weight need a teacher"),
        (("--held-out", "0.5"), "--held-out is for data without a validation split"),
        (("--momentum", "0.5"), "--momentum is for an optimizer that has one"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    animals: Path, tmp_path: Path, more: tuple[str, ...], message: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    data = () if more[0] == "--data" else ("--data", str(animals))
    with pytest.raises(SystemExit) as ended:
        main("finetune", ["mobilenet", *data, "--out", str(tmp_path / "out"), *more])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert ("Reading" in said) == (more[0] in ("--data", "--batch-size", "--held-out"))


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (
            "prune",
            ("--ratio", "0.3", "--macs", "0.5"),
            "one of --ratio, --macs, --parameters, between 0 and 1, not --ratio",
        ),
        ("prune", ("--temperature", "2"), "--temperature needs a teacher"),
        ("quantize", ("--epochs", "2"), "--epochs needs --qat"),
        ("quantize", ("--epochs", "2", "--momentum", "0.5"), "--epochs, --momentum need --qat"),
    ],
)
def test_errors_name_options_as_they_are_typed(
    tmp_path: Path, name: str, more: tuple[str, ...], message: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main(name, ["mobilenet", "--data", "batch_size/data", "--out", str(tmp_path / "out"), *more])
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_folder_called_like_an_option_keeps_its_name(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main("finetune", ["mobilenet", "--data", "batch_size/save_seconds", "--out", str(tmp_path / "out")])
    assert "batch_size/save_seconds" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.multiprocess
def test_a_script_ends_with_the_status_of_its_command(tmp_path: Path) -> None:
    given = ["mobilenet", "--data", "nowhere-at-all", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, str(SCRIPTS / "finetune.py"), *given], capture_output=True, text=True)
    assert done.returncode == 2 and "nowhere-at-all" in done.stderr and "Traceback" not in done.stderr


def test_help_tells_every_setting() -> None:
    for name in ("finetune", "distill", "prune", "quantize"):
        fields = command_of(name).Settings.__dataclass_fields__
        assert {"data", "out", "recipe"} <= set(fields)
