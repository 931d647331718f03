"""The border around a map, so that a window with stride s has ceil(size / s) positions."""

from collections.abc import Sequence

PADDINGS = ("symmetric", "same")


def check_padding(padding: str) -> None:
    """Raise ValueError for a padding there is not."""
    if padding not in PADDINGS:
        raise ValueError(f"Unknown padding {padding!r}; choose one of {sorted(PADDINGS)}.")


def borders(
    size: Sequence[int], kernel_size: int, stride: int, dilation: int, padding: str
) -> tuple[int, int, int, int]:
    """(left, right, top, bottom), as `F.pad` takes them, around a map of `size` (height, width); for odd kernels.

    "symmetric" is the same all around at every size. "same", TensorFlow's, is as much as the last window needs, an odd
    one behind: at stride 1 it is symmetric, at stride 2 for odd lengths only.
    """
    reach = dilation * (kernel_size - 1)
    if padding == "symmetric":
        return (reach // 2,) * 4
    (top, bottom), (left, right) = (_same(length, reach, stride) for length in size)
    return left, right, top, bottom


def _same(length: int, reach: int, stride: int) -> tuple[int, int]:
    last = (-(-length // stride) - 1) * stride  # where the last window starts, were there no border before
    total = max(last + reach + 1 - length, 0)
    return total // 2, total - total // 2
