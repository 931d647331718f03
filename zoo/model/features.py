"""The trunk of a network as a backbone: one map a level, of dense and compressed networks alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.model.defaults import usual_defaults
from zoo.model.verify import rebuildable


@dataclass(frozen=True)
class FeatureInfo:
    """The maps that a backbone gives, read as timm's `feature_info`.

    Each method takes `idx`: None for the maps given, or an index, or a list of them, among all levels.

    Args:
        levels (tuple[Level, ...]): all levels of the network.
        out_indices (tuple[int, ...]): the indices of the levels given.

    Example:
        >>> backbone = zoo.create("resnet20", features_only=True, out_indices=(1, 2))
        >>> backbone.feature_info.channels(), backbone.feature_info.reduction()
        ([32, 64], [2, 4])
    """

    levels: tuple[kinds.Level, ...]
    out_indices: tuple[int, ...]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """The channels of each map.

        Args:
            idx (int | Sequence[int] | None): which levels; see `FeatureInfo`. Default: None.

        Example:
            >>> zoo.create("resnet20", features_only=True).feature_info.channels()
            [16, 32, 64]
        """
        return self._read("channels", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """How many pixels of the input, along a side, one position of each map stands for.

        Args:
            idx (int | Sequence[int] | None): which levels; see `FeatureInfo`. Default: None.

        Example:
            >>> zoo.create("resnet20", features_only=True).feature_info.reduction(2)
            4
        """
        return self._read("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The name of the row that gives each map.

        Args:
            idx (int | Sequence[int] | None): which levels; see `FeatureInfo`. Default: None.

        Example:
            >>> zoo.create("resnet20", features_only=True).feature_info.module_name()
            ['s1_3', 's2_3', 's3_3']
        """
        return self._read("row", idx)

    def _read(self, key: str, idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return getattr(self.levels[idx], key)
        return [getattr(self.levels[i], key) for i in (self.out_indices if idx is None else idx)]


class Features(Model):
    """A network as a backbone: its rows up to the last level wanted, with one map a level.

    The tensors are those of `whole`, not copies, under the same keys. After training,
    `whole.load_state_dict(features.state_dict(), strict=False)` carries the weights back.
    `zoo.create(..., features_only=True)` makes one by name.

    Args:
        whole (Model): the network, dense or compressed.
        out_indices (int | Iterable[int] | None): indices of the levels, negative ones from the end, or the number of
            the last levels. Default: None, all.

    Attributes:
        feature_info (FeatureInfo): channels, reduction and row of each map.

    Raises:
        ValueError: an index is out of range or given twice, the network has no maps, or it was changed by hand.

    Example:
        >>> backbone = zoo.create("resnet20-int8", features_only=True)
        >>> [tuple(one.shape) for one in backbone(torch.randn(1, 3, 32, 32))]
        [(1, 16, 32, 32), (1, 32, 16, 16), (1, 64, 8, 8)]
    """

    def __init__(self, whole: Model, out_indices: int | Iterable[int] | None = None) -> None:
        whole, training = rebuildable(whole, "features"), whole.training
        levels = kinds.levels(whole.spec)
        if not levels:
            raise ValueError(f"{whole.spec.name} has no maps before its pooling, so it has no features to give.")
        chosen = _chosen(len(levels), out_indices, whole.spec.name)
        with usual_defaults("meta"):
            last = max((levels[index].row for index in chosen), key=[row.name for row in whole.spec].index)
            super().__init__(whole.spec.upto(last))
        own, state = self.state_dict(), whole.state_dict()
        self.load_state_dict({key: state[key] for key in own}, assign=True)
        self.feature_info = FeatureInfo(levels, chosen)
        self.made = whole.made
        self.train(training)

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Any:
        """Run the backbone.

        Args:
            x (Tensor): pictures (B, channels, H, W), normalised as `zoo.preprocess` does.
            taps (Iterable[str]): names of rows whose outputs are returned too. Default: none.

        Returns:
            A list of one float map a level, (B, C, ceil(H / reduction), ceil(W / reduction)). With `taps`, a pair: that
            list, and {row name: output of that row}.

        Raises:
            ValueError: `x` has a shape, dtype or device that the network does not take, or a tap is no row.
        """
        taps, rows = tuple(taps), self.feature_info.module_name()
        _, kept = super().forward(x, taps=(*rows, *taps))
        maps = [kept[row] for row in rows]
        return (maps, {tap: kept[tap] for tap in taps}) if taps else maps


def _chosen(count: int, out_indices: int | Iterable[int] | None, name: str) -> tuple[int, ...]:
    """The indices, each from 0 to count - 1, in the order given."""
    if out_indices is None:
        return tuple(range(count))
    given: tuple[Any, ...] = ()
    if isinstance(out_indices, int) and not isinstance(out_indices, bool):
        given = tuple(range(-min(out_indices, count + 1), 0))
    elif isinstance(out_indices, Iterable):
        given = tuple(out_indices)
    if not given or not all(isinstance(i, int) and not isinstance(i, bool) for i in given):
        raise ValueError(f"out_indices is a list of levels, or the number of the last ones, not {out_indices!r}.")
    if not all(-count <= i < count for i in given):
        raise ValueError(
            f"{name} has {count} levels, so out_indices go from 0 to {count - 1}, or from -{count} to -1 from the end, "
            f"or are the number of the last ones; {out_indices!r} is out of range."
        )
    chosen = tuple(i % count for i in given)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"out_indices {given} name one of the {count} levels of {name} twice.")
    return chosen
