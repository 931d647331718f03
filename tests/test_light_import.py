"""What need not compute does not import what computes."""

import os
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "numpy", "PIL", "safetensors", "pyarrow")
COMMAND = """
from typer.testing import CliRunner
from zoo.cli import app
for args in (["--help"], ["list"], ["info", "mobilenetv2_100"], ["compare", "--help"]):
    assert CliRunner().invoke(app, args).exit_code == 0, args
"""
FACE_ONLY = (*HEAVY, "typer", "rich", "typing", "inspect")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import zoo", FACE_ONLY),
        ("import zoo; zoo.list_models()", (*HEAVY, "typer")),
        ("import zoo; [zoo.info(name) for name in zoo.list_models()]", (*HEAVY, "typer")),
        (
            "import zoo; zoo.parse_name('mobilenetv2_cifar.cifar10-int8'); zoo.ModelSpec; zoo.FileError",
            (*HEAVY, "typer"),
        ),
        (
            COMMAND,
            HEAVY,
        ),
    ],
    ids=["import", "list_models", "info", "names", "command"],
)
def test_nothing_heavy_is_imported(code: str, absent: tuple[str, ...]) -> None:
    assert run(f"{code}\nimport sys\nprint([m for m in {absent!r} if m in sys.modules])").strip() == "[]"


@pytest.mark.timing
def test_import_costs_at_most_60_ms_above_a_bare_interpreter() -> None:
    def best(code: str) -> float:
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
            taken.append(time.perf_counter() - start)
        return min(taken)

    assert best("import zoo") - best("pass") < 0.060
