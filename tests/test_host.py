"""What `info` says of int8 on this host, without torch."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

import zoo
from networks import pictures, small
from zoo.catalog import int8_support
from zoo.passes.compress import compress


@pytest.mark.parametrize(
    ("machine", "flags", "wide", "narrow"),
    [
        ("x86_64", "fpu avx2 avx512_vnni", "integer operators (VNNI)", "integer operators (VNNI)"),
        ("x86_64", "fpu avx2 avx_vnni", "integer operators (VNNI)", "integer operators (VNNI)"),
        ("x86_64", "fpu avx2", "reduce_range", "7-bit"),
        ("x86_64", "fpu sse2", "executorch", "executorch"),
        ("aarch64", "", "executorch", "executorch"),
    ],
)
def test_what_it_says(machine: str, flags: str, wide: str, narrow: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\nbugs : none\n")
    monkeypatch.setattr(int8_support, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    model = small("resnet20")
    for reduce_range, expected in ((False, wide), (True, narrow)):
        int8 = compress(model, "int8", calibration=pictures(model), reduce_range=reduce_range)
        zoo.save(int8, tmp_path / f"{reduce_range}")
        assert expected in zoo.info(tmp_path / f"{reduce_range}").execution
    assert zoo.info("mobilenet").execution == "" == zoo.info("bert-base-uncased").execution
    assert wide in zoo.info("resnet50.a1_in1k-int8").execution
    for name in ("bert-base-uncased-int8", "deepfm-int8"):  # ExecuTorch runs texts of one length, and no rows
        said = zoo.info(name).execution
        assert wide.replace("executorch", "onnxruntime") in said and "executorch" not in said
    assert wide in repr(zoo.info("mobilenet-int8"))


def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(int8_support, "_CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert zoo.info("mobilenet-int8").execution == ""
    assert "runs in" not in repr(zoo.info("mobilenet-int8"))
