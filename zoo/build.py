"""`build(spec)`: the only way from a spec to a model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.blocks.flat import FlatCalls
from zoo.registry import BLOCKS, CALLS, fetch
from zoo.spec import Block, ImageInput, ModelSpec, SpecError


class Model(nn.Module):
    """A network as its spec says: one child a row, run in order.

    `labels` are the names of the classes, empty where unknown; `made` says how the weights came to be (JSON-like);
    `tokenizer` is the text of a language model's tokenizer.json, empty where unknown.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.labels: tuple[str, ...] = ()
        self.made: Mapping[str, Any] = {}
        self.tokenizer = ""
        self._kept = frozenset(tap for row in spec for tap in row.taps)
        self._flat = FlatCalls()
        reads = "float32"
        for row in spec:
            if hasattr(self, row.name):
                raise SpecError(f"A row cannot be called {row.name!r}: a module has an attribute of that name.")
            self.add_module(row.name, _build_row(row, reads))
            reads = row.emits

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Any:
        """(B, channels, H, W) to the last row's output; with `taps`, to (output, {row name: that row's output})."""
        self.check_input(x)
        taps = tuple(taps)
        wanted = self._kept.union(taps)
        if not wanted:
            return self._flat(tuple(self._modules.values()), x)  # type: ignore[arg-type]
        unknown = wanted - {"input", *self._modules}
        if unknown:
            raise ValueError(f"No such rows to tap: {sorted(unknown)}; the rows are {list(self._modules)}.")
        kept: dict[str, Tensor] = {"input": x} if "input" in wanted else {}
        for row, module in zip(self.spec.rows, self._modules.values(), strict=True):
            x = module(x, *(kept[tap] for tap in row.taps))  # type: ignore[misc]
            if row.name in wanted:
                kept[row.name] = x
        return (x, {name: self._readable(name, kept[name]) for name in taps}) if taps else x

    def _readable(self, name: str, value: Tensor) -> Tensor:
        """A tapped uint8 output as the floats it stands for."""
        if value.dtype != torch.uint8:
            return value
        row: Any = self.get_submodule(name)
        return row.dequantize(value)

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError for what `forward` does not take."""
        assert isinstance(self.spec.input, ImageInput)
        channels = self.spec.input.channels
        if not isinstance(x, Tensor):
            found = type(x).__name__
        elif not x.is_floating_point() or x.dim() != 4 or x.shape[1] != channels or 0 in x.shape[2:]:
            found = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
        else:
            return
        raise ValueError(
            f"{self.spec.name} takes normalised floats of shape (batch, {channels}, height, width), not {found}; "
            "zoo.preprocess(model) makes them."
        )


def build(spec: ModelSpec, *, device: str | torch.device | None = None) -> Model:
    """The network, in eval mode, with freshly initialised float weights; on "meta" without memory.

    Raises SpecError for rows of an unknown kind, out of bounds, or that do not fit together.
    """
    kinds.check(spec)
    with torch.device(device) if device is not None else nullcontext():
        model = _class_of(spec)(spec)
    if device is None or torch.device(device).type != "meta":
        initialize(model)
    return model.eval()


def from_state(spec: ModelSpec, state: Mapping[str, Tensor]) -> Model:
    """The network around existing tensors, which are used as they are, not copied."""
    kinds.check(spec)
    with torch.device("meta"):
        model = _class_of(spec)(spec)
    model.load_state_dict(state, assign=True)
    _check_edges(model)
    return model.eval()


def is_whole(model: object) -> bool:
    """Whether it is a network as `build` makes it, not features or a runtime around one."""
    return isinstance(model, Model) and type(model) is _class_of(model.spec)


def describe(model: Model, like: Model) -> Model:
    """Give `model` what `like` knows besides its rows: labels, how it was made, the tokenizer; returns `model`."""
    model.labels, model.made, model.tokenizer = like.labels, like.made, like.tokenizer
    return model


def edit(model: Model, row: str, **changes: Any) -> Model:
    """A new model with one row's arguments changed. The row keeps its tensors where they fit, else it starts fresh.

    `edit(model, "classifier", num_classes=5)` gives a new head, without labels. A fresh row is float32, in an int8
    or qat model too. Raises SpecError for what cannot be: no such row or argument, or rows that no longer fit together.
    """
    names = [r.name for r in model.spec]
    if row not in names:
        raise SpecError(f"{model.spec.name} has no row {row!r}; its rows are {names}.")
    if not changes or not set(changes) <= set(kinds.KINDS[model.spec[row].kind].args):
        raise SpecError(f"edit changes arguments of {model.spec[row].kind}, not {sorted(changes) or 'nothing'}.")
    spec = model.spec.edit(row, **changes)
    kept = kinds.state(spec[row]) == kinds.state(model.spec[row])
    if not kept and spec[row].precision != "float32":
        spec = spec.edit(row, precision="float32", emits="float32")
        if row != names[0]:
            spec = spec.edit(names[names.index(row) - 1], emits="float32")
    kinds.check(spec)
    old = model.state_dict()
    for name, learned in learned_edges(model).items():  # behind a row that is now another, they count from here on
        old[f"{name}.edges"] = torch.cat([learned[:1], old[f"{name}.edges"][1:]])
    if not kept:
        old |= fresh_rows(spec, [row], old)
    state = {key: old[key] for key in kinds.model_state(spec)}
    edited = describe(from_state(spec, {key: value.clone() for key, value in state.items()}), model)
    if not kept and row == names[-1]:
        edited.labels = ()
    edited.made = {**model.made, "edited": [*model.made.get("edited", []), {row: changes}]}
    return edited


def fresh_rows(spec: ModelSpec, names: Collection[str], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The freshly initialised tensors of some float32 rows, by their keys in the model; on the device of `like`."""
    state: dict[str, Tensor] = {}
    for row in (row for row in spec if row.name in names):
        with torch.device(next(iter(like.values())).device):
            module = _build_row(row, "float32")
        initialize(module)
        state |= {f"{row.name}.{key}": tensor for key, tensor in module.state_dict().items()}
    return state


def upto(model: Model, row: str) -> Model:
    """The model cut behind one row, whose output, as floats, is then the model's. It shares the model's tensors."""
    spec, state = model.spec.upto(row), model.state_dict()
    cut = from_state(spec, {key: state[key] for key in kinds.model_state(spec)})
    labels = model.labels if row == model.spec.rows[-1].name else ()
    describe(cut, model).labels = labels
    return cut


def learned_edges(model: Model) -> dict[str, Tensor]:
    """qat row -> scale and zero point (n, 2) of its edges as training has left them.

    The first is the last of the row before, where that emits uint8.
    """
    learned: dict[str, Tensor] = {}
    before: Tensor | None = None
    for row, module in zip(model.spec.rows, model.children(), strict=True):
        if row.precision == "qat":
            own = cast(Tensor, module.edges_now).detach()
            learned[row.name] = own if before is None else torch.cat([before, own[1:]])
        before = learned[row.name][-1:] if row.precision == "qat" and row.emits == "uint8" else None
    return learned


def initialize(model: nn.Module) -> None:
    """Convolutions by fan-out (He et al., 2015), linear layers and tables small, norms at rest."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, (2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, 0.02)
        for name, learned in module.named_parameters(recurse=False):
            if learned.dim() == 3 and "." not in name:  # tokens and positions of their own
                nn.init.trunc_normal_(learned, std=0.02)


def _check_edges(model: Model) -> None:
    """Scales positive, zero points codes, and two int8 neighbours of one mind about the codes between them."""
    before: Tensor | None = None
    for row, module in zip(model.spec.rows, model.children(), strict=True):
        edges: Tensor | None = getattr(module, "edges_now" if row.precision == "qat" else "edges", None)
        if edges is not None:
            scales, zeros = edges.unbind(1)
            proper = (scales > 0) & scales.isfinite() & (zeros >= 0) & (zeros <= 255) & (zeros == zeros.round())
            if not proper.all():
                raise ValueError(f"Row {row.name!r} has an edge that is no scale and zero point: {edges.tolist()}.")
            if row.precision == "int8" and before is not None and not torch.equal(before, edges[0]):
                raise ValueError(f"Row {row.name!r} reads its uint8 input otherwise than the row before it writes it.")
            if row.precision == "int8":
                module.edge_list  # read now: while it is exported, its tensors have no values  # noqa: B018
        before = edges[-1] if edges is not None and row.emits == "uint8" else None


def _class_of(spec: ModelSpec) -> type[Model]:
    target = CALLS.get(type(spec.input).__name__)
    return Model if target is None else fetch(target)


def _build_row(row: Block, reads: str) -> nn.Module:
    make = fetch(BLOCKS[row.kind, row.precision])
    args = kinds.arguments(row)
    if row.precision == "float32" or kinds.KINDS[row.kind].floats:
        return make(**args)
    module = make(**args, emits=row.emits)
    if row.precision == "qat":
        module.reads = reads
    return module
