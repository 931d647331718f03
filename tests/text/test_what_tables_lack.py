"""Tables of texts that lack what a task needs: the error names the row or the column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

import text_data
import zoo
from zoo.data.text_tables import TextTable


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("blank", ["", " ", None])
def test_a_blank_label_is_no_class(blank: str | None, tmp_path: Path) -> None:
    rows = [{"sentence": "good", "label": "yes"}, {"sentence": "bad", "label": blank}]
    table = TextTable([written(tmp_path / "a.jsonl", rows)], "a.jsonl")
    with pytest.raises(ValueError, match="no 'label' in row 1"):
        table.labels("label")


@pytest.mark.parametrize("rows", [[{"sentence": "good", "label": 1}], [{"source": "good", "target": None}] * 2])
def test_translations_are_texts(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    name = list(rows[0])[1]
    with pytest.raises(ValueError, match=f"no text in '{name}', row 0: label_column="):
        zoo.evaluate(text_data.translator(), written(tmp_path / "a.jsonl", rows))


def test_a_text_shorter_than_a_piece(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good film")
    with pytest.raises(ValueError, match=r"fewer tokens \(2\) than one piece \(16\): give more text"):
        zoo.evaluate(text_data.decoder(), tmp_path / "a.txt")
