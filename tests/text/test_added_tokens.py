"""Tokens and settings beside a vocabulary or a tokenizer.json: the ids are transformers', or the folder is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import theirs as library
import transformers

import zoo
from zoo.files import FileError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "Hello", "a", "b", "##b", "##hello", "."]
TEXTS = ["hello world Hello", "á aworld", "ahello b [MASK] a [X] b", "a漢b <e>.", "ab[PAD]hello", "helló"]
SPECIAL, ADDED, SETTINGS = "special_tokens_map.json", "added_tokens.json", "tokenizer_config.json"
NEW = {"content": "world", "lstrip": True, "rstrip": True, "single_word": False, "normalized": False}


@pytest.fixture(params=["vocab.txt", "tokenizer.json"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    library.saved("bert", tmp_path)
    words = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizer(vocab=words, do_lower_case=False).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    if request.param == "vocab.txt":
        (tmp_path / "tokenizer.json").unlink()
    return tmp_path


def changed(folder: Path, file: str, changes: dict[str, Any]) -> None:
    path = folder / file
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, **changes}))


def ids(folder: Path, texts: list[str]) -> list[list[int]]:
    prepare = zoo.preprocess(zoo.load(folder))
    return [prepare(text)["input_ids"][0].tolist() for text in texts]


def same(folder: Path, texts: list[str]) -> bool:
    """Whether the ids are those of transformers."""
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    return ids(folder, texts) == [theirs(text)["input_ids"] for text in texts]


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (SETTINGS, {}),
        (ADDED, {"[X]": 13, "<e>": 14}),
        (ADDED, {"<e>": 14, "[X]": 13, "hello": 5}),
        (SPECIAL, {"additional_special_tokens": ["hello", "<e>"]}),
        (SPECIAL, {"extra_special_tokens": ["hello"], "mask_token": {**NEW, "content": "[X]"}}),
        (SPECIAL, {"mask_token": NEW, "bos_token": "hello"}),
        (SETTINGS, {"additional_special_tokens": ["hello", "[X]"]}),
        (SETTINGS, {"extra_special_tokens": ["hello", "[X]"], "image_token": "<e>"}),
        (SETTINGS, {"extra_special_tokens": {"image_token": "hello"}}),
        (SETTINGS, {"mask_token": {"__type": "AddedToken", **NEW}}),
        (SETTINGS, {"added_tokens_decoder": {"5": {"content": "hello"}, "13": {"content": "[X]", "special": True}}}),
        (SETTINGS, {"do_lower_case": True}),
        (SETTINGS, {"strip_accents": True, "tokenize_chinese_chars": False}),
    ],
)
def test_what_stands_beside_is_read_as_transformers_reads_it(file: str, changes: Any, folder: Path) -> None:
    before = ids(folder, TEXTS)
    changed(folder, file, changes)
    assert same(folder, TEXTS)
    assert (ids(folder, TEXTS) != before) == bool(changes)


def test_the_special_tokens_map_counts_unless_the_settings_number_their_tokens(folder: Path) -> None:
    changed(folder, SPECIAL, {"additional_special_tokens": ["hello"]})
    assert ids(folder, ["ahello"]) == [[2, 8, 5, 3]] and same(folder, ["ahello"])
    changed(folder, SETTINGS, {"added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}}})
    assert ids(folder, ["ahello"]) == [[2, 8, 11, 3]] and same(folder, ["ahello"])


def test_settings_that_are_missing_have_the_values_of_the_class(folder: Path) -> None:
    (folder / SETTINGS).unlink()
    assert ids(folder, ["Hello"]) == [[2, 5, 3]] and same(folder, ["Hello"])


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        (ADDED, {"[X]": 50}, r"added_tokens\.json gives '\[X\]' the number 50, and it has 13"),
        (ADDED, {"hello": 13}, "gives 'hello' the number 13, and it has 5"),
        (ADDED, {"[X]": "13"}, "gives the number '13'"),
        (SETTINGS, {"added_tokens_decoder": {"13": {"content": "[X]", "kind": 1}}}, "says kind: 1 of the token"),
        (SETTINGS, {"added_tokens_decoder": {"13": {"content": "[X]", "lstrip": "no"}}}, "says lstrip: 'no'"),
        (SETTINGS, {"added_tokens_decoder": {"a": {"content": "[X]"}}}, "no object of numbers and tokens"),
        (SETTINGS, {"added_tokens_decoder": {"13": {"content": ""}}}, "names the token"),
        (SETTINGS, {"extra_special_tokens": 3}, "extra_special_tokens: 3, which is no list"),
        (SETTINGS, {"mask_token": 3}, "mask_token names the token 3"),
        (SETTINGS, {"split_special_tokens": True}, "split_special_tokens: True"),
        (SETTINGS, {"do_lower_case": "false"}, "do_lower_case: 'false', which is neither true nor false"),
        (SETTINGS, {"model_max_length": "6"}, "model_max_length: '6', which is no number of tokens"),
    ],
)
def test_what_the_zoo_has_not_is_refused_by_name(file: str, changes: Any, said: str, folder: Path) -> None:
    changed(folder, file, changes)
    with pytest.raises(FileError, match=said):
        zoo.load(folder)


@pytest.mark.parametrize("file", [SETTINGS, SPECIAL])
@pytest.mark.parametrize("key", ["cls_token", "sep_token", "unk_token"])
def test_other_marks_are_used_or_refused(key: str, file: str, folder: Path) -> None:
    changed(folder, file, {key: "hello"})
    if not (folder / "tokenizer.json").exists():
        assert same(folder, ["a ? b"])
        return
    with pytest.raises(FileError, match=f"{key}: 'hello', and tokenizer.json has"):
        zoo.load(folder)
    changed(folder, SETTINGS, {"tokenizer_class": "PreTrainedTokenizerFast"})  # where tokenizer.json has the last word
    assert same(folder, ["a ? b"])


@pytest.mark.parametrize("nested", [True, False])
def test_a_setting_for_a_part_of_another_type(nested: bool, folder: Path) -> None:
    file = folder / "tokenizer.json"
    if not file.exists():
        pytest.skip("a vocabulary alone has the part of its class")
    found = json.loads(file.read_text())
    part = {"type": "Sequence", "normalizers": [found["normalizer"]]} if nested else None
    file.write_text(json.dumps({**found, "normalizer": part}))
    changed(folder, SETTINGS, {"do_lower_case": True, "tokenize_chinese_chars": nested})
    with pytest.raises(FileError, match="do_lower_case: True, and the normalizer of"):
        zoo.load(folder)
    changed(folder, SETTINGS, {"do_lower_case": False})
    assert same(folder, ["Hello world"])


def test_another_class_of_a_vocabulary_alone(folder: Path) -> None:
    changed(folder, SETTINGS, {"tokenizer_class": "BertJapaneseTokenizer"})
    if (folder / "tokenizer.json").exists():
        assert zoo.load(folder).tokenizer
    else:
        with pytest.raises(FileError, match="tokenizer_class is 'BertJapaneseTokenizer'"):
            zoo.load(folder)


@pytest.mark.parametrize("named", ["RobertaTokenizer", "GPT2TokenizerFast"])
@pytest.mark.parametrize("file", [SETTINGS, "config.json"])
def test_a_class_for_another_kind_of_vocabulary_is_refused_by_name(file: str, named: str, folder: Path) -> None:
    changed(folder, SETTINGS, {"tokenizer_class": None})
    changed(folder, file, {"tokenizer_class": named})
    with pytest.raises(FileError, match=f"tokenizer_class is '{named.removesuffix('Fast')}'"):
        zoo.load(folder)


@pytest.mark.parametrize("named", ["GPT2Tokenizer", "TokenizersBackend"])
def test_the_blank_before_a_text_is_a_setting_of_some_classes(named: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    library.saved("llama", tmp_path)
    made = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate("Ġabc")}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.save(str(tmp_path / "tokenizer.json"))
    changed(tmp_path, SETTINGS, {"tokenizer_class": named, "add_prefix_space": True})
    assert same(tmp_path, ["abc", " a b"])
    assert ids(tmp_path, ["a"]) == [[0, 1] if named == "GPT2Tokenizer" else [1]]
