"""README and docs/: the examples run, the figures of README are the manifest's, every link leads somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import zoo
from zoo import formatting, tasks
from zoo.catalog import manifest
from zoo.cli import app
from zoo.naming import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
)  # CHANGELOG and CONTRIBUTING too
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


class Nearly(doctest.OutputChecker):
    """Takes numbers for equal within 1, since another processor may answer a picture or two otherwise."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        wanted, gotten = want.split(), got.split()
        if len(wanted) == len(gotten) and all(map(_near, wanted, gotten)):
            return True
        return super().check_output(want, got, optionflags)


def _near(want: str, got: str) -> bool:
    try:
        return want == got or abs(float(want.rstrip("%")) - float(got.rstrip("%"))) <= 1
    except ValueError:
        return False


def by_class(answer: str) -> str:
    """The lines in the order of what stands behind a probability."""
    return "\n".join(sorted(answer.splitlines(), key=lambda line: re.sub(r"^ +[\d.]+% +", "", line)))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), [("README.md", 8), ("docs/guide.md", 20)])
def test_python_examples(page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks(page, "python")), {}, page, page, 0)
    report: list[str] = []
    result = doctest.DocTestRunner(Nearly(), optionflags=FLAGS).run(test, out=report.append)
    assert result.attempted >= least and not result.failed, "".join(report)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), [("README.md", 1), ("docs/commands.md", 5)])
def test_command_line_examples(page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    sessions = [session for block in blocks(page, "console") for session in block.split("$ zoo ")[1:]]
    assert len(sessions) >= least
    for session in sessions:
        line, _, want = session.partition("\n")
        got = CliRunner().invoke(app, shlex.split(line)).output
        told = re.sub(r"^Warning: int8 models run in floats.*\n", "", got, flags=re.MULTILINE)  # without VNNI
        pairs = ((want, told), (by_class(want), by_class(told)))  # where two classes are as likely
        assert any(Nearly().check_output(*pair, FLAGS) for pair in pairs), f"zoo {line}\n{got}"


def test_the_figures_of_readme_are_the_manifests() -> None:
    lines = re.findall(r"^\| `([\w.]+)` \|(.*)\|$", text_of("README.md"), re.MULTILINE)
    variants = ("", "-distilled", "-pruned", "-sparse", "-int8", "-pruned-int8")
    dense = {name for name in manifest.entries() if not parse(name).passes}
    assert {zoo.info(family).name for family, _ in lines} == dense
    for family, cells in lines:
        assert [cell.strip() for cell in cells.split("|")] == [_shown(zoo.info(family).name + one) for one in variants]


def _shown(name: str) -> str:
    """The cell of a network; Transformers ship in no sparse form."""
    if name.endswith("-sparse") and name not in manifest.entries():
        return "-"  # tests/test_shipped.py says which variants ship
    known = zoo.info(name)
    return f"{known.metric.value:.2f}{tasks.unit_of(known.metric.name)}, {formatting.size(known.bytes)}"


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 200


def test_every_command_is_described() -> None:
    names = {command.name for command in app.registered_commands}
    assert names >= {"list", "finetune"}
    assert not [name for name in names if f"| [`zoo {name}`](#" not in text_of("docs/commands.md")]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub spells them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
