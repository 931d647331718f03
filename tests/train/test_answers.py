"""Encoders learn to answer questions and to label words, from tables as well-known data sets have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from text_data import questions, tagged, trunk
from zoo.cli import app
from zoo.text.heads import with_task
from zoo.train.texts import open_texts

pytest.importorskip("timm")


def opened(data: Path, model: Any, **options: Any) -> Any:
    return open_texts(model.spec, data, model.spec.texts, learned=model.tokenizer, **options)


def asked(folder: Path, task: str, *options: str) -> Any:
    given = ["finetune", str(folder / "trunk"), "--task", task, "--data", str(folder / "data"), "--no-bfloat16"]
    given += ["--batch-size", "16", "--learning-rate", "0.005", "--out", str(folder / "tuned"), *options]
    return CliRunner().invoke(app, given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    zoo.save(trunk(max_positions=48), tmp_path / "trunk")
    return tmp_path


def test_windows_of_a_context_point_to_its_answer(tmp_path: Path) -> None:
    model = with_task(trunk(max_positions=16), "question-answering")
    file = questions(tmp_path / "train.jsonl", 30, words=30)
    found = opened(file, model)
    assert len(found) == 30 and len(found.labels) > 60, "a context has several windows"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    words = json.loads(model.tokenizer)["model"]["vocab"]
    ids = found.parts["input_ids"]
    for number, row in enumerate(rows):
        windows = range(*found.starts[number : number + 2].tolist())
        spans = [found.labels[one].tolist() for one in windows]
        answer = words[row["answers"]["text"][0]]
        there = [answer in ids.rows(torch.tensor([one]))[0].tolist() for one in windows]
        assert any(there) and [span != [0, 0] for span in spans] == there
        for one, (first, last) in zip(windows, spans, strict=True):
            if first:
                assert ids.rows(torch.tensor([one]))[0][first : last + 1].tolist() == [answer]
    part = found.take(torch.tensor([4, 2]))
    assert part.examples == (found.examples[4], found.examples[2]) and len(part.starts) == 3
    ((inputs, targets),) = part.stream([torch.tensor([0, 1])], 0)
    assert len(inputs["input_ids"]) == len(targets) == len(part.labels)
    order = found.order(torch.Generator().manual_seed(0))
    assert order.sort().values.tolist() == list(range(30))


def test_the_command_teaches_a_trunk_to_answer(folder: Path) -> None:
    questions(folder / "data" / "train.jsonl", 300)
    questions(folder / "data" / "validation.jsonl", 40, seed=1)
    done = asked(folder, "question-answering", "--epochs", "6")
    assert done.exit_code == 0, done.output
    tuned = zoo.load(folder / "tuned")
    measured = zoo.evaluate(tuned, folder / "data")
    assert measured.metric == "F1" and measured.value > 90 and f"{measured.value:.2f}" in done.output
    assert tuned.answer("the plot", "a film of the great plot and")["answer"] == "great"


def test_the_command_teaches_a_trunk_to_label_words(folder: Path) -> None:
    tagged(folder / "data" / "train.jsonl", 300)
    tagged(folder / "data" / "validation.jsonl", 40, seed=1)
    done = asked(folder, "token-classification", "--epochs", "4")
    assert done.exit_code == 0, done.output
    tuned = zoo.load(folder / "tuned")
    assert tuned.labels == ("O", "B-BAD", "B-GOOD")
    measured = zoo.evaluate(tuned, folder / "data")
    assert measured.metric == "F1" and measured.value > 95
    assert [one["text"] for one in tuned.tag("the great film of awful plot")] == ["great", "awful"]


@pytest.mark.parametrize(
    ("task", "row", "told"),
    [
        ("question-answering", {"question": "who", "context": "a film"}, "no 'answers'"),
        ("question-answering", {"question": "a", "context": "film", "answers": {"text": ["plot"], "answer_start": [0]}},
         "no question whose answer is in its context"),
        ("token-classification", {"tokens": ["a", "film"], "ner_tags": ["O"]}, "2 words in row 0 and 1 labels"),
        ("token-classification", {"tokens": [], "ner_tags": []}, "holds no lists of words"),
        ("text-classification", {"tokens": ["a"], "ner_tags": ["O"]}, "no column of texts"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_refused(folder: Path, task: str, row: dict[str, Any], told: str) -> None:
    (folder / "data" / "train.jsonl").write_text(json.dumps(row) + "\n")
    done = asked(folder, task, "--held-out", "0")
    assert done.exit_code == 2 and told in " ".join(done.output.split()), done.output


def test_a_head_is_for_an_encoder_of_texts(folder: Path) -> None:
    given = ["--data", str(folder), "--out", str(folder / "o"), "--task", "question-answering"]
    done = CliRunner().invoke(app, ["finetune", "mobilenet", *given])
    assert done.exit_code == 2 and "only an encoder of texts gets a head" in " ".join(done.output.split())
    model = with_task(trunk(), "token-classification")
    assert with_task(model, "token-classification") is model and model.spec.task == "token-classification"
    with pytest.raises(ValueError, match="A fresh head is for one of"):
        with_task(model, "translation")
