"""MobileNet (Howard et al., 2017): depthwise separable convolutions, one behind the other, without skips."""

from zoo.spec import Block, ImageInput, ModelSpec

STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))  # channels, repeats, stride of the first


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    rows = [Block("conv_norm_act", "stem", in_channels=3, out_channels=32, kernel_size=3, stride=2)]
    width = 32
    for number, (channels, repeats, stride) in enumerate(STAGES, 1):
        for repeat in range(1, repeats + 1):
            rows.append(
                Block(
                    "depthwise_separable",
                    f"s{number}_{repeat}",
                    in_channels=width,
                    out_channels=channels,
                    stride=stride if repeat == 1 else 1,
                )
            )
            width = channels
    rows += [
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=width, num_classes=num_classes),
    ]
    return ModelSpec(name=name, rows=tuple(rows), input=ImageInput(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
