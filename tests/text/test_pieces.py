"""Tokenizers of SentencePiece's models, read without its package, equal to it."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentencepiece")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import sentencepiece as spm
import theirs as library
import transformers
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.files import FileError
from zoo.text.native import TextError

SYLLABLES = ["ka", "lo", "mi", "ne", "ru", "ta", "so", "pe", "An", "Das", "ist", "ing", "ä", "é", "'s"]
TEXTS = [
    "kalo mine", "  two   blanks ", "Das ist's, Angela!", "unseen: \u2603\u2603 \u4f60\u597d x",
    "\ufb01ne \u00bd \u2163\u00a0a", "a\tb\u200bc", "<unk> </s> <pad>", "\u2581under", ">>fra<< kalo", ">>kalo",
    "E\u0301 e\u0301", "x" * 200,
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Marian with two models of SentencePiece and one vocabulary, which lacks some of their pieces."""
    made = tmp_path_factory.mktemp("marian")
    draw = random.Random(0)
    pieces: list[str] = []
    for side, seed in (("source", 1), ("target", 2)):
        draw.seed(seed)
        lines = [" ".join("".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(8)) for _ in range(300)]
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=60, model_type="unigram",
            minloglevel=2, character_coverage=1.0,
        )  # fmt: skip
        (made / f"{side}.spm").write_bytes(model.getvalue())
        known = spm.SentencePieceProcessor(model_proto=model.getvalue())
        pieces += [known.IdToPiece(at) for at in range(known.GetPieceSize())]
    words = ["</s>", "<unk>", *dict.fromkeys(one for one in pieces if not one.startswith("<"))][:94]
    words += [">>fra<<", "\u2603", "<pad>"]
    words += [f"w{at}" for at in range(99 - len(words))]
    (made / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    library.saved("marian", made)
    return made


def test_marian_reads_and_writes_as_transformers(folder: Path) -> None:
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    prepare = zoo.preprocess(zoo.load(folder))
    for text in TEXTS:
        if "</s>" not in text:  # there a mark in a text becomes the mark itself
            assert prepare.rows([text])[0] == theirs(text).input_ids, text
            assert prepare.encoded([text], target=True)[0].ids == theirs(text_target=text).input_ids, text
    ids = list(range(99))
    assert prepare.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    found = prepare.targets(["kalo", "Das ist"])
    assert found["decoder_input_ids"][:, 0].tolist() == [98, 98]
    assert found["labels"][0].tolist()[-1] in (0, -100)


def test_the_file_has_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    model = zoo.load(folder)
    zoo.save(model, tmp_path / "saved")
    again = zoo.load(tmp_path / "saved")
    assert again.tokenizer == model.tokenizer and not (tmp_path / "saved" / "tokenizer.json").exists()
    with pytest.warns(UserWarning, match="end there"):
        assert again.translate(["kalo", "", " "], max_tokens=4)[1:] == ["", ""]


def test_a_t5_with_a_model_alone(folder: Path, tmp_path: Path) -> None:
    library.saved("t5", tmp_path)
    lines, model = [" ".join(SYLLABLES)] * 20, io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=40, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"extra_ids": 5}))
    known = spm.SentencePieceProcessor(model_proto=model.getvalue())
    prepare = zoo.preprocess(zoo.load(tmp_path))
    for text in ("kalo mine Das", "  two   kalo "):
        assert prepare.rows([text])[0] == [*known.Encode(text), 1]
    assert prepare.rows(["<extra_id_0>"])[0] == [known.GetPieceSize() + 4, 1]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("source.spm", b"", "no model of SentencePiece"),
        ("source.spm", b"\x0a\xff\xff\xff\xff\x0f", "no model of SentencePiece"),
        ("source.spm", b"\x0a\x05\x0a\x03abc\x12\x02\x18\x02", "model_type: 2"),
        ("source.spm", b"\x0a\x07\x0a\x03abc\x18\x04", "of type 4"),
        ("vocab.json", b'{"a": 0}', "no '</s>'|no '<unk>'"),
        ("vocab.json", b'{"a": "0"}', "no vocabulary"),
        ("tokenizer_config.json", b'{"sp_model_kwargs": {"alpha": 1}}', "sp_model_kwargs"),
        ("tokenizer_config.json", b'{"separate_vocabs": true}', "target_vocab.json is missing"),
    ],
)
def test_damaged_tokenizers_are_refused(folder: Path, tmp_path: Path, file: str, content: bytes, said: str) -> None:
    for one in folder.iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FileError, match=said):
        zoo.load(tmp_path)


def test_a_hostile_pair_of_tokenizers_is_refused(folder: Path) -> None:
    model = zoo.load(folder)
    whole = json.loads(model.tokenizer)
    changes: list[dict[str, Any]] = [{"words": 3}, {"words": {"a": -1}}, {"special": {}}, {"source": 5}, {"more": 1}]
    for change in changes:
        model.tokenizer = json.dumps({**whole, **change})
        with pytest.raises(TextError):
            model.prepare()


def test_the_command_translates_lines(folder: Path) -> None:
    asked = ["translate", str(folder), "--beams", "2", "--max-tokens", "5"]
    model = zoo.load(folder)
    with pytest.warns(UserWarning, match="end there"):
        expected = model.translate(["kalo mine", "", "Das ist"], beams=2, max_tokens=5)
    found = CliRunner().invoke(app, asked, input="kalo mine\n\nDas ist\n")
    assert found.exit_code == 0 and found.stdout == "".join(f"{one}\n" for one in expected)
    told = CliRunner().invoke(app, [*asked, "--json"], input="kalo mine\n\nDas ist")
    assert [one["translation"] for one in json.loads(told.stdout)["translations"]] == expected
    assert CliRunner().invoke(app, asked, input="").stdout == ""
    bad = CliRunner().invoke(app, asked, input=b"kalo\n\xff\xfe\n")
    assert bad.exit_code == 2 and "Line 2 is no UTF-8" in bad.output and bad.stdout == ""
    long = CliRunner().invoke(app, asked, input="kalo\n" + "kalo " * 100)
    assert long.exit_code == 2 and "Text 2 has" in long.output and "takes 40" in long.output
    other = CliRunner().invoke(app, ["translate", "resnet20"], input="a")
    assert other.exit_code == 2 and "translates nothing" in other.output


def test_figures_of_translations(folder: Path, tmp_path: Path) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    model = zoo.load(folder)
    texts, wanted = ["kalo mine", "Das ist", "An"], ["kalo ru", "ist das so", "An"]
    file = tmp_path / "pairs.csv"
    file.write_text("en,de\n" + "".join(f"{a},{b}\n" for a, b in zip(texts, wanted, strict=True)))
    with pytest.warns(UserWarning, match="end there"):
        found = zoo.evaluate(model, str(file))
    with pytest.warns(UserWarning, match="end there"):
        made = model.translate(texts)
    assert found.metrics["chrF"] == pytest.approx(sacrebleu.corpus_chrf(made, [wanted]).score)
    assert found.metric == "BLEU" and found.value == found.metrics["BLEU"] and found.examples == 3
    with pytest.warns(UserWarning, match="end there"):
        turned = zoo.evaluate(model, str(file), input_columns=["de"], label_column="en")
    assert turned.examples == 3
    file.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(ValueError, match="name the input column"):
        zoo.evaluate(model, str(file))
