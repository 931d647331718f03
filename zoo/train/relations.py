"""Attention distillation: queries, keys and values relate to one another as the teacher's do (MiniLM: Wang et al.,
2020; MiniLMv2: Wang et al., 2021).

Shapes: B texts or pictures, N tokens, D width, R relation heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.model.answer import counted
from zoo.model.build import Model
from zoo.train.hints import Maps
from zoo.train.recipe import Recipe

WIDTH = 16  # of a relation head of the teacher: 48 heads of BERT-base, as the paper has them
MOST = 2**20  # scores that are computed together: they stay in the processor's cache
FAR = -1e9  # a score that is no relation

OPTION = "attention_rows="


@dataclass(frozen=True)
class _Place:
    """The attention of one block: `into` is the row whose output the block takes."""

    row: str
    into: str
    causal: bool
    side: int


class Relations:
    """How far the relations among a student's queries, among its keys and among its values are from its teachers'.

    A relation is a distribution over the tokens, as attention is: the softmax of a token's products with all others, in
    as many heads as both widths divide into. So the networks may differ in width and in their own heads. The distance
    is the mean Kullback-Leibler divergence. Padding does not count, and in causal blocks later tokens do not.

    Args:
        student (Model): the network that trains.
        teachers (Sequence[nn.Module]): the networks that it learns from.
        recipe (Recipe): `attention_rows` names the blocks; where it is empty, they are the last ones of both networks,
            of the encoder and of a decoder behind it.

    Attributes:
        taps (tuple[str, ...]): the student's rows whose outputs are read.
        teacher_taps (tuple[tuple[str, ...], ...]): those of each teacher.

    Raises:
        ValueError: a network has no such block, two blocks do not fit each other, or all lie in frozen rows.
    """

    def __init__(self, student: Model, teachers: Sequence[Any], recipe: Recipe) -> None:
        if not teachers:
            raise ValueError("attention_weight= needs a teacher.")
        self.spec, self.teachers = student.spec, tuple(teachers)
        self.pairs = [_pairs(student, teacher, recipe.attention_rows) for teacher in teachers]
        self.taps = tuple(dict.fromkeys(own.into for pairs in self.pairs for own, _ in pairs))
        self.teacher_taps = tuple(tuple(other.into for _, other in pairs) for pairs in self.pairs)
        frozen = {row.name for row in student.spec.rows[: recipe.freeze]}
        rows = {own.row for pairs in self.pairs for own, _ in pairs}
        if frozen.issuperset(rows):
            raise ValueError(f"attention_weight= compares blocks of frozen rows alone: {', '.join(sorted(rows))}.")

    def __call__(self, student: Model, x: Any, own: Maps, theirs: Sequence[Maps]) -> Tensor:
        """The mean distance, a scalar: outputs of the student's `taps` for `x`, and of the `teacher_taps`."""
        found = []
        for teacher, pairs, maps in zip(self.teachers, self.pairs, theirs, strict=True):
            for one, other in pairs:
                mask = counted(self.spec, x, one.row)
                given = _projected(student, one, own)
                with torch.no_grad():
                    wanted = _projected(teacher, other, maps)
                for ours, its in zip(given, wanted, strict=True):
                    found.append(relation_distance(ours, its, mask, causal=one.causal))
        return torch.stack(found).mean()


def relation_distance(own: Tensor, theirs: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """The mean KL divergence from the relations of `theirs` (B, N, D') to those of `own` (B, N, D), a scalar.

    The gradient goes to `own` alone.
    """
    heads = relation_heads(own.shape[2], theirs.shape[2])
    keep = own.new_ones(own.shape[:2]) if mask is None else mask.to(own.dtype)
    total: Tensor = _Divergence.apply(own, theirs, keep, heads, causal)  # type: ignore[no-untyped-call]
    return total / (heads * keep.sum().clamp_min(1))


def relation_heads(own: int, theirs: int) -> int:
    """How many relation heads vectors of these widths have: as many as the paper's, or the next number that divides."""
    shared = math.gcd(own, theirs)
    return max(count for count in range(1, max(1, theirs // WIDTH) + 1) if shared % count == 0)


class _Divergence(torch.autograd.Function):
    """The sum over all heads and all queries that count.

    The forward pass computes the gradient too, for a few heads at a time: no scores (B, R, N, N) are kept for later.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, theirs: Tensor, keep: Tensor, heads: int, causal: bool) -> Tensor:
        tokens = own.shape[1]
        ours, wanted = (one.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1) for one in (own, theirs))
        far = ((1 - keep) * FAR)[:, None, :]  # (B, 1 or N, N), added to scores
        if causal:
            far = far + torch.full((tokens, tokens), FAR, dtype=own.dtype, device=own.device).triu(1)
        gradient = torch.empty_like(ours) if ctx.needs_input_grad[0] else None
        total = own.new_zeros((), dtype=torch.float64)
        each = max(1, MOST // tokens**2)
        for start in range(0, len(ours), each):
            part = slice(start, start + each)
            text = torch.arange(start, min(start + each, len(ours)), device=own.device) // heads
            counts, x = keep[text][:, :, None], ours[part]
            found, right = _related(x, far[text]), _related(wanted[part], far[text])
            shares = right.exp()
            total += (shares * (right - found) * counts).sum()
            if gradient is not None:
                apart = found.exp_().sub_(shares).mul_(counts)
                gradient[part] = (apart @ x + apart.transpose(1, 2) @ x) / x.shape[2] ** 0.5
        if gradient is not None:
            ctx.save_for_backward(gradient.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2))
        return total.to(own.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (saved,) = ctx.saved_tensors
        return gradients[0] * saved, None, None, None, None


def _related(x: Tensor, far: Tensor) -> Tensor:
    """The logarithms of what each token has to do with each other one, (heads, N, N)."""
    return torch.baddbmm(far, x, x.transpose(1, 2), alpha=x.shape[2] ** -0.5).log_softmax(2)


def _projected(model: Any, place: _Place, maps: Maps) -> Sequence[Tensor]:
    """Queries, keys and values of one block, before positions turn them: (B, N, D) each."""
    block = getattr(model, "module", model).get_submodule(place.row)  # inside of a wrapper for several processes
    attention, x = block.attn, maps[place.into].float()
    x = attention.qkv(block.norm1(x) if block.norm_first else x)
    keys = attention.kv_heads * attention.head_dim
    return x.split([attention.heads * attention.head_dim, keys, keys], 2)  # type: ignore[no-any-return]


def _pairs(student: Model, teacher: Any, named: str) -> list[tuple[_Place, _Place]]:
    """What `named` says, as "block,block=block_of_the_teacher"; else the last blocks."""
    if not isinstance(teacher, Model):
        raise ValueError(f"attention_weight= compares blocks, and the teacher is no zoo model: {type(teacher)}.")
    found = _places(student), _places(teacher)
    if named:
        pairs = [_named(one, (student, found[0]), (teacher, found[1])) for one in named.split(",")]
    else:
        last = [{place.side: place for place in places.values()} for places in found]
        pairs = [(one, last[1][side]) for side, one in last[0].items() if side in last[1]]
    for pair in pairs:
        for model, place in zip((student, teacher), pair, strict=True):
            _check(model, place)
        _check_tokens(student, teacher, *pair)
    return pairs


def _places(model: Model) -> dict[str, _Place]:
    """Block -> its place."""
    found = {
        row.name: _Place(row.name, stack.into(row.name), side == 1 or bool(row.args.get("causal")), side)
        for side, stack in enumerate(kinds.stacks(model.spec))
        for row in stack.blocks
    }
    if not found:
        raise ValueError(f"attention_weight= compares the attention of blocks, and {model.spec.name} has none.")
    return found


def _named(pair: str, *networks: tuple[Model, dict[str, _Place]]) -> tuple[_Place, _Place]:
    own, _, other = (part.strip() for part in pair.partition("="))
    for (model, places), row in zip(networks, (own, other or own), strict=True):
        if row not in places:
            raise ValueError(f"{OPTION}: {model.spec.name} has no block {row!r}. Its blocks: {', '.join(places)}.")
    return networks[0][1][own], networks[1][1][other or own]


def _check(model: Model, place: _Place) -> None:
    row = model.spec[place.row]
    if row.precision != "float32":
        raise ValueError(
            f"attention_weight= reads queries, keys and values in floats, and block {row.name!r} of {model.spec.name} "
            f"is {row.precision}: give the float32 network."
        )
    if row.args.get("repeats", 1) > 1:
        raise ValueError(
            f"attention_weight= compares single blocks, and block {row.name!r} of {model.spec.name} runs "
            f"{row.args['repeats']} times with the same weights."
        )


def _check_tokens(student: Model, teacher: Model, own: _Place, other: _Place) -> None:
    size = student.spec.pictures.size if student.spec.input.type == "image" else student.spec.input.usual_size
    counts = [
        dict(zip((row.name for row in model.spec), kinds.row_shapes(model.spec, size), strict=True))[place.row][1]
        for model, place in ((student, own), (teacher, other))
    ]
    if own.side != other.side or counts[0] != counts[1] or own.causal != other.causal:
        raise ValueError(
            f"attention_weight=: {own.row!r} ({counts[0]} tokens) and {other.row!r} of the teacher ({counts[1]}) do "
            "not attend to the same tokens."
        )
