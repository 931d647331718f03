"""Texts, as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.checks import is_int, require, short
from zoo.inputs.base import Input, Size, register

if TYPE_CHECKING:
    from torch import Tensor

MAX_VOCABULARY = 1_000_000
MAX_TOKENS = 2**20
USUAL_TOKENS = 128  # of the texts that costs are told for
KEYS = ("input_ids", "attention_mask", "token_type_ids")  # what loaders and the network's call name
TARGET_KEYS = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
MAX_ENDS = 64  # tokens


@register
@dataclass(frozen=True)
class TextInput(Input):
    """The input of a language model: token ids (batch, tokens).

    Args:
        vocabulary (int): the number of tokens; ids are below it.
        length (int): the most tokens of a text. Default: 512.
        padding (int): the id of the padding token. Default: 0.
        ends (tuple[int, ...]): the ids of the tokens that end a text, or a target where there are targets.
            Default: none.
        start (int): the id of the token that targets start with, of a network that makes texts of texts. Default: -1,
            there are no targets.
        target_vocabulary (int): the number of tokens of targets. Default: 0, `vocabulary`.
        first (int): the id of the token that is always the first behind `start`. Default: -1, any.
        last (int): the id of the token that a target has at its largest length. Default: -1, any.
        banned (tuple[int, ...]): the ids of tokens that targets never have. Default: none.
        renormalized (bool): whether the chances of the tokens that are not banned add up to 1 in a beam search.
            Default: False.

    Raises:
        SpecError: a value is out of range.

    Example:
        >>> zoo.create("bert_tiny", weights=None).spec.input.length
        512
    """

    type: ClassVar[str] = "text"
    unit: ClassVar[str] = "texts"
    one: ClassVar[str] = "text"
    batch: ClassVar[int] = 32
    ids: ClassVar[bool] = True
    ragged: ClassVar[bool] = True
    model: ClassVar[str] = "zoo.text.model:TextModel"
    later: ClassVar[frozenset[str]] = frozenset(
        {"start", "target_vocabulary", "first", "last", "banned", "renormalized"}
    )
    learned: ClassVar[str] = "tokenizer"
    preparer: ClassVar[str] = "zoo.text.tokenizer:TextPreprocess"
    reader: ClassVar[str] = "zoo.data.readers:TextReader"
    signature: ClassVar[str] = "zoo.runtime.text:signature"
    runner: ClassVar[str] = "zoo.runtime.compiled:TextRuntimeModel"
    batches: ClassVar[str] = "zoo.train.batches:TextBatches"
    translation: ClassVar[str] = "zoo.train.teachers:same_tokens"
    loader: ClassVar[str] = "zoo.train.texts:open_texts"
    fresh: ClassVar[str] = "zoo.text.fresh:for_data"
    fresh_options: ClassVar[tuple[str, ...]] = ("vocabulary", "max_tokens", "input_column")
    header: ClassVar[str] = "zoo.text.heads:with_outputs"
    files: ClassVar[str] = "texts.txt"
    tables: ClassVar[tuple[str, ...]] = (
        ".parquet", ".pq", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl", ".ndjson"
    )  # fmt: skip

    vocabulary: int
    length: int = 512
    padding: int = 0
    ends: tuple[int, ...] = ()
    start: int = -1
    target_vocabulary: int = 0
    first: int = -1
    last: int = -1
    banned: tuple[int, ...] = ()
    renormalized: bool = False

    def __post_init__(self) -> None:
        for name, value, most in (("vocabulary", self.vocabulary, MAX_VOCABULARY), ("length", self.length, MAX_TOKENS)):
            require(is_int(value) and 1 <= value <= most, f"input {name} is from 1 to {most}, not {short(value)}")
        for name, tokens in (("ends", self.ends), ("banned", self.banned)):
            proper = isinstance(tokens, tuple) and len(tokens) <= MAX_ENDS
            require(proper, f"input {name} are {MAX_ENDS} tokens at most, not {short(tokens)}")
        known = is_int(self.target_vocabulary) and 0 <= self.target_vocabulary <= MAX_VOCABULARY
        require(known, f"input target_vocabulary is from 0 to {MAX_VOCABULARY}, not {short(self.target_vocabulary)}")
        for token in (self.padding, *self.ends):
            proper = is_int(token) and 0 <= token < min(self.vocabulary, self.targets)
            require(proper, f"input padding and ends are tokens below {self.vocabulary}, not {short(token)}")
        for name in ("start", "first", "last"):
            token = getattr(self, name)
            proper = is_int(token) and -1 <= token < self.targets
            require(proper, f"input {name} is a token below {self.targets} or -1, not {short(token)}")
        for token in self.banned:
            proper = is_int(token) and 0 <= token < self.targets
            require(proper, f"input banned are tokens below {self.targets}, not {short(token)}")
        require(isinstance(self.renormalized, bool), f"input renormalized is true or false, not {self.renormalized!r}")
        alone = self.target_vocabulary == 0 and self.first == self.last == -1 and not (self.banned or self.renormalized)
        require(self.translates or alone, "input target_vocabulary, first, last and banned are for inputs with a start")

    @property
    def translates(self) -> bool:
        return self.start >= 0

    @property
    def targets(self) -> int:
        """The number of tokens of targets."""
        return self.target_vocabulary or self.vocabulary

    @property
    def usual_size(self) -> Size:
        return (min(self.length, USUAL_TOKENS),)

    @property
    def width(self) -> int:
        return self.vocabulary

    def shape(self, size: Size | None = None) -> tuple[int, ...]:
        return size or self.usual_size

    def axes(self) -> dict[int, tuple[str, int | None]]:
        return {0: ("batch", None), 1: ("tokens", self.length)}

    @property
    def brief(self) -> str:
        return f"up to {self.length:,} tokens"

    @property
    def described(self) -> str:
        return f"{self.brief}, of {self.vocabulary:,}"

    @property
    def takes(self) -> str:
        return "text"

    @property
    def usual_one(self) -> str:
        return f"text of {self.usual_size[0]} tokens"

    def example(self, batch: int, size: int | Size | None = None) -> Tensor:
        """Random token ids (batch, tokens)."""
        import torch

        (tokens,) = (size,) if isinstance(size, int) else self.shape(size)
        return torch.randint(0, self.vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(0))

    def probe(self) -> Tensor:
        return self.example(1, min(8, self.length))

    def check(self, name: str, x: Any) -> None:
        import torch

        if isinstance(x, torch.Tensor) and x.dtype in (torch.int64, torch.int32) and x.dim() == 2 and x.shape[1] > 0:
            return
        tensor = isinstance(x, torch.Tensor)
        found = f"{str(x.dtype)[6:]} of shape {tuple(x.shape)}" if tensor else type(x).__name__
        raise ValueError(
            f"{name} takes token ids, int64 of shape (batch, tokens), not {found}; "
            "zoo.preprocess(model) makes them of text."
        )

    def of_dict(self, name: str, given: Mapping[str, Any]) -> Any:
        keys = TARGET_KEYS if self.translates else KEYS
        if "input_ids" not in given or not set(given) <= set(keys):
            raise ValueError(
                f"A dict for {name} has {', '.join(keys)}, and labels beside them, not {sorted(map(str, given))}."
            )
        return dict(given)
