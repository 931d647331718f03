"""Which models, blocks and passes exist: name -> "module:attribute", and no torch until one is fetched."""

from __future__ import annotations

import inspect
from typing import Any

from zoo.lazy import fetch
from zoo.naming import Name, UnknownName, did_you_mean, parse
from zoo.spec import ModelSpec

MODELS: dict[str, str] = {
    "mobilenetv1_100": "zoo.models.mobilenetv1:imagenet",
    **{
        f"mobilenetv2_{size}": "zoo.models.mobilenetv2:imagenet"
        for size in ("035", "050", "075", "100", "110d", "120d", "140")
    },
    "mobilenetv2_cifar": "zoo.models.mobilenetv2:cifar",
    "mobilenetv2_cifar_small": "zoo.models.mobilenetv2:cifar",
    **{f"mobilenetv3_small_{size}": "zoo.models.mobilenetv3:imagenet" for size in ("050", "075", "100")},
    **{f"mobilenetv3_large_{size}": "zoo.models.mobilenetv3:imagenet" for size in ("075", "100")},
    "resnet20": "zoo.models.resnet:cifar",
    "resnet20_small": "zoo.models.resnet:cifar",
    "resnet32": "zoo.models.resnet:cifar",
    "resnet56": "zoo.models.resnet:cifar",
    **{f"resnet{depth}": "zoo.models.resnet:imagenet" for depth in (18, 34, 50, 101, 152)},
    **{
        f"{twin}efficientnet_{series}{scale}": "zoo.models.efficientnet:imagenet"
        for twin in ("", "tf_")
        for series in ("b", "lite")
        for scale in range(5)
    },
    "efficientnet_cifar": "zoo.models.efficientnet:cifar",
    "efficientnet_cifar_small": "zoo.models.efficientnet:cifar",
    **{
        f"{family}_{size}{distilled}_patch16_224": "zoo.models.vit:imagenet"
        for family, distilled in (("vit", ""), ("deit", ""), ("deit", "_distilled"))
        for size in ("tiny", "small", "base")
    },
    "vit_cifar": "zoo.models.vit:cifar",
    "vit_cifar_small": "zoo.models.vit:cifar",
    **{f"bert_{size}": "zoo.models.bert:transformers" for size in ("micro", "tiny", "mini", "small", "medium")},
    **{
        f"bert_{size}_{case}": "zoo.models.bert:transformers"
        for size in ("base", "large")
        for case in ("uncased", "cased")
    },
    "distilbert_base_uncased": "zoo.models.bert:transformers",
    "distilbert_base_cased": "zoo.models.bert:transformers",
    "roberta_base": "zoo.models.bert:transformers",
    "roberta_large": "zoo.models.bert:transformers",
    "distilroberta_base": "zoo.models.bert:transformers",
    "all_minilm_l6_v2": "zoo.models.bert:transformers",
    "all_minilm_l12_v2": "zoo.models.bert:transformers",
    "minilm_l6_h384_uncased": "zoo.models.bert:transformers",
    "minilm_l12_h384_uncased": "zoo.models.bert:transformers",
    **{f"electra_{size}": "zoo.models.bert:transformers" for size in ("small", "base", "large")},
    "mpnet_base": "zoo.models.bert:transformers",
    "all_mpnet_base_v2": "zoo.models.bert:transformers",
    **{f"albert_{size}_v2": "zoo.models.bert:transformers" for size in ("base", "large")},
    **{f"gpt2{size}": "zoo.models.gpt:transformers" for size in ("_tiny", "_mini", "", "_medium", "_large", "_xl")},
    "distilgpt2": "zoo.models.gpt:transformers",
    **{f"smollm2_{size}": "zoo.models.gpt:transformers" for size in ("135m", "360m", "1_7b")},
    "qwen2_0_5b": "zoo.models.gpt:transformers",
    "llama3_2_1b": "zoo.models.gpt:transformers",
    **{f"marian_{size}": "zoo.models.marian:transformers" for size in ("micro", "tiny", "small", "base", "big")},
    **{
        f"{family}_{size}": "zoo.models.t5:transformers"
        for family in ("t5", "t5_v1_1", "flan_t5")
        for size in ("small", "base", "large")
    },
    **{name: f"zoo.models.detection:{name}" for name in ("ssdlite", "gfl_pan")},
    **{name: f"zoo.models.segmentation:{name}" for name in ("lraspp", "deeplabv3plus", "fastscnn")},
    **dict.fromkeys(("wide_deep", "deepfm", "dcnv2", "finalmlp"), "zoo.models.recommender:tabular"),
}

# Repositories of the Hub whose names are not ours with hyphens.
_HUB_SPELLINGS = {
    "all-MiniLM-L6-v2": "all_minilm_l6_v2",
    "all-MiniLM-L12-v2": "all_minilm_l12_v2",
    "MiniLM-L6-H384-uncased": "minilm_l6_h384_uncased",
    "MiniLM-L12-H384-uncased": "minilm_l12_h384_uncased",
    **{f"electra-{size}-discriminator": f"electra_{size}" for size in ("small", "base", "large")},
    "SmolLM2-135M": "smollm2_135m",
    "SmolLM2-360M": "smollm2_360m",
    "SmolLM2-1.7B": "smollm2_1_7b",
    "Qwen2-0.5B": "qwen2_0_5b",
    "Llama-3.2-1B": "llama3_2_1b",
    "distilbert-base-uncased-finetuned-sst-2-english": "distilbert_base_uncased.sst2",
}

# family -> its weights by tag, "" for those that a network was pretrained to; the first is what its name alone means
FAMILIES: dict[str, dict[str, str]] = {
    "mobilenet": {"cifar10": "mobilenetv2_cifar.cifar10", "in1k": "mobilenetv2_100.ra_in1k"},
    "resnet": {"cifar10": "resnet20.cifar10", "in1k": "resnet50.a1_in1k"},
    "efficientnet": {"cifar10": "efficientnet_cifar.cifar10", "in1k": "efficientnet_b0.ra_in1k"},
    "vit": {"in1k": "vit_base_patch16_224.augreg2_in21k_ft_in1k"},
    "marian": {"multi30k": "marian_tiny.multi30k"},
    "gpt": {"shakespeare": "gpt2_mini.shakespeare"},
    "t5": {"": "t5_small"},
    "bert": {"": "bert_base_uncased", "sst2": "all_minilm_l6_v2.sst2", "policyqa": "all_minilm_l6_v2.policyqa"},
    "distilbert": {"": "distilbert_base_uncased", "sst2": "distilbert_base_uncased.sst2"},
}

_HYPHENATED = tuple(f"zoo.models.{family}:" for family in ("bert", "gpt", "vit", "marian", "t5"))  # as on the Hub

# family or foreign spelling -> what it stands for
ALIASES: dict[str, str] = {
    **{
        arch.replace("_", "-"): arch
        for arch, target in MODELS.items()
        if target.startswith(_HYPHENATED) and "_" in arch
    },
    **_HUB_SPELLINGS,
    **{family: next(iter(tags.values())) for family, tags in FAMILIES.items()},
    **{f"{family}.{tag}": name for family, tags in FAMILIES.items() for tag, name in tags.items() if tag},
}

# transformers' kinds of network -> what makes a spec of their sizes
SIZED: dict[str, str] = {
    "vit": "zoo.models.vit:sized",
    "encoder": "zoo.models.bert:encoder",
    "gpt2": "zoo.models.gpt:gpt2_type",
    "llama": "zoo.models.gpt:llama_type",
    "marian": "zoo.models.marian:marian_type",
    "t5": "zoo.models.t5:t5_type",
}

# kind -> the module that runs it, by precision
BLOCKS: dict[tuple[str, str], str] = {
    ("conv_norm_act", "float32"): "zoo.blocks.conv:ConvNormAct",
    ("depthwise_separable", "float32"): "zoo.blocks.mobile:DepthwiseSeparable",
    ("inverted_residual", "float32"): "zoo.blocks.mobile:InvertedResidual",
    ("basic_block", "float32"): "zoo.blocks.residual:BasicBlock",
    ("bottleneck", "float32"): "zoo.blocks.residual:Bottleneck",
    ("branch", "float32"): "zoo.blocks.graph:Branch",
    ("add", "float32"): "zoo.blocks.joins:Add",
    ("concat", "float32"): "zoo.blocks.joins:Concat",
    ("slice", "float32"): "zoo.blocks.joins:Slice",
    ("upsample", "float32"): "zoo.blocks.joins:Upsample",
    ("avg_pool", "float32"): "zoo.blocks.pool:AvgPool",
    ("adaptive_avg_pool", "float32"): "zoo.blocks.pool:AdaptiveAvgPool",
    ("channel_gate", "float32"): "zoo.blocks.dense:ChannelGate",
    ("segmentation_head", "float32"): "zoo.blocks.dense:SegmentationHead",
    ("ssd_head", "float32"): "zoo.blocks.detection:SSDHead",
    ("gfl_head", "float32"): "zoo.blocks.detection:GFLHead",
    ("feature_embedding", "float32"): "zoo.blocks.feature_embedding:FeatureEmbedding",
    ("wide", "float32"): "zoo.blocks.interactions:Wide",
    ("factorization_machine", "float32"): "zoo.blocks.interactions:FactorizationMachine",
    ("cross_layer", "float32"): "zoo.blocks.interactions:CrossLayer",
    ("feature_gate", "float32"): "zoo.blocks.streams:FeatureGate",
    ("logit_head", "float32"): "zoo.blocks.streams:LogitHead",
    ("bilinear_head", "float32"): "zoo.blocks.streams:BilinearHead",
    ("max_pool", "float32"): "zoo.blocks.pool:MaxPool",
    ("global_pool", "float32"): "zoo.blocks.pool:GlobalPool",
    ("hidden", "float32"): "zoo.blocks.head:Hidden",
    ("classifier", "float32"): "zoo.blocks.head:Classifier",
    ("patch_embedding", "float32"): "zoo.blocks.embedding:PatchEmbedding",
    ("token_embedding", "float32"): "zoo.blocks.embedding:TokenEmbedding",
    ("transformer_block", "float32"): "zoo.blocks.transformer:TransformerBlock",
    ("token_projection", "float32"): "zoo.blocks.tokens:TokenProjection",
    ("token_norm", "float32"): "zoo.blocks.tokens:TokenNorm",
    ("token_pool", "float32"): "zoo.blocks.tokens:TokenPool",
    ("pooler", "float32"): "zoo.blocks.tokens:Pooler",
    ("pair_classifier", "float32"): "zoo.blocks.tokens:PairClassifier",
    ("token_head", "float32"): "zoo.blocks.tokens:TokenHead",
    ("target_embedding", "float32"): "zoo.blocks.embedding:TargetEmbedding",
    ("decoder_block", "float32"): "zoo.blocks.decoder_block:DecoderBlock",
    ("token_embedding", "int8"): "zoo.engine.int8.text:Int8TokenEmbedding",
    ("transformer_block", "int8"): "zoo.engine.int8.transformer:Int8TransformerBlock",
    ("token_head", "int8"): "zoo.engine.int8.text:Int8TokenHead",
    ("token_projection", "int8"): "zoo.engine.int8.text:Int8TokenProjection",
    ("token_projection", "int8_dynamic"): "zoo.engine.int8.text:DynamicTokenProjection",
    ("token_embedding", "int8_dynamic"): "zoo.engine.int8.text:Int8TokenEmbedding",
    ("transformer_block", "int8_dynamic"): "zoo.engine.int8.transformer:DynamicTransformerBlock",
    ("token_head", "int8_dynamic"): "zoo.engine.int8.text:DynamicTokenHead",
    ("target_embedding", "int8"): "zoo.engine.int8.text:Int8TargetEmbedding",
    ("decoder_block", "int8"): "zoo.engine.int8.translation:Int8DecoderBlock",
    ("target_embedding", "int8_dynamic"): "zoo.engine.int8.text:Int8TargetEmbedding",
    ("decoder_block", "int8_dynamic"): "zoo.engine.int8.translation:DynamicDecoderBlock",
    ("token_embedding", "w8"): "zoo.engine.weight_only.rows:W8TokenEmbedding",
    ("transformer_block", "w8"): "zoo.engine.weight_only.rows:W8TransformerBlock",
    ("token_head", "w8"): "zoo.engine.weight_only.rows:W8TokenHead",
    ("token_embedding", "w4"): "zoo.engine.weight_only.rows:W8TokenEmbedding",
    ("transformer_block", "w4"): "zoo.engine.weight_only.rows:W4TransformerBlock",
    ("token_head", "w4"): "zoo.engine.weight_only.rows:W4TokenHead",
    ("feature_embedding", "int8"): "zoo.engine.int8.feature_embedding:Int8FeatureEmbedding",
    ("feature_embedding", "int4"): "zoo.engine.int8.feature_embedding:Int4FeatureEmbedding",
    ("wide", "int8"): "zoo.engine.int8.feature_embedding:Int8Wide",
    ("cross_layer", "int8"): "zoo.engine.int8.tabular:Int8CrossLayer",
    ("feature_gate", "int8"): "zoo.engine.int8.tabular:Int8FeatureGate",
    ("logit_head", "int8"): "zoo.engine.int8.tabular:Int8LogitHead",
    ("bilinear_head", "int8"): "zoo.engine.int8.tabular:Int8BilinearHead",
    ("conv_norm_act", "int8"): "zoo.engine.int8.rows:Int8ConvNormAct",
    ("depthwise_separable", "int8"): "zoo.engine.int8.rows:Int8DepthwiseSeparable",
    ("inverted_residual", "int8"): "zoo.engine.int8.rows:Int8InvertedResidual",
    ("basic_block", "int8"): "zoo.engine.int8.rows:Int8BasicBlock",
    ("bottleneck", "int8"): "zoo.engine.int8.rows:Int8Bottleneck",
    ("max_pool", "int8"): "zoo.engine.int8.pool:Int8MaxPool",
    ("global_pool", "int8"): "zoo.engine.int8.pool:Int8GlobalPool",
    ("hidden", "int8"): "zoo.engine.int8.rows:Int8Hidden",
    ("classifier", "int8"): "zoo.engine.int8.rows:Int8Classifier",
    ("branch", "int8"): "zoo.engine.int8.joins:Int8Branch",
    ("add", "int8"): "zoo.engine.int8.joins:Int8Add",
    ("concat", "int8"): "zoo.engine.int8.joins:Int8Concat",
    ("slice", "int8"): "zoo.engine.int8.joins:Int8Slice",
    ("upsample", "int8"): "zoo.engine.int8.joins:Int8Upsample",
    ("avg_pool", "int8"): "zoo.engine.int8.joins:Int8AvgPool",
    ("adaptive_avg_pool", "int8"): "zoo.engine.int8.joins:Int8AdaptiveAvgPool",
    ("channel_gate", "int8"): "zoo.engine.int8.joins:Int8ChannelGate",
    ("segmentation_head", "int8"): "zoo.engine.int8.joins:Int8SegmentationHead",
    ("ssd_head", "int8"): "zoo.engine.int8.detection:Int8SSDHead",
    ("gfl_head", "int8"): "zoo.engine.int8.detection:Int8GFLHead",
    ("conv_norm_act", "qat"): "zoo.engine.qat.rows:QatConvNormAct",
    ("depthwise_separable", "qat"): "zoo.engine.qat.rows:QatDepthwiseSeparable",
    ("inverted_residual", "qat"): "zoo.engine.qat.rows:QatInvertedResidual",
    ("basic_block", "qat"): "zoo.engine.qat.rows:QatBasicBlock",
    ("bottleneck", "qat"): "zoo.engine.qat.rows:QatBottleneck",
    ("max_pool", "qat"): "zoo.engine.qat.rows:QatMaxPool",
    ("global_pool", "qat"): "zoo.engine.qat.rows:QatGlobalPool",
    ("hidden", "qat"): "zoo.engine.qat.rows:QatHidden",
    ("classifier", "qat"): "zoo.engine.qat.rows:QatClassifier",
    ("branch", "qat"): "zoo.engine.qat.joins:QatBranch",
    ("add", "qat"): "zoo.engine.qat.joins:QatAdd",
    ("concat", "qat"): "zoo.engine.qat.joins:QatConcat",
    ("slice", "qat"): "zoo.engine.qat.joins:QatSlice",
    ("upsample", "qat"): "zoo.engine.qat.joins:QatUpsample",
    ("avg_pool", "qat"): "zoo.engine.qat.joins:QatAvgPool",
    ("adaptive_avg_pool", "qat"): "zoo.engine.qat.joins:QatAdaptiveAvgPool",
    ("channel_gate", "qat"): "zoo.engine.qat.joins:QatChannelGate",
    ("segmentation_head", "qat"): "zoo.engine.qat.joins:QatSegmentationHead",
    ("ssd_head", "qat"): "zoo.engine.qat.detection:QatSSDHead",
    ("gfl_head", "qat"): "zoo.engine.qat.detection:QatGFLHead",
    ("conv_norm_act", "fused"): "zoo.engine.fused.rows:FusedConvNormAct",
    ("depthwise_separable", "fused"): "zoo.engine.fused.rows:FusedDepthwiseSeparable",
    ("inverted_residual", "fused"): "zoo.engine.fused.rows:FusedInvertedResidual",
    ("basic_block", "fused"): "zoo.engine.fused.rows:FusedBasicBlock",
    ("bottleneck", "fused"): "zoo.engine.fused.rows:FusedBottleneck",
    ("channel_gate", "fused"): "zoo.engine.fused.rows:FusedChannelGate",
    ("segmentation_head", "fused"): "zoo.engine.fused.rows:FusedSegmentationHead",
    ("hidden", "fused"): "zoo.engine.fused.rows:FusedHidden",
    ("classifier", "fused"): "zoo.engine.fused.rows:FusedClassifier",
    ("ssd_head", "fused"): "zoo.engine.fused.detection:FusedSSDHead",
    ("gfl_head", "fused"): "zoo.engine.fused.detection:FusedGFLHead",
}


def resolve(text: str) -> Name:
    """Read a name, aliases included; raises UnknownName with the nearest known one."""
    try:
        name = parse(text, ALIASES)
    except UnknownName:
        right = _respelled(text)
        if right is None:
            raise
        raise UnknownName(f"Unknown model {text!r}. Did you mean {right!r}?") from None
    if name.arch not in MODELS:
        raise UnknownName(
            f"Unknown model {text!r}{did_you_mean(name.arch, [*MODELS, *ALIASES])} `zoo list` shows every name."
        )
    return name


def spec(arch: str, num_classes: int | None = None, **options: Any) -> ModelSpec:
    """The dense spec of an architecture, with its own number of classes or another one.

    `options` are those of its family, such as `schema` of recommenders and `backbone` of segmenters.
    """
    target = MODELS.get(arch)
    if target is None:
        raise UnknownName(f"Unknown architecture {arch!r}{did_you_mean(arch, MODELS)}")
    make = fetch(target)
    return make(arch, **options) if num_classes is None else make(arch, num_classes=num_classes, **options)


def options(arch: str) -> frozenset[str]:
    """What the specs of an architecture can be asked for beside the number of classes, such as "backbone"."""
    return frozenset(inspect.signature(fetch(MODELS[arch])).parameters) - {"name", "num_classes"}


def _respelled(text: object) -> str | None:
    """The known name that differs in capitals, and in the first hyphens where ours has underscores: MobileNetV2-100."""
    if not isinstance(text, str):
        return None
    for hyphens in range(min(text.count("-"), 3) + 1):
        spelling = text.lower().replace("-", "_", hyphens)
        try:
            if parse(spelling, ALIASES).arch in MODELS:
                return spelling
        except UnknownName:
            continue
    return None
