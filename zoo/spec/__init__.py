"""A model is data: named rows, one a block, that any process can read without torch."""

from zoo.checks import MAX_INT, SpecError
from zoo.inputs import ImageInput, Input, TableInput, TextInput
from zoo.spec.block import EMITTED, MAX_DEPTH, MAX_ROWS, PRECISIONS, Block, Value
from zoo.spec.network import MAX_TEXT, ModelSpec

__all__ = [
    "EMITTED",
    "MAX_DEPTH",
    "MAX_INT",
    "MAX_ROWS",
    "MAX_TEXT",
    "PRECISIONS",
    "Block",
    "ImageInput",
    "Input",
    "ModelSpec",
    "SpecError",
    "TableInput",
    "TextInput",
    "Value",
]
