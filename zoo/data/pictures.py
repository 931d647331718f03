"""Open one picture of a format named here, upright, within a stated amount of memory."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from zoo.files import local_path

Picture = Any  # PIL.Image.Image | str | os.PathLike | bytes | numpy.ndarray, uint8 (H, W) or (H, W, 1, 3 or 4)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that are opened; of a GIF, a TIFF or a moving WebP the first picture."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"}
"""What the names of pictures end in, in a folder of them."""

MAX_BYTES = 512 * 2**20
"""The memory that decoding one picture may take, and the size of a file: 67 million pixels, 33 million of a WebP."""

_BYTES_A_PIXEL = {"WEBP": 16}  # the decoder makes several copies
_USUAL_BYTES_A_PIXEL = 8  # the decoded picture, and a copy while it is turned or converted
_PROGRESSIVE_BYTES_A_PIXEL = 6  # the coefficients; a smaller scale needs as many
_SCALES = (2, 4, 8)  # a JPEG can be decoded at 1 / scale
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I;16B", "I;16L", "I;16N"}
_PROGRAMS = {"EPS", "WMF"}  # formats that are programs, or that Pillow passes to other programs


class ImageError(ValueError):
    """The input is no picture, or a damaged picture."""


class PictureBytes(bytes):
    """An encoded picture that knows where it is from, for errors."""

    where = ""


def open_picture(picture: Picture, mode: str) -> Image.Image:
    """The picture upright, in "RGB" or "L".

    `picture` is a PIL image, a path, the bytes of a picture file, or a uint8 array. The file's header has the size, so
    a picture that is too large is refused before it is decoded. A large JPEG is decoded at a half, a quarter or an
    eighth of its size.

    Raises ImageError if the input is no picture, damaged, of another format, or too large, and FileNotFoundError if the
    path does not exist.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture).convert(mode)
    if isinstance(picture, Image.Image):
        if picture.format in _PROGRAMS:
            raise ImageError(
                f"The image given is {picture.format}, which is not opened; formats are {', '.join(FORMATS)}."
            )
        return _upright(picture, mode, where_of(picture), own=False)
    with open_undecoded(picture) as opened:
        return _upright(opened, mode, where_of(picture), own=True)


def open_undecoded(picture: str | os.PathLike[str] | bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The picture of a path or of the bytes of a file, in one of `formats`, before its pixels are decoded.

    Decoding it takes no more than `MAX_BYTES`. Raises as `open_picture`.
    """
    if isinstance(picture, bytes):
        source: Any = io.BytesIO(picture)
        size = len(picture)
    elif isinstance(picture, (str, os.PathLike)):
        source, size = _file(picture)
    else:
        raise ImageError(
            "A picture is a PIL image, a path, the bytes of a file, or a uint8 array (H, W, 3), not "
            f"{type(picture).__name__}."
        )
    where = where_of(picture)
    if size > MAX_BYTES:
        raise ImageError(f"{where} has {size:,} bytes; a picture's file may have {MAX_BYTES:,}.")
    try:
        opened = Image.open(source, formats=formats)
    except Exception as error:  # a decoder may raise any error for hostile bytes
        raise _damaged(where, error, formats) from None
    try:
        _fit(opened, where)
    except BaseException:
        opened.close()
        raise
    return opened


def picture_size(picture: Picture) -> tuple[int, int]:
    """Height and width of the picture upright, as its file has them, even where it is decoded at a smaller scale.

    Raises as `open_picture`.
    """
    if isinstance(picture, (np.ndarray, Image.Image)):
        opened = open_picture(picture, "RGB")
        return opened.height, opened.width
    where, source = where_of(picture), io.BytesIO(picture) if isinstance(picture, bytes) else _file(picture)[0]
    try:
        with Image.open(source, formats=FORMATS) as opened:
            turned = opened.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = opened.size
    except Exception as error:  # as in open_picture
        raise _damaged(where, error) from None
    return (width, height) if turned else (height, width)


def reopenable(picture: Picture) -> Picture:
    """The picture as it may be opened more than once: of a pipe, which is read here, its content.

    Raises as `open_picture` for a path that is none of a picture.
    """
    if not isinstance(picture, (str, os.PathLike)):
        return picture
    source, _ = _file(picture)
    if not isinstance(source, io.BytesIO):
        return picture
    content = PictureBytes(source.getvalue())
    content.where = str(picture)
    return content


def where_of(picture: Picture) -> str:
    """The name of the picture in an error."""
    if isinstance(picture, (str, os.PathLike)):
        return str(picture)
    told = getattr(picture, "where", "") if isinstance(picture, bytes) else ""
    return told or "The image given"


def _file(picture: str | os.PathLike[str]) -> tuple[Any, int]:
    """(path or stream for Pillow, size in bytes); a pipe is read to its end, or to one byte above the limit."""
    path = local_path(picture)
    if re.match(r"\w+://", str(picture)):
        raise ImageError(f"{picture} is an address; pictures come from files. Download it first.")
    try:
        found = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"No such picture: {picture}") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{picture} cannot be opened ({getattr(error, 'strerror', None) or error}).") from None
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{picture} is a folder, not a picture.")
    if stat.S_ISREG(found.st_mode):
        return path, found.st_size
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    return io.BytesIO(content), len(content)


def _fit(picture: Image.Image, where: str) -> None:
    """Raise ImageError if decoding would take too much memory. A JPEG is first set to a smaller scale."""
    scales = (1, *_SCALES) if picture.format in ("JPEG", "MPO") else (1,)
    scale = next((scale for scale in scales if _bytes(picture, scale) <= MAX_BYTES), None)
    width, height = picture.size
    if scale is None:
        raise ImageError(
            f"{where} is {width}x{height}, too large: decoding it would take {_bytes(picture, scales[-1]):,} bytes, "
            f"and may take {MAX_BYTES:,}. Make it smaller first."
        )
    if scale > 1:
        picture.draft(None, (width // scale, height // scale))  # type: ignore[arg-type]


def _bytes(picture: Image.Image, scale: int) -> int:
    """The largest number of bytes that decoding at 1 / `scale` takes."""
    width, height = picture.size
    pixels = -(-width // scale) * -(-height // scale)
    needed = pixels * _BYTES_A_PIXEL.get(picture.format or "", _USUAL_BYTES_A_PIXEL)
    return needed + width * height * (_PROGRESSIVE_BYTES_A_PIXEL if "progressive" in picture.info else 0)


def _upright(picture: Image.Image, mode: str, where: str, *, own: bool) -> Image.Image:
    sixteen_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")
    if picture.mode not in _MODES and not sixteen_bits:
        numbers = {"I": "32-bit whole numbers", "F": "floats"}.get(picture.mode)
        if numbers is None:
            raise ImageError(f"{where} is in Pillow's mode {picture.mode}, which has no RGB; convert it first.")
        raise ImageError(
            f"{where} holds {numbers} (Pillow's mode {picture.mode}), and nothing says which value is white. Scale it "
            "to uint8, 0 to 255, first."
        )
    try:
        picture.load()
        if own:  # without a copy
            ImageOps.exif_transpose(picture, in_place=True)
        else:
            picture = ImageOps.exif_transpose(picture)
        if sixteen_bits:  # convert() would clip the values to white
            picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
        return picture if own and picture.mode == mode else picture.convert(mode)
    except Exception as error:  # as above
        raise _damaged(where, error) from None


def _damaged(where: str, error: Exception, formats: Sequence[str] = FORMATS) -> ImageError:
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{where} is not a picture of a format that is read here: {', '.join(formats)}.")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{where} is too large ({error}).")
    return ImageError(f"{where} is a damaged picture ({error}).")


def _from_array(array: np.ndarray) -> Image.Image:
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype != np.uint8 or not (grey or colour) or 0 in array.shape:
        raise ImageError(f"An array is uint8 of shape (height, width, 3), not {array.dtype} of shape {array.shape}.")
    return Image.fromarray(array.reshape(array.shape[:2]) if grey else array)
