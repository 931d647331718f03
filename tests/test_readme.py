"""What README shows is what happens: its Python examples run, its names exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


class Nearly(doctest.OutputChecker):
    """Takes measured numbers for equal within 1, since another processor may answer a picture or two otherwise."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        try:
            return abs(float(want) - float(got)) <= 1
        except ValueError:
            return super().check_output(want, got, optionflags)


@pytest.mark.slow
def test_examples(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", str(README), 0)
    report: list[str] = []
    result = doctest.DocTestRunner(Nearly(), optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert result.attempted >= 10 and not result.failed, "".join(report)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
