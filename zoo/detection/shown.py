"""What a detector answers of one picture, as a person reads it: lines, JSON, and boxes drawn on the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zoo.tasks.answers import class_name
from zoo.tasks.drawing import color_of

if TYPE_CHECKING:
    from PIL import Image

    from zoo.model.build import Model

SURE = 0.3  # objects of a lower score are neither shown nor drawn; JSON has them all


class Objects:
    """The objects in one picture, the likeliest first."""

    sure = SURE

    def __init__(self, model: Model, found: Mapping[str, Tensor]) -> None:
        rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True)
        self._found = [
            {"label": class_name(model, label), "score": score, "box": [round(one, 2) for one in box], "class": label}
            for box, score, label in rows
        ]

    def above(self, score: float) -> None:
        """Leave out the objects of a lower score, here and in JSON."""
        self.sure, self._found = score, [one for one in self._found if one["score"] >= score]

    def to_json(self) -> dict[str, Any]:
        return {"objects": [{key: one[key] for key in ("label", "score", "box")} for one in self._found]}

    def lines(self) -> Iterator[str]:
        sure = [one for one in self._found if one["score"] >= self.sure]
        for one in sure:
            x1, y1, x2, y2 = map(round, one["box"])
            yield f"{100 * one['score']:6.2f}%  {one['label']}  ({x1}, {y1}) to ({x2}, {y2})"
        if not sure:
            yield f"no object with a score of {self.sure:.4g} or more"

    def draw(self, picture: Image.Image) -> Image.Image:
        """A copy of the picture, with a frame around each object, its name and its score."""
        from PIL import ImageDraw, ImageFont

        drawn = picture.convert("RGB")
        pen, width = ImageDraw.Draw(drawn), max(1, round(min(picture.size) / 200))
        font = ImageFont.load_default(max(10, round(min(picture.size) / 30)))
        for one in reversed([one for one in self._found if one["score"] >= self.sure]):  # the likeliest on top
            color, text = color_of(one["class"]), f"{one['label']} {one['score']:.0%}"
            x1, y1, x2, y2 = one["box"]
            pen.rectangle((x1, y1, x2, y2), outline=color, width=width)
            left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
            height = bottom - top + 4
            above = y1 - height if y1 >= height else y1
            pen.rectangle((x1, above, x1 + right - left + 4, above + height), fill=color)
            pen.text((x1 + 2 - left, above + 2 - top), text, fill="black", font=font)
        return drawn
