"""A network that takes token ids: masks and caches go to the rows that want them, and what comes out has names.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from zoo import kinds, tasks
from zoo.blocks.traced import jit_traced
from zoo.model.build import Model
from zoo.spec import Block, SpecError
from zoo.text.verbs import bound


@dataclass
class TextOutput:
    """The outputs of a language model; None where the network has no row for an output.

    Args:
        last_hidden_state (Tensor): the output of the last block, (B, N, D).
        pooler_output (Tensor | None): (B, D). Default: None.
        sentence_embedding (Tensor | None): (B, D). Default: None.
        logits (Tensor | None): (B, classes), or (B, N, outputs) for every token: a decoder's scores of the next token,
            or the scores of an answer's start and end. Default: None.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    sentence_embedding: Tensor | None = None
    logits: Tensor | None = None

    @property
    def answer(self) -> Tensor:
        """The last of these that there is."""
        found = (self.logits, self.sentence_embedding, self.pooler_output, self.last_hidden_state)
        return next(one for one in found if one is not None)

    @property
    def start_logits(self) -> Tensor:
        """(B, N) scores of where an answer starts."""
        return self._of_answer(0)

    @property
    def end_logits(self) -> Tensor:
        """(B, N) scores of where an answer ends."""
        return self._of_answer(1)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self) if getattr(self, f.name) is not None)

    def _of_answer(self, side: int) -> Tensor:
        if self.logits is None or self.logits.dim() != 3 or self.logits.shape[2] != 2:
            raise AttributeError("Only a network that answers questions has starts and ends.")
        return self.logits[..., side]


torch.export.register_dataclass(TextOutput, serialized_type_name="zoo.TextOutput")


DECODING = ("generate", "stream")  # methods of decoders alone


class NoDecoder(AttributeError, ValueError):
    """A network is asked for a method that it has not, since it continues no texts."""


class TextModel(Model):
    """A network whose first row takes token ids. One that continues texts is a `zoo.text.decoder.TextDecoder`.

    Args:
        spec (ModelSpec): the rows, in order, and what the network takes.

    Example:
        >>> model = zoo.create("bert_tiny", weights=None)
        >>> model(torch.tensor([[101, 2023, 102]])).last_hidden_state.shape
        torch.Size([1, 3, 128])
    """

    def __getattr__(self, name: str) -> Any:
        if name in tasks.VERBS and name not in self._modules:
            return bound(self, name)
        if name in DECODING and name not in self._modules:
            raise NoDecoder(
                f"{self.spec.name} is for {self.spec.task} and has no {name}(): it continues no texts. Only a decoder "
                'does, such as gpt2; zoo.list_models(task="text-generation") names the decoders.'
            )
        return super().__getattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *tasks.of(self.spec).verbs]

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        taps: Iterable[str] = (),
    ) -> Any:
        """Compute the outputs for token ids.

        Args:
            input_ids (Tensor): int64 or int32 (B, N).
            attention_mask (Tensor | None): (B, N), 1 or True at tokens and 0 at padding. Default: None, no padding.
            token_type_ids (Tensor | None): (B, N), the segment of each token, if the network has segments.
                Default: None, zeros.
            positions (Tensor | None): (N,) or (B, N), counted from 0. Default: None, 0 to N - 1.
            taps (Iterable[str]): names of rows whose outputs are returned too. Default: none.

        Returns:
            TextOutput: the outputs; with `taps`, the pair (TextOutput, {row name: Tensor}).

        Raises:
            ValueError: an input has another shape, dtype or range.
        """
        self.check_call(input_ids, attention_mask, token_type_ids)
        return self.run_rows(
            input_ids, attention_mask, {"token_type_ids": token_type_ids, "positions": positions}, taps
        )

    def check_call(self, ids: Tensor, mask: Tensor | None, types: Tensor | None, before: int = 0) -> None:
        """Raise ValueError under torch.jit.trace, and for what `forward` does not take behind `before` tokens."""
        if jit_traced():
            raise ValueError(
                f"{self.spec.name}: torch.jit.trace takes no answer with names; "
                'zoo.export(model, "model.pt2") or "model.onnx" writes the network for use without zoo.'
            )
        self.check_ids(ids, mask, types, before)
        self.check_weights_once()

    def run_rows(self, ids: Tensor, mask: Tensor | None, context: dict[str, Any], taps: Iterable[str]) -> Any:
        """What `forward` gives, for a checked call; each row takes the keywords of `context` that it declares."""
        taps = tuple(taps)
        if unknown := set(taps) - {"input", *self._modules}:
            raise ValueError(f"No such rows to tap: {sorted(unknown)}; the rows are {list(self._modules)}.")
        if mask is not None and not traced_values(mask) and bool(mask.all()):
            mask = None  # attention without a mask is quicker
        kept, out = {"input": ids}, TextOutput(ids)
        self._through(self.spec.rows, ids, {"mask": mask, **context}, out, kept, self._tapped.union(taps))
        return (out, {name: kept[name] for name in taps}) if taps else out

    def _through(
        self,
        rows: Sequence[Block],
        x: Tensor,
        context: dict[str, Any],
        out: TextOutput,
        kept: dict[str, Tensor],
        wanted: Collection[str],
    ) -> None:
        """`x` through some rows into `out`; `kept` has what rows tap, and gets the outputs of those `wanted`."""
        for row in rows:
            module: Any = self._modules[row.name]
            x = module(x, *(kept[name] for name in row.taps), **self.row_context(row, module, context))
            _file(out, row, x)
            if row.name in wanted:
                kept[row.name] = x

    def row_keywords(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of all rows, of the call's arguments by name."""
        mask = given.get("attention_mask")
        if mask is not None and not traced_values(mask) and bool(mask.all()):
            mask = None  # attention without a mask is quicker
        return {"mask": mask, "token_type_ids": given.get("token_type_ids"), "positions": given.get("positions")}

    def row_context(self, row: Block, module: Any, context: dict[str, Any]) -> dict[str, Any]:
        """The keywords of `context` that the row declares."""
        named = getattr(module, "context", ())
        wanted = {key: context[key] for key in named if context.get(key) is not None}
        if "table" in named and (tied := row.args.get("tied")):
            wanted["table"] = self._modules[tied]
        return wanted

    def check_input(self, x: Any) -> None:
        """Raise ValueError for what `forward` does not take."""
        self.check_ids(x)

    def check_ids(self, ids: Any, mask: Any = None, types: Any = None, before: int = 0) -> None:
        """Raise ValueError for ids, a mask or types that `forward` does not take behind `before` tokens in a cache."""
        self.spec.input.check(self.spec.name, ids)
        if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[0] == ids.shape[0]):
            raise ValueError(f"attention_mask is (batch, tokens) as the ids are, {tuple(ids.shape)}.")
        if types is not None and not (_whole(types) and types.shape == ids.shape):
            raise ValueError(f"token_type_ids are whole numbers, and have the shape of the ids, {tuple(ids.shape)}.")
        if traced_values(ids):
            return
        tokens = before + ids.shape[1]
        if mask is not None and mask.shape[1] != tokens:
            raise ValueError(f"attention_mask is over {tokens} tokens, as the ids are, not over {mask.shape[1]}.")
        if tokens > (room := self._most_tokens()):
            raise ValueError(f"{self.spec.name} has positions for {room} tokens, not for {tokens}: cut the text.")
        if not ids.numel():
            return
        check_range(self.spec.name, "tokens", ids, self.spec.texts.vocabulary, "is the tokenizer another network's?")
        if types is not None and (known := self.spec.rows[0].args.get("token_types", 0)):
            check_range(self.spec.name, "token types", types, known, "they tell a pair's halves apart.")

    def _most_tokens(self) -> float:
        """How many tokens have learned positions; rotary and relative ones go on."""
        args = self.spec.rows[0].args
        learned = args.get("max_positions", 0)
        return learned - 1 - args.get("padding_id", -1) if learned else float("inf")


def _whole(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in (torch.int64, torch.int32)


def check_range(name: str, what: str, numbers: Tensor, known: int, hint: str) -> None:
    low, high = map(int, torch.aminmax(numbers))
    if low < 0 or high >= known:
        raise ValueError(f"{name} knows {what} 0 to {known - 1}, not {low} to {high}: {hint}")


def traced_values(x: Tensor) -> bool:
    """Whether there are no values to look at."""
    return torch.compiler.is_compiling() or x.is_meta


def place(row: Block) -> str:
    """What of a `TextOutput` the row gives."""
    return "logits" if kinds.role(row) == "head" else kinds.KINDS[row.kind].output


def _file(out: TextOutput, row: Block, x: Tensor) -> None:
    """Put what a row gives where it belongs."""
    name = place(row)
    if name == "last_hidden_state" and x.dim() != 3:
        raise SpecError(f"Row {row.name!r}: a {row.kind} has no place in a language model.")
    setattr(out, name, x)
