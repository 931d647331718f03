"""Networks that answer for every pixel: decoders on the maps of any backbone, and Fast-SCNN, which has its own.

A decoder takes the last map of a backbone, and an earlier and finer one.
"""

from dataclasses import replace
from typing import Any

from zoo import kinds
from zoo.models import mobilenetv2, mobilenetv3
from zoo.spec import Block, ImageInput, ModelSpec, SpecError

TASK = "image-segmentation"
SIZE = (512, 512)
RATES = {32: (3, 6, 9), 16: (6, 12, 18), 8: (12, 24, 36)}  # of DeepLabV3+'s atrous convolutions, by output stride
FAST_STAGES = ((64, 2), (96, 2), (128, 1))  # of Fast-SCNN: channels and stride of three bottlenecks each
BINS = (1, 2, 3, 6)


def lraspp(
    name: str,
    num_classes: int = 21,
    backbone: ModelSpec | None = None,
    output_stride: int = 16,
    decoder_channels: int = 128,
) -> ModelSpec:
    """LR-ASPP (Howard et al., 2019): a 1x1 convolution under a gate, beside the scores of a map at an eighth."""
    backbone = backbone or mobilenetv3.imagenet("mobilenetv3_large_100")
    rows, low, high = _trunk(backbone, output_stride, fine=8)
    decoder = (
        _conv("aspp", high.channels, decoder_channels),
        Block("channel_gate", "gate", taps=(high.row,), channels=decoder_channels, gate_channels=high.channels),
        Block(
            "segmentation_head",
            "classifier",
            taps=("input", low.row),
            in_channels=decoder_channels,
            side_channels=low.channels,
            num_classes=num_classes,
        ),
    )
    return _network(name, (*rows, *decoder), backbone.pictures)


def deeplabv3plus(
    name: str,
    num_classes: int = 21,
    backbone: ModelSpec | None = None,
    output_stride: int = 16,
    decoder_channels: int = 256,
) -> ModelSpec:
    """DeepLabV3+ (Chen et al., 2018): separable atrous convolutions side by side, joined with a map at a quarter."""
    backbone = backbone or mobilenetv2.imagenet("mobilenetv2_100")
    rows, low, high = _trunk(backbone, output_stride, fine=4)
    width, narrow = decoder_channels, max(1, decoder_channels * 48 // 256)
    decoder = [_conv("aspp0", high.channels, width)]
    for number, rate in enumerate(RATES[output_stride], 1):
        decoder += [
            Block("branch", f"aspp{number}_in", taps=(high.row,)),
            _separable(f"aspp{number}", high.channels, width, dilation=rate),
        ]
    decoder += [
        Block("branch", "aspp4_in", taps=(high.row,)),
        Block("adaptive_avg_pool", "aspp4_pool", size=1),
        _conv("aspp4", high.channels, width),
        Block("upsample", "aspp4_up", taps=(high.row,)),
        _concat("aspp", (width,) * 5, ("aspp0", "aspp1", "aspp2", "aspp3")),
        _conv("aspp_project", 5 * width, width),
        Block("upsample", "decoder_up", taps=(low.row,)),
        Block("branch", "low_in", taps=(low.row,)),
        _conv("low", low.channels, narrow),
        _concat("decoder", (narrow, width), ("decoder_up",)),
        _separable("decoder1", narrow + width, width),
        _separable("decoder2", width, width),
        _head(width, num_classes),
    ]
    return _network(name, (*rows, *decoder), backbone.pictures)


def fastscnn(name: str, num_classes: int = 19) -> ModelSpec:
    """Fast-SCNN (Poudel et al., 2019): two branches that share their first three layers."""
    rows = [
        _conv("down1", 3, 32, kernel_size=3, stride=2),
        _separable("down2", 32, 48, stride=2),
        _separable("down3", 48, 64, stride=2),
    ]
    width = 64
    for stage, (channels, stride) in enumerate(FAST_STAGES, 1):
        for repeat in range(1, 4):
            rows.append(
                Block(
                    "inverted_residual",
                    f"s{stage}_{repeat}",
                    in_channels=width,
                    mid_channels=6 * width,
                    out_channels=channels,
                    stride=stride if repeat == 1 else 1,
                    skip=repeat > 1,
                    activation="relu",
                )
            )
            width = channels
    deep, part = rows[-1].name, width // len(BINS)
    for size in BINS:
        rows += [
            Block("branch", f"bin{size}_in", taps=(deep,)),
            Block("adaptive_avg_pool", f"bin{size}_pool", size=size),
            _conv(f"bin{size}", width, part),
            Block("upsample", f"bin{size}_up", taps=(deep,)),
        ]
    pooled = tuple(f"bin{size}_up" for size in BINS[:-1])
    rows += [
        _concat("bins", (part, width, *(part,) * len(pooled)), (deep, *pooled)),
        _conv("pyramid", width + part * len(BINS), width),
        Block("upsample", "pyramid_up", taps=("down3",)),
        _separable("low", width, width, dilation=4, out_activation="none"),
        Block("branch", "high_in", taps=("down3",)),
        _conv("high", 64, width, activation="none"),
        Block("add", "fusion", taps=("low",), channels=width, activation="relu"),
        _separable("decoder1", width, width),
        _separable("decoder2", width, width),
        _head(width, num_classes),
    ]
    return _network(name, tuple(rows), ImageInput())


def atrous(rows: tuple[Block, ...], output_stride: int) -> tuple[Block, ...]:
    """The rows with no reduction beyond `output_stride`: strides that would go further become dilations behind them.

    So weights that were trained with the strides see what they saw (Chen et al., 2017).
    """
    reduction, dilation, made = 1, 1, []
    for row in rows:
        args = kinds.arguments(row)
        stride, before, changes = args.get("stride", 1), dilation, dict[str, Any]()
        if reduction * stride > output_stride:
            changes["stride"], dilation = 1, dilation * stride
        else:
            reduction *= stride
        if dilation > 1 and args.get("kernel_size") != 1:
            if "first_dilation" in args:
                changes |= {"first_dilation": before, "dilation": dilation}
            elif "dilation" in args:
                changes |= {"dilation": before}
            elif changes:
                raise SpecError(f"row {row.name!r}, a {row.kind}, has a stride and no dilation to replace it.")
        made.append(row.replace(**changes))
    return tuple(made)


def _trunk(backbone: ModelSpec, output_stride: int, fine: int) -> tuple[tuple[Block, ...], kinds.Level, kinds.Level]:
    """The backbone's rows up to its last map, its map at 1 / `fine`, and the last one."""
    if output_stride not in RATES:
        raise SpecError(f"output_stride is one of {sorted(RATES)}, not {output_stride!r}.")
    levels = kinds.levels(backbone)
    if not levels:
        raise SpecError(f"{backbone.name} has no maps before its pooling, so it is no backbone.")
    rows = backbone.rows[: backbone.rows.index(backbone[levels[-1].row]) + 1]
    trunk = backbone.replace(rows=atrous(rows, output_stride))
    found = {level.reduction: level for level in kinds.levels(trunk)}
    if fine not in found:
        raise SpecError(f"{backbone.name} has no map at 1/{fine} of the picture; its maps are at 1/{sorted(found)}.")
    return trunk.rows, found[fine], found[max(found)]


def _conv(name: str, channels: int, out: int, *, kernel_size: int = 1, **args: Any) -> Block:
    common = {"activation": "relu", **args}
    return Block("conv_norm_act", name, in_channels=channels, out_channels=out, kernel_size=kernel_size, **common)


def _separable(name: str, channels: int, out: int, **args: Any) -> Block:
    common = {"activation": "relu", "out_activation": "relu", **args}
    return Block("depthwise_separable", name, in_channels=channels, out_channels=out, **common)


def _concat(name: str, widths: tuple[int, ...], taps: tuple[str, ...]) -> Block:
    first, *others = widths
    tapped: dict[str, Any] = {f"tap{tap}_channels": width for tap, width in enumerate(others)}
    return Block("concat", name, taps=taps, in_channels=first, **tapped)


def _head(width: int, num_classes: int) -> Block:
    return Block(
        "segmentation_head", "classifier", taps=("input",), in_channels=width, num_classes=num_classes, dropout=0.1
    )


def _network(name: str, rows: tuple[Block, ...], pictures: ImageInput) -> ModelSpec:
    given = replace(pictures, size=SIZE, crop=1.0, squash=True, interpolation="bilinear")  # whole pictures
    return ModelSpec(name, rows, given, TASK)
