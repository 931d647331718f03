"""Which module may import which, and the rules of the code that a look at the syntax tree can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import zoo
from zoo.inputs import INPUTS
from zoo.kinds import KINDS
from zoo.runtime import RUNTIMES, formats

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "zoo"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 350
MOST_LOOSE = 10  # modules at the top of zoo/, beside its __init__ and __main__

# package -> all that it may import, beside the standard library
ALLOWED = {
    "printable": set(),
    "checks": {"zoo.printable"},
    "lazy": set(),
    "runtime/__init__": {"zoo.lazy"},
    "inputs": {"torch", "zoo.inputs", "zoo.checks", "zoo.lazy"},
    "spec": {"zoo.printable", "zoo.checks", "zoo.inputs", "zoo.spec"},
    "passes/options": {"zoo.checks"},
    "passes/__init__": {"zoo.passes.options"},
    "naming": {"zoo.passes", "zoo.printable"},
    "kinds": {"zoo.spec", "zoo.kinds", "zoo.printable"},
    "models": {"zoo.spec", "zoo.models", "zoo.inputs", "zoo.kinds"},
    "registry": {"zoo.spec", "zoo.naming", "zoo.models", "zoo.printable", "zoo.lazy"},
    "blocks": {"torch", "zoo.blocks"},
    "engine": {"torch", "numpy", "zoo.blocks", "zoo.kinds", "zoo.engine"},
    "model/defaults": {"torch"},
    "model/finite": {"torch", "numpy", "zoo.blocks.traced", "zoo.printable"},
    "model/build": {
        "torch",
        "zoo.printable",
        "zoo.spec",
        "zoo.kinds",
        "zoo.registry",
        "zoo.lazy",
        "zoo.tasks",
        "zoo.blocks.memory",
        "zoo.blocks.traced",
        "zoo.blocks.wiring",
        "zoo.model.defaults",
        "zoo.model.finite",
        "zoo.model.streams",
    },
    "model/streams": {"torch", "zoo.kinds"},
    "model/verify": {"torch", "zoo.printable", "zoo.spec", "zoo.model.build", "zoo.model.finite"},
    "tasks/__init__": {"zoo.spec", "zoo.kinds", "zoo.lazy", "zoo.tasks.task"},
    "tasks/task": {"zoo.lazy"},
    "tasks/metrics": {"torch", "numpy"},
    "tasks/objectives": {"torch", "zoo.data.void"},
    "model/features": {"torch", "zoo.kinds", "zoo.model.build", "zoo.model.defaults", "zoo.model.verify"},
    "planning/schedules": set(),
    "planning/cuts": set(),
    "planning/units": {"zoo.checks"},
    "planning/devices": {"zoo.checks"},
    "planning/costs": {"zoo.spec"},
    "planning/simulate": {"zoo.planning"},
    "planning/candidates": {"zoo.planning"},
    "planning/search": {"zoo.planning"},
    "planning/plan": {"zoo.planning", "zoo.checks"},
    "files": {"filelock", "huggingface_hub", "zoo.printable"},
    "tabular/keys": {"numpy"},
    "tabular/columns": {"numpy", "pyarrow", "zoo.tabular"},
    "tabular/encoder": {"numpy", "torch", "zoo.inputs", "zoo.spec", "zoo.tabular"},
    "data/preprocess": {"numpy", "PIL", "torch", "zoo.data", "zoo.spec"},
    "data/labelled_data": {"zoo.checks", "zoo.data", "zoo.kinds", "zoo.tasks"},
    "data": {"numpy", "PIL", "pyarrow", "datasets", "torch", "yaml", "zoo.data", "zoo.naming", "zoo.files", "zoo.spec"},
}
# package -> what it may never import
FORBIDDEN = {
    "passes": {"zoo.models", "zoo.weights", "zoo.train", "zoo.catalog", "zoo.factory"},
    "weights": {"zoo.models", "zoo.passes", "zoo.train", "zoo.catalog.source", "zoo.factory"},
    "parallel": {"zoo.models", "zoo.passes", "zoo.train", "zoo.catalog", "zoo.factory"},
    "planning": {"zoo.models", "zoo.passes", "zoo.train", "zoo.weights", "zoo.parallel"},
    "train/finetune": {"zoo.models", "zoo.catalog", "zoo.factory"},
    "train/recover": {"zoo.models", "zoo.catalog", "zoo.factory"},
    "train/unlabelled": {"zoo.models", "zoo.weights", "zoo.catalog", "zoo.factory"},
    "train/recipe": {"zoo.models", "zoo.weights", "zoo.passes.compress", "zoo.catalog", "zoo.factory"},
    "train": {"zoo.models", "zoo.weights", "zoo.passes", "zoo.catalog", "zoo.factory"},
}


def package(path: Path) -> str:
    """The first name below zoo/: a folder or a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, members: bool = False) -> Iterator[str]:
    """Every module that `path` imports, wherever in the file; names from the package itself as modules too.

    With `members`, what is imported from a module too, which may be a module itself.
    """
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
            if node.module == "zoo" or members:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of zoo that it imports; of a package's name in an import, what it stands for."""
    modules = {module_name(path) for path in FILES}
    found: dict[str, set[str]] = {}
    for path in FILES:
        own = found.setdefault(module_name(path), set())
        for name in imports(path, members=True):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules - {"zoo", module_name(path)}:
                own.add(target)
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    """No circular import; imports inside functions count."""
    left = import_graph()
    while ends := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in ends:
            del left[name]
    assert not left, {name: sorted(targets & left.keys()) for name, targets in left.items()}


def within(module: str, roots: set[str]) -> bool:
    return any(module == root or module.startswith(root + ".") for root in roots)


def rule(path: Path, rules: dict[str, set[str]]) -> set[str] | None:
    """That of the module, else that of the package that it is in."""
    own = path.relative_to(PACKAGE).with_suffix("")
    return next((rules[one.as_posix()] for one in (own, *own.parents) if one.as_posix() in rules), None)


def of(*packages: str) -> list[Path]:
    return [path for path in FILES if package(path) in packages]


def test_the_rules_are_about_files_that_exist() -> None:
    there = {path.relative_to(PACKAGE).with_suffix("") for path in FILES}
    there |= {parent for path in there for parent in path.parents}
    assert {path.as_posix() for path in there} >= {*ALLOWED, *FORBIDDEN}


def test_a_package_imports_only_what_it_may() -> None:
    for path in FILES:
        if (allowed := rule(path, ALLOWED)) is None:
            continue
        foreign = [
            m for m in imports(path) if not within(m, allowed) and m.split(".")[0] not in sys.stdlib_module_names
        ]
        assert not foreign, f"{path} may import the standard library and {sorted(allowed)} only"


def test_a_package_never_imports_what_it_may_not() -> None:
    for path in FILES:
        forbidden = rule(path, FORBIDDEN) or set()
        assert not [m for m in imports(path, members=True) if within(m, forbidden)], path


def test_few_modules_lie_loose_at_the_top() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= MOST_LOOSE, f"{sorted(loose)}: put what belongs together into a package"


def test_no_public_name_is_another_module_s() -> None:
    """Importing a module binds it on its package, in the place of a function of the same name."""
    top = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    same = {name for name in zoo.__all__ if name in top}
    assert not {name for name in same if not isinstance(getattr(zoo, name), ModuleType)}


def test_nothing_stands_on_the_command_or_on_what_is_outside_the_package() -> None:
    for path in FILES:
        above = {"scripts", "tests", "benchmarks"} | (set() if package(path) in ("cli", "__main__") else {"zoo.cli"})
        assert not [m for m in imports(path) if within(m, above)], path


@pytest.mark.multiprocess
def test_the_light_packages_load_nothing_heavy() -> None:
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


def test_nothing_outside_of_inputs_asks_which_input_a_network_has() -> None:
    classes = {modality.__name__ for modality in INPUTS.values()}
    for path in (path for path in FILES if package(path) != "inputs"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
                asked = {ast.unparse(inner).rpartition(".")[2] for inner in ast.walk(node.args[1])}
                assert not asked & classes, f"{path}:{node.lineno}: ask the input itself (zoo/inputs/base.py)"


def test_nothing_lists_heads_a_second_time() -> None:
    heads = {name for name, kind in KINDS.items() if kind.role == "head"}
    assert len(heads) > 1
    for path in (path for path in FILES if package(path) != "kinds"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
                named = {inner.value for inner in node.elts if isinstance(inner, ast.Constant)}
                assert len(named & heads) < 2, f"{path}:{node.lineno}: ask the kind's role (zoo.kinds.head)"


def test_nothing_asks_a_row_for_its_kind_by_name() -> None:
    """What differs from kind to kind, a Kind declares; only names of tensors in files of others go by the kind."""
    of_others = {"weights/text_names.py", "weights/translation_names.py", "weights/vit_folder.py", "weights/keys.py"}
    for path in FILES:
        place = path.relative_to(PACKAGE)
        if place.parts[0] in ("kinds", "models") or place.as_posix() in of_others:
            continue
        tree = ast.parse(path.read_text())
        constants = {ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)}
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Compare, ast.Call, ast.Subscript)):
                continue
            inner = list(ast.walk(node))
            if any(isinstance(one, ast.Attribute) and one.attr == "kind" for one in inner):
                named = [constants[name] for name in map(ast.unparse, inner) if name in constants]
                inner += [one for value in named for one in ast.walk(value)]
                asked = {one.value for one in inner if isinstance(one, ast.Constant)} & set(KINDS)
                assert not asked, f"{path}:{node.lineno}: let Kind declare it (zoo/kinds/kind.py), not {asked}"


def test_what_class_an_answer_is_stands_in_one_place() -> None:
    own = {"tasks/metrics.py", "text/generate.py", "text/beams.py"}  # the latter two take the likeliest token
    for path in FILES:
        place = path.relative_to(PACKAGE)
        if place.as_posix() in own or place.parts[0] in ("blocks", "data"):  # places of tokens and of rows, no answers
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert not called.endswith(".argmax"), f"{path}:{node.lineno}: zoo.tasks.metrics.choices"


def test_nothing_names_a_runtime_but_its_own_entry_and_module() -> None:
    names = {one.name for one in RUNTIMES.values() if one.engine} | set(formats())
    assert len(names) > 3
    own = {"runtime/__init__.py", "runtime/onnx.py", "runtime/executorch.py"}  # these import the packages
    for path in FILES:
        place = path.relative_to(PACKAGE).as_posix()
        if place in own or place.startswith("runtime/backends/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant):
                assert node.value not in names, f"{path}:{node.lineno}: let Runtime say it (zoo/runtime/__init__.py)"


def test_no_file_is_longer_than_one_idea() -> None:
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    long = {str(path): lines for path in files if (lines := len(path.read_text().splitlines())) > MAX_LINES}
    assert not long, "split them: one idea a file"


def test_blocks_take_keywords_and_keep_no_hidden_state() -> None:
    for path in of("blocks", "engine"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.args.kwarg is None, f"{path}: {node.name} hands keywords through: a typo would vanish"
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_buffer"):
                persistent = {word.arg: word.value for word in node.keywords}.get("persistent")
                assert persistent is None, f"{path}: a non-persistent buffer is lost between files, and stays on meta"
