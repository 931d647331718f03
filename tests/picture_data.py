"""Picture files and folders of them, and a network that takes such pictures."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from zoo.model.build import Model, build
from zoo.spec import Block, ImageInput, ModelSpec


def network(*labels: str, classes: int = 0) -> Model:
    count = classes or len(labels)
    model = build(
        ModelSpec(
            "tiny",
            (
                Block("conv_norm_act", "stem", in_channels=3, out_channels=4, stride=2),
                Block("global_pool", "pool"),
                Block("classifier", "classifier", in_features=4, num_classes=count),
            ),
            ImageInput(size=(8, 8), crop=1.0),
        )
    )
    model.labels = labels
    return model


def png(colour: int = 0, style: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 0)).save(buffer, style)
    return buffer.getvalue()


def tree(root: Path, *files: str, content: bytes = b"") -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content or png())
    return root
