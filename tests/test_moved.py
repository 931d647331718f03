"""Old names of modules."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.moved import MOVED, RENAMED, new_names


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_gives_the_new_module_and_says_so(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is {new_names(old)[0]}"):
        found = importlib.import_module(old)
    parts = [importlib.import_module(new) for new in new_names(old)]
    assert found is parts[0] or len(parts) > 1
    assert all(part.__spec__.name == part.__name__ for part in parts)  # type: ignore[union-attr]
    for name in (name for part in parts for name in vars(part) if not name.startswith("_")):
        assert hasattr(found, name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("new", RENAMED)
def test_what_was_renamed_inside_has_its_old_name_too(new: str) -> None:
    for old in (old for old in MOVED if new in new_names(old)):
        sys.modules.pop(old, None)
        found = importlib.import_module(old)
        for before, now in RENAMED[new].items():
            assert getattr(found, before) is getattr(importlib.import_module(new), now)


@pytest.mark.parametrize("old", MOVED)
def test_no_file_has_an_old_name(old: str) -> None:
    place = Path(zoo.__file__).parents[1] / old.replace(".", "/")
    assert not place.with_suffix(".py").exists() and not (place / "__init__.py").exists()


def test_the_warning_names_the_line_that_imports() -> None:
    old = next(iter(MOVED))
    code = f"import zoo, warnings\nwarnings.simplefilter('error')\nimport {old}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and f"DeprecationWarning: {old}" in done.stderr


def test_a_module_that_is_nowhere_is_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("zoo.nothing")
