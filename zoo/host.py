"""What this host's processor does with int8 networks, as far as the system tells: without torch."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def int8_execution(seven_bits: bool, texts: bool = False) -> str:
    """How torch runs an int8 network, of `texts` or of pictures, here, and what to do where that is slow.

    Empty where the system does not tell. torch itself tries its operators at first use (`zoo.blocks.int8.onednn`), and
    that verdict is what counts.
    """
    other = f'runtime="{"onnxruntime" if texts else "executorch"}"'
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"floats, no integer operators on {platform.machine()}: use {other} or another"
    try:
        flags = set(_CPUINFO.read_text(encoding="utf-8").split("flags", 1)[1].split("\n", 1)[0].split())
    except (OSError, IndexError):
        return ""
    if flags & {"avx512_vnni", "avx_vnni"}:
        return "integer operators (VNNI)"
    if seven_bits and "avx2" in flags:
        return "integer operators (7-bit weights, AVX2)"
    return f"floats here, about as fast as float32, for want of VNNI: use {other}, or compress with reduce_range"
