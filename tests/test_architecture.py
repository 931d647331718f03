"""Who may know whom, read from the imports; and the house rules that a reader of the syntax tree can keep."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "zoo"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400

LIGHT = {"spec", "kinds", "naming", "registry", "models"}

# room -> all that it may import, beside the standard library
ALLOWED = {
    "spec": set(),
    "naming": set(),
    "kinds": {"zoo.spec", "zoo.kinds"},
    "models": {"zoo.spec", "zoo.models"},
    "registry": {"zoo.spec", "zoo.naming", "zoo.models"},
    "blocks": {"torch", "zoo.blocks"},
    "build": {"torch", "zoo.spec", "zoo.kinds", "zoo.registry", "zoo.blocks.flat"},
    "features": {"torch", "zoo.kinds", "zoo.build"},
}
# room -> what it may never import
FORBIDDEN = {
    "compress": {"zoo.models", "zoo.weights", "zoo.train", "zoo.factory"},
    "weights": {"zoo.models", "zoo.compress", "zoo.train", "zoo.factory"},
    "train": {"zoo.models", "zoo.weights", "zoo.compress", "zoo.factory"},
}


def room(path: Path) -> str:
    """The first name below zoo/: a folder or a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, wherever in the file; names from the package itself as modules too."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively; write the whole name"
            assert node.module is not None
            if node.module == "zoo":
                yield from (f"zoo.{alias.name}" for alias in node.names)
            else:
                yield node.module


def within(module: str, roots: set[str]) -> bool:
    return any(module == root or module.startswith(root + ".") for root in roots)


def of(*rooms: str) -> list[Path]:
    return [path for path in FILES if room(path) in rooms]


def test_the_rules_are_about_files_that_exist() -> None:
    rooms = {room(path) for path in FILES}
    assert rooms >= LIGHT | set(ALLOWED) | {"train"}


@pytest.mark.parametrize("path", of(*ALLOWED), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    allowed = ALLOWED[room(path)]
    foreign = [m for m in imports(path) if not within(m, allowed) and m.split(".")[0] not in sys.stdlib_module_names]
    assert not foreign, f"{path.name} may import the standard library and {sorted(allowed)} only"


@pytest.mark.parametrize("path", of(*FORBIDDEN), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_never_imports_what_it_may_not(path: Path) -> None:
    forbidden = FORBIDDEN[room(path)]
    assert not [m for m in imports(path) if within(m, forbidden)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_stands_on_the_command_or_on_what_is_outside_the_package(path: Path) -> None:
    above = {"scripts", "tests", "benchmarks"} | (set() if room(path) in ("cli", "__main__") else {"zoo.cli"})
    assert not [m for m in imports(path) if within(m, above)]


@pytest.mark.multiprocess
def test_the_light_rooms_load_nothing_heavy() -> None:
    """In a fresh process: models are listed, and every spec is made, named, checked and counted, without torch."""
    program = """
import sys
import zoo
from zoo import kinds, registry
assert zoo.list_models()
for name in registry.MODELS:
    kinds.cost(kinds.check(registry.spec(str(registry.resolve(name)))))
loaded = {"torch", "numpy", "PIL", "typer", "rich", "safetensors", "huggingface_hub"} & set(sys.modules)
assert not loaded, f"loaded {sorted(loaded)}"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_longer_than_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES, "split it: one idea a file"


@pytest.mark.parametrize("path", of("blocks"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_blocks_take_keywords_and_keep_no_hidden_state(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.args.kwarg is None, f"{node.name} hands keywords through: a typo would vanish"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_buffer"):
            persistent = {word.arg: word.value for word in node.keywords}.get("persistent")
            assert persistent is None, "a non-persistent buffer is lost between files and stays on the meta device"
