"""Answers to questions, beside all spans of all windows tried one by one; and what is no question."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import reading

import zoo
from zoo.cli import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers")
    reading.saved("bert_answers", path)
    return path


def windows(question: str, context: str, length: int, stride: int) -> list[Any]:
    """As transformers makes them: by the tokenizer's own truncation."""
    tokenizer = reading.tokenizer()
    tokenizer.enable_truncation(length, stride=stride, strategy="only_second")
    found = tokenizer.encode(question, context)
    return [found, *found.overflowing]


@torch.inference_mode()
def tried(
    theirs: Any, question: str, context: str, length: int, stride: int, longest: int
) -> tuple[dict[tuple[int, int], float], float]:
    """(characters of a span -> its best logit, the least logit of none), after SQuAD's postprocessing there."""
    spans: dict[tuple[int, int], float] = {}
    empty = math.inf
    for one in windows(question, context, length, stride):
        out = theirs(input_ids=torch.tensor([one.ids]), token_type_ids=torch.tensor([one.type_ids]))
        starts, ends = out.start_logits[0].tolist(), out.end_logits[0].tolist()
        empty = min(empty, starts[0] + ends[0])
        inside = [place for place, part in enumerate(one.sequence_ids) if part == 1]
        for first in inside:
            for last in (place for place in inside if first <= place < first + longest):
                key = (one.offsets[first][0], one.offsets[last][1])
                spans[key] = max(spans.get(key, -math.inf), starts[first] + ends[last])
    return spans, empty


@pytest.mark.parametrize(
    ("name", "words", "length", "stride", "longest"),
    [
        ("bert_answers", 9, None, None, 64),
        ("bert_answers", 150, 30, 7, 5),
        ("bert_answers", 60, None, 0, 1),
        ("electra_answers", 50, None, None, 4),
        ("albert_answers", 50, 20, 11, 40),
    ],
)
def test_the_best_of_all_spans_of_all_windows(
    name: str, words: int, length: int | None, stride: int | None, longest: int, tmp_path: Path
) -> None:
    theirs, ours = reading.saved(name, tmp_path), zoo.load(tmp_path)
    question, context = "Who sat on it?", reading.text(words)
    room = (length or 40) - 8
    spans, empty = tried(
        theirs, question, context, length or 40, min(128, room // 2) if stride is None else stride, longest
    )
    ranked = sorted(spans, key=lambda key: -spans[key])
    options: dict[str, Any] = {"window": length, "stride": stride, "max_answer_length": longest}
    found = ours.answer(question, context, top_k=3, **options)
    assert [(one["start"], one["end"]) for one in found] == ranked[:3]
    assert all(one["answer"] == context[one["start"] : one["end"]] for one in found)
    total = math.log(sum(map(math.exp, spans.values())))
    for one, key in zip(found, ranked, strict=False):
        assert one["score"] == pytest.approx(math.exp(spans[key] - total), rel=1e-4)
    assert ours.answer(question, context, **options) == found[0]
    gap = empty - spans[ranked[0]]
    for threshold, none in ((gap - 1e-3, True), (gap + 1e-3, False)):
        one = ours.answer(question, context, allow_empty=True, null_threshold=threshold, **options)
        assert (one["answer"] == "") is none and (none or (one["start"], one["end"]) == ranked[0])
        score = empty if none else spans[ranked[0]]
        assert one["score"] == pytest.approx(math.exp(score) / (math.exp(empty) + math.exp(total)), rel=1e-4)


def test_several_questions_and_contexts(folder: Path) -> None:
    model = zoo.load(folder)
    contexts = [reading.text(5), reading.text(90, seed=1)]
    questions = ["Who ran?", "Where is the cat?"]
    each = [[model.answer(question, context) for context in contexts] for question in questions]

    def same(found: Any, expected: Any) -> bool:
        return [{**one, "score": round(one["score"], 5)} for one in found] == [
            {**one, "score": round(one["score"], 5)} for one in expected
        ]

    assert same(model.answer(questions, contexts, batch_size=1), [each[0][0], each[1][1]])
    assert same(model.answer(questions[0], contexts), each[0])
    assert same(model.answer(questions, contexts[1]), [each[0][1], each[1][1]])
    model.train()
    assert same([model.answer(questions[0], contexts[0])], [each[0][0]]) and model.training


def test_texts_of_all_lengths_and_scripts(folder: Path) -> None:
    model = zoo.load(folder)
    long = " ".join([reading.text(200), *["unseen" * 10] * 1640, "東京 é"])
    assert len(long) > 100_000
    found = model.answer("Who?", long, top_k=2)
    assert all(long[one["start"] : one["end"]] == one["answer"] != "" for one in found)
    for context in ("東京 é ß", "\u202e\u0000 العربية 🙂", "x" * 100_000):
        one = model.answer("東京?", context)
        assert context[one["start"] : one["end"]] == one["answer"]


@pytest.mark.parametrize("name", ["mpnet_answers", "albert_answers"])
def test_every_form_answers_and_its_file_too(name: str, tmp_path: Path) -> None:
    reading.saved(name, tmp_path / "theirs")
    model, context = zoo.load(tmp_path / "theirs"), reading.text(60)
    best = model.answer("who sat?", context, top_k=200)
    forms = {
        "int8": zoo.compress(model, "int8"),
        "sparse": zoo.compress(model, "sparse", sparsity=0.3),
        "pruned": zoo.compress(model, "pruned", ratio=0.3),
    }
    for form, small in forms.items():
        zoo.save(small, tmp_path / form)
        one = small.answer("who sat?", context)
        assert context[one["start"] : one["end"]] == one["answer"]
        assert zoo.load(tmp_path / form).answer("who sat?", context) == one
        assert form != "int8" or (one["start"], one["end"]) in [(x["start"], x["end"]) for x in best]


@pytest.mark.parametrize(
    ("question", "context", "options", "said"),
    [
        ("", "the cat", {}, "A question is empty"),
        ("who?", " \n", {}, "A context is empty"),
        ([], "the cat", {}, "No question was given"),
        (["who?", "what?"], ["the cat"] * 3, {}, "2 questions and 3 contexts"),
        (None, "the cat", {}, "A question is a string"),
        ("who?", ["the cat", 3], {}, "A context is a string"),
        ("who " * 50, "the cat", {}, "takes 40 tokens of a question and its context at once.*ask a shorter one"),
        ("who?", "a \ud83d", {}, "half of a character"),
        ("who?", "the cat", {"stride": 40}, "stride= is from 0 to 39"),
        ("who?", "the cat sat", {"stride": 39}, "stride= is 39 tokens, and a window has room for"),
        ("who?", "the cat", {"window": 41}, "window= is from 1 to 40 tokens"),
        ("who?", "the cat", {"top_k": 0}, "top_k= is a whole number above 0"),
        ("who?", "the cat", {"max_answer_length": True}, "max_answer_length= is a whole number above 0"),
        ("who?", "the cat", {"null_threshold": 1.0}, "null_threshold= is for allow_empty=True"),
        ("who?", "the cat", {"allow_empty": True, "null_threshold": math.nan}, "null_threshold= is a finite number"),
    ],
)
def test_what_is_no_question(folder: Path, question: Any, context: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        zoo.load(folder).answer(question, context, **options)


def test_only_networks_for_it_answer(tmp_path: Path) -> None:
    reading.saved("bert_classifier", tmp_path)
    model = zoo.load(tmp_path)
    assert not hasattr(model, "answer") and not hasattr(model, "tag") and hasattr(model, "classify")
    with pytest.raises(ValueError, match=r"no answer\(\), which is for question-answering. It has classify\(\)"):
        model.answer("who?", "the cat")
    done = CliRunner().invoke(app, ["answer", str(tmp_path), "--question", "who?", "--context", "-"], input="a cat")
    assert done.exit_code == 2 and "answers no questions" in done.stderr


def test_no_tokenizer_or_another_networks(folder: Path) -> None:
    model = zoo.load(folder)
    made = reading.tokenizer()
    made.add_tokens(["other"])
    for tokenizer, said in ((made.to_str(), "knows 99 tokens, and its tokenizer has 100"), ("", "is not known")):
        model.tokenizer = tokenizer
        with pytest.raises(ValueError, match=said):
            model.answer("who?", "the cat")


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = zoo.load(folder), reading.text(70)
    file = tmp_path / "context.txt"
    file.write_text(text)
    asked = ["answer", str(folder), "--question", "who sat?", "--context", str(file)]
    best = model.answer("who sat?", text)
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0
    assert shown.stdout.strip() == f"{100 * best['score']:.2f}%  {best['answer']}  ({best['start']}-{best['end']})"
    told = json.loads(CliRunner().invoke(app, [*asked, "--question", "what?", "--top", "2", "--json"]).stdout)
    assert [one["question"] for one in told["questions"]] == ["who sat?", "what?"]
    assert told["questions"][1]["answers"] == model.answer("what?", text, top_k=2)
    none = CliRunner().invoke(app, [*asked, "--allow-empty", "--null-threshold", "-1000"])
    assert "no answer" in none.stdout
    file.write_bytes(b"a cat \xff sat")
    for given, said in ((str(file), "no text in UTF-8"), (str(tmp_path / "missing"), "No such file")):
        done = CliRunner().invoke(app, [*asked[:-1], given])
        assert done.exit_code == 2 and said in " ".join(done.stderr.split())
    predicted = CliRunner().invoke(app, ["predict", str(folder), "the cat"])
    assert predicted.exit_code == 2 and "`zoo answer` asks it" in predicted.stderr
