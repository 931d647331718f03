"""`zoo generate` and `zoo predict` on texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import theirs as library

import zoo
from zoo.cli import app

WORDS = ["[PAD]", "the", "cat", "sat", "on", "a", "mat", "dog"] + [f"w{i}" for i in range(91)]


@pytest.fixture(params=["gpt2", "bert_classifier"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    library.saved(request.param, tmp_path)
    import tokenizers

    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_generate_and_predict(folder: Path) -> None:
    model = zoo.load(folder)
    asked = ["generate", str(folder), "--prompt", "the cat sat", "--tokens", "5"]
    shown, told = CliRunner().invoke(app, asked), CliRunner().invoke(app, [*asked, "--json"])
    if model.spec.task != "text-generation":
        assert shown.exit_code == 2 and "continues no texts" in shown.output
        said = json.loads(CliRunner().invoke(app, ["predict", str(folder), "the dog", "--json"]).stdout)
        assert len(said["inputs"][0]["top"]) == 3 and said["images"] == said["inputs"]
        return
    prepare = zoo.preprocess(model)
    ids = model.generate(prepare("the cat sat")["input_ids"], max_new_tokens=5)
    assert shown.exit_code == 0 and shown.stdout.strip() == prepare.decode(ids[0])
    found = json.loads(told.stdout)
    assert found["text"] == prepare.decode(ids[0]) and found["tokens"] <= 5
    refused = CliRunner().invoke(app, ["predict", str(folder), "the dog"])
    assert refused.exit_code == 2 and "that task shows no answers. `zoo generate`" in refused.output


def test_a_prompt_is_never_cut(folder: Path) -> None:
    model = zoo.load(folder)
    long = "the cat " * 35
    if model.spec.task == "text-generation":
        with pytest.raises(ValueError, match="64 tokens, not for 70"):
            model.generate(**zoo.preprocess(model)(long))
        said = CliRunner().invoke(app, ["generate", str(folder), "--prompt", long])
        assert said.exit_code == 2 and "the cat" not in said.stdout
        said = CliRunner().invoke(app, ["generate", str(folder), "--prompt", "the cat", "--temperature", "-1"])
        assert said.exit_code == 2 and "the cat" not in said.stdout
    else:
        assert zoo.preprocess(model)(long)["input_ids"].shape == (1, model.spec.texts.length)


def test_static_int8_of_a_file_of_texts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("the cat sat\n\na dog\n")
    out = tmp_path / "int8"
    asked = ["compress", str(folder), "int8", "--out", str(out), "--calibration"]
    assert CliRunner().invoke(app, [*asked, str(tmp_path / "texts.txt")]).exit_code == 0
    assert {row.precision for row in zoo.load(out).spec if row.kind == "transformer_block"} == {"int8"}
    for wrong in (tmp_path, tmp_path / "missing.txt"):
        said = CliRunner().invoke(app, [*asked, str(wrong)])
        assert said.exit_code == 2 and "one a line" in said.output.replace("\n", " ")


def test_bench_counts_texts(folder: Path) -> None:
    how = ["--runtime", "eager", "--batch", "1", "--size", "9", "--seconds", "0", "--no-memory"]
    assert "texts" in CliRunner().invoke(app, ["bench", str(folder), *how]).stdout
    assert "inputs" in CliRunner().invoke(app, ["bench", str(folder), "mobilenet", *how]).stdout


def test_a_network_of_pictures_generates_no_text() -> None:
    done = CliRunner().invoke(app, ["generate", "mobilenet", "--prompt", "x"])
    assert done.exit_code == 2 and "takes pictures" in done.output and "such as gpt2" in done.output


def test_an_encoder_generates_no_text(tmp_path: Path) -> None:
    """Even without a tokenizer, which would not help."""
    library.saved("bert_classifier", tmp_path)
    done = CliRunner().invoke(app, ["generate", str(tmp_path), "--prompt", "x"])
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2 and done.stdout == ""
    assert "is for text-classification, and continues no texts. Only a decoder does, such as gpt2" in said
    assert "zoo list --task text-generation" in said


def test_without_a_tokenizer_it_says_what_to_do(tmp_path: Path) -> None:
    library.saved("gpt2", tmp_path)
    with pytest.raises(ValueError, match=r"set model\.tokenizer"):
        zoo.preprocess(zoo.load(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        zoo.preprocess(zoo.load(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(zoo.FileError, match="is no gpt2 that the zoo can read"):
        zoo.load(tmp_path)


@pytest.mark.parametrize("folder", ["bert_classifier"], indirect=True)
def test_predict_reads_lines_of_a_pipe_and_of_a_file(folder: Path, tmp_path: Path) -> None:
    lines = ["the cat sat", "a dog"]
    (tmp_path / "lines.txt").write_text("\n\n".join(lines) + "\n")
    alone = CliRunner().invoke(app, ["predict", str(folder), *lines, "--json"])
    of_file = CliRunner().invoke(app, ["predict", str(folder), str(tmp_path / "lines.txt"), "--json"])
    assert json.loads(of_file.stdout) == json.loads(alone.stdout)
    piped = subprocess.run(
        [sys.executable, "-m", "zoo", "predict", str(folder), "-", "--json"],
        input="\n".join(lines), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(piped.stdout) == json.loads(alone.stdout)
    long = CliRunner().invoke(app, ["predict", str(folder), "the cat " * 40 + ".txt", "--json"])  # no file's name
    assert len(json.loads(long.stdout)["inputs"]) == 1
    (tmp_path / "empty.txt").write_text("\n")
    refused = CliRunner().invoke(app, ["predict", str(folder), str(tmp_path / "empty.txt")])
    assert refused.exit_code == 2 and "There is no text in" in refused.output
