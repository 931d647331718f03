"""Networks of texts train by the one loop: encoders on classes, decoders on the next token."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import zoo
from short_runs import Cut, Killed, assert_equal
from text_data import WORDS, decoder, lines, sentences, tokenizer, trunk
from zoo.cli import app
from zoo.data.parquet import digest_of
from zoo.factory import with_classes
from zoo.text.fresh import for_data
from zoo.train.batches import PictureBatches, TextBatches
from zoo.train.finetune import finetune
from zoo.train.loop import accuracy, fit
from zoo.train.ragged import by_length
from zoo.train.recipe import Recipe
from zoo.train.teachers import Ensemble
from zoo.train.text_augment import masked, sampled
from zoo.train.texts import open_texts

pytest.importorskip("timm")

RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=5e-3, bfloat16=False)


def opened(data: Path, model: Any, **options: Any) -> Any:
    return open_texts(model.spec, data, model.spec.texts, learned=model.tokenizer, **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    lines(tmp_path / "data" / "train.jsonl", 320, names=("sad", "glad"))
    lines(tmp_path / "data" / "validation.jsonl", 100, seed=1, names=("sad", "glad"))
    return tmp_path / "data"


def test_texts_are_tokenized_as_the_network_asks(data: Path) -> None:
    model = with_classes(trunk(), 2)
    found = opened(data, model)
    texts, labels = sentences(320)
    assert (len(found), found.classes, found.labels.tolist()) == (320, ("glad", "sad"), [1 - one for one in labels])
    ((inputs, targets),) = found.stream([torch.arange(320)], 0)
    wanted = zoo.preprocess(model)(texts)
    assert all(inputs[name].equal(wanted[name]) for name in wanted) and set(inputs) == set(wanted)
    assert targets.equal(found.labels)
    assert opened(data, model, classes=("sad", "glad")).labels.tolist() == labels


def test_tables_of_all_formats_hold_the_same(data: Path, tmp_path: Path) -> None:
    model = with_classes(trunk(), 2)
    texts, labels = sentences(320)
    table = pa.table({"sentence": texts, "label": [("sad", "glad")[one] for one in labels]})
    pq.write_table(table, tmp_path / "a.parquet")
    arrow_csv.write_csv(table, tmp_path / "b.csv")
    here = opened(data, model)
    for name in ("a.parquet", "b.csv"):
        there = opened(tmp_path / name, model)
        assert there.classes == here.classes and there.labels.equal(here.labels)
        assert all(part.values.equal(here.parts[key].values) for key, part in there.parts.items())
        assert there.sha256 == digest_of([tmp_path / name])


def test_batches_are_of_like_length_and_hold_every_text_once() -> None:
    lengths = torch.randint(1, 60, (1003,), generator=torch.Generator().manual_seed(0))
    order = by_length(lengths, 16, torch.Generator().manual_seed(1))
    assert order.sort().values.equal(torch.arange(1003))
    batches = [lengths[batch] for batch in order.split(16)]
    assert len(batches[-1]) == 1003 % 16
    padding = sum(int((batch.max() - batch).sum()) for batch in batches)
    assert padding < 0.1 * int(lengths.sum())
    assert not order.equal(by_length(lengths, 16, torch.Generator().manual_seed(2)))


def test_long_texts_are_cut_and_counted(data: Path) -> None:
    found = opened(data, with_classes(trunk(), 2), max_tokens=6)
    lengths = found.parts["input_ids"].lengths
    assert int(lengths.max()) == 6 and 0 < found.cut < 320
    assert found.cut == sum(len(text.split()) > 4 for text in sentences(320)[0])


def test_the_command_teaches_a_trunk_classes(data: Path, tmp_path: Path) -> None:
    zoo.save(trunk(), tmp_path / "trunk")
    asked = ["--data", str(data), "--epochs", "5", "--batch-size", "16", "--learning-rate", "0.005", "--no-bfloat16"]
    done = CliRunner().invoke(app, ["finetune", str(tmp_path / "trunk"), *asked, "--out", str(tmp_path / "tuned")])
    assert done.exit_code == 0, done.output
    tuned = zoo.load(tmp_path / "tuned")
    assert tuned.labels == ("glad", "sad") and tuned.spec.task == "text-classification"
    measured = zoo.evaluate(tuned, data)
    assert measured.value > 95 and f"{measured.value:.2f}" in done.output
    student = zoo.build(trunk(layers=1).spec)
    student.tokenizer = tokenizer()
    zoo.save(student, tmp_path / "student")
    given = ["distill", str(tmp_path / "student"), "--teacher", str(tmp_path / "tuned"), *asked]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "distilled")])
    assert done.exit_code == 0, done.output
    distilled = zoo.load(tmp_path / "distilled")
    assert zoo.evaluate(distilled, data).value > 90 and distilled.made["trained"]["teacher"]


@pytest.mark.parametrize("cut", [3, 21])
def test_a_run_cut_at_any_step_ends_as_the_uninterrupted_one(data: Path, tmp_path: Path, cut: int) -> None:
    def run(folder: str, cut: int) -> Any:
        model = with_classes(trunk(), 2)
        torch.nn.init.normal_(model.classifier.fc.weight, generator=torch.Generator().manual_seed(0))
        recipe = replace(RECIPE, epochs=2)
        return fit(model, opened(data, model), recipe, folder=tmp_path / folder, after_step=Cut(cut)).state_dict()

    whole = run("whole", 0)
    with pytest.raises(Killed):
        run("cut", cut)
    assert_equal(run("cut", 0), whole)


def test_pruned_and_sparse_encoders_stay_what_they_are(data: Path, tmp_path: Path) -> None:
    start = with_classes(trunk(), 2)
    pruned = zoo.compress(start, "pruned", ratio=0.5)
    sparse = zoo.compress(start, "sparse", sparsity=0.7)
    recipe = replace(RECIPE, epochs=1)
    tuned = finetune(pruned, opened(data, start), recipe, tmp_path / "pruned", quiet=True)
    assert tuned.spec.rows == pruned.spec.rows
    tuned = finetune(sparse, opened(data, start), recipe, tmp_path / "sparse", quiet=True)
    zeros = [(one == 0).float().mean() for key, one in tuned.state_dict().items() if key.endswith("fc1.weight")]
    assert all(0.5 < share < 0.95 for share in zeros)


def test_a_teacher_reads_the_same_tokens() -> None:
    student, teacher = with_classes(trunk(), 2), with_classes(trunk(1), 2)
    assert len(Ensemble([teacher], student).members) == 1
    teacher.tokenizer = teacher.tokenizer.replace('"film"', '"movie"')
    with pytest.raises(ValueError, match="both need the same tokenizer"):
        Ensemble([teacher], student)
    with pytest.raises(ValueError, match="takes texts of 8 tokens, the student of 16"):
        Ensemble([with_classes(trunk(max_positions=8), 2)], student)


def story(path: Path, words: int, seed: int = 0) -> Path:
    texts, _ = sentences(words // 6, seed)
    path.write_text(" ".join(f"{text} and" for text in texts))
    return path


def test_a_decoder_learns_to_continue(tmp_path: Path) -> None:
    model = decoder()
    data = opened(story(tmp_path / "train.txt", 3000), model)
    tokens = zoo.preprocess(model)((tmp_path / "train.txt").read_text())["input_ids"][0]
    assert len(data) == len(tokens) // 16 and data.tokens.long().equal(tokens)
    ((inputs, targets),) = replace(data, shifts=False).stream([torch.tensor([1, 0])], 0)
    assert inputs["input_ids"].equal(tokens[:32].view(2, 16).flip(0)) and targets.equal(inputs["input_ids"])
    shifted = [next(data.stream([torch.tensor([0])], seed))[1][0] for seed in range(8)]
    assert len({tuple(one.tolist()) for one in shifted}) > 3
    assert data.take(torch.arange(3)).shifts is False
    log = tmp_path / "run"
    fit(model, data, replace(RECIPE, epochs=3), folder=log)
    rows = (log / "metrics.csv").read_text().splitlines()
    losses = [float(dict(zip(rows[0].split(","), row.split(","), strict=True))["loss"]) for row in rows[1:]]
    assert losses[-1] < losses[0] - 0.15


def test_a_decoder_is_measured_by_its_perplexity(tmp_path: Path) -> None:
    model = decoder()
    file = story(tmp_path / "text.txt", 600)
    found = zoo.evaluate(model, file, batch_size=4)
    tokens = zoo.preprocess(model)(file.read_text())["input_ids"]
    pieces = tokens[0, : len(tokens[0]) // 16 * 16].view(-1, 16)
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(model(pieces).logits[:, :-1].flatten(0, 1), pieces[:, 1:].flatten())
    assert found.metric == "perplexity" and found.value == pytest.approx(float(loss.exp()), rel=1e-4)
    assert set(found.metrics) == {"perplexity", "bits per character"}
    assert accuracy(model, replace(opened(file, model), shifts=False)) == pytest.approx(found.value, rel=1e-4)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.write_text('{"label": 1}\n'), "no column of texts"),
        (lambda path: path.write_text('{"text": "a film"}\n'), "has no 'label' for the label"),
        (lambda path: path.write_text('{"text": null, "label": 1}\n'), "holds no texts"),
        (lambda path: path.write_text('{"text": "a film", "label": null}\n'), "of every row"),
        (lambda path: path.write_text("[1, 2]\n"), "cannot be read as JSON lines"),
        (lambda path: path.write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 0}\n'), "one class alone"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path: Path, write: Any, told: str) -> None:
    zoo.save(trunk(), tmp_path / "trunk")
    write(tmp_path / "train.jsonl")
    given = ["finetune", str(tmp_path / "trunk"), "--data", str(tmp_path / "train.jsonl"), "--batch-size", "1"]
    done = CliRunner().invoke(app, [*given, "--held-out", "0", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and told in " ".join(done.output.split()), done.output
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_options_of_texts_are_refused_for_pictures(tmp_path: Path) -> None:
    given = ["finetune", "mobilenet", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--max-tokens", "8"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2 and "--max-tokens: for texts" in " ".join(done.output.split())


def test_labels_in_words_are_classes(tmp_path: Path) -> None:
    model = with_classes(trunk(), 2)
    lines(tmp_path / "a.jsonl", 20, names=("yes", "no"))
    model.labels = ("no", "yes")
    measured = zoo.evaluate(model, tmp_path / "a.jsonl")
    assert measured.examples == 20 and set(measured.per_class) <= {"no", "yes"}
    table = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert set(table) == {"sentence", "label"} and len(WORDS) == model.spec.texts.vocabulary


def test_a_fresh_decoder_learns_its_tokens_from_the_data(tmp_path: Path) -> None:
    story(tmp_path / "train.txt", 3000)
    asked = ["--fresh", "--vocabulary", "280", "--max-tokens", "12", "--data", str(tmp_path / "train.txt")]
    asked += ["--epochs", "1", "--batch-size", "8", "--out", str(tmp_path / "out"), "--no-bfloat16"]
    done = CliRunner().invoke(app, ["finetune", "gpt2_tiny", *asked])
    assert done.exit_code == 0, done.output
    model = zoo.load(tmp_path / "out")
    assert model.spec.texts.vocabulary <= 280 and model.spec.texts.length == 12 and model.spec.texts.ends == (0,)
    prepare = zoo.preprocess(model)
    for text in ("a film", "Größe 大 \t"):
        assert prepare.decode(prepare(text)["input_ids"][0]) == text
    student = ["distill", "gpt2_tiny", "--teacher", str(tmp_path / "out"), *asked[3:]]
    done = CliRunner().invoke(app, [*student[:-2], str(tmp_path / "student"), "--no-bfloat16"])
    assert done.exit_code == 0, done.output
    assert zoo.load(tmp_path / "student").tokenizer == model.tokenizer


def test_a_fresh_encoder_learns_its_tokens_from_the_data(data: Path, tmp_path: Path) -> None:
    model = for_data("bert_tiny", data, vocabulary=200, max_tokens=20)
    assert model.spec.texts.length == 20 and model.embed.positions.weight.shape[0] == 20
    tokens = zoo.preprocess(model)("a good film")["input_ids"]
    assert tokens.shape == (1, 5) and int(tokens.max()) < model.spec.texts.vocabulary <= 200
    with pytest.raises(ValueError, match="at least 128 tokens"):
        for_data("bert_tiny", data, vocabulary=20)
    given = ["finetune", "mobilenet", "--fresh", "--data", str(data), "--out", str(tmp_path / "o"), "--vocabulary", "9"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2 and "--vocabulary is for a language model" in " ".join(done.output.split())


def test_changed_texts_keep_their_ends() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[2, 4, 5, 6, 7, 3], [2, 8, 9, 3, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    for _ in range(20):
        cut = sampled(inputs, 1.0, padding=0)
        for row, whole in zip(cut["input_ids"], ids, strict=True):
            kept = row[row != 0].tolist()
            assert kept[0] == 2 and kept[-1] == 3 and len(kept) > 2
            assert " ".join(map(str, kept[1:-1])) in " ".join(map(str, whole.tolist()))
        assert cut["attention_mask"].equal((cut["input_ids"] != 0).long())
    hidden = masked(inputs, 0.999, 1)["input_ids"]
    assert hidden.tolist() == [[2, 1, 1, 1, 1, 3], [2, 1, 1, 3, 0, 0]]
    assert sampled(inputs, 0.0, padding=0)["input_ids"].equal(ids) and masked(inputs, 0.0, 1)["input_ids"].equal(ids)


def test_changing_texts_needs_a_teacher_and_classes(data: Path) -> None:
    recipe = replace(RECIPE, ngram_sampling=0.5)
    with pytest.raises(ValueError, match="ngram_sampling=: a text that is changed needs a teacher"):
        recipe.check_used(teacher=False)
    with pytest.raises(ValueError, match="needs a tokenizer with a token"):
        TextBatches(with_classes(trunk(), 2), replace(RECIPE, token_masking=0.1))
    with pytest.raises(ValueError, match="for texts with one class each"):
        TextBatches(decoder(), recipe)
    with pytest.raises(ValueError, match="for texts only, and resnet20 takes pictures"):
        PictureBatches(zoo.create("resnet20", weights=None), recipe)
