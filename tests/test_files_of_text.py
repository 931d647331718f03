"""Text files are read whole within a stated size; what is no regular file is not waited for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from zoo import files
from zoo.files import FileError, lines_of
from zoo.weights.convert import convert


def test_a_pipe_of_text_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=lambda: (tmp_path / "pipe").write_text("cat\n\ndog\n")).start()
    assert lines_of(tmp_path / "pipe", "names") == ["cat", "dog"]


def test_endless_and_damaged_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TEXT", 1000)
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for path, reason in (
        (Path("/dev/zero"), "it has more than 1,000 bytes"),
        (tmp_path / "latin", "it is no text in UTF-8"),
        (tmp_path / "gone", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(FileError, match=f"names: {reason}"):
            lines_of(path, "names")


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pth")
    for path in (tmp_path / "a.pth", Path("/dev/zero")):
        with pytest.raises(FileError, match="is no regular file"):
            convert(path, "resnet18")
