"""ViT (Dosovitskiy et al., 2021) and DeiT (Touvron et al., 2021), as timm has them."""

from zoo.spec import Block, ImageInput, ModelSpec

# size -> (width, heads); all are 12 blocks deep, with heads of 64 and an MLP of 4 times the width
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
HEAD_DIM = 64
_VIT_INPUT = ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.9)
_DEIT_INPUT = ImageInput(crop=0.9)


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    """A distilled DeiT has a second token, that a teacher trained; the mean of both answers counts."""
    family, size, *more = name.split("_")
    dim, heads = SIZES[size]
    prefix = 2 if "distilled" in more else 1
    head: tuple[Block, ...] = (
        Block("token_pool", "pool"),
        Block("classifier", "classifier", in_features=dim, num_classes=num_classes),
    )
    if prefix == 2:
        head = (Block("pair_classifier", "classifier", dim=dim, num_classes=num_classes),)
    rows = [
        Block("patch_embedding", "embed", in_channels=3, dim=dim, patch=16, rows=14, columns=14, prefix=prefix),
        *(
            Block(
                "transformer_block",
                f"h{i}",
                dim=dim,
                heads=heads,
                head_dim=HEAD_DIM,
                kv_heads=heads,
                mlp_dim=4 * dim,
            )
            for i in range(12)
        ),
        Block("token_norm", "norm", dim=dim),
        *head,
    ]
    return ModelSpec(name=name, rows=tuple(rows), input=_VIT_INPUT if family == "vit" else _DEIT_INPUT)
