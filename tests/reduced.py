"""Any registered architecture small enough to test in milliseconds: fewer channels, fewer pixels, fewer repeats."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from zoo import kinds
from zoo.spec import Block, ModelSpec, TableInput, TextInput

KEPT = ("se_channels", "num_classes", "vocabulary", "outputs", "kv_heads", "cross_heads")
VOCABULARY, TOKENS = 96, 24  # of language models


def reduced(spec: ModelSpec, *, width: float = 0.25, size: int | tuple[int, int] = 32) -> ModelSpec:
    """`spec` with every channel width scaled by `width` (to a multiple of 8, at least 8) at another input size.

    Equal widths stay equal, so rows still fit and skips still add. The input's channels, squeeze-and-excite widths and
    the number of classes stay what they are; heads keep their width, and are fewer. Of rows that repeat the one before,
    the first and the last remain. A recommender stays as it is.
    """
    if isinstance(spec.input, TableInput):
        return spec  # its tables and towers are small as they are
    shape = (size, size) if isinstance(size, int) else size
    rows = tuple(_narrower(row, width, first=index == 0) for index, row in enumerate(_ends_of_runs(spec)))
    rows = _joined(rows)
    if isinstance(spec.input, TextInput):
        start = 0 if spec.input.translates else -1
        return spec.replace(rows=tuple(map(_shorter, rows)), input=TextInput(VOCABULARY, TOKENS, start=start))
    if not hasattr(spec.input, "size"):  # an input of one size, such as named columns
        return spec.replace(rows=rows)
    grids = tuple(_on_grid(row, shape) if row.kind == "patch_embedding" else row for row in rows)
    return spec.replace(rows=grids, input=replace(spec.input, size=shape))


def _joined(rows: tuple[Block, ...]) -> tuple[Block, ...]:
    """Rows behind a concatenation read as many channels as it has now."""
    made: list[Block] = []
    gives: dict[str, int | None] = {}
    for row in rows:
        kind, before = kinds.KINDS[row.kind], gives.get(made[-1].name) if made else None
        if before and "in" in kind.widths and kinds.KINDS[made[-1].kind].composed:
            row = row.replace(**{kind.widths["in"]: before})
        made.append(row)
        passes = kind.passes_channels and not kind.branches
        gives[row.name] = before if passes else kinds.layer_widths(row).get("out")
    return tuple(made)


def structure(spec: ModelSpec) -> frozenset[tuple[str, ...]]:
    """What kinds of rows it has, of any width, repeated any number of times."""
    return frozenset(
        (row.kind, *(f"{name}={value}" for name, value in kinds.arguments(row).items() if name not in _widths(row)))
        for row in spec
    )


def _widths(row: Block) -> tuple[str, ...]:
    return tuple(kinds.KINDS[row.kind].widths.values())


def _shorter(row: Block) -> Block:
    """Fewer words and positions."""
    args = kinds.arguments(row)
    if row.kind in ("token_embedding", "target_embedding"):
        room = TOKENS + args.get("padding_id", -1) + 1 if args["max_positions"] else 0
        return row.replace(vocabulary=VOCABULARY, max_positions=room)
    scores = row.kind == "token_head" and (args["tied"] or args["outputs"] > 10_000)  # words
    return row.replace(outputs=VOCABULARY) if scores else row


def _on_grid(row: Block, size: tuple[int, int]) -> Block:
    return row.replace(rows=size[0] // row.args["patch"], columns=size[1] // row.args["patch"])


def _ends_of_runs(spec: ModelSpec) -> list[Block]:
    runs = [list(run) for _, run in groupby(spec, key=lambda row: row.replace(name=""))]
    return [row for run in runs for row in (*run[:1], *run[1:][-1:])]


def _narrower(row: Block, width: float, *, first: bool) -> Block:
    names = kinds.KINDS[row.kind].widths
    args = kinds.arguments(row)
    scaled = {
        name: max(8, round(args[name] * width / 8) * 8)
        for space, name in names.items()
        if name not in KEPT and not (first and space == "in") and args[name]
    }
    if "kv_heads" in args:
        kv_heads = max(1, round(args["kv_heads"] * width))
        scaled |= {"kv_heads": kv_heads, "heads": args["heads"] // args["kv_heads"] * kv_heads}
    if "cross_heads" in args:
        scaled["cross_heads"] = max(1, round(args["cross_heads"] * width))
    return row.replace(**scaled)
