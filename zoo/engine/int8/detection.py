"""The heads of detectors with integer weights."""

from zoo.engine.detection import GFLHeadRow, SSDHeadRow
from zoo.engine.int8.row import Int8Row


class Int8SSDHead(SSDHeadRow, Int8Row):
    """`SSDHead` with integer weights."""


class Int8GFLHead(GFLHeadRow, Int8Row):
    """`GFLHead` with integer weights."""
