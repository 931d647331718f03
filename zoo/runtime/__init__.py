"""Faster engines behind the same call, and files for other systems: which there are, as data. No torch.

A runtime is an entry here and a module below `backends/`, whose functions are fetched when they are first used.
`register` adds one from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.lazy import fetch

NO_RUNTIMES = ("auto", "eager")  # what `zoo.to_runtime` and `zoo.bench` take beside the names of runtimes


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file that `zoo.export` writes for another system.

    `write` is "module:attribute" of (model, file), with `opsets` of (model, file, opset). It writes the file whole or
    not at all, and compares the file's answers with the network's. `companions` are the names of what is written beside
    the file, with its {name} and its {stem}. `any_name` is for a writer that opens names which are not UTF-8, too.
    """

    name: str
    suffix: str
    about: str
    write: str
    companions: tuple[str, ...] = ()
    opsets: bool = False
    any_name: bool = False

    def companion_files(self, file: Path) -> list[Path]:
        """The files beside `file`."""
        return [file.with_name(one.format(name=file.name, stem=file.stem)) for one in self.companions]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What is known of a runtime without running it. Functions stand as "module:attribute"; `fetch` imports them.

    A runtime reads a file that is kept in the cache. `write` is (model, file, size), and `suffix` is the file's.
    `engine` is (file, shape, threads, *, exact) -> a function of arrays that returns a tuple of arrays; a shape of None
    is any. `exact` asks for arithmetic in which no products saturate. A runtime that reads no file has `convert` in
    their place: (model) -> a network.
    """

    name: str
    about: str = ""
    packages: tuple[str, ...] = ()  # what has to be installed to run a file; `write` says what writing needs
    extra: str = ""  # of this package, which installs them
    suffix: str = ""
    write: str = ""
    engine: str = ""
    convert: str = ""
    format: Format | None = None  # what `zoo.export` writes for it
    ragged: bool = True  # runs inputs of any length, such as texts
    double: bool = True  # runs inputs in float64, such as rows of tables
    any_batch: bool = True  # one engine serves every batch size
    without_vnni: int = 0  # rank of its int8 on x86 without VNNI: 0 in floats or slow, then the faster the higher

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name in NO_RUNTIMES:
            raise ValueError(f"A runtime's name is small letters and digits, such as 'openvino', not {self.name!r}.")
        reads = [bool(one) for one in (self.suffix, self.write, self.engine)]
        if any(reads) == bool(self.convert) or any(reads) != all(reads):
            raise ValueError(f"{self.name!r} has suffix, write and engine, or it has convert.")

    def takes(self, given: Any) -> bool:
        """Whether it runs networks with the input `given`, of `zoo.inputs`."""
        return (self.ragged or not given.ragged) and (self.double or not given.double)

    def refuse(self, name: str, given: Any) -> None:
        """Raise ValueError where it does not run the network `name`, whose input is `given`; says which do."""
        if given.double and not self.double:
            able = ", ".join(one.name for one in RUNTIMES.values() if one.takes(given))
            raise ValueError(f"{self.name} runs no networks of {given.unit}; {able} do.")
        if given.ragged and not self.ragged:
            how = f": zoo.export writes the file in {self.format.suffix}" if self.format else ""
            raise ValueError(f"{self.name} runs {name} for {given.unit} of one length only{how}.")

    def fetch(self, part: str) -> Any:
        """The function that stands under the name `part`."""
        return fetch(getattr(self, part))


ONNX = "zoo.runtime.onnx:write_onnx"

RUNTIMES: dict[str, Runtime] = {
    one.name: one
    for one in (
        Runtime(name="torch", about="float32 rows fused", packages=("torch",), convert="zoo.passes.fuse:fuse"),
        Runtime(
            name="openvino",
            packages=("openvino",),
            extra="openvino",
            suffix=".onnx",
            write=ONNX,
            engine="zoo.runtime.backends.openvino:engine",
            any_batch=False,
            format=Format(
                name="openvino",
                suffix=".xml",
                about="with .bin beside it",
                write="zoo.runtime.backends.openvino:export",
                companions=("{stem}.bin",),
            ),
        ),
        Runtime(
            name="onnxruntime",
            packages=("onnxruntime",),
            extra="onnx",
            suffix=".onnx",
            write=ONNX,
            engine="zoo.runtime.backends.onnxruntime:engine",
            without_vnni=1,
            format=Format(
                name="onnx",
                suffix=".onnx",
                about="int8 as QuantizeLinear and DequantizeLinear",
                write="zoo.runtime.backends.onnxruntime:export",
                opsets=True,
            ),
        ),
        Runtime(
            name="executorch",
            about="pictures only",
            packages=("executorch",),
            extra="executorch",
            suffix=".pte",
            write="zoo.runtime.executorch:write_program",
            engine="zoo.runtime.backends.executorch:engine",
            ragged=False,
            double=False,
            without_vnni=2,
            format=Format(
                name="executorch",
                suffix=".pte",
                about="XNNPACK, one picture, or one text of 128 tokens, at a time",
                write="zoo.runtime.backends.executorch:export",
                companions=("{name}.json",),
            ),
        ),
    )
}

FORMATS: tuple[Format, ...] = (  # those of no runtime
    Format(
        name="pt2",
        suffix=".pt2",
        any_name=True,
        about="torch.export, in plain float operators",
        write="zoo.runtime.backends.pt2:export",
    ),
)


def register(one: Runtime) -> Runtime:
    """Add a runtime: `zoo.create`, `zoo.to_runtime`, `zoo.bench`, `zoo.export` and the command know it from then on.

    Raises ValueError for a name or a format that another runtime has, or for cached files that another one writes
    otherwise.
    """
    if one.name in RUNTIMES:
        raise ValueError(f"There is a runtime {one.name!r} already.")
    for other in RUNTIMES.values():
        if one.suffix and other.suffix == one.suffix and other.write != one.write:
            raise ValueError(f"Files in {one.suffix} are those of {other.name!r}: give {one.name!r} another suffix.")
    for known in formats().values():
        if one.format and (known.name == one.format.name or known.suffix == one.format.suffix):
            raise ValueError(f"There is a format {known.name!r} ({known.suffix}) already.")
    RUNTIMES[one.name] = one
    return one


def find(name: str) -> Runtime:
    """The runtime of a name; raises ValueError where there is none."""
    if name not in RUNTIMES:
        raise ValueError(f"Unknown runtime {name!r}; choose one of {', '.join(RUNTIMES)}, auto.")
    return RUNTIMES[name]


def formats() -> dict[str, Format]:
    """Name -> format, of those that `zoo.export` writes."""
    return {one.name: one for one in (*(one.format for one in RUNTIMES.values() if one.format), *FORMATS)}


def check_written(chosen: Format, given: Any) -> None:
    """Raise ValueError for a format that holds no networks with the input `given`; says which do."""
    able = {name: one for name, one in formats().items() if _holds(one, given)}
    if chosen.name not in able:
        named = ", ".join(f"{name} ({one.suffix})" for name, one in able.items())
        raise ValueError(f"A file of {chosen.name} holds no networks of {given.unit}; {named} do.")


def _holds(one: Format, given: Any) -> bool:
    """By the runtime that reads it. A file of texts is of one length where the runtime takes no other."""
    return not given.double or all(other.double for other in RUNTIMES.values() if other.format == one)


def told(said: Iterable[Runtime | Format]) -> str:
    """`"torch" (float32 rows fused), "openvino"`, of runtimes or of formats, for a docstring."""
    return ", ".join(f'"{one.name}" ({about})' if (about := _about(one)) else f'"{one.name}"' for one in said)


def _about(one: Runtime | Format) -> str:
    return ", ".join(filter(None, (getattr(one, "suffix", "") if isinstance(one, Format) else "", one.about)))
