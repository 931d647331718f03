"""How this host's processor runs int8 networks, read from the system without torch."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from zoo.runtime import RUNTIMES

_CPUINFO = Path("/proc/cpuinfo")


def int8_execution(seven_bits: bool, given: Any) -> str:
    """How torch runs an int8 network with the input `given` on this host, and what to do if that is slow.

    Empty if the system does not tell. The test of the operators at first use (`zoo.engine.cpu.onednn`) decides; this is
    only a forecast.
    """
    able = [one for one in RUNTIMES.values() if one.takes(given)]
    other = f'runtime="{max(able, key=lambda one: one.without_vnni).name}"'
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
