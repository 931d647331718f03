"""The heads of detectors with their norms folded in."""

from zoo.engine.detection import GFLHeadRow, SSDHeadRow
from zoo.engine.fused.rows import FusedRow


class FusedSSDHead(SSDHeadRow, FusedRow):
    """`SSDHead` with its norms folded in."""


class FusedGFLHead(GFLHeadRow, FusedRow):
    """`GFLHead` with its norms folded in."""
