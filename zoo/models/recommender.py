"""Recommenders: networks that score rows of a table. Wide & Deep (Cheng et al., 2016), DeepFM (Guo et al., 2017),
DCN V2 (Wang et al., 2021) and FinalMLP (Mao et al., 2023).

What they look up follows from the schema, a `TableInput`. The logit is of a click, a purchase or another yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zoo.inputs import Feature, known
from zoo.spec import Block, ModelSpec, SpecError, TableInput

TASK = "tabular-classification"

# What a network without weights reads, unless a schema says otherwise: one feature of each kind.
EXAMPLE = TableInput(
    (
        Feature("user_id", num_embeddings=1024, hashed=True),
        Feature("item_id", num_embeddings=2048, hashed=True),
        Feature("genres", "list", num_embeddings=20, max_length=4),
        Feature("device", num_embeddings=6),
        Feature("age", "bucketed", boundaries=(18.0, 25.0, 35.0, 45.0, 55.0)),
        Feature("price", "numeric"),
    ),
    crosses=(("device", "age", 64),),
)


def tabular(
    name: str,
    num_classes: int | None = None,
    *,
    schema: TableInput | None = None,
    dim: int = 16,
    hidden: Sequence[int] = (128, 64),
    dropout: float = 0.0,
    cross_layers: int = 3,
    rank: int = 0,
    contexts: Sequence[Sequence[str]] = ((), ()),
    heads: int = 1,
) -> ModelSpec:
    """A recommender by its name, for the rows that `schema` describes.

    Without a schema it is for a table of one feature of each kind. `dim` is the width of the vectors, `hidden` that of
    each layer of the deep tower. DCN V2 has so many `cross_layers`, of `rank` (0: full). FinalMLP has two towers, each
    behind a gate that sees the features called in its part of `contexts`, and joins them by so many `heads`.
    """
    if num_classes is not None:
        raise SpecError(f"{name} gives one logit, so it takes no num_classes")
    linear = name in ("wide_deep", "deepfm")
    if schema is None:
        schema = EXAMPLE if linear else replace(EXAMPLE, crosses=())
    if not (known(schema) and schema.embedded):
        raise SpecError(f"schema is a TableInput, not {type(schema).__name__}; zoo.create takes its JSON and paths too")
    if schema.crosses and not linear:
        raise SpecError(f"{name} has no linear part for crosses: take them out of the schema, or choose deepfm")
    if not hidden:
        raise SpecError(f"{name} has a tower of at least one layer: hidden is {hidden!r}")
    _check(name, {"cross_layers": cross_layers, "rank": rank, "contexts": contexts, "heads": heads})
    for key, value, least in (
        ("dim", dim, 1), ("cross_layers", cross_layers, 0), ("rank", rank, 0), ("heads", heads, 1),
        *(("hidden", width, 1) for width in hidden),
    ):  # fmt: skip
        if type(value) is not int or value < least:
            raise SpecError(f"{key}= of {name} takes whole numbers from {least} on, not {value!r:.60}")
    laid: dict[str, Any] = {key: value for key, value in schema.embedded.items() if key != "crosses"}
    dims = (dim,) * len(schema.features)
    reader: dict[str, Any] = {key: laid[key] for key in ("rows", "columns", "reads")}
    embed = Block("feature_embedding", "embed", dims=dims, **laid)
    wide = Block("wide", "wide", crosses=schema.embedded["crosses"], **reader)
    start, again = Block("branch", "deep", taps=("input",)), Block("branch", "deep", taps=("embed",))
    width = sum(dims)
    tower = _tower("deep", width, hidden, dropout)
    top: dict[str, Any] = {"in_features": hidden[-1], "dropout": dropout}
    match name:
        case "wide_deep":
            rows = (wide, start, embed, *tower, Block("logit_head", "head", taps=("wide",), summands=1, **top))
        case "deepfm":
            fm = Block("factorization_machine", "fm", dims=dims)
            head = Block("logit_head", "head", taps=("wide", "fm"), summands=2, **top)
            rows = (wide, start.replace(name="shared"), embed, fm, again, *tower, head)
        case "dcnv2":
            crosses = tuple(
                Block("cross_layer", f"cross{place}", taps=("embed",), features=width, rank=rank)
                for place in range(1, cross_layers + 1)
            )
            last = crosses[-1].name if crosses else "embed"
            head = Block("logit_head", "head", taps=(last,), side_features=width, **top)
            rows = (embed, *crosses, again, *tower, head)
        case "finalmlp":
            one, other = (_gate(f"gate{at}", schema, dims, part) for at, part in enumerate(contexts, 1))
            first, second = (_tower(f"stream{at}_", width, hidden, dropout) for at in (1, 2))
            head = Block(
                "bilinear_head",
                "head",
                taps=(first[-1].name,),
                in_features=hidden[-1],
                side_features=hidden[-1],
                heads=heads,
            )
            rows = (embed, one, *first, again.replace(name="second"), other, *second, head)
        case _:
            raise SpecError(f"there is no recommender {name!r}")
    return ModelSpec(name, rows, schema, TASK)


_OWN = {
    "cross_layers": ("dcnv2", 3),
    "rank": ("dcnv2", 0),
    "contexts": ("finalmlp", ((), ())),
    "heads": ("finalmlp", 1),
}


def _check(name: str, given: dict[str, Any]) -> None:
    """Raise SpecError for an option of another recommender."""
    for key, value in given.items():
        whose, usual = _OWN[key]
        if name != whose and value != usual:
            raise SpecError(f"{key}= is for {whose}, and {name} has none")


def _tower(name: str, width: int, hidden: Sequence[int], dropout: float) -> tuple[Block, ...]:
    """Linear layers, each with a ReLU behind it."""
    common: dict[str, Any] = {"activation": "relu", "dropout": dropout} if dropout else {"activation": "relu"}
    widths = (width, *hidden)
    return tuple(
        Block("hidden", f"{name}{place}", in_features=widths[place - 1], out_features=widths[place], **common)
        for place in range(1, len(widths))
    )


def _gate(name: str, schema: TableInput, dims: tuple[int, ...], context: Sequence[str]) -> Block:
    names = [one.name for one in schema.features]
    if unknown := set(context) - set(names):
        raise SpecError(f"contexts name features of the schema, not {sorted(unknown)}")
    places = tuple(sorted(names.index(one) for one in context))
    seen = sum(dims[place] for place in places) or dims[0]
    return Block("feature_gate", name, dims=dims, hidden=64, context=places, context_features=seen)
