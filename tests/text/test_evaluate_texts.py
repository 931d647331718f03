"""Accuracy of classifiers of texts, from tables whose columns are named as the well-known data sets name them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import theirs as library
import torch
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.data.texts import PAIRS, SINGLE
from zoo.factory import with_classes

tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["good", "bad film", "good good film", "a bad bad film", "film"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    library.saved("bert_classifier", path)
    words = {word: i for i, word in enumerate(["[PAD]", "good", "bad", "film", "a"] + [f"w{i}" for i in range(94)])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def answers(folder: Path, texts: Sequence[object]) -> list[int]:
    """One text at a time, so nothing is padded."""
    model = zoo.load(folder)
    prepare = zoo.preprocess(model)
    with torch.inference_mode():
        return [int(model(**prepare([text])).logits.argmax()) for text in texts]


def features(*names: str) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})}


@pytest.mark.parametrize("columns", [*((name,) for name in SINGLE), *PAIRS], ids="+".join)
def test_the_columns_of_texts_and_of_pairs(folder: Path, tmp_path: Path, columns: tuple[str, ...]) -> None:
    texts = TEXTS if len(columns) == 1 else list(zip(TEXTS, TEXTS[::-1], strict=True))
    labels = answers(folder, texts)
    labels[0] = (labels[0] + 1) % 3
    cells = {name: TEXTS if side == 0 else TEXTS[::-1] for side, name in enumerate(columns)}
    pq.write_table(pa.table({**cells, "label": labels}), tmp_path / "texts.parquet")
    found = zoo.evaluate(zoo.load(folder), tmp_path, batch_size=2)
    assert (found.value, found.examples, found.what) == (80.0, 5, "texts")
    assert "80.00% accuracy on 5 texts" in repr(found)


def test_the_command_measures_texts(folder: Path, tmp_path: Path) -> None:
    labels = answers(folder, TEXTS)
    table = pa.table({"words": [*TEXTS, None], "kind": [*labels, 0]})
    pq.write_table(table, tmp_path / "validation.parquet")
    given = ["eval", str(folder), "--data", str(tmp_path), "--json"]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2 and "no column of texts: a text is in 'text', 'sentence'" in refused.output
    done = CliRunner().invoke(app, [*given, "--input-column", "words", "--label-column", "kind"])
    found = json.loads(done.stdout)
    assert (found["value"], found["examples"], found["skipped"]) == (100.0, 5, ["row 5"])
    assert found["metrics"] == {"accuracy": 100.0}


def test_names_of_labels_count(folder: Path, tmp_path: Path) -> None:
    model = zoo.load(folder)
    model.labels = ("negative", "neutral", "positive")
    right = answers(folder, TEXTS)
    own = ("Positive", "negative", "neutral")
    labels = [own.index(model.labels[number].replace("positive", "Positive")) for number in right]
    table = pa.table({"text": TEXTS, "label": labels}).replace_schema_metadata(features(*own))
    pq.write_table(table, tmp_path / "a.parquet")
    assert zoo.evaluate(model, tmp_path / "a.parquet").value == 100.0


def test_texts_in_memory(folder: Path) -> None:
    found = zoo.evaluate(zoo.load(folder), (TEXTS, answers(folder, TEXTS)))
    assert (found.value, found.source) == (100.0, "the texts given")


def test_what_is_no_data_of_texts(folder: Path, tmp_path: Path) -> None:
    model = zoo.load(folder)
    pq.write_table(pa.table({"image": [b""], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column of texts"):
        zoo.evaluate(model, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="pair \\(texts, labels\\)"):
        zoo.evaluate(model, zoo.samples("cifar10"))
    with pytest.raises(ValueError, match="not in a classifier: evaluate has no figure"):
        zoo.evaluate(with_classes(model, 0), TEXTS)
