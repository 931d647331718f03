"""Make a tokenizer.json from older folders of BERT, GPT-2 and RoBERTa, which have only a vocabulary. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.spec import SpecError
from zoo.weights import json_text
from zoo.weights.added_tokens import content
from zoo.weights.settings import short, switch

MAX_TOKENIZER = 48 * 1024 * 1024  # bytes
WORDS, PAIRS = "vocab.txt", ("vocab.json", "merges.txt")
WORD_PIECES, BYTE_PAIRS = ("bert", "distilbert", "electra"), ("gpt2", "roberta")  # values of transformers' model_type
SPECIAL = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
           "mask_token": "[MASK]"}  # fmt: skip
SPECIAL_PAIRS = {
    "gpt2": {"eos_token": "<|endoftext|>"},
    "roberta": {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>",
                "mask_token": "<mask>"},
}  # fmt: skip


def made_of_vocabulary(folder: Path, kind: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tokenizer of a network of this kind with the folder's vocabulary; None if there is no vocabulary.

    `settings` come from tokenizer_config.json. Raises ValueError for files that are too large or no vocabulary.
    """
    if kind in WORD_PIECES and (folder / WORDS).is_file():
        return _word_pieces(folder, settings)
    if kind in BYTE_PAIRS and all((folder / name).is_file() for name in PAIRS):
        return _byte_pairs(folder, kind, settings)
    return None


def _word_pieces(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """BERT's tokenizer, with the words of a vocab.txt (one on each line)."""
    lines = _text(folder / WORDS).removesuffix("\n").split("\n")
    words = {word.removesuffix("\r"): number for number, word in enumerate(lines)}
    special = _special(words, settings, SPECIAL, WORDS)
    first, last = special["cls_token"], special["sep_token"]
    single = [_token(first, 0), {"Sequence": {"id": "A", "type_id": 0}}, _token(last, 0)]
    marks = {word: {"id": word, "ids": [words[word]], "tokens": [word]} for word in (first, last)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, _token(last, 1)],
            "special_tokens": marks,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": special["unk_token"], "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": words},
    }  # fmt: skip


def _byte_pairs(folder: Path, kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizers of GPT-2 and RoBERTa, with the words of a vocab.json and the pairs of a merges.txt."""
    words = json_text.read_json(folder / PAIRS[0], MAX_TOKENIZER)
    if not isinstance(words, dict) or not all(isinstance(number, int) for number in words.values()):
        raise SpecError(f"{PAIRS[0]} is no vocabulary: an object of words and their numbers")
    lines = _text(folder / PAIRS[1]).split("\n")
    pairs = [line.removesuffix("\r") for line in lines if line.strip() and not line.startswith("#version")]
    special = _special(words, settings, SPECIAL_PAIRS[kind], PAIRS[0])
    spaced = switch(settings, "add_prefix_space", "tokenizer_config.json")
    bytes_: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": spaced, "trim_offsets": True, "use_regex": True}
    ends: dict[str, Any] = {**bytes_, "trim_offsets": False}
    if kind == "roberta":
        marks = {name: [special[token], words[special[token]]] for name, token in
                 (("sep", "sep_token"), ("cls", "cls_token"))}  # fmt: skip
        ends = {"type": "RobertaProcessing", **marks, "trim_offsets": True, "add_prefix_space": spaced}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": bytes_,
        "post_processor": ends,
        "decoder": bytes_,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "vocab": words, "merges": pairs},
    }  # fmt: skip


def _text(file: Path) -> str:
    if file.stat().st_size > MAX_TOKENIZER:
        raise ValueError(f"{file.name} is larger than {MAX_TOKENIZER:,} bytes")
    return file.read_text(encoding="utf-8")


def _special(
    words: Mapping[str, int], settings: Mapping[str, Any], usual: Mapping[str, str], file: str
) -> dict[str, str]:
    """The special tokens by their names in the settings. The vocabulary must have all of them but the mask."""
    special = {name: content(settings.get(name)) or word for name, word in usual.items()}
    if missing := [word for name, word in special.items() if name != "mask_token" and word not in words]:
        raise SpecError(f"{file} has no {short(missing[0])}, so it is not the vocabulary of such a network")
    return special


def _token(word: str, kind: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": word, "type_id": kind}}
