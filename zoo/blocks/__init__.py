"""The building blocks, each usable alone: `zoo.blocks.InvertedResidual(in_channels=16, mid_channels=64, ...)`."""

from zoo.blocks.attention import Attention
from zoo.blocks.conv import ConvNormAct
from zoo.blocks.cross_attention import CrossAttention
from zoo.blocks.decoder_block import DecoderBlock
from zoo.blocks.dense import ChannelGate, SegmentationHead
from zoo.blocks.detection import DetectionHead, GFLHead, Predictor, SSDHead
from zoo.blocks.embedding import PatchEmbedding, TargetEmbedding, TokenEmbedding
from zoo.blocks.feature_embedding import FeatureEmbedding
from zoo.blocks.graph import Branch
from zoo.blocks.head import Classifier, Hidden
from zoo.blocks.interactions import CrossLayer, FactorizationMachine, Wide
from zoo.blocks.joins import Add, Concat, Slice, Upsample
from zoo.blocks.mobile import DepthwiseSeparable, InvertedResidual
from zoo.blocks.pool import AdaptiveAvgPool, AvgPool, GlobalPool, MaxPool
from zoo.blocks.residual import BasicBlock, Bottleneck
from zoo.blocks.squeeze_excite import SqueezeExcite
from zoo.blocks.streams import BilinearHead, FeatureGate, LogitHead
from zoo.blocks.tokens import PairClassifier, Pooler, TokenHead, TokenNorm, TokenPool, TokenProjection
from zoo.blocks.transformer import Mlp, TransformerBlock

__all__ = [
    "AdaptiveAvgPool",
    "Add",
    "Attention",
    "AvgPool",
    "BasicBlock",
    "BilinearHead",
    "Bottleneck",
    "Branch",
    "ChannelGate",
    "Classifier",
    "Concat",
    "ConvNormAct",
    "CrossAttention",
    "CrossLayer",
    "DecoderBlock",
    "DepthwiseSeparable",
    "DetectionHead",
    "FactorizationMachine",
    "FeatureEmbedding",
    "FeatureGate",
    "GFLHead",
    "GlobalPool",
    "Hidden",
    "InvertedResidual",
    "LogitHead",
    "MaxPool",
    "Mlp",
    "PairClassifier",
    "PatchEmbedding",
    "Pooler",
    "Predictor",
    "SSDHead",
    "SegmentationHead",
    "Slice",
    "SqueezeExcite",
    "TargetEmbedding",
    "TokenEmbedding",
    "TokenHead",
    "TokenNorm",
    "TokenPool",
    "TokenProjection",
    "TransformerBlock",
    "Upsample",
    "Wide",
]
