"""Checkpoints of other libraries, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn as nn

from networks import randomize

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
SMALL = "mobilenetv2_035"
CLASSES = 7


def small() -> nn.Module:
    return randomize(timm.create_model(SMALL, num_classes=CLASSES))


def written(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "theirs.pth")
    return folder / "theirs.pth"
