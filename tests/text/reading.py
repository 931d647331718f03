"""Folders of transformers with a tokenizer like BERT's."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import theirs as library

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "who", "what", "where", "did", "it", "is", "in", "of"],
]
WORDS += [
    *[
        "##s",
        "##ing",
        "ada",
        "paul",
        "london",
        "rome",
        "lives",
        "reads",
        "wrote",
        "with",
        ",",
        ".",
        "?",
        "-",
        "é",
        "ß",
        "東",
        "京",
    ]
]
WORDS += [f"w{number}" for number in range(99 - len(WORDS))]


def tokenizer() -> Any:
    import tokenizers

    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def saved(name: str, folder: Path) -> Any:
    """transformers' network, with a tokenizer beside it."""
    theirs = library.saved(name, folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return theirs


def text(count: int, seed: int = 0) -> str:
    """So many words, some of several tokens, with marks between."""
    draw = random.Random(seed)
    return " ".join(draw.choice(["The", "cats", "Ada,", "sat", "reading", "mat.", "London", "w7", "é", "unseen"])
                    for _ in range(count))  # fmt: skip
