"""Pictures to the tensor a network takes, by Pillow and numpy.

Shapes: B pictures, H and W the input's height and width, C its channels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from zoo.spec import ImageInput, ModelSpec, TextInput

if TYPE_CHECKING:
    from zoo.build import Model

Picture = Any  # PIL.Image.Image | str | os.PathLike | numpy.ndarray, uint8 (H, W) or (H, W, 1, 3 or 4)

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class ImageError(ValueError):
    """Something that is no picture, or a damaged one."""


@dataclass(frozen=True)
class Preprocess:
    """What `preprocess` gives; call it with pictures."""

    input: ImageInput

    def __call__(self, pictures: Picture | Sequence[Picture]) -> Tensor:
        """One picture, or a list of them, to floats (B, C, H, W); an array (B, H, W, C) is a list of them too."""
        several = isinstance(pictures, (list, tuple)) or (isinstance(pictures, np.ndarray) and pictures.ndim == 4)
        cut = [self.cut(picture) for picture in (pictures if several else [pictures])]
        if not cut:
            raise ImageError("No pictures were given.")
        return self.normalize(np.stack(cut))

    def cut(self, picture: Picture) -> np.ndarray:
        """One picture, resized and cut to uint8 (H, W, C); one of just that size is taken as it is."""
        opened = open_picture(picture, "RGB" if self.input.channels == 3 else "L")
        height, width = self.input.size
        if opened.size != (width, height):
            opened = self._resize(opened, _where(picture))
            left = round((opened.width - width) / 2)
            top = round((opened.height - height) / 2)
            opened = opened.crop((left, top, left + width, top + height))
        return np.asarray(opened).reshape(height, width, self.input.channels)

    def normalize(self, pictures: np.ndarray) -> Tensor:
        """uint8 (B, H, W, C) to float32 (B, C, H, W), channels last in memory."""
        scaled = torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255
        mean, std = torch.tensor(self.input.mean), torch.tensor(self.input.std)
        return ((scaled - mean) / std).permute(0, 3, 1, 2)

    def _resize(self, picture: Image.Image, where: str) -> Image.Image:
        """Until it just covers size / crop, rounded down, as timm and torchvision do, or is squashed to that."""
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


def preprocess(model_or_spec: Model | ModelSpec) -> Any:
    """A function from a picture to a network's input; of a language model from text (`zoo.text.tokenizer`).

    It takes a PIL image, a path, a uint8 array (H, W, 3), or a list of them, and gives floats (B, 3, H, W) on the CPU.
    Photographs are turned upright, other modes become RGB. It raises ImageError for what is no picture or damaged,
    FileNotFoundError for a path to nothing.
    """
    spec = getattr(model_or_spec, "spec", model_or_spec)
    if not isinstance(spec, ModelSpec):
        raise ValueError(f"preprocess takes a model or a ModelSpec, not {type(model_or_spec).__name__}.")
    if isinstance(spec.input, TextInput):
        from zoo.text.tokenizer import TextPreprocess

        return TextPreprocess(spec, getattr(model_or_spec, "tokenizer", ""))
    if spec.input.channels not in (1, 3):
        raise ValueError(f"{spec.name} takes {spec.input.channels} channels; pictures have 1 or 3.")
    return Preprocess(spec.input)


def open_picture(picture: Picture, mode: str) -> Image.Image:
    """The picture upright, in "RGB" or "L"; raises as `preprocess` does."""
    if isinstance(picture, np.ndarray):
        return _from_array(picture).convert(mode)
    if isinstance(picture, Image.Image):
        return _upright(picture, mode, _where(picture))
    if not isinstance(picture, (str, os.PathLike)):
        raise ImageError(f"A picture is a PIL image, a path, or a uint8 array (H, W, 3), not {type(picture).__name__}.")
    path = Path(picture)
    if not path.exists():
        raise FileNotFoundError(f"No such picture: {path}")
    if not path.is_file():
        raise ImageError(f"{path} is a folder, not a picture.")
    try:
        opened = Image.open(path)
    except Exception as error:  # decoders meet hostile bytes and raise whatever they like
        raise _damaged(str(path), error) from None
    with opened:
        return _upright(opened, mode, str(path))


def _where(picture: Picture) -> str:
    return str(picture) if isinstance(picture, (str, os.PathLike)) else "the image given"


def _upright(picture: Image.Image, mode: str, where: str) -> Image.Image:
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
            picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
        return picture.convert(mode)
    except Exception as error:  # as above
        raise _damaged(where, error) from None


def _damaged(where: str, error: Exception) -> ImageError:
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{where} is not a picture that Pillow can read.")
    return ImageError(f"{where} is a damaged picture ({error}).")


def _from_array(array: np.ndarray) -> Image.Image:
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype != np.uint8 or not (grey or colour) or 0 in array.shape:
        raise ImageError(f"An array is uint8 of shape (height, width, 3), not {array.dtype} of shape {array.shape}.")
    return Image.fromarray(array.reshape(array.shape[:2]) if grey else array)
