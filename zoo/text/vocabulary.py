"""Learn a tokenizer of texts: the vocabulary of a network that starts from random weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zoo.text.native import TextError

SPECIAL = {
    "words": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "bytes": ("<|endoftext|>",),
    "translations": ("</s>", "<pad>"),
}
LEAST = {"words": 128, "bytes": 257, "translations": 258}  # special tokens and an alphabet


def learned(texts: Iterable[str], size: int, style: str) -> str:
    """A tokenizer.json with up to `size` tokens.

    Args:
        texts (Iterable[str]): what the tokens are counted in.
        size (int): the most tokens.
        style (str): "words", WordPiece in small letters between [CLS] and [SEP], as BERT has it (Devlin et al., 2019);
            or "bytes", byte pairs, so that every text has its tokens, as GPT-2 has them (Radford et al., 2019); or
            "translations", byte pairs with </s> behind every text.

    Returns:
        str: the text of the tokenizer.json. Special tokens come first; of "bytes" and "translations" token 0 ends a
        text.

    Raises:
        TextError: `size` is too small for the alphabet, or the tokenizers package is missing.

    Example:
        >>> from zoo.text.vocabulary import learned
        >>> len(learned(["a film", "the film"], 300, "bytes")) > 1000
        True
    """
    if style not in SPECIAL:
        raise TextError(f"Unknown style {style!r}; choose one of {sorted(SPECIAL)}.")
    if size < LEAST[style]:
        raise TextError(f"A vocabulary of {style} has at least {LEAST[style]} tokens, not {size}.")
    try:
        import tokenizers
    except ImportError:
        raise TextError("Text needs the tokenizers package: pip install zoo-efficient[text].") from None
    made = (_words if style == "words" else _bytes)(tokenizers, list(SPECIAL[style]), size)
    tokenizer, trainer = made
    tokenizer.train_from_iterator(texts, trainer)
    if style == "words":
        numbers = [(name, tokenizer.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
        tokenizer.post_processor = tokenizers.processors.BertProcessing(*numbers)
    elif style == "translations":
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 0)])
    return str(tokenizer.to_str())


def _words(tokenizers: Any, special: list[str], size: int) -> tuple[Any, Any]:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return tokenizer, tokenizers.trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=size // 4, show_progress=False
    )


def _bytes(tokenizers: Any, special: list[str], size: int) -> tuple[Any, Any]:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
