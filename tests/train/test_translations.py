"""Networks that translate learn from two columns of texts, by the one loop, with a teacher too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from text_data import pairs, translator
from zoo.cli import app
from zoo.report.agreement import likeness
from zoo.text.fresh import for_data
from zoo.train.finetune import finetune
from zoo.train.imitation import Imitation
from zoo.train.loop import fit
from zoo.train.recipe import Recipe
from zoo.train.texts import open_texts

pytest.importorskip("timm")
pytest.importorskip("sacrebleu")

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=5e-3, bfloat16=False)


def opened(data: Path, model: Any, **options: Any) -> Any:
    return open_texts(model.spec, data, model.spec.texts, learned=model.tokenizer, **options)


def test_inputs_and_targets_are_those_of_the_preprocessing(tmp_path: Path) -> None:
    model = translator()
    found = opened(pairs(tmp_path / "train.jsonl", 20), model)
    ((inputs, targets),) = found.stream([torch.arange(20)], 0)
    prepare = model.prepare()
    wanted = prepare.targets(list(found.references))
    assert targets.equal(wanted.pop("labels"))
    assert all(inputs[name].equal(part) for name, part in wanted.items())
    assert inputs["input_ids"].equal(prepare(list(found.examples))["input_ids"])
    part = found.take(torch.tensor([3, 1]))
    assert part.examples == (found.examples[3], found.examples[1]) and len(part) == 2
    assert next(part.stream([torch.tensor([0])], 0))[1].equal(next(found.stream([torch.tensor([3])], 0))[1])


def test_long_and_missing_texts_are_left_out_and_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    rows = [{"en": "a film", "de": "A FILM"}, {"en": "a film", "de": None}, {"en": "a " * 40, "de": "A"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = opened(file, translator())
    assert len(found) == 1 and found.skipped == ("row 1", "row 2")
    with pytest.raises(ValueError, match="has no column 'fr'"):
        opened(file, translator(), input_columns=("fr",), label_column="de")


def test_the_command_teaches_a_fresh_network(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pairs(tmp_path / "data" / "train.jsonl", 64)
    pairs(tmp_path / "data" / "validation.jsonl", 4, seed=1)
    asked = ["finetune", "marian_tiny", "--fresh", "--vocabulary", "280", "--max-tokens", "24", "--no-bfloat16"]
    asked += ["--data", str(tmp_path / "data"), "--epochs", "1", "--batch-size", "16", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    model = zoo.load(tmp_path / "out")
    assert model.spec.texts.vocabulary <= 280 and model.spec.texts.length == 24
    assert "BLEU" in done.output and isinstance(model.translate("a film"), str)
    student = for_data("marian_tiny", tmp_path / "data", like=model)
    assert student.tokenizer == model.tokenizer and student.spec.texts == model.spec.texts
    small = zoo.compress(model, "pruned", ratio=0.3)
    tuned = finetune(small, opened(tmp_path / "data", small), RECIPE, tmp_path / "s", teachers=[model], quiet=True)
    assert tuned.spec.rows == small.spec.rows


def test_recover_learns_from_the_teachers_translations_without_their_padding(tmp_path: Path) -> None:
    teacher, texts = translator(), ["a film", "the plot of a great film and a dull film", "awful"]
    with torch.no_grad():
        teacher.head.bias[:] = torch.linspace(0, 3, len(teacher.head.bias))  # translations of a few tokens differ
    student = zoo.compress(teacher, "pruned", ratio=0.3)
    x = dict(teacher.completed(teacher.prepare()(texts)))
    x["decoder_attention_mask"][1:, 3:] = 0
    objective = Imitation(student, teacher, replace(RECIPE, soft_weight=0.5))
    assert any(row.startswith("d") for row in objective.taps)
    other = dict(x)
    for ids, mask in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
        assert not x[mask].all(), "nothing is shown without padding"
        other[ids] = torch.where(x[mask].bool(), x[ids], 5)
    losses = [objective.loss(student, given)[0] for given in (x, other)]
    torch.testing.assert_close(*losses)
    assert likeness(student, teacher, [x]) == likeness(student, teacher, [other])
    better = zoo.recover(student, teacher, teacher.prepare()(texts), steps=2, batch_size=2, quiet=True)
    assert better.spec.rows == student.spec.rows


def test_it_learns(tmp_path: Path) -> None:
    model, data = translator(), pairs(tmp_path / "train.jsonl", 256)
    fit(model, opened(data, model), replace(RECIPE, epochs=12), folder=tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    losses = [float(dict(zip(lines[0].split(","), row.split(","), strict=True))["loss"]) for row in lines[1:]]
    assert losses[-1] < 0.5 * losses[0]
