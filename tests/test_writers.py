"""Whatever writes a file or a folder writes it whole or not at all: on a full disk, and where it is ended in between.

An earlier file stays as it was, and under no final name lies half of a new one.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from daily import daily
from zoo.model.build import Model
from zoo.runtime import formats
from zoo.runtime.needs import installed
from zoo.spec import Block, ImageInput, ModelSpec
from zoo.train.checkpoints import Checkpoints
from zoo.train.log import draw_curves, write_csv
from zoo.weights.file import save_file
from zoo.weights.trial import try_save

resource = pytest.importorskip("resource", reason="a disk that ends in the middle of a file is made by setrlimit")


def network(version: int) -> Model:
    stem = Block("conv_norm_act", "stem", in_channels=3, out_channels=64)
    rows = (stem, Block("global_pool", "pool"), Block("classifier", "classifier", in_features=64, num_classes=3))
    torch.manual_seed(version)
    model = zoo.build(ModelSpec("tiny", rows, ImageInput(size=(8, 8))))
    model.made = {"version": version}
    return model


def save(folder: Path, version: int) -> None:
    zoo.save(network(version), folder / "saved")


def save_shards(folder: Path, version: int) -> None:
    zoo.save(network(version), folder / "saved", max_shard_size=4000)


def save_one_file(folder: Path, version: int) -> None:
    save_file(network(version), folder / "m.safetensors")


def save_texts(folder: Path, version: int) -> None:
    model = network(version)
    model.tokenizer = json.dumps({"version": version, "model": "x" * 5000})
    zoo.save(model, folder / "saved")


def exported(kind: str) -> Callable[[Path, int], None]:
    def write(folder: Path, version: int) -> None:
        zoo.export(network(version), folder / f"m{formats()[kind].suffix}")

    write.__name__ = f"export_{kind}"
    return write


def checkpoints(folder: Path, version: int) -> None:
    Checkpoints(folder, {"who": "me"}, print).write(7, {"version": version, "more": torch.zeros(1000)})


def figures(folder: Path, version: int) -> None:
    write_csv([{"epoch": float(i), "loss": version * 1.5} for i in range(1000)], folder / "metrics.csv")


def curves(folder: Path, version: int) -> None:
    pytest.importorskip("matplotlib")
    draw_curves([{"epoch": float(i), "loss": i * version} for i in range(5)], folder / "curves.png")


def trial(folder: Path, version: int) -> None:
    """Of a training, in the folder of the network that it starts from."""
    (save if version == 1 else lambda folder, version: try_save(network(version), folder / "saved"))(folder, version)


WRITERS = (save, save_shards, save_one_file, save_texts, trial, checkpoints, figures, curves, exported("pt2"))
SMALL = 700  # bytes


class Killed(BaseException):
    """As a signal ends a program, wherever it is."""


@contextmanager
def failing(step: str, failure: BaseException) -> Iterator[None]:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, step, fail)
        yield


@contextmanager
def killed(step: str) -> Iterator[None]:
    """Nothing tidies up behind it either."""
    with pytest.MonkeyPatch.context() as patch, failing(step, Killed()):
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        yield


@contextmanager
def small_disk(room: int) -> Iterator[None]:
    """No file grows beyond `room` bytes, whoever writes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


FAILURES: dict[str, tuple[Callable[[], Any], type[BaseException]]] = {
    "full at the end": (lambda: failing("fsync", OSError(errno.ENOSPC, "No space left on device")), zoo.FileError),
    "full in the middle": (lambda: small_disk(SMALL), zoo.FileError),
    "no place": (lambda: failing("replace", OSError(errno.ENOSPC, "No space left on device")), zoo.FileError),
    "stopped at the end": (lambda: failing("fsync", KeyboardInterrupt()), KeyboardInterrupt),
    "stopped before the place": (lambda: failing("replace", KeyboardInterrupt()), KeyboardInterrupt),
    "killed at the end": (lambda: killed("fsync"), Killed),
    "killed before the place": (lambda: killed("replace"), Killed),
}


def shown(folder: Path) -> dict[str, bytes]:
    """What lies under a name that somebody reads."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def check(write: Callable[[Path, int], None], failure: str, folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "new").mkdir()
    write(folder / "there", 1)
    before = shown(folder / "there")
    assert max(map(len, before.values())) > 2 * SMALL, "it would fit on the small disk"
    fails, error = FAILURES[failure]
    for name in ("there", "new"):
        with pytest.raises(error), fails():
            write(folder / name, 2)
    assert shown(folder / "there") == before
    assert not shown(folder / "new")
    if "killed" not in failure:
        assert not list(folder.rglob("*.tmp*"))
    write(folder / "there", 1)
    assert sorted(shown(folder / "there")) == sorted(before)


SLOW = WRITERS[-1]  # a program of torch's is written behind a second of tracing
SEEN_IN_EVERY_RUN = ("full in the middle", "stopped before the place", "killed at the end")


@pytest.mark.parametrize(
    ("write", "failure"),
    daily(
        product(WRITERS, FAILURES),
        [case for case in product(WRITERS, FAILURES) if case[0] is not SLOW or case[1] in SEEN_IN_EVERY_RUN],
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_earlier_file_stays_and_no_half_takes_its_place(
    write: Callable[[Path, int], None], failure: str, tmp_path: Path
) -> None:
    check(write, failure, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        pytest.param("onnx", "full in the middle", marks=pytest.mark.nightly),
        ("onnx", "stopped before the place"),
        ("openvino", "full in the middle"),
        pytest.param("openvino", "stopped before the place", marks=pytest.mark.nightly),
        ("executorch", "full in the middle"),
        ("executorch", "stopped before the place"),
    ],
)
def test_exports_of_other_libraries(kind: str, failure: str, tmp_path: Path) -> None:
    if not all(map(installed, {"onnx": ["onnxscript"]}.get(kind, [kind]))):
        pytest.skip(f"without {kind}")
    check(exported(kind), failure, tmp_path)


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), Killed()], ids=["full", "killed"]
)
@pytest.mark.parametrize("write", [save, save_shards, save_texts], ids=lambda write: write.__name__)
def test_a_folder_holds_one_network_wherever_its_replacement_ends(
    write: Callable[[Path, int], None], failure: BaseException, tmp_path: Path
) -> None:
    """It is the old one until the last file, which names the weights, is in its place."""
    real, left = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise failure
        left -= 1
        real(source, target)

    write(tmp_path, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        for allowed in range(100):
            left = allowed
            try:
                write(tmp_path, 2)
                break
            except (zoo.FileError, Killed):
                assert zoo.load(tmp_path / "saved").made == {"version": 1}
                assert torch.equal(zoo.load(tmp_path / "saved").stem.conv.weight, network(1).stem.conv.weight)
    assert allowed >= 3, "a folder has a few files"
    assert zoo.load(tmp_path / "saved").made == {"version": 2}
    (tmp_path / "once").mkdir()
    write(tmp_path / "once", 2)
    assert sorted(shown(tmp_path / "saved")) == sorted(shown(tmp_path / "once" / "saved")), "an earlier one's are gone"


@pytest.mark.parametrize("step", [0, 1])
def test_settings_change_in_the_step_before_the_weights(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other libraries read config.json beside the weights: a kill leaves both of one network, but between these two."""

    class Killed(BaseException):
        pass

    def put(part: Path, file: Path) -> None:
        if len(done) == step:
            raise Killed
        done.append(file)
        rename(part, file)

    done, rename = list[Path](), os.replace
    save(tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", put)
        with pytest.raises(Killed):
            save(tmp_path, 2)
    settings = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert settings["made"] == zoo.load(tmp_path / "saved").made == {"version": 1}
