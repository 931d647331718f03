"""A student that translates learns its teacher's translations, which are made once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from text_data import lines, pairs, translator, trunk
from zoo.factory import with_classes
from zoo.text.translator import Translator
from zoo.train import sequence_level
from zoo.train.finetune import finetune
from zoo.train.log import TrainingLog
from zoo.train.objective import Supervised
from zoo.train.recipe import Recipe
from zoo.train.sequence_level import taught
from zoo.train.texts import open_texts

pytest.importorskip("timm")

RECIPE = Recipe(epochs=1, batch_size=8, bfloat16=False, targets="teacher")


def opened(data: Path, model: Any, **options: Any) -> Any:
    return open_texts(model.spec, data, model.spec.texts, learned=model.tokenizer, **options)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the teachers, who have learned nothing, were given to translate; their translation is the text twice."""
    seen: list[list[str]] = []

    def translate(model: Any, texts: list[str], *, progress: Any, **options: Any) -> list[str]:
        assert options == {"beams": 4, "max_tokens": 32, "batch_size": 64}
        seen.append(texts)
        progress(len(texts))
        return [f"{text} {text}" if "dull" not in text else "" for text in texts]

    monkeypatch.setattr(Translator, "translate", translate)
    return seen


def test_the_targets_are_the_teachers(tmp_path: Path, asked: list[list[str]]) -> None:
    teacher, log = translator(), TrainingLog(tmp_path / "run", quiet=True)
    train = opened(pairs(tmp_path / "train.jsonl", 60), teacher)
    made = taught(train, [teacher], RECIPE, log)
    assert asked == [list(train.examples)]
    assert made.examples == tuple(one for one in train.examples if "dull" not in one) and len(made) < len(train)
    assert made.references == tuple(f"{one} {one}" for one in made.examples)
    ((inputs, targets),) = made.stream([torch.arange(len(made))], 0)
    assert targets.equal(teacher.prepare().targets(list(made.references))["labels"])
    assert inputs["input_ids"].equal(teacher.prepare()(list(made.examples))["input_ids"])
    both = taught(train, [teacher], replace(RECIPE, targets="both"), log)
    assert both.references == (*train.references, *made.references) and len(both) == len(train) + len(made)
    first, last = (next(both.stream([torch.tensor([at])], 0))[1] for at in (0, len(train)))
    assert first.equal(next(train.stream([torch.tensor([0])], 0))[1])
    assert last.equal(next(made.stream([torch.tensor([0])], 0))[1])
    assert len({train.sha256, made.sha256, both.sha256}) == 3 and len(asked) == 1, "they are made once"
    table = opened(tmp_path / "run" / "targets.jsonl", teacher)
    assert table.references == made.references, "what is kept is a table to learn from"


def test_a_stopped_run_makes_the_rest(tmp_path: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_level, "PART", 16)
    teacher, log = translator(), TrainingLog(tmp_path / "run", quiet=True)
    train = opened(pairs(tmp_path / "train.jsonl", 60), teacher)
    whole = taught(train, [teacher], RECIPE, log)
    assert list(map(len, asked)) == [16, 16, 16, 12]
    file = tmp_path / "run" / "targets.jsonl"
    kept = file.read_bytes()
    file.write_bytes(b"".join(kept.splitlines(keepends=True)[:37])[:-5])
    again = taught(train, [teacher], RECIPE, log)
    assert list(map(len, asked[4:])) == [16, 12] and file.read_bytes() == kept
    assert again.sha256 == whole.sha256 and again.references == whole.references
    with pytest.raises(ValueError, match=r"belongs to another run, which differs in teacher"):
        taught(train, [translator(1)], RECIPE, log)
    with pytest.raises(ValueError, match=r"differs in texts"):
        taught(train.take(torch.arange(20)), [teacher], RECIPE, log)


def test_a_student_learns_them(tmp_path: Path, asked: list[list[str]]) -> None:
    teacher, student = translator(), translator(1, dim=16)
    train = opened(pairs(tmp_path / "train.jsonl", 40), student)
    run: dict[str, Any] = {"teachers": [teacher], "quiet": True}
    given = finetune(student, train, replace(RECIPE, targets="data"), tmp_path / "a", **run)
    made = finetune(student, train, RECIPE, tmp_path / "b", **run)
    assert made.made["trained"]["targets"] == "teacher" and len(asked) == 1
    assert not all(one.equal(other) for one, other in zip(made.parameters(), given.parameters(), strict=True))
    finetune(student, train, RECIPE, tmp_path / "b", **run)
    assert len(asked) == 1, "a run that goes on asks no more"
    alone = Supervised(student, replace(RECIPE, soft_weight=0.0), teacher)
    assert alone.teacher is None, "soft labels that do not count are not computed"


def test_soft_labels_do_not_count_at_padding(tmp_path: Path) -> None:
    teacher, student = translator(), translator(1, dim=16)
    train = opened(pairs(tmp_path / "train.jsonl", 8), student)
    inputs, targets = next(train.stream([torch.arange(8)], 0))
    other = {**inputs, "decoder_input_ids": torch.where(targets == -100, 5, inputs["decoder_input_ids"])}
    assert not other["decoder_input_ids"].equal(inputs["decoder_input_ids"]), "nothing is shown without padding"
    losses = [Supervised(student, RECIPE, teacher).loss(student, (one, targets))[0] for one in (inputs, other)]
    torch.testing.assert_close(*losses)


def test_where_no_teacher_gives_targets(tmp_path: Path) -> None:
    teacher = translator()
    train = opened(pairs(tmp_path / "train.jsonl", 40), teacher)
    with pytest.raises(ValueError, match="targets= needs a teacher"):
        finetune(teacher, train, RECIPE, tmp_path / "out")
    with pytest.raises(ValueError, match="targets=teacher takes one teacher, not 2"):
        finetune(teacher, train, RECIPE, tmp_path / "out", teachers=[teacher, teacher])
    classes = with_classes(trunk(), 2)
    texts = opened(lines(tmp_path / "classes.jsonl", 20), classes)
    with pytest.raises(ValueError, match="targets=teacher is for translations, and small is for text-classification"):
        finetune(classes, texts, RECIPE, tmp_path / "out", teachers=[classes])
    with pytest.raises(ValueError, match="targets= is one of"):
        replace(RECIPE, targets="mine")
    with torch.no_grad():
        teacher.head.bias[0] = -1e4  # no translation ends
    with pytest.raises(ValueError, match="No translation of the teacher ends within 32 tokens"):
        taught(train.take(torch.arange(2)), [teacher], RECIPE, TrainingLog(tmp_path / "run", quiet=True))
    assert not (tmp_path / "out").exists() and len(json.loads((tmp_path / "run" / "targets.json").read_text())) == 4
