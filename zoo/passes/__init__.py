"""Which passes there are: the name of each in a model's name, its place in their order, and its options. No torch.

A pass is an entry here and a module of functions, fetched when it is first used:
`plan(model, options, **inputs) -> Decision`, `respec(spec, decision) -> spec` (no torch) and
`carry(state, spec, decision) -> state`. `register` adds one from outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, get_args

from zoo.passes.options import Options, described, listed, option, unknown

Importance = Literal["auto", "calibrated", "l1", "l2", "bn_scale", "taylor"]
Scope = Literal["global", "layer"]
Pattern = Literal["unstructured", "2:4"]
Observer = Literal["minmax", "percentile", "mse"]
Tables = Literal["int8", "int4"]
Rounded = Literal["nearest", "gptq"]

CRITERIA: tuple[str, ...] = get_args(Importance)[2:]  # that give each channel a score
OBSERVERS: tuple[str, ...] = get_args(Observer)

INPUTS = ("calibration", "data", "labelled")  # what `zoo.compress` hands to the passes that take it
TARGETS = ("ratio", "macs", "parameters")


@dataclass(frozen=True, kw_only=True)
class Pruned(Options):
    """One target, or whole blocks. Half of the multiply-accumulates go where neither is given."""

    ratio: float | None = option(
        None,
        "Share of the channels to drop, in every group of channels.",
        above=0,
        below=1,
        example='zoo.compress(model, "pruned", ratio=0.3)',
    )
    macs: float | None = option(
        None,
        "Share of the multiply-accumulates to keep, spent where channels matter most; 0.5 where no target is given.",
        above=0,
        below=1,
        example='zoo.compress(model, "pruned", macs=0.7)',
    )
    parameters: float | None = option(
        None,
        "Share of the parameters to keep, spent where channels matter most.",
        above=0,
        below=1,
        example='zoo.compress(model, "pruned", parameters=0.6)',
    )
    importance: Importance = option(
        "auto",
        "How channels are judged: by what answers to calibration lose, or by a score; taylor needs labelled data.",
        example='zoo.compress(model, "pruned", importance="taylor", data=(images, labels))',
    )
    round_to: int | None = option(
        None,
        "Widths are multiples of this; 8 where it is not given, 4 in groups narrower than 64.",
        least=1,
        example='zoo.compress(model, "pruned", macs=0.7, round_to=4)',
    )
    keep_at_least: float = option(
        0.1,
        "Share of its width that every group keeps.",
        least=0,
        below=1,
        example='zoo.compress(model, "pruned", ratio=0.5, keep_at_least=0.25)',
    )
    drop_blocks: int | tuple[str, ...] | None = option(
        None,
        "Whole Transformer blocks to drop instead: their names, or how many of those that change data least.",
        example='zoo.compress(vit, "pruned", drop_blocks=("h3", "h7"))',
    )

    min_count: int | None = option(
        None,
        "Rows of a recommender's tables leave whose values occur fewer times in calibration=; these become unknown.",
        least=1,
        needs="calibration",
        example='zoo.compress(recommender, "pruned", calibration=rows, min_count=2)',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self._given()
        if len(given) > 1:
            said = " and ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(f"Pruning takes one of ratio=, macs=, parameters=, between 0 and 1, not {said}.")
        if self.drop_blocks is None:
            return
        if given:
            raise ValueError("Blocks and channels are dropped one after the other: give drop_blocks= alone.")
        if self.importance != Pruned.importance or self.round_to is not None:
            raise ValueError("importance= and round_to= choose channels, drop_blocks= whole blocks.")
        if self.keep_at_least != Pruned.keep_at_least:
            raise ValueError("keep_at_least= is for channels, drop_blocks= for whole blocks.")
        if self.min_count is not None:
            raise ValueError("min_count= is for rows of tables, drop_blocks= for whole blocks.")

    def criterion(self, calibrated: bool) -> str:
        """The importance, where "auto" is the best that the data allow: "calibrated" with inputs, else "l2"."""
        if self.importance != "auto":
            return self.importance
        return "calibrated" if calibrated else "l2"

    def uses(self, taken: str) -> bool:
        if self.min_count is not None or taken != "calibration":
            return True
        return self.importance in ("auto", "calibrated") and self.drop_blocks is None

    @property
    def given_target(self) -> bool:
        """Whether a target was given."""
        return bool(self._given())

    @property
    def target(self) -> tuple[str, float]:
        """The target's name and value."""
        return next(iter(self._given().items()), ("macs", 0.5))

    def _given(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in TARGETS if getattr(self, name) is not None}


@dataclass(frozen=True, kw_only=True)
class Sparse(Options):
    """How many weights go, and where."""

    sparsity: float = option(
        0.8,
        "Share of the weights of convolutions and linear layers to set to zero.",
        above=0,
        below=1,
        example='zoo.compress(model, "sparse", sparsity=0.6)',
    )
    scope: Scope = option(
        "global",
        "Spend the zeros where they cost least, or give every layer the same share.",
        example='zoo.compress(model, "sparse", scope="layer")',
    )
    pattern: Pattern = option(
        "unstructured",
        "Any weights, or two of every four neighbouring inputs, in the layers whose inputs are a multiple of 4.",
        example='zoo.compress(model, "sparse", pattern="2:4")',
    )


@dataclass(frozen=True, kw_only=True)
class Int8(Options):
    """How ranges are found, and which rows stay as they are."""

    observer: Observer = option(
        "mse",
        "How ranges are chosen: least squared error, all that occurs, or all but the rarest values.",
        example='zoo.compress(model, "int8", calibration=images, observer="minmax")',
    )
    keep_float: int | tuple[str, ...] = option(
        (),
        "Rows that stay float32: their names, or how many of the most sensitive.",
        least=0,
        example='zoo.compress(model, "int8", calibration=images, keep_float=("stem",))',
    )
    max_drop: float | None = option(
        None,
        "How much worse the task's main figure, such as top-1 accuracy, may be on labelled inputs; as many rows stay "
        "float32 as that takes.",
        least=0,
        needs="labelled",
        example='zoo.compress(model, "int8", calibration=images, max_drop=20.0, labelled=(images, labels))',
    )
    rounding: Rounded = option(
        "nearest",
        "How weights become integers: the nearest, or those whose errors cancel on the calibration inputs (GPTQ).",
        example='zoo.compress(model, "int8", calibration=images, rounding="gptq")',
    )
    correct_bias: bool = option(
        True,
        "Correct the biases for the mean error of rounding.",
        example='zoo.compress(model, "int8", calibration=images, correct_bias=False)',
    )
    reduce_range: bool = option(
        False,
        "Give weights 7 bits, so that products do not saturate on x86 without VNNI.",
        example='zoo.compress(model, "int8", calibration=images, reduce_range=True)',
    )
    dynamic: bool | None = option(
        None,
        "Range each token of a Transformer as it comes, without calibration; on for texts where none is given.",
        example='zoo.compress(vit, "int8", dynamic=True)',
    )
    smooth: bool = option(
        True,
        "Move the scale of outlier channels into the weights that read them.",
        example='zoo.compress(model, "int8", calibration=images, smooth=False)',
    )

    tables: Tables = option(
        "int8",
        "How a recommender's embedding tables are held: in 8 bits, or in 4.",
        example='zoo.compress(recommender, "int8", calibration=rows, tables="int4")',
    )


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What is known of a pass without running it.

    `name` stands in model names, and in the record of a file's passes. `place` orders them; equal ones go by name.
    `takes` are those of `INPUTS` that its plan takes as keywords. `functions` is the module with plan, respec and
    carry, by its name, or an object that has them. `training`: whether what it makes should be trained ("advised"),
    or comes from training alone ("only"). `untrained` are options for a variant that
    is made without training. `resizes` are the figures of `zoo.info` that depend on its options. `replaces` are the
    records of earlier passes that its own takes the place of.
    """

    name: str
    about: str
    place: int
    functions: Any
    options: type[Options] = Options
    takes: tuple[str, ...] = ()
    training: Literal["", "advised", "only"] = ""
    untrained: Mapping[str, Any] = field(default_factory=dict)
    resizes: tuple[Literal["parameters", "nonzero", "macs"], ...] = ()
    replaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]*", self.name) or self.name == "dense":
            raise ValueError(f"A pass's name is small letters and digits, such as 'int8', not {self.name!r}.")
        if wrong := set(self.takes) - set(INPUTS):
            raise ValueError(f"A pass takes some of {', '.join(INPUTS)}, not {sorted(wrong)}.")
        if taken := {"model", "passes", *INPUTS} & set(self.options.names()):
            raise ValueError(f"{sorted(taken)} are arguments of zoo.compress, so no options of {self.name!r}.")

    def load(self) -> Any:
        """Its functions."""
        return import_module(self.functions) if isinstance(self.functions, str) else self.functions


PASSES: dict[str, Pass] = {
    one.name: one
    for one in (
        Pass(
            name="distilled",
            about="a student that a teacher has taught",
            place=10,
            functions="zoo.passes.distill",
            training="only",
        ),
        Pass(
            name="pruned",
            about="whole channels leave, and the network is narrower",
            place=20,
            functions="zoo.passes.prune",
            options=Pruned,
            takes=("calibration", "data"),
            training="advised",
            untrained={"macs": 0.8},
            resizes=("parameters", "nonzero", "macs"),
        ),
        Pass(
            name="sparse",
            about="single weights are zero, and the file is smaller",
            place=30,
            functions="zoo.passes.sparsify",
            options=Sparse,
            takes=("calibration",),
            training="advised",
            untrained={"sparsity": 0.5},
            resizes=("nonzero",),
        ),
        Pass(
            name="int8",
            about="weights and what flows between layers are integers",
            place=40,
            functions="zoo.passes.int8",
            options=Int8,
            takes=("calibration", "labelled"),
            replaces=("int8", "qat"),  # of a network that was int8 before it was trained again, or in training
        ),
        *(
            Pass(name=f"w{n}", about=f"weights of a decoder have {n} bits", place=41, functions=f"zoo.passes.w{n}")
            for n in (8, 4)
        ),
    )
}


def register(one: Pass) -> Pass:
    """Add a pass to `zoo.compress`, `zoo.create`, the names and the command.

    Args:
        one (Pass): the pass: its name, its place in the order, its options and its module.

    Returns:
        Pass: the same pass.

    Raises:
        ValueError: another pass has the name.
    """
    if one.name in PASSES:
        raise ValueError(f"There is a pass {one.name!r} already.")
    PASSES[one.name] = one
    return one


def in_order() -> tuple[Pass, ...]:
    return tuple(sorted(PASSES.values(), key=lambda one: (one.place, one.name)))


def told(wanted: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, tuple[Options, dict[str, Any]]]:
    """Pass -> its options and its inputs, of the keywords `given` for the passes `wanted`; None is not given.

    Raises ValueError for a keyword of another pass, or of none.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for one in in_order():
        theirs = [name for name in given if name in _known((one.name,)) - _known(wanted)]
        if theirs:
            raise ValueError(f"{listed(theirs)} of the pass {one.name!r}; you asked for {'-'.join(wanted)!r} only.")
    for name in given:
        if name not in _known(tuple(PASSES)):
            raise ValueError(unknown(name, "-".join(wanted), _known(tuple(PASSES)), _known(wanted)))
    return {
        name: (
            PASSES[name].options.of({key: given[key] for key in PASSES[name].options.names() if key in given}),
            {key: given[key] for key in PASSES[name].takes if key in given},
        )
        for name in wanted
    }


def arguments() -> str:
    """The options of every pass, one at a time, as text for a docstring."""
    lines = []
    for one in in_order():
        if one.options.names():
            lines += ["", f"    {one.name}: {one.about}."]
            lines += [f"        {line}".rstrip() for line in described(one.options)]
    return "\n".join(lines)


def _known(passes: tuple[str, ...]) -> set[str]:
    return {name for one in passes for name in (*PASSES[one].options.names(), *PASSES[one].takes)}
