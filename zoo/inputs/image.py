"""Pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.checks import is_int, is_number, require, short
from zoo.inputs.base import Input, Size, register

if TYPE_CHECKING:
    from torch import Tensor

MIN_CROP = 0.01
MAX_SIDE = 8192  # also of channels
FURTHEST = 1e6  # from 0, and 1 / this from above: means and deviations of which every pixel becomes a finite float32
KEYS = ("pixel_values", "images", "image", "img")  # what loaders call them


@register
@dataclass(frozen=True)
class ImageInput(Input):
    """The input of a vision model: floats (batch, channels, height, width), normalised by `mean` and `std`.

    Args:
        size (tuple[int, int]): height and width in pixels. Default: (224, 224).
        channels (int): 3 for RGB, 1 for grey. Default: 3.
        mean (tuple[float, ...]): one value for each channel, in the range 0 to 1. Default: ImageNet's.
        std (tuple[float, ...]): one value for each channel, in the range 0 to 1. Default: ImageNet's.
        interpolation (str): "bilinear" or "bicubic", for resizing. Default: "bicubic".
        crop (float): the share of the resized picture that the centre crop keeps, from 0.01 to 1. A picture is resized
            so that its short side is `size / crop`. Default: 0.875.
        squash (bool): resize both sides to `size / crop`, and do not keep the picture's aspect ratio. Default: False.

    Raises:
        SpecError: a value is out of range.

    Example:
        >>> zoo.create("mobilenet").spec.input.size
        (32, 32)
    """

    type: ClassVar[str] = "image"
    unit: ClassVar[str] = "pictures"
    keys: ClassVar[tuple[str, str]] = ("image", "images")
    one: ClassVar[str] = "picture"
    later: ClassVar[frozenset[str]] = frozenset({"squash"})
    preparer: ClassVar[str] = "zoo.data.preprocess:of_pictures"
    reader: ClassVar[str] = "zoo.data.readers:PictureReader"
    files: ClassVar[str] = "pictures/"
    samples: ClassVar[str] = "zoo.data.samples:calibration_pictures"
    batches: ClassVar[str] = "zoo.train.batches:PictureBatches"
    augment: ClassVar[str] = "zoo.train.unlabelled:cut_at_random"
    translation: ClassVar[str] = "zoo.train.teachers:renormalized"
    loader: ClassVar[str] = "zoo.train.data:open_pictures"
    most_channels: ClassVar[int] = MAX_SIDE

    size: tuple[int, int] = (224, 224)
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop: float = 0.875
    squash: bool = False

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) and len(self.size) == 2 else (0,)
        for what, numbers, given in (("size", sides, self.size), ("channels", (self.channels,), self.channels)):
            proper = all(is_int(n) and 1 <= n <= MAX_SIDE for n in numbers)
            require(proper, f"input {what} is from 1 to {MAX_SIDE}, not {short(given)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            proper = isinstance(values, tuple) and len(values) == self.channels and all(map(is_number, values))
            require(proper, f"input {name} needs {self.channels} numbers, not {short(values)}")
            proper = all(abs(n) <= FURTHEST for n in values)
            require(proper, f"input {name} is at most {FURTHEST:g}, not {short(values)}")
        least = 1 / FURTHEST
        require(all(n >= least for n in self.std), f"input std is positive, at least {least:g}, not {short(self.std)}")
        require(self.interpolation in ("bilinear", "bicubic"), f"unknown interpolation {short(self.interpolation)}")
        proper = is_number(self.crop) and MIN_CROP <= self.crop <= 1
        require(proper, f"crop is between {MIN_CROP} and 1, not {short(self.crop)}")
        require(isinstance(self.squash, bool), f"squash is true or false, not {short(self.squash)}")

    @property
    def usual_size(self) -> Size:
        return self.size

    @property
    def width(self) -> int:
        return self.channels

    def shape(self, size: Size | None = None) -> tuple[int, ...]:
        return (self.channels, *(size or self.size))

    @property
    def brief(self) -> str:
        return "x".join(map(str, self.size))

    @property
    def takes(self) -> str:
        return f"{self.brief} pixels"

    def facts(self) -> dict[str, Any]:
        order = {1: "grey", 3: "RGB"}.get(self.channels, f"{self.channels} channels")
        said = super().facts()
        del said["channels"]
        return {**said, "color_order": order}

    def example(self, batch: int, size: int | Size | None = None) -> Tensor:
        """Random floats (batch, channels, height, width), channels last as `zoo.preprocess` makes them."""
        import torch

        shape = self.shape((size, size) if isinstance(size, int) else size)
        x = torch.randn((batch, *shape), generator=torch.Generator().manual_seed(0))
        return x.contiguous(memory_format=torch.channels_last)

    def check(self, name: str, x: Any) -> None:
        from torch import Tensor

        if not isinstance(x, Tensor):
            found = type(x).__name__
        elif not x.is_floating_point() or x.dim() != 4 or x.shape[1] != self.channels or 0 in x.shape[2:]:
            found = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
        else:
            return
        raise ValueError(
            f"{name} takes normalised floats of shape (batch, {self.channels}, height, width), not {found}; "
            "zoo.preprocess(model) makes them."
        )

    def of_dict(self, name: str, given: Mapping[str, Any]) -> Any:
        if len(given) != 1 or not set(given) <= set(KEYS):
            raise ValueError(
                f"A dict for {name} has one of {', '.join(KEYS)}, and labels beside them, not "
                f"{sorted(map(str, given))}."
            )
        return next(iter(given.values()))
