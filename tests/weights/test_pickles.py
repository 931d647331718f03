"""Checkpoints that would take more memory or time than their size says are refused before they are opened."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from zoo.files import FileError
from zoo.weights.convert import convert
from zoo.weights.pickles import MAX_PICKLE, check_cost

# A tuple that holds the one before it twice, 44 times: 2 ** 44 parts.
DOUBLING = (
    b"\x80\x02}X\x01\0\0\0aq\0"
    + b"".join(b"h" + bytes([i - 1]) + b"\x86q" + bytes([i]) for i in range(1, 45))
    + b"K\x01s."
)


def zipped(path: Path, content: bytes, compression: int = 0) -> Path:
    with ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return path


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    bomb = zipped(
        tmp_path / "bomb.pth", b"\x80\x02B" + struct.pack("<I", 5_000_000) + bytes(5_000_000) + b".", ZIP_DEFLATED
    )
    with pytest.raises(FileError, match="is compressed"):
        convert(bomb, "resnet18")


def test_a_large_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="may have"):
        convert(zipped(tmp_path / "large.pth", bytes(MAX_PICKLE + 1)), "resnet18")


@pytest.mark.parametrize("inside", [False, True])
def test_a_tuple_that_doubles_is_refused_at_once(inside: bool, tmp_path: Path) -> None:
    path = tmp_path / "laughs.pth"
    if inside:
        zipped(path, DOUBLING)
    else:
        path.write_bytes(DOUBLING)
    began = time.perf_counter()
    with pytest.raises(FileError, match="parts; it is no state dict"):
        convert(path, "resnet18")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("new", [True, False])
def test_what_torch_saves_is_let_through(new: bool, tmp_path: Path) -> None:
    linear = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    saved = {"state_dict": linear.state_dict(), "optimizer": optimizer.state_dict(), "shapes": ((1, 2), (3, (4, 5)))}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    check_cost(tmp_path / "x.pth", zipped=new)
