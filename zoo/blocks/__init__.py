"""The building blocks, each usable alone: `zoo.blocks.InvertedResidual(in_channels=16, mid_channels=64, ...)`."""

from zoo.blocks.conv import ConvNormAct
from zoo.blocks.head import Classifier, GlobalPool
from zoo.blocks.mobile import DepthwiseSeparable, InvertedResidual
from zoo.blocks.squeeze_excite import SqueezeExcite

__all__ = ["Classifier", "ConvNormAct", "DepthwiseSeparable", "GlobalPool", "InvertedResidual", "SqueezeExcite"]
