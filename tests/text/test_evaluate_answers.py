"""F1 and exact match of answers, from tables as SQuAD has them, beside torchmetrics' figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import reading

import zoo
from zoo.cli import app
from zoo.tasks.questions import AnswerMetrics, overlap, plain
from zoo.text.answering import Found

CONTEXTS = [reading.text(count, seed=count) for count in (6, 80, 30, 12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers")
    reading.saved("bert_answers", path)
    return path


def test_the_figures_are_squads() -> None:
    squad = pytest.importorskip("torchmetrics.text").SQuAD()
    found = ["The Cat, sat.", "on a mat", "London", "the", "w7 w7 mat", "nothing"]
    wanted = [["cat sat", "dog"], ["mat"], ["in london"], ["cat"], ["w7 mat mat", "a mat"], ["no", "thing"]]
    for row, (text, right) in enumerate(zip(found, wanted, strict=True)):
        squad.update(
            [{"prediction_text": text, "id": str(row)}],
            [{"answers": {"text": right, "answer_start": [0] * len(right)}, "id": str(row)}],
        )
    judge = AnswerMetrics("F1", "here")
    judge.add([Found(text, ((0, len(text), 1.0),), 1.0, 5.0) for text in found], [tuple(one) for one in wanted])
    expected = squad.compute()
    assert judge.figures() == pytest.approx(
        {"F1": float(expected["f1"]), "exact match": float(expected["exact_match"])}
    )
    assert (
        plain("An  apple-a  THE day!") == "applea day" and overlap("the", "a") == 1.0 and overlap("the", "cat") == 0.0
    )


def test_no_answer_counts_where_some_have_none() -> None:
    found = [Found("cat", ((0, 3, 1.0),), 1.0, empty) for empty in (0.0, 2.0, 2.0)]
    judge = AnswerMetrics("F1", "here")
    judge.add(found, [("cat",), ("cat",), ()])
    assert judge.figures() == pytest.approx({"F1": 200 / 3, "exact match": 200 / 3})
    judge = AnswerMetrics("F1", "here")
    judge.add(found, [("cat",)] * 3)
    assert judge.figures() == {"F1": 100.0, "exact match": 100.0}


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "memory"])
def test_tables_with_squads_columns(folder: Path, tmp_path: Path, form: str) -> None:
    model = zoo.load(folder)
    best = [one["answer"] for one in model.answer("Who sat?", CONTEXTS)]
    texts = [[best[0]], ["other", best[1]], ["the w9"], [best[3].upper()]]
    answers: list[Any] = [{"text": one, "answer_start": [0] * len(one)} for one in texts]
    data: Any = tmp_path / f"validation.{form}"
    columns = {"id": list("abcd"), "question": ["Who sat?"] * 4, "context": CONTEXTS}
    if form == "parquet":
        pq.write_table(pa.table({**columns, "answers": answers}), data)
    elif form == "csv":
        from pyarrow import csv

        csv.write_csv(pa.table({**columns, "answers": list(map(json.dumps, answers))}), data)
    elif form == "jsonl":
        rows = [
            dict(zip([*columns, "answers"], row, strict=True)) for row in zip(*columns.values(), answers, strict=True)
        ]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        data = (list(zip(columns["question"], CONTEXTS, strict=True)), answers)
    found = zoo.evaluate(model, data, batch_size=3)
    assert (found.metric, found.examples) == ("F1", 4)
    assert found.metrics["exact match"] == 75.0 and 75.0 <= found.value < 100
    assert found.metrics["F1"] == found.value


def test_the_command_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    pq.write_table(pa.table({"question": ["who?"], "text": ["a cat"], "answers": [["cat"]]}), file)
    given = ["eval", str(folder), "--data", str(file), "--json"]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2 and "has no question/context; it has" in " ".join(refused.stderr.split())
    done = CliRunner().invoke(app, [*given, "--input-column", "question", "--input-column", "text"])
    assert set(json.loads(done.stdout)["metrics"]) == {"F1", "exact match"}
    pq.write_table(pa.table({"question": ["who?"], "context": ["a cat"], "answers": [3]}), file)
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2 and "has no answers in row 0" in " ".join(refused.stderr.split())
