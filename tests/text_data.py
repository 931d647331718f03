"""A small tokenizer, encoders and decoders that use it, and tables of sentences to train on."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
import torch

import zoo
from zoo.models.bert import encoder
from zoo.models.gpt import gpt2_type

GOOD, BAD, FILLER = ("good", "fine", "great"), ("bad", "dull", "awful"), ("a", "film", "the", "of", "plot", "and")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *FILLER)


@cache
def tokenizer(special: bool = True) -> str:
    """Words; with `special`, [CLS] and [SEP] around every text."""
    words = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special:
        made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made.to_str()


def trunk(seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    sizes = {"vocabulary": len(WORDS), "dim": 32, "layers": 2, "heads": 2, "max_positions": 16, "tail": "none"}
    model = zoo.build(encoder("small", **{**sizes, **settings}))
    model.tokenizer = tokenizer()
    return model.eval()


def decoder(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = zoo.build(gpt2_type("small", vocabulary=len(WORDS), dim=32, layers=2, heads=2, mlp_dim=64, length=16))
    model.tokenizer = tokenizer(special=False)
    return model.eval()


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Sentences of 3 to 9 words; the class says which opinion is in it."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        label = draw.randrange(2)
        words = [draw.choice(FILLER) for _ in range(draw.randint(2, 8))]
        words.insert(draw.randint(0, len(words)), draw.choice((BAD, GOOD)[label]))
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


def lines(path: Path, count: int, seed: int = 0, names: tuple[str, ...] = ()) -> Path:
    """JSON lines of sentences with their classes, as numbers or by `names`."""
    texts, labels = sentences(count, seed)
    rows = zip(texts, (names[one] if names else one for one in labels), strict=True)
    path.write_text("".join(json.dumps({"sentence": text, "label": label}) + "\n" for text, label in rows))
    return path


def questions(path: Path, count: int, words: int = 12, seed: int = 0) -> Path:
    """JSON lines with SQuAD's columns: the answer is the one word of opinion in the context."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        context = [draw.choice(FILLER) for _ in range(words)]
        place = draw.randrange(words)
        context[place] = draw.choice(GOOD + BAD)
        start = len(" ".join(context[:place])) + (place > 0)
        answers = {"text": [context[place]], "answer_start": [start]}
        rows.append({"id": str(number), "question": "the plot", "context": " ".join(context), "answers": answers})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tagged(path: Path, count: int, seed: int = 0) -> Path:
    """JSON lines of lists of words with a label each: words of opinion are spans of their own."""
    texts, _ = sentences(count, seed)
    rows = []
    for text in texts:
        words = text.split()
        tags = ["B-GOOD" if one in GOOD else "B-BAD" if one in BAD else "O" for one in words]
        rows.append({"tokens": words, "ner_tags": tags})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def translator(seed: int = 0, **settings: Any) -> Any:
    """Knows no word yet."""
    from dataclasses import replace

    from zoo.models.marian import marian_type
    from zoo.text.fresh import SPECIAL_TOKENS
    from zoo.text.vocabulary import learned

    texts, _ = sentences(200)
    made = learned([*texts, *map(str.upper, texts)], 300, "translations")
    vocabulary = len(json.loads(made)["model"]["vocab"])
    sizes: dict[str, Any] = {"dim": 32, "layers": (1, 1), "heads": (2, 2), "mlp_dims": (64, 64), "length": 32}
    spec = marian_type("small", vocabulary=vocabulary, **{**sizes, **settings})
    torch.manual_seed(seed)
    model = zoo.build(spec.replace(input=replace(spec.texts, **SPECIAL_TOKENS["translations"])))
    model.tokenizer = made
    return model.eval()


def pairs(path: Path, count: int, seed: int = 0) -> Path:
    """JSON lines of sentences and of the same in capitals."""
    texts, _ = sentences(count, seed)
    path.write_text("".join(json.dumps({"en": text, "de": text.upper()}) + "\n" for text in texts))
    return path
