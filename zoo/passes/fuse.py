"""`fuse`: the dense network for inference."""

from __future__ import annotations

from zoo import kinds
from zoo.model.build import Model, copy_metadata, from_state
from zoo.model.defaults import usual_defaults
from zoo.model.verify import rebuildable
from zoo.passes import quantize
from zoo.spec import Block


def _can(row: Block) -> bool:
    return "fused" in kinds.KINDS[row.kind].precisions


@usual_defaults()
def fuse(model: Model) -> Model:
    """Fold batch norm into the weights: the same answers to 1e-5, quicker on a CPU. For inference only.

    The first call packs the weights for oneDNN, whose convolutions compute activations and residual sums too. Where
    torch lacks these operators, on other devices and under autograd, the folded network runs in plain torch. Rows in
    int8 stay as they are. To compress or train, use the network that was fused.

    Args:
        model (Model): the network; it stays as it is.

    Returns:
        A new `Model`, in eval mode.

    Raises:
        ValueError: the model is in quantization-aware training, or was changed by hand.

    Example:
        >>> model = zoo.create("resnet20")
        >>> x = torch.randn(1, 3, 32, 32)
        >>> with torch.inference_mode():
        ...     bool((zoo.fuse(model)(x) - model(x)).abs().max() < 1e-3)
        True
    """
    model = rebuildable(model, "fuse", float32=True)
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    fused = [row.name for row in model.spec if row.precision == "float32" and kinds.state(row) and _can(row)]
    spec = model.spec.replace(
        rows=tuple(row.replace(precision="fused") if row.name in fused else row for row in model.spec)
    )
    state = quantize.carry(model.state_dict(), model.spec, {name: [] for name in fused}, "fused", quantize.Rounding())
    out = from_state(spec, {key: state[key] for key in kinds.model_state(spec)})
    return copy_metadata(out, model)
