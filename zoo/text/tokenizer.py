"""From text to token ids and back, by the `tokenizers` package and the network's own tokenizer.json."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from zoo import tasks
from zoo.data.void import NO_TOKEN
from zoo.spec import ModelSpec
from zoo.text.growth import MOST, growth
from zoo.text.native import TextError, native
from zoo.text.panics import check_parts, may_panic
from zoo.text.pieces import KIND, Pieces

if TYPE_CHECKING:
    from zoo.text.model import TextModel

Text = str | tuple[str, str]


class TextPreprocess:
    """What `preprocess` gives for a language model; call it with texts."""

    def __init__(self, spec: ModelSpec, tokenizer: str, length: int | None = None, *, cuts: bool = True) -> None:
        self.input, self._name, self._length = spec.texts, spec.name, length or spec.texts.length
        self.told = False  # whether it was said that a text was cut
        self.types = bool(spec.rows[0].args.get("token_types", 0) > 1)
        self._tokenizer, self._panics = _opened(tokenizer, spec)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # A prompt without its end would be continued in its middle, and no translation lacks an end unseen.
        if cuts and not (tasks.of(spec).continues or self.input.translates):
            self._tokenizer.enable_truncation(self._length)
        if (known := self._tokenizer.get_vocab_size()) > self.input.vocabulary:
            raise TextError(f"{spec.name} knows {self.input.vocabulary} tokens, and its tokenizer has {known}.")

    @staticmethod
    def of(model: TextModel) -> TextPreprocess:
        """The model's own."""
        return TextPreprocess(model.spec, model.tokenizer)

    def __call__(self, texts: Text | Sequence[Text]) -> dict[str, Tensor]:
        """One text, or a list of texts and of pairs of texts (tuples of two), as the network's call takes them.

        "input_ids" and "attention_mask" (B, N), N the longest of them, and "token_type_ids" where the network tells a
        pair's halves apart. What is longer than the network takes is cut off, with a warning the first time, but for
        networks that continue or translate texts: these say themselves how long a text may be.
        """
        found = self.encoded(as_list(texts))
        if not self.told and any(one.overflowing for one in found):
            self.told = True
            warnings.warn(
                f"A text is longer than the {self._length:,} tokens that {self._name} takes: the rest is cut off.",
                stacklevel=2,
            )
        if not any(map(len, found)):
            raise TextError("There is not one token in these texts.")
        out = {
            "input_ids": padded([one.ids for one in found], self.input.padding),
            "attention_mask": padded([one.attention_mask for one in found], 0),
        }
        if self.types:
            out["token_type_ids"] = padded([one.type_ids for one in found], 0)
        return out

    def rows(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text; no texts, no rows."""
        return [one.ids for one in self.encoded(texts)] if texts else []

    def inputs(self, rows: Sequence[list[int]]) -> dict[str, Tensor]:
        """Rows of token ids as the network's call takes them."""
        masks = [[1] * len(row) for row in rows]
        return {"input_ids": padded(rows, self.input.padding), "attention_mask": padded(masks, 0)}

    def targets(self, texts: list[str]) -> dict[str, Tensor]:
        """What a network that translates texts is trained with beside `input_ids`, of the translations.

        "decoder_input_ids" and "decoder_attention_mask" (B, N), and "labels" (B, N), the token behind each, -100 at
        padding. Raises TextError for a network without targets.
        """
        if not self.input.translates:
            raise TextError("This network translates no texts, so it takes no targets.")
        rows = [one.ids for one in self.encoded(texts, target=True)]
        return {
            "decoder_input_ids": padded([[self.input.start, *row[:-1]] for row in rows], self.input.padding),
            "decoder_attention_mask": padded([[1] * len(row) for row in rows], 0),
            "labels": padded(rows, NO_TOKEN),
        }

    def encoded(self, many: Sequence[Text], *, target: bool = False) -> list[Any]:
        """The package's encodings of several texts, without padding; `overflowing` has what was cut off.

        `target`: of translations, for a tokenizer with another model for these.
        """
        for text in many:
            pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(half, str) for half in text)
            if not isinstance(text, str) and not pair:
                raise TextError(f"A text is a string, a pair a tuple of two, and several come in a list, not {text!r}.")
            _check_whole(text if isinstance(text, str) else " ".join(map(str, text)))
        if not many:
            raise TextError("No texts were given.")
        sides = {"target": target} if isinstance(self._tokenizer, Pieces) else {}
        with native("These texts cannot be read by the tokenizer", panics=self._panics):
            return list(self._tokenizer.encode_batch(many, **sides))

    @overload
    def decode(self, ids: Sequence[int]) -> str: ...

    @overload
    def decode(self, ids: Tensor | Sequence[Sequence[int]]) -> Any: ...

    def decode(self, ids: Any) -> Any:
        """The text of one row of ids, (N,), without special tokens; of several rows, (B, N), a list of texts."""
        rows = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        if rows and isinstance(rows[0], (list, tuple, Tensor)):
            return [self.decode(row) for row in rows]
        if not isinstance(rows, list) or not all(isinstance(one, int) and 0 <= one < 2**32 for one in rows):
            raise TextError("decode takes token ids: whole numbers from 0 on, (N,) or (B, N).")
        with native("These tokens cannot be read by the tokenizer", panics=self._panics):
            return str(self._tokenizer.decode(rows, skip_special_tokens=True))

    def continued(self, ids: Sequence[int], new: Sequence[int]) -> str:
        """The text of `new` tokens behind `ids`: a token alone may have lost the blank before it."""
        return self.decode([*ids, *new])[len(self.decode(ids)) :]

    def __repr__(self) -> str:
        return f"TextPreprocess(vocabulary={self.input.vocabulary}, length={self.input.length})"


def as_list(texts: Any) -> list[Any]:
    """Several texts, or one; raises TextError for a tuple: a DataLoader's batch is one too, and so is a pair."""
    if isinstance(texts, tuple):
        raise TextError(
            "A tuple may be one pair or several texts: give a pair in a list, [(a, b)], and several texts as a list, "
            "list(texts)."
        )
    return list(texts) if isinstance(texts, list) else [texts]


def strings(given: Any, verb: str) -> list[str]:
    """One string, or a list of strings, as a list; raises TextError for all else, with its place."""
    found = as_list(given)
    wrong = next((place for place, one in enumerate(found) if not isinstance(one, str)), None)
    if wrong is not None:
        kind, place = type(found[wrong]).__name__, f" (text {wrong + 1})" if isinstance(given, list) else ""
        raise TextError(f"{verb} takes a string or a list of strings, not {kind}{place}.")
    return found


def _check_whole(text: str) -> None:
    """Raise TextError for half of a surrogate pair, which is no character: of a text that was cut within one."""
    if (place := next((i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff"), None)) is not None:
        raise TextError(
            f"A text holds {text[place]!a} behind {place} characters, half of a character. Take it out, or put a mark "
            'in its place: text.encode("utf-8", "replace").decode().'
        )


def _opened(text: str, spec: ModelSpec) -> tuple[Any, bool]:
    """The package's tokenizer, and whether a text may make it panic."""
    if not isinstance(text, str):
        raise TextError(f"model.tokenizer is the text of a tokenizer.json, a string, not {type(text).__name__}.")
    if not text:
        raise TextError(
            f"The tokenizer of this {spec.name} is not known. Networks from a folder or the Hub bring theirs; for "
            'others set model.tokenizer = Path("tokenizer.json").read_text().'
        )
    parts = _parts(text)
    with native(f"The tokenizer of this {spec.name} cannot be read"):
        grows = max(map(growth, _sides(parts)))
        check_parts(parts)
    if grows > MOST:
        raise TextError(
            f"The tokenizer of this {spec.name} would make more than {MOST:,.0f} characters or tokens of one, or put "
            "more around every text; it is refused."
        )
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise TextError("Text needs the tokenizers package: pip install zoo-efficient[text].") from None
    with native(f"The tokenizer of this {spec.name} cannot be read"):
        if isinstance(parts, dict) and parts.get("type") == KIND:
            return Pieces(parts, lambda part: Tokenizer.from_str(json.dumps(part))), may_panic(parts)
        return Tokenizer.from_str(text), may_panic(parts)


def _sides(parts: Any) -> list[Any]:
    """The tokenizers that a tokenizer consists of."""
    if isinstance(parts, dict) and parts.get("type") == KIND:
        return [parts.get("source"), parts.get("target")]
    return [parts]


def _parts(text: str) -> Any:
    """The object of a tokenizer.json; None for what is no JSON, of which the package says what is wrong."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def padded(rows: Sequence[list[int]], filler: int) -> Tensor:
    """Rows of different lengths as one tensor."""
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
