"""What is kept to be used again is used only while it is whole and what it was made as; else it is made anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from picture_data import network
from zoo import files
from zoo.catalog.derive import derive, derived_file
from zoo.files import FileError, cached, unfinished, write_whole
from zoo.model.build import Model
from zoo.naming import Name
from zoo.runtime import cache
from zoo.weights.file import save_file

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@dataclass
class Cache:
    """`use(folder, which)` gives the answer of network 1 or 2, by what `folder` keeps; `made` counts what was made."""

    use: Callable[[Path, int], Tensor]
    made: list[str]

    def entries(self, folder: Path) -> list[Path]:
        return sorted(one for one in folder.rglob("*") if one.suffix in (".onnx", ".safetensors") and one.is_file())


def model(which: int, name: str = "tiny") -> Model:
    torch.manual_seed(which)
    made = network("cat", "dog")
    return made if name == "tiny" else zoo.build(made.spec.replace(name=name))


@pytest.fixture(params=["runtime", "derived"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    made: list[str] = []
    if request.param == "runtime":
        # In the place of an export the weights themselves: what is kept, and how it is checked, is the same.
        monkeypatch.setattr("zoo.runtime.onnx.write_onnx", lambda model, file, size: save_file(model, file))

        def use(folder: Path, which: int, name: str = "tiny") -> Tensor:
            asked = model(which, name)
            key = cache.model_key(asked)
            return cache.exported(
                asked, key, (8, 8), folder, lambda file: zoo.load(file)(X), made.append, runtime="onnxruntime"
            )

        return Cache(use, made)

    def use_derived(folder: Path, which: int, name: str = "tiny") -> Tensor:
        source = tmp_path / f"source-{which}"
        zoo.save(model(which), source)
        wanted = Name("tiny", "mine", ("int8",))
        file = source / "model.safetensors"
        return derive(wanted, file, origin={}, calibration=X, cache_dir=folder, report=made.append).model(X)

    monkeypatch.setattr("zoo.weights.matches_name.check_matches_name", lambda *_: None)
    return Cache(use_derived, made)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 0x10
    replace(file, bytes(content))


def replace(file: Path, content: bytes) -> None:
    file.unlink()  # a network may have it mapped
    file.write_bytes(content)


def seal(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "mine").write_text("keep me")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "one bit": flip,
    "cut short": lambda file: replace(file, file.read_bytes()[:-100]),
    "empty": lambda file: replace(file, b""),
    "gone": lambda file: file.unlink(),
    "without its seal": lambda file: seal(file).unlink(),
    "with half a seal": lambda file: seal(file).write_text(seal(file).read_text()[:32]),
    "with a seal of something else": lambda file: seal(file).write_text("0" * 64),
    "a folder": folder_in_its_place,
    "its seal a folder": lambda file: (seal(file).unlink(), seal(file).mkdir()),
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to(file.with_name("nothing"))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_anew(kept: Cache, damage: str, tmp_path: Path) -> None:
    right = kept.use(tmp_path / "cache", 1)
    assert torch.equal(kept.use(tmp_path / "cache", 1), right) and len(kept.made) == 1, "a whole one is used"
    (file,) = kept.entries(tmp_path / "cache")
    DAMAGES[damage](file)
    assert torch.equal(kept.use(tmp_path / "cache", 1), right) and len(kept.made) == 2
    assert torch.equal(kept.use(tmp_path / "cache", 1), right) and len(kept.made) == 2
    if damage == "a folder":
        assert [one.read_text() for one in tmp_path.rglob("mine")] == ["keep me"], "what was in the way is kept"


@pytest.mark.parametrize("sealed", ["not at all", "as the other", "anew"])
def test_an_entry_in_the_place_of_another_is_not_given(kept: Cache, sealed: str, tmp_path: Path) -> None:
    first = kept.use(tmp_path / "cache", 1)
    (one,) = kept.entries(tmp_path / "cache")
    second = kept.use(tmp_path / "cache", 2)
    assert not torch.equal(first, second)
    (other,) = set(kept.entries(tmp_path / "cache")) - {one}
    replace(one, other.read_bytes())
    if sealed == "as the other":
        replace(seal(one), seal(other).read_bytes())
    if sealed == "anew":
        if one.suffix == ".onnx":
            pytest.skip("an export says nothing of its weights; its first answer is compared with the network's")
        replace(seal(one), files._seal_of(one, files.sha256_of(one)).encode())
    assert torch.equal(kept.use(tmp_path / "cache", 1), first) and len(kept.made) == 3


def test_an_entry_for_other_calibration_is_not_given(tmp_path: Path) -> None:
    zoo.save(model(1), tmp_path / "dense")
    name, source = Name("tiny", "mine", ("int8",)), tmp_path / "dense" / "model.safetensors"

    def made(calibration: Tensor) -> Path:
        return derived_file(name, source, origin={}, calibration=calibration, cache_dir=tmp_path)

    one, other = made(X), made(3 * X)
    right = one.read_bytes()
    replace(one, other.read_bytes())
    replace(seal(one), files._seal_of(one, files.sha256_of(one)).encode())
    assert made(X) == one and one.read_bytes() == right


def test_what_fails_leaves_no_entry(kept: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("zoo.runtime.onnx.write_onnx", full)
        patch.setattr("zoo.catalog.derive._make", full)
        with pytest.raises(FileError, match="No space left"):
            kept.use(tmp_path / "cache", 1)
    assert not kept.entries(tmp_path / "cache") and not list((tmp_path / "cache").rglob("*.tmp*"))
    kept.use(tmp_path / "cache", 1)
    assert len(kept.entries(tmp_path / "cache")) == 1


def test_a_link_is_not_written_through(kept: Cache, tmp_path: Path) -> None:
    kept.use(tmp_path / "cache", 1)
    (file,) = kept.entries(tmp_path / "cache")
    (tmp_path / "mine").write_text("keep me")
    for one in (file, seal(file), file.with_suffix(".lock")):
        one.unlink(missing_ok=True)
        one.symlink_to(tmp_path / "mine")
    kept.use(tmp_path / "cache", 1)
    assert (tmp_path / "mine").read_text() == "keep me" and not file.is_symlink()


@pytest.mark.parametrize("name", ["../../out", "/etc/passwd", "..", "a/b\\c", "nul:|?*", "x" * 200])
def test_a_name_in_a_file_is_no_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.runtime.onnx.write_onnx", lambda model, file, size: file.write_bytes(b"x"))
    asked = model(1, name)
    cache.exported(asked, cache.model_key(asked), (8, 8), tmp_path / "a" / "b", Path.read_bytes, runtime="onnxruntime")
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert files and all(one.parent == tmp_path / "a" / "b" / "zoo" / "runtime" for one in files)


@pytest.mark.multiprocess
def test_two_processes_make_one_entry(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from zoo.files import cached
def make(part):
    with Path(sys.argv[1], "made").open("a") as file: file.write("x")
    time.sleep(0.3)
    part.write_bytes(b"whole" * 1000)
print(len(cached(Path(sys.argv[1], "cache", "entry.bin"), make, Path.read_bytes)))
"""
    package = str(Path(zoo.__file__).parents[1])
    run = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": package}
    children = [subprocess.Popen(run, env=environment, text=True, stdout=subprocess.PIPE) for _ in range(3)]
    assert [child.communicate(timeout=120)[0] for child in children] == ["5000\n"] * 3
    assert (tmp_path / "made").read_text() == "x"


def test_what_a_kill_left_of_an_entry_goes_with_the_next(kept: Cache, tmp_path: Path) -> None:
    kept.use(tmp_path / "cache", 1)
    (file,) = kept.entries(tmp_path / "cache")
    file.unlink()
    with unfinished(file) as part, unfinished(part) as inner, unfinished(seal(file)) as of_seal:
        left, name = (part, inner, of_seal), f"{file.stem}0-{'0' * 12}.tmp{file.suffix}"
    others = [file.with_name(f".{name}"), file.with_name(f"{file.stem}.tmp{file.suffix}")]
    for one in (*left, *others):
        one.write_bytes(b"half")
    kept.use(tmp_path / "cache", 1)
    assert not any(one.exists() for one in left) and all(one.exists() for one in others)


@pytest.mark.parametrize("name", ["a", "a" * 240, "\u4e2d" * 80, "[*]", "a.b.c"])
def test_a_file_of_any_name_is_written_whole(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / f"{name}.safetensors", (b"first",))

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise KeyError

    with pytest.raises(KeyError):
        write_whole(tmp_path / f"{name}.safetensors", parts())
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(f"{name}.safetensors", b"first")]


def dying(at: int, act: Callable[[], Any]) -> int:
    """Do it in a forked process that is killed before its step number `at` on files; its exit status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = at

    def watch(event: str, given: Any) -> None:
        nonlocal left
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.mkdir"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)  # the threads of the process were not forked with it
    sys.addaudithook(watch)
    act()
    os._exit(0)


@pytest.mark.multiprocess
def test_killed_anywhere_an_entry_is_whole_or_not_there(kept: Cache, tmp_path: Path) -> None:
    right = kept.use(tmp_path / "right", 1)
    for at in range(1, 100):
        folder = tmp_path / f"killed-{at}"
        status = dying(at, lambda: kept.use(folder, 1))  # noqa: B023
        assert status in (0, signal.SIGKILL)
        assert torch.equal(kept.use(folder, 1), right)
        assert not list(folder.rglob("*.tmp*")) and len(kept.entries(folder)) == 1
        if not status:
            break
    assert at > 10


def test_what_another_reads_wrongly_is_an_error_not_a_loop(tmp_path: Path) -> None:
    def refuse(file: Path) -> None:
        raise FileError("It is of another kind.")

    with pytest.raises(FileError, match="of another kind"):
        cached(tmp_path / "entry.bin", lambda part: part.write_bytes(b"x"), refuse)
