"""The heads of detectors in quantization-aware training."""

from zoo.engine.detection import GFLHeadRow, SSDHeadRow
from zoo.engine.qat.rows import QatRow


class QatSSDHead(SSDHeadRow, QatRow):
    """`Int8SSDHead` in training."""


class QatGFLHead(GFLHeadRow, QatRow):
    """`Int8GFLHead` in training."""
