"""Texts to calibrate on come from the files that training takes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import zoo
from zoo import tasks

TEXTS = [f"text {i}" for i in range(700)]


def write(path: Path) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"sentence": TEXTS}), path)
    elif path.suffix == ".csv":
        path.write_text("label,sentence\n" + "".join(f"0,{text}\n" for text in TEXTS))
    else:
        path.write_text("".join(f'{{"sentence": "{text}"}}\n' for text in TEXTS))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_table_gives_texts_at_even_distances(tmp_path: Path, suffix: str) -> None:
    reader = tasks.reader(zoo.registry.spec("bert_tiny", num_classes=2))
    with pytest.warns(UserWarning, match="512 of the 700 texts"):
        found = reader.at_paths([write(tmp_path / f"texts{suffix}")])
    assert len(found) == 512 and found == sorted(found, key=TEXTS.index) and found[-1] == TEXTS[698]


def test_lines_and_tables_together_and_questions_in_pairs(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("one\n\ntwo\n")
    table = tmp_path / "few.csv"
    table.write_text("sentence\nthree\n\n")
    assert tasks.reader(zoo.registry.spec("bert_tiny", num_classes=2)).at_paths([lines, table]) == [
        "one",
        "two",
        "three",
    ]
    table.write_text("question,context\nwho,a man\n")
    spec = zoo.registry.spec("bert_tiny").replace(task="question-answering")
    assert tasks.reader(spec).at_paths([table]) == [("who", "a man")]
    with pytest.raises(ValueError, match=r"has no question/context; it has \['sentence'\]"):
        tasks.reader(spec).at_paths([write(tmp_path / "texts.parquet")])
