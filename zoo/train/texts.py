"""Texts for training, as token ids with targets: what a task's `texts` makes of a table.

Shapes: N texts in all, B in a batch, T tokens in the longest of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from zoo import kinds, tasks
from zoo.data.splits import called, parts_of, which
from zoo.lazy import fetch
from zoo.spec import ModelSpec
from zoo.text.tokenizer import TextPreprocess
from zoo.train.ragged import Ragged, by_length

RAW = ("examples", "references")  # fields of a `TextSet` with a value for each example
TOGETHER = 1000  # texts that the tokenizer gets at a time


@dataclass(frozen=True)
class TextSet:
    """Tokenized texts with targets, and their source. It has the protocol of `Pictures`.

    Args:
        parts (dict[str, Ragged]): what the network's call takes, by name; "input_ids" is one.
        labels (Tensor): a target for each text (N, ...), such as its class.
        source (str): a short name of the data.
        sha256 (str): the SHA-256 of the data.
        padding (int): the token behind the end of a text.
        classes (tuple[str, ...]): the names of the classes. Default: none.
        named (bool): whether the data names its classes. Default: True.
        skipped (tuple[str, ...]): the names of the rows without a text. Default: none.
        cut (int): how many texts were longer than the network takes. Default: 0.
        batch (int): texts in a batch. Default: 64.
        examples (tuple[Any, ...]): the raw examples, where the task judges answers to them. Default: none.
        references (tuple[Any, ...]): what is right for each of `examples`. Default: none.
    """

    parts: dict[str, Ragged]
    labels: Tensor
    source: str
    sha256: str
    padding: int
    classes: tuple[str, ...] = ()
    named: bool = True
    skipped: tuple[str, ...] = ()
    cut: int = 0
    batch: int = 64
    examples: tuple[Any, ...] = ()
    references: tuple[Any, ...] = ()

    cut_at_random = False

    def __len__(self) -> int:
        return len(self.labels)

    def with_recipe(self, recipe: Any) -> Self:
        return replace(self, batch=recipe.batch_size)

    def take(self, index: Tensor) -> Self:
        parts = {name: part.take(index) for name, part in self.parts.items()}
        raw: dict[str, Any] = {
            name: tuple(getattr(self, name)[place] for place in index.tolist()) for name in RAW if getattr(self, name)
        }
        return replace(self, parts=parts, labels=self.labels[index], **raw)

    def order(self, generator: torch.Generator) -> Tensor:
        """All texts (N,) in a random order of batches; the texts of a batch are of like length."""
        return by_length(self.parts["input_ids"].lengths, self.batch, generator)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """(what the call takes, by name (B, T); targets (B, ...)) for each of the index tensors; nothing is random."""
        for index in batches:
            yield self.inputs(index), self.labels[index]

    def inputs(self, index: Tensor) -> dict[str, Tensor]:
        fillers = {"input_ids": self.padding}
        parts = {name: part.padded(index, fillers.get(name, 0)) for name, part in self.parts.items()}
        lengths = self.parts["input_ids"].lengths[index]
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return {**parts, "attention_mask": mask.long()}


class OpenTexts:
    """One split of a table of texts, as a task's `texts` gets it.

    Args:
        data (str | Path): a table in Parquet, CSV or JSON lines, a folder or a glob of them, or a data set of the Hub.
        spec (ModelSpec): the network that takes the texts.
        split (str): the part, such as "train".
        tokenizer (str): the network's tokenizer.json.
        max_tokens (int | None): the most tokens of a text. Default: None, as many as the network takes.
        input_columns (Sequence[str]): columns with the texts. Default: none, those with well-known names.
        label_column (str | None): the column of the targets. Default: None, the task's usual name.
        others (tuple[str, ...]): what the names of other files end in that the task reads. Default: none.
    """

    def __init__(
        self,
        data: str | Path,
        spec: ModelSpec,
        split: str,
        tokenizer: str,
        *,
        max_tokens: int | None = None,
        input_columns: Sequence[str] = (),
        label_column: str | None = None,
        others: tuple[str, ...] = (),
    ) -> None:
        self.spec, self.input_columns, self.label_column = spec, tuple(input_columns), label_column
        self.length = spec.texts.length if max_tokens is None else min(max_tokens, spec.texts.length)
        self.tokenizer = tokenizer
        self.prepare = TextPreprocess(spec, tokenizer, length=self.length)
        parts = parts_of(data, spec.input.tables + others)
        name = which(split, parts, data)
        self.part, self.split = parts[name], name
        self.source, self.where = called(data, name, self.part), f"{data} ({name})"
        if isinstance(self.part, Path):
            raise ValueError(f"{data} holds folders of pictures, and {spec.name} takes {spec.input.unit}, in a table.")

    def tokenized(self, texts: Sequence[Any]) -> tuple[dict[str, Ragged], int]:
        """(what the network's call takes, by name; how many of the texts were cut)."""
        rows: dict[str, list[Sequence[int]]] = {"input_ids": []}
        cut = 0
        for start in range(0, len(texts), TOGETHER):
            for one in self.prepare.encoded(list(texts[start : start + TOGETHER])):
                rows["input_ids"].append(one.ids)
                if self.prepare.types:
                    rows.setdefault("token_type_ids", []).append(one.type_ids)
                cut += bool(one.overflowing)
        return {name: Ragged.of(found) for name, found in rows.items()}, cut


def open_texts(
    spec: ModelSpec,
    data: str | Path,
    input: Any,  # noqa: A002
    *,
    split: str = "train",
    classes: Sequence[str] = (),
    workers: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
    input_columns: Sequence[str] = (),
    max_tokens: int | None = None,
    learned: str = "",
) -> TextSet:
    """The texts of one split, for the network of `spec` with the tokenizer `learned`.

    `data` is what `OpenTexts` takes. `classes` are the names that label numbers shall follow. Raises ValueError for
    data that is not there or of another form, and for a class that is not known.
    """
    if image_column:
        raise ValueError("image_column= is for networks of pictures.")
    task = tasks.of(spec)
    if not kinds.outputs(spec):  # a trunk, which gets a head for the classes that are found
        task = tasks.TASKS["text-classification"]
    if not task.texts:
        raise ValueError(
            f"{spec.name} is for {task.name}, which finetune does not train. Train it in a loop of your own: "
            "docs/finetuning.md shows one."
        )
    columns: dict[str, Any] = {"input_columns": input_columns, "label_column": label_column, "others": task.files}
    opened = OpenTexts(data, spec, split, learned, max_tokens=max_tokens, **columns)
    return fetch(task.texts)(opened, tuple(classes))  # type: ignore[no-any-return]
