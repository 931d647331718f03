"""Prepare pictures for a network, with Pillow and numpy.

Shapes: B pictures, H and W the input's height and width, C its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.data.pictures import ImageError, Picture, open_picture, where_of
from zoo.spec import ImageInput, ModelSpec

if TYPE_CHECKING:
    from zoo.model.build import Model

__all__ = ["ImageError", "Picture", "Preprocess", "open_picture", "preprocess"]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """A function from pictures to the tensor that a network takes; `zoo.preprocess` makes it.

    Args:
        input (ImageInput): size, crop, interpolation, mean and standard deviation, `model.spec.input`.

    Example:
        >>> prepare = zoo.preprocess(zoo.create("resnet20"))
        >>> prepare.input.size
        (32, 32)
    """

    input: ImageInput

    def __call__(self, pictures: Picture | Sequence[Picture]) -> Tensor:
        """Prepare one picture, or several.

        Args:
            pictures (Picture | Sequence[Picture]): a PIL image, a path, the bytes of a file, a uint8 array (H, W, 3), a
                list of these, or a uint8 array (B, H, W, 3).

        Returns:
            A float32 tensor (B, channels, height, width) on the CPU, channels last in memory; B is 1 for one picture.

        Raises:
            ImageError: a picture is damaged, too large, or none.
            FileNotFoundError: a path does not exist.
        """
        cut = [self.cut(picture) for picture in as_list(pictures)]
        if not cut:
            raise ImageError("No pictures were given.")
        return self.normalize(np.stack(cut))

    def cut(self, picture: Picture) -> np.ndarray:
        """Resize one picture and cut out its middle.

        Args:
            picture (Picture): one picture, as `__call__` takes it. One of the network's own size is taken as it is.

        Returns:
            A uint8 array (height, width, channels).

        Raises:
            ImageError: the picture is damaged, too large, or none.
            FileNotFoundError: the path does not exist.
        """
        opened = open_picture(picture, "RGB" if self.input.channels == 3 else "L")
        height, width = self.input.size
        if opened.size != (width, height):
            opened = self._resize(opened, where_of(picture))
            left = round((opened.width - width) / 2)
            top = round((opened.height - height) / 2)
            opened = opened.crop((left, top, left + width, top + height))
        return np.asarray(opened).reshape(height, width, self.input.channels)

    def normalize(self, pictures: np.ndarray) -> Tensor:
        """Bring pixels to the scale that the network was trained on.

        Args:
            pictures (np.ndarray): uint8 (B, H, W, channels).

        Returns:
            A float32 tensor (B, channels, H, W), channels last in memory.
        """
        scaled = torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255
        usual: Any = {"dtype": torch.float32, "device": "cpu"}  # a caller may have changed torch's defaults
        mean, std = torch.tensor(self.input.mean, **usual), torch.tensor(self.input.std, **usual)
        return ((scaled - mean) / std).permute(0, 3, 1, 2)

    def _resize(self, picture: Image.Image, where: str) -> Image.Image:
        """Resize to just cover size / crop (rounded down, as in timm and torchvision), or squash to that size."""
        height, width = (int(side / self.input.crop) for side in self.input.size)
        if self.input.squash:
            new = (width, height)
        elif picture.width * height <= picture.height * width:
            new = (width, int(width * picture.height / picture.width))
        else:
            new = (int(height * picture.width / picture.height), height)
        if Image.MAX_IMAGE_PIXELS is not None and new[0] * new[1] > Image.MAX_IMAGE_PIXELS:
            raise ImageError(
                f"{where} is {picture.width}x{picture.height}, too long and narrow: it would be resized to "
                f"{new[0]:,}x{new[1]:,} pixels before it is cut to {self.input.size[1]}x{self.input.size[0]}. "
                "Cut out the part that matters first."
            )
        return picture.resize(new, _FILTERS[self.input.interpolation])


def as_list(pictures: Picture | Sequence[Picture]) -> list[Picture]:
    """One picture, or several, as a list."""
    several = isinstance(pictures, (list, tuple)) or (isinstance(pictures, np.ndarray) and pictures.ndim == 4)
    return list(pictures) if several else [pictures]  # type: ignore[arg-type, list-item]


def preprocess(model_or_spec: Model | ModelSpec) -> Any:
    """Make the function that prepares pictures, texts, or rows of a table, for a network.

    For pictures it is a `Preprocess`, for texts a tokenizer (`zoo.text.tokenizer`), for rows a `TableEncoder`
    (`zoo.tabular.encoder`), which needs the network itself. Files are JPEG, PNG, WebP, GIF,
    BMP, TIFF or PPM. Photographs are turned upright, other modes become RGB.

    Args:
        model_or_spec (Model | ModelSpec): the network, or its spec.

    Returns:
        A callable from one picture, or a list, to floats (B, 3, H, W) on the CPU; of a language model, from one text,
        or a list, to a dict of tensors (B, N); of a recommender, from rows to row numbers and values (B, columns).

    Raises:
        ValueError: the argument is no network, or a network whose inputs are no pictures of 1 or 3 channels.

    Example:
        >>> model = zoo.create("resnet20")
        >>> prepare = zoo.preprocess(model)
        >>> images, labels = zoo.samples()
        >>> x = prepare(images[0])
        >>> x.shape, x.dtype
        (torch.Size([1, 3, 32, 32]), torch.float32)
        >>> model.labels[model(x).argmax()] == model.labels[labels[0]]
        True
    """
    spec = getattr(model_or_spec, "spec", model_or_spec)
    if not isinstance(spec, ModelSpec):
        raise ValueError(f"preprocess takes a model or a ModelSpec, not {type(model_or_spec).__name__}.")
    learned = spec.input.learned
    return spec.input.fetch("preparer")(spec, getattr(model_or_spec, learned, "") if learned else "")


def of_pictures(spec: ModelSpec, tokenizer: str = "") -> Preprocess:
    """The preparation for a network of pictures; raises ValueError unless the network takes 1 or 3 channels."""
    if spec.pictures.channels not in (1, 3):
        raise ValueError(f"{spec.name} takes {spec.pictures.channels} channels; pictures have 1 or 3.")
    return Preprocess(spec.pictures)
