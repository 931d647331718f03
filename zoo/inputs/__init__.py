"""What networks take, a class a modality. Nothing outside of this package asks which one it has."""

from zoo.inputs.base import INPUTS, Input, from_json, known, narrowed, register
from zoo.inputs.feature import Feature
from zoo.inputs.image import ImageInput
from zoo.inputs.table import TableInput
from zoo.inputs.text import TextInput

__all__ = [
    "INPUTS",
    "Feature",
    "ImageInput",
    "Input",
    "TableInput",
    "TextInput",
    "from_json",
    "known",
    "narrowed",
    "register",
]
