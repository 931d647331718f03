"""What a network costs, and whether its rows fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zoo.kinds.kind import Axis, Shape
from zoo.kinds.rows import KINDS, arguments, layer_widths, remembered, state
from zoo.spec import Block, ModelSpec, SpecError

MAX_PARAMETERS = 20_000_000_000


@dataclass(frozen=True)
class Cost:
    """Of one example: multiply-accumulates; and learnt values (batch-norm statistics left out)."""

    macs: int
    parameters: int


def cost(spec: ModelSpec) -> Cost:
    """What the network costs for one example of `usual_size`."""
    costs = row_costs(spec)
    return Cost(sum(c.macs for c in costs), sum(c.parameters for c in costs))


def usual_size(spec: ModelSpec) -> tuple[int, ...]:
    """(height, width) of the network's own pictures, or for texts (tokens,), 128 at most."""
    return spec.input.usual_size


def row_costs(spec: ModelSpec, size: tuple[int, ...] | None = None) -> list[Cost]:
    """The cost of every row, at `usual_size`, or another (height, width) or (tokens,).

    Raises SpecError where widths disagree.
    """
    return [Cost(macs, _row_parameters(row)) for row, (macs, _) in zip(spec, _run(spec, size), strict=True)]


def row_shapes(spec: ModelSpec, size: tuple[int, ...] | None = None) -> list[Shape]:
    """What comes out of every row, for one example; otherwise as `row_costs`."""
    return [shape for _, shape in _run(spec, size)]


def check(spec: ModelSpec) -> ModelSpec:
    """Raise SpecError unless every row is of a known kind, in bounds, and fits the one before; returns the spec."""
    total = sum(c.parameters for c in row_costs(spec))
    if total > MAX_PARAMETERS:
        raise SpecError(f"{spec.name} has {total:,} parameters; more than {MAX_PARAMETERS:,} are refused.")
    for row in spec:
        if row.precision not in KINDS[row.kind].precisions:
            raise SpecError(f"Row {row.name!r}: there is no {row.kind} in {row.precision}.")
        floats = row.precision not in ("int8", "qat") or KINDS[row.kind].float_io
        if row.emits == "uint8" and floats:
            raise SpecError(f"Row {row.name!r} is a {row.kind} in {row.precision}, so it cannot emit uint8.")
    _check_text(spec)
    _check_table(spec)
    for before, row in zip(spec.rows, spec.rows[1:], strict=False):
        if before.emits == "uint8" and (row.precision != before.precision or KINDS[row.kind].float_io):
            raise SpecError(
                f"Row {before.name!r} is {before.precision} and emits uint8, but {row.name!r} behind it is "
                f"{row.precision}, a {row.kind}."
            )
    if spec.rows[-1].emits != "float32":
        raise SpecError(f"The last row, {spec.rows[-1].name!r}, must emit float32.")
    return spec


def _check_text(spec: ModelSpec) -> None:
    """Token ids go into the first row, those of targets into the decoder's first row, and ties have their table."""
    targets = next((place for place, row in enumerate(spec) if KINDS[row.kind].takes_targets), 0)
    places = {"input": -1} | {row.name: place for place, row in enumerate(spec)}
    for place, row in enumerate(spec):
        kind, args = KINDS[row.kind], arguments(row)
        if kind.takes_ids != (place == 0 and spec.input.ids):
            raise SpecError(f"Row {row.name!r}: a {row.kind} is the first row of a language model, and only that.")
        if kind.takes_targets and (place != targets or not spec.input.translates):
            raise SpecError(
                f"Row {row.name!r}: a {row.kind} is the first row of a decoder, whose targets have a start."
            )
        if "tied" in args:
            _check_tie(spec, place)
        if kind.takes_ids or kind.takes_targets:
            room = args["max_positions"] - args.get("padding_id", -1) - 1
            room = room if args["max_positions"] else spec.texts.length
            known = spec.texts.vocabulary if kind.takes_ids else spec.texts.targets
            if args["vocabulary"] != known or room < spec.texts.length:
                raise SpecError(f"Row {row.name!r} has another vocabulary than the input, or fewer positions.")
        if targets and kind.role == "head" and args.get("outputs") != spec.texts.targets:
            raise SpecError(f"Row {row.name!r} scores other tokens than the {spec.texts.targets} of targets.")
        if targets and place > targets and any(places[tap] != targets - 1 for tap in row.taps):
            raise SpecError(
                f"Row {row.name!r} taps another row than {spec.rows[targets - 1].name!r}, the encoder's last."
            )


def _check_tie(spec: ModelSpec, place: int) -> None:
    """The row at `place` is tied to nothing, or to an earlier table of its widths and its precision."""
    row = spec.rows[place]
    args = arguments(row)
    if not (tied := args["tied"]):
        return
    table = next((r for r in spec.rows[:place] if r.name == tied and _holds_table(r)), None)
    of_table = arguments(table) if table else {}
    if (of_table.get("vocabulary"), of_table.get("dim")) != (args.get("outputs", args.get("vocabulary")), args["dim"]):
        raise SpecError(f"Row {row.name!r} is tied to {tied!r}, which is no token_embedding of its widths.")
    if table and table.precision != row.precision:
        raise SpecError(f"Row {row.name!r} is tied, so it has the precision of {tied!r}.")


def _holds_table(row: Block) -> bool:
    """Whether the row has a table of a vector for each token."""
    return any(layer.table for layer in KINDS[row.kind].layers(arguments(row)))


def _check_table(spec: ModelSpec) -> None:
    """Rows that look values up read the columns that the input has, and know as many values."""
    laid = spec.input.embedded
    for place, row in enumerate(spec):
        if not KINDS[row.kind].takes_rows:
            continue
        fed = place == 0 or ((before := spec.rows[place - 1]).taps == ("input",) and KINDS[before.kind].branches)
        if not (laid and fed):
            raise SpecError(f"Row {row.name!r}: a {row.kind} reads rows of a table, the input of the network.")
        args = arguments(row)
        for key, wanted in laid.items():
            if key in args and (args[key] or key != "crosses") and args[key] != wanted:
                raise SpecError(f"Row {row.name!r}: {key} is {args[key]}, and the input has {wanted}.")


def _run(spec: ModelSpec, size: tuple[int, ...] | None) -> Iterator[tuple[int, Shape]]:
    """Multiply-accumulates of every row, and the shape behind it."""
    shape: Shape = spec.input.shape(size)
    shapes = {"input": shape}
    for row in spec:
        macs, shape = _row_macs(row, shape, [shapes[tap] for tap in row.taps])
        shapes[row.name] = shape
        yield macs, shape


def _row_macs(row: Block, shape: Shape, tapped: Sequence[Shape]) -> tuple[int, Shape]:
    args, widths, kind = arguments(row), layer_widths(row), KINDS[row.kind]
    if len(tapped) != (wanted := kind.taps(args)):
        raise SpecError(f"Row {row.name!r}: {row.kind} takes {wanted} taps, not {len(tapped)}.")
    for tap, (name, found) in enumerate(zip(row.taps, tapped, strict=True)):
        if widths.get(f"tap{tap}", found[0]) != found[0]:
            raise SpecError(f"Row {row.name!r} takes {widths[f'tap{tap}']} channels of {name!r}, which has {found[0]}.")
    if "in" in widths and widths["in"] != shape[0]:
        raise SpecError(f"Row {row.name!r} takes {widths['in']} channels, but {shape[0]} come in.")
    if kind.ties(args) and (args.get("stride", 1) != 1 or widths["in"] != widths["out"]):
        raise SpecError(f"Row {row.name!r}: a skip needs stride 1 and equal widths.")
    macs, entry = 0, shape
    if kind.rank and len(shape) != kind.rank:
        raise SpecError(f"Row {row.name!r}: {row.kind} cannot take an input of shape {shape}.")
    if kind.macs_and_shape:
        try:
            return kind.macs_and_shape(args, shape, *tapped)
        except SpecError as error:
            raise SpecError(f"Row {row.name!r}: {error}") from None
    for layer in kind.layers(args):
        if not layer.linear and not layer.pooled:
            shape = entry if layer.from_row_input else shape
            shape = (widths[layer.target], *(-(-side // layer.stride) for side in shape[1:]))
        positions = 1 if layer.pooled or layer.linear else shape[1] * shape[2]
        fan_in = layer.kernel**2 * (1 if layer.depthwise else widths[layer.source])
        macs += positions * widths[layer.target] * fan_in
        if layer.linear:
            shape = (widths[layer.target],)
    return macs, kind.shape(args, shape) if kind.shape else shape


def _row_parameters(row: Block) -> int:
    """Counted on the float form of the row, so that a variant's precision does not change it."""
    known = remembered(row, KINDS[row.kind])
    if "parameters" in known:
        return int(known["parameters"])
    total = 0
    for key, (dtype, axes) in state(row.replace(precision="float32")).items():
        if "running_" in key or dtype != "float32":
            continue
        size = 1
        for axis in axes:
            size *= axis.length if isinstance(axis, Axis) else axis
        total += size
    known["parameters"] = total
    return total
