"""Spans of texts with labels, classes of texts, and their figures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import reading

import zoo
from zoo.cli import app
from zoo.tasks.tags import SpanMetrics, spans

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tags")
    theirs = reading.saved("bert_tokens", path)
    theirs.config.id2label = dict(enumerate(LABELS))
    theirs.save_pretrained(path)
    return path


def grouped(scores: Any, offsets: list[tuple[int, int]], text: str) -> list[dict[str, Any]]:
    """transformers' "simple" strategy, token by token."""
    found: list[dict[str, Any]] = []
    last = None
    for row, (start, end) in zip(scores, offsets, strict=True):
        name = LABELS[int(row.argmax())]
        first, kind = (name[0] == "B", name[2:]) if name[1:2] == "-" else (False, name)
        if last == kind and not first:
            found[-1]["scores"].append(float(row.max()))
            found[-1]["end"] = end
        else:
            found.append({"label": kind, "scores": [float(row.max())], "start": start, "end": end})
        last = kind
    return [
        {"label": one["label"], "score": sum(one["scores"]) / len(one["scores"]),
         "text": text[one["start"] : one["end"]], "start": one["start"], "end": one["end"]}
        for one in found if one["label"] != "O"
    ]  # fmt: skip


@torch.inference_mode()
def test_spans_are_those_of_transformers(folder: Path) -> None:
    import transformers

    theirs, ours = transformers.BertForTokenClassification.from_pretrained(folder).eval(), zoo.load(folder)
    text = reading.text(20)
    encoded = reading.tokenizer().encode(text)
    scores = theirs(torch.tensor([encoded.ids])).logits[0].softmax(-1)[1:-1]
    expected = grouped(scores, encoded.offsets[1:-1], text)
    found = ours.tag(text)
    assert len(found) > 2 and len({one["label"] for one in expected}) == 2
    assert [{**one, "score": 0} for one in found] == [{**one, "score": 0} for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], rel=1e-4)
    several = ours.tag([text, "", "the cat"])
    for one, alone in zip(several, (found, [], ours.tag("the cat")), strict=True):
        assert [{**span, "score": 0} for span in one] == [{**span, "score": 0} for span in alone]


def test_a_long_text_is_labelled_where_most_is_around_a_token(folder: Path) -> None:
    model, text = zoo.load(folder), reading.text(100)
    whole = reading.tokenizer().encode(text, add_special_tokens=False)
    rows = torch.zeros(len(whole.ids), 5)
    step, room = 20, 38
    firsts = range(0, len(whole.ids) - (room - step), step)
    for place in range(len(whole.ids)):

        def around(first: int, place: int = place) -> int:
            last = min(first + room, len(whole.ids)) - 1
            return min(place - first if first else 999, last - place if last < len(whole.ids) - 1 else 999)

        inside = [first for first in firsts if first <= place < first + room]
        first = max(inside, key=around)
        ids = torch.tensor([[2, *whole.ids[first : first + room], 3]])
        with torch.inference_mode():
            rows[place] = model(ids).logits[0, 1 + place - first]
    expected = grouped(rows.softmax(-1), whole.offsets, text)
    found = model.tag(text, stride=room - step)
    assert [(one["label"], one["start"], one["end"]) for one in found] == [
        (one["label"], one["start"], one["end"]) for one in expected
    ]


def test_spans_as_seqeval_counts_them() -> None:
    cases = {
        "B-A I-A O B-B": {("A", 0, 1), ("B", 3, 3)},
        "I-A I-A B-A I-B": {("A", 0, 1), ("A", 2, 2), ("B", 3, 3)},
        "A A O B": {("A", 0, 1), ("B", 3, 3)},
        "ORG O ORG": {("ORG", 0, 0), ("ORG", 2, 2)},
        "S-A B-A I-A E-A I-A": {("A", 0, 0), ("A", 1, 3), ("A", 4, 4)},
        "O O": set(),
    }
    for tags, expected in cases.items():
        assert spans(tags.split()) == expected
    judge = SpanMetrics("F1", "here")
    judge.add([["B-A", "I-A", "O", "B-B"], ["O"]], [["B-A", "I-A", "O", "B-A"], ["B-A"]])
    assert judge.figures() == pytest.approx({"F1": 40.0, "accuracy": 60.0, "precision": 50.0, "recall": 100 / 3})
    with pytest.raises(ValueError, match="has 1 labels for 2 words, in the example number 2"):
        judge.add([["O", "O"]], [["O"]])


@pytest.mark.parametrize("form", ["names", "numbers", "csv", "jsonl"])
def test_figures_of_tables_of_words(folder: Path, tmp_path: Path, form: str) -> None:
    model = zoo.load(folder)
    tokens = [reading.text(count, seed=count).split() for count in (3, 14, 9)]
    tags = []
    for words in tokens:
        encoded = reading.tokenizer().encode(words, is_pretokenized=True)
        with torch.inference_mode():
            rows = model(torch.tensor([encoded.ids])).logits[0].argmax(-1).tolist()
        tags.append([LABELS[rows[encoded.word_ids.index(place)]] for place in range(len(words))])
    judge = SpanMetrics("F1", "here")
    right = [list(row) for row in tags]
    tags[1][3] = "O" if tags[1][3] != "O" else "B-PER"
    judge.add(right, tags)
    data = tmp_path / f"test.{form if form in ('csv', 'jsonl') else 'parquet'}"
    own = ["o", "I-LOC", "I-PER", "B-LOC", "B-PER"]
    numbers = [[("O", *own[1:]).index(tag) for tag in row] for row in tags]
    if form == "csv":
        from pyarrow import csv

        lines = [[json.dumps(words), json.dumps(row)] for words, row in zip(tokens, tags, strict=True)]
        csv.write_csv(pa.table({"tokens": [a for a, _ in lines], "ner_tags": [b for _, b in lines]}), data)
    elif form == "jsonl":
        rows = zip(tokens, tags, strict=True)
        data.write_text("".join(json.dumps({"tokens": words, "ner_tags": row}) + "\n" for words, row in rows))
    elif form == "names":
        pq.write_table(pa.table({"tokens": tokens, "ner_tags": tags}), data)
    else:
        feature = {"ner_tags": {"feature": {"names": own, "_type": "ClassLabel"}, "_type": "Sequence"}}
        metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
        pq.write_table(pa.table({"tokens": tokens, "ner_tags": numbers}).replace_schema_metadata(metadata), data)
    found = zoo.evaluate(model, data)
    assert (found.metric, found.examples) == ("F1", 3) and list(found.metrics)[:2] == ["F1", "accuracy"]
    assert found.metrics == pytest.approx(judge.figures()) and found.metrics["accuracy"] == pytest.approx(100 * 25 / 26)
    refused = zoo.load(folder)
    refused.labels = ("O", "B-X", "I-X", "B-Y", "I-Y")
    with pytest.raises(ValueError, match=r"has the label '[BI]-\w+' in row \d, and the network knows O, B-X"):
        zoo.evaluate(refused, data)


def test_predict_shows_spans_and_classes_as_the_methods_do(folder: Path, tmp_path: Path) -> None:
    text = reading.text(8)
    found = zoo.load(folder).tag(text)
    told = json.loads(CliRunner().invoke(app, ["predict", str(folder), text, "--json"]).stdout)
    rounded = [{**one, "score": round(one["score"], 6)} for one in found]
    assert told["inputs"] == [{"input": text, "spans": rounded}]
    shown = CliRunner().invoke(app, ["predict", str(folder), text]).stdout
    assert all(f"{one['label']}  {one['text']}" in shown for one in found)
    reading.saved("electra_classifier", tmp_path)
    model = zoo.load(tmp_path)
    top = json.loads(CliRunner().invoke(app, ["predict", str(tmp_path), text, "--json"]).stdout)["inputs"][0]["top"]
    classes = model.classify(text, top_k=3)
    assert [(one["label"], one["probability"]) for one in top] == [
        (one["label"], round(one["score"], 6)) for one in classes
    ]
    assert model.classify([text, ("the cat", "a dog")], batch_size=1)[0] == pytest.approx(classes[0])
    assert model.classify([]) == []
    for wrong in (3, ("the", "cat"), [None]):
        with pytest.raises(ValueError, match=r"A text is|A tuple may be"):
            model.classify(wrong)


def test_a_cut_is_told_once(tmp_path: Path) -> None:
    reading.saved("bert_classifier", tmp_path)
    model = zoo.load(tmp_path)
    prepare = zoo.preprocess(model)
    with pytest.warns(UserWarning, match="longer than the 40 tokens that bert takes: the rest is cut off"):
        prepare(["the cat", reading.text(50)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare([reading.text(50)])
        model.classify("the cat")
        with pytest.raises(UserWarning, match="is cut off"):
            model.classify(reading.text(50))
    done = CliRunner().invoke(app, ["predict", str(tmp_path), reading.text(50)])
    assert done.exit_code == 0 and "is cut off" in done.stderr
