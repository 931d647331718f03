"""From text to token ids and back, by the `tokenizers` package and the network's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.spec import ModelSpec

if TYPE_CHECKING:
    from zoo.text.model import TextModel

Text = str | tuple[str, str]


class TextError(ValueError):
    """Something that is no text, or a tokenizer that is missing or no tokenizer."""


class TextPreprocess:
    """What `preprocess` gives for a language model; call it with texts."""

    def __init__(self, spec: ModelSpec, tokenizer: str) -> None:
        self.input = spec.texts
        self._types = bool(spec.rows[0].args.get("token_types", 0) > 1)
        self._tokenizer = _opened(tokenizer, spec)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if spec.task != "text-generation":  # a prompt without its end would be continued in its middle
            self._tokenizer.enable_truncation(self.input.length)
        if (known := self._tokenizer.get_vocab_size()) > self.input.vocabulary:
            raise TextError(f"{spec.name} knows {self.input.vocabulary} tokens, and its tokenizer has {known}.")

    @staticmethod
    def of(model: TextModel) -> TextPreprocess:
        """The model's own."""
        return TextPreprocess(model.spec, model.tokenizer)

    def __call__(self, texts: Text | Sequence[Text]) -> dict[str, Tensor]:
        """One text, a pair of texts (a tuple), or a list of either, as the network's call takes them.

        "input_ids" and "attention_mask" (B, N), N the longest of them, and "token_type_ids" where the network tells a
        pair's halves apart. What is longer than the network takes is cut off, but for prompts of a network that
        continues texts: it says itself how long they may be.
        """
        many = list(texts) if isinstance(texts, list) else [texts]
        for text in many:
            pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(half, str) for half in text)
            if not isinstance(text, str) and not pair:
                raise TextError(f"A text is a string, a pair a tuple of two, and several come in a list, not {text!r}.")
        if not many:
            raise TextError("No texts were given.")
        found = self._tokenizer.encode_batch(many)
        longest = max(len(one) for one in found)
        if longest == 0:
            raise TextError("There is not one token in these texts.")
        out = {
            "input_ids": _even((one.ids for one in found), longest, self.input.padding),
            "attention_mask": _even((one.attention_mask for one in found), longest, 0),
        }
        if self._types:
            out["token_type_ids"] = _even((one.type_ids for one in found), longest, 0)
        return out

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of one row of ids, without special tokens."""
        row = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return str(self._tokenizer.decode(row, skip_special_tokens=True))

    def continued(self, ids: Sequence[int], new: Sequence[int]) -> str:
        """The text of `new` tokens behind `ids`: a token alone may have lost the blank before it."""
        return self.decode([*ids, *new])[len(self.decode(ids)) :]

    def __repr__(self) -> str:
        return f"TextPreprocess(vocabulary={self.input.vocabulary}, length={self.input.length})"


def _opened(text: str, spec: ModelSpec) -> Any:
    if not text:
        raise TextError(
            f"The tokenizer of this {spec.name} is not known. Networks from a folder or the Hub bring theirs; for "
            'others set model.tokenizer = Path("tokenizer.json").read_text().'
        )
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise TextError("Text needs the tokenizers package: pip install zoo-efficient[text].") from None
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # whatever the package raises
        raise TextError(f"The tokenizer of this {spec.name} cannot be read: {error}") from None


def _even(rows: Iterable[list[int]], length: int, filler: int) -> Tensor:
    return torch.tensor([row + [filler] * (length - len(row)) for row in rows])
