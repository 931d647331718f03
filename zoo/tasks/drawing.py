"""Draw answers about places in a picture: the colours of classes over the picture, and a legend below it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LONGEST = 2048  # pixels of a side of what is drawn
OPACITY = 0.55  # of the layer of colours
TEXT, GAP = 14, 8  # pixels
_TURN = 0.6180339887  # of the circle of hues, from a class to the next: no two are near for long

Color = tuple[int, int, int]


def color_of(number: int) -> Color:
    """The colour of a class, the same for every network and picture."""
    strength, light = ((0.75, 0.95), (0.95, 0.7), (0.5, 1.0))[number // 3 % 3]
    red, green, blue = colorsys.hsv_to_rgb(number * _TURN % 1, strength, light)
    return round(255 * red), round(255 * green), round(255 * blue)


def within_bounds(picture: Image.Image) -> Image.Image:
    """The picture in RGB, smaller where a side is longer than `LONGEST`."""
    picture = picture.convert("RGB")
    picture.thumbnail((LONGEST, LONGEST))
    return picture


def layered(picture: Image.Image, classes: np.ndarray) -> Image.Image:
    """The picture under the colours of its pixels' classes (H, W)."""
    colors = np.array([color_of(number) for number in range(int(classes.max()) + 1)], np.uint8)
    return Image.blend(picture, Image.fromarray(colors[classes]), OPACITY)


def with_legend(picture: Image.Image, rows: Sequence[tuple[Color, str]]) -> Image.Image:
    """The picture above a list of colours and what each stands for, in as many columns as fit."""
    if not rows:
        return picture
    font = ImageFont.load_default(TEXT)
    widest = max(round(font.getlength(text)) for _, text in rows) + TEXT + 3 * GAP
    columns = max(1, min(len(rows), picture.width // widest))
    lines = -(-len(rows) // columns)
    width = max(picture.width, widest)
    drawn = Image.new("RGB", (width, picture.height + lines * (TEXT + GAP) + GAP), "white")
    drawn.paste(picture)
    pen = ImageDraw.Draw(drawn)
    for place, (color, text) in enumerate(rows):
        x = GAP + place // lines * (width // columns)
        y = picture.height + GAP + place % lines * (TEXT + GAP)
        pen.rectangle((x, y, x + TEXT - 1, y + TEXT - 1), fill=color)
        pen.text((x + TEXT + GAP, y - 2), text, fill="black", font=font)
    return drawn
