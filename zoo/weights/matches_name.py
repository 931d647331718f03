"""Check that a network read from a file is the one of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo import kinds, registry
from zoo.naming import HOLDING, Name
from zoo.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.model.build import Model

SHOWN = ("distilled", "pruned", "sparse", *HOLDING)  # passes that spec and weights show, or that leave any spec
LEAST_SPARSITY = 0.1  # rounding to int8 alone makes a few zeros in a hundred


def check_matches_name(model: Model, name: Name, where: str) -> None:
    """Raise ValueError, saying which name is the right one, unless `model`, read from `where`, is a `name`.

    Where two names stand for the same rows, as those of ViT and DeiT do, it takes the one that was asked for.
    """
    if {model.spec.name, name.arch} <= registry.MODELS.keys() and _same_rows(model.spec.name, name.arch):
        model.spec = model.spec.replace(name=name.arch)
    found = model.spec
    if found.name != name.arch and "distilled" not in name.passes:
        raise ValueError(f"{where} holds a {found.name}, not a {name.arch}; zoo.load(...) reads it as it is.")
    if any(row.precision == "qat" for row in found):
        raise ValueError(
            f"{where} holds a {found.name} in quantization-aware training: zoo.load(...) reads it, and "
            'zoo.compress(model, "int8") makes a finished network of it.'
        )
    held = next((one for one in HOLDING for row in found if row.precision.startswith(one)), "")
    if held != next((one for one in HOLDING if one in name.passes), ""):
        right = Name(name.arch, name.tag, tuple(p for p in name.passes if p not in HOLDING) + ((held,) if held else ()))
        raise ValueError(f"{where} holds {held or 'float32'} weights: that is {right}, not {name}.")
    dense = _dense(found)
    if not {"distilled", "pruned"} & set(name.passes) and dense and _widths(_trunk(found)) != _widths(dense):
        raise ValueError(
            f"{where} holds a {name.arch} of other widths or depth: a pruned one is named {name.arch}-pruned."
        )
    if "pruned" in name.passes and dense and kinds.cost(_trunk(found)).parameters >= kinds.cost(dense).parameters:
        raise ValueError(f"{where} holds a {found.name} of full width; nothing is pruned there, so it is no {name}.")
    if "sparse" in name.passes and (zeros := share_of_zeros(model)) < LEAST_SPARSITY:
        raise ValueError(
            f"{where} holds weights of which {zeros:.1%} are zero; that is not sparse, so it is no {name}."
        )
    for one in name.passes:
        if one not in SHOWN and one not in _recorded(model):
            raise ValueError(f"{where} does not say that it was made by the pass {one!r}, so it is no {name}.")


def _recorded(model: Model) -> set[str]:
    """The passes that the file says it was made by."""
    records = model.made.get("passes")  # any JSON: the file may come from anywhere
    return {str(one.get("pass")) for one in records if isinstance(one, dict)} if isinstance(records, list) else set()


def _same_rows(one: str, other: str) -> bool:
    return _trunk(registry.spec(one)).rows == _trunk(registry.spec(other)).rows


def _dense(found: ModelSpec) -> ModelSpec | None:
    """The trunk of the registered network of the spec's name, for its channels; None where there is none.

    A convolutional one that ends early is compared up to where it ends: it gives features. A Transformer of fewer
    blocks is another network.
    """
    if found.name not in registry.MODELS:
        return None
    dense, last = _trunk(registry.spec(found.name)), _trunk(found).rows[-1]
    if channels := dense.rows[0].args.get("in_channels") and found.rows[0].args.get("in_channels"):
        dense = kinds.with_channels(dense, channels)
    known = last.name in [row.name for row in dense]
    return dense.upto(last.name) if known and not kinds.KINDS[last.kind].droppable else dense


def _trunk(spec: ModelSpec) -> ModelSpec:
    """The spec without what stands on its features, which folders of the same network have or have not."""
    rows = list(spec.rows)
    while len(rows) > 1 and kinds.role(rows[-1]) in ("pool", "head"):
        rows.pop()
    return spec.replace(rows=tuple(rows))


def share_of_zeros(model: Model) -> float:
    """Of the weights of convolutions and linear layers; tables of vectors are never made sparse."""
    stems = [row for row in model.spec if kinds.KINDS[row.kind].takes_ids or kinds.KINDS[row.kind].takes_targets]
    tables = tuple(f"{row.name}." for row in stems)
    weights = [
        _codes(model, key) if str(tensor.dtype) == "torch.uint8" else tensor
        for key, tensor in model.state_dict().items()
        if key.endswith(".weight") and tensor.dim() >= 2 and not key.startswith(tables)
    ]
    return sum(int((one == 0).sum()) for one in weights) / sum(one.numel() for one in weights)


def _codes(model: Model, key: str) -> Tensor:
    """What weights of 4 bits stand for."""
    layer: Any = model.get_submodule(key.removesuffix(".weight"))
    return layer.codes()  # type: ignore[no-any-return]


def _widths(spec: ModelSpec) -> list[tuple[str, str, dict[str, int]]]:
    return [(row.kind, row.name, kinds.layer_widths(row)) for row in spec]
