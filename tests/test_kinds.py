"""Kinds: what is counted and declared without torch is what the modules are; what does not fit is refused."""

from __future__ import annotations

import pytest
import torch

from counting import counted_macs
from networks import EACH_CONVOLUTIONAL, EACH_TRANSFORMER, PICTURES
from reduced import reduced
from zoo import kinds, registry
from zoo.blocks.activation import ACTIVATIONS
from zoo.model.build import build
from zoo.spec import Block, ImageInput, ModelSpec, SpecError, TextInput

ARCHS = tuple(registry.MODELS)


def specs() -> list[ModelSpec]:
    """Every architecture, reduced, and what none of them uses: larger kernels and strides, dilation."""
    others = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=16, kernel_size=5, stride=3, dilation=2),
        Block("inverted_residual", "a", in_channels=16, mid_channels=32, out_channels=16, skip=True, se_channels=8),
        Block("depthwise_separable", "b", in_channels=16, out_channels=24, kernel_size=7, stride=2, se_channels=4),
        Block("global_pool", "pool"),
        Block("hidden", "hidden", in_features=24, out_features=40),
        Block("classifier", "fc", in_features=40, num_classes=5),
    )
    return [reduced(registry.spec(arch)) for arch in ARCHS] + [ModelSpec("others", others, ImageInput(size=(41, 29)))]


SPECS = {spec.name: spec for spec in specs()}


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_macs_are_those_that_happen(name: str, other: bool) -> None:
    spec = SPECS[name]
    model = build(spec)
    if isinstance(spec.input, TextInput):
        size: tuple[int, ...] | None = (13,) if other else None
        x = torch.zeros(1, *(size or (spec.input.length,)), dtype=torch.long)
    elif not isinstance(spec.input, ImageInput):
        size, x = None, spec.input.example(1)
    else:
        size = (33, 47) if other else None
        x = torch.zeros(1, spec.input.channels, *(size or spec.input.size))
    assert sum(cost.macs for cost in kinds.row_costs(spec, size)) == counted_macs(model, x)


@pytest.mark.parametrize("name", SPECS)
def test_parameters_are_those_of_the_module(name: str) -> None:
    spec = SPECS[name]
    assert kinds.cost(spec).parameters == sum(p.numel() for p in build(spec, device="meta").parameters())


@pytest.mark.parametrize("name", SPECS)
def test_the_declared_state_is_the_modules(name: str) -> None:
    spec = SPECS[name]
    built = build(spec, device="meta").state_dict()
    described = {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in built.items()}
    assert kinds.model_state(spec) == described
    assert list(kinds.model_state(spec)) == list(described)


@pytest.mark.parametrize("arch", EACH_CONVOLUTIONAL)
def test_a_layout_is_the_float_blocks(arch: str) -> None:
    """Padding, stride and activation of each layer are declared as the float block has them."""
    spec = reduced(registry.spec(arch))
    for row, block in zip(spec, build(spec).children(), strict=True):
        for layer in kinds.KINDS[row.kind].layers(kinds.arguments(row)):
            leaf = kinds.layout(row).leaves[layer.int8_path.removesuffix(".")]
            if not layer.norm:
                continue
            unit = block.get_submodule(layer.path.removesuffix("."))
            window = (leaf.kernel_size, leaf.stride, leaf.dilation)
            assert window == (unit.conv.kernel_size[0], unit.conv.stride[0], unit.conv.dilation[0])
            assert (leaf.in_channels, leaf.out_channels) == (unit.conv.in_channels, unit.conv.out_channels)
            assert leaf.depthwise == (unit.conv.groups > 1) and unit.bordered == (
                leaf.padding == "same" and leaf.stride > 1
            )
            assert type(unit.act) is ACTIVATIONS[leaf.activation]


@pytest.mark.parametrize("arch", ARCHS)
def test_an_architecture_fits_at_full_size(arch: str) -> None:
    spec = registry.spec(arch)
    assert kinds.check(spec) is spec
    if spec.task in ("text-generation", "translation", "tabular-classification"):
        with pytest.raises(SpecError, match="takes no num_classes"):
            registry.spec(arch, num_classes=7)
    else:
        assert kinds.check(registry.spec(arch, num_classes=7)).rows[-1].args["num_classes"] == 7


@pytest.mark.parametrize("width", [0.1, 1.0])
@pytest.mark.parametrize("arch", [*EACH_CONVOLUTIONAL, *EACH_TRANSFORMER])
def test_a_reduced_architecture_still_fits(arch: str, width: float) -> None:
    spec = registry.spec(arch)
    small = reduced(spec, width=width, size=(40, 24))
    kinds.check(small)
    kept = {row.name for row in small}
    dropped = [(before, row) for before, row in zip(spec.rows, spec.rows[1:], strict=False) if row.name not in kept]
    assert all(row == before.replace(name=row.name) for before, row in dropped)
    if arch in PICTURES:
        assert small.input.size == (40, 24)
        assert small.rows[0].args["in_channels"] == spec.input.channels
        assert small.rows[-1].args["num_classes"] == spec.rows[-1].args["num_classes"]
    assert kinds.cost(small).macs < kinds.cost(spec).macs or width == 1.0


def test_precision_changes_no_count() -> None:
    spec = SPECS["mobilenetv2_cifar"]
    for precision in ("int8", "qat"):
        quantized = spec.replace(rows=tuple(row.replace(precision=precision) for row in spec))
        assert kinds.cost(quantized) == kinds.cost(spec)


def test_an_int8_row_declares_int8_weights_with_scales_and_edges() -> None:
    row = Block("inverted_residual", "a", precision="int8", in_channels=8, mid_channels=16, out_channels=24)
    state = kinds.model_state(ModelSpec("one", (row,)))
    assert state["a.expand.weight"] == ("int8", (16, 8, 1, 1))
    assert state["a.depthwise.weight"] == ("int8", (16, 1, 3, 3))
    assert state["a.project.scale"] == ("float32", (24,))
    assert state["a.project.bias"] == ("float32", (24,))
    assert state["a.edges"] == ("float32", (4, 2))
    assert len(state) == 10


def test_a_hidden_layer_is_counted_and_declared() -> None:
    row = Block("hidden", "h", in_features=6, out_features=5)
    spec = ModelSpec("one", (Block("global_pool", "p"), row), ImageInput(channels=6, mean=(0.5,) * 6, std=(0.5,) * 6))
    assert kinds.row_costs(spec)[1] == kinds.Cost(macs=30, parameters=35)
    assert kinds.model_state(spec) == {"h.fc.weight": ("float32", (5, 6)), "h.fc.bias": ("float32", (5,))}
    quantized = kinds.model_state(spec.edit("h", precision="int8"))
    assert quantized == {
        "h.fc.weight": ("int8", (5, 6)),
        "h.fc.scale": ("float32", (5,)),
        "h.fc.bias": ("float32", (5,)),
        "h.edges": ("float32", (2, 2)),
    }
    assert kinds.model_state(spec.edit("h", precision="qat")) == {
        "h.fc.weight": ("float32", (5, 6)),
        "h.fc.bias": ("float32", (5,)),
        "h.edges": ("float32", (2, 2)),
        "h.log_scale": ("float32", (1,)),
    }


STEM = Block("conv_norm_act", "stem", in_channels=3, out_channels=8)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((Block("os.system", "a"),), "unknown kind 'os.system'; the kinds are .*classifier"),
        ((Block("conv_norm_act", "a", in_channels=3),), "needs 'out_channels'"),
        ((STEM.replace(groups=2),), r"no argument \['groups'\]"),
        ((STEM.replace(out_channels=2**40),), "between 1 and 65536"),
        ((STEM.replace(out_channels=0),), "between 1 and 65536"),
        ((STEM.replace(out_channels=True),), "is a int, not True"),
        ((STEM.replace(out_channels=8.0),), "is a int, not 8.0"),
        ((STEM.replace(out_channels="8"),), "is a int, not '8'"),
        ((STEM.replace(stride=(2, 2)),), "is a int"),
        ((STEM.replace(kernel_size=4),), "kernel_size is odd, not 4"),
        ((STEM.replace(eps=-1.0),), "eps is between"),
        ((STEM.replace(activation="gelu"),), "activation is one of"),
        ((STEM.replace(activation=Block("k", "a")),), "activation is a str"),
        ((STEM.replace(in_channels=4),), "takes 4 channels, but 3 come in"),
        ((STEM, Block("conv_norm_act", "b", in_channels=16, out_channels=8)), "'b' takes 16 channels, but 8 come in"),
        ((STEM, Block("classifier", "fc", in_features=8, num_classes=2)), "classifier cannot take an input of shape"),
        ((STEM, Block("hidden", "h", in_features=8, out_features=8)), "hidden cannot take an input of shape"),
        (
            (STEM, Block("global_pool", "p"), Block("global_pool", "q")),
            "'q': global_pool cannot take an input of shape",
        ),
        ((STEM, Block("depthwise_separable", "b", in_channels=8, out_channels=16, skip=True)), "a skip needs stride 1"),
        ((STEM.replace(emits="uint8"), Block("global_pool", "p")), "float32, so it cannot emit uint8"),
        ((STEM.replace(precision="int8", emits="uint8"), Block("global_pool", "p")), "emits uint8, but 'p' behind it"),
        ((STEM.replace(precision="int8", emits="uint8"),), "last row, 'stem', must emit float32"),
        (
            (STEM.replace(precision="qat", emits="uint8"), Block("global_pool", "p", precision="int8")),
            "'stem' is qat and emits uint8, but 'p' behind it is int8",
        ),
        (
            (STEM.replace(precision="int8", emits="uint8"), Block("global_pool", "p", precision="qat")),
            "'stem' is int8 and emits uint8, but 'p' behind it is qat",
        ),
        ((STEM.replace(taps=("input",)),), "conv_norm_act takes 0 taps, not 1"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(rows: tuple[Block, ...], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        kinds.check(ModelSpec("bad", rows))


def test_a_terabyte_is_refused() -> None:
    rows = [STEM.replace(out_channels=65_536)]
    rows += [Block("conv_norm_act", f"c{i}", in_channels=65_536, out_channels=65_536) for i in range(10)]
    with pytest.raises(SpecError, match="parameters; more than"):
        kinds.check(ModelSpec("bomb", tuple(rows)))


@pytest.mark.parametrize(
    ("row", "changes", "said"),
    [
        ("h0", {"heads": 3, "kv_heads": 2}, "do not divide"),
        ("h0", {"window": 3}, "belongs to sliding attention"),
        ("h0", {"positions": "rotary", "head_dim": 3}, "turn pairs"),
        ("h0", {"positions": "relative", "attention": "linear"}, "belong to full attention"),
        ("h0", {"rotary_scaling": (2.0, 1.0)}, "has 0, 1 or 4 numbers"),
        ("h0", {"rotary_scaling": ("2",)}, "is a tuple"),
        ("h0", {"dim": 8}, "takes 8 channels"),
        ("h0", {"precision": "qat"}, "there is no transformer_block in qat"),
        ("h0", {"precision": "int8", "emits": "uint8"}, "cannot emit uint8"),
        ("head", {"tied": "h0"}, "no token_embedding of its widths"),
        ("head", {"tied": "", "bias": True, "scale": 0.5}, "tied, or without a bias"),
        ("h0", {"scaled": False, "attention": "linear"}, "belong to full attention"),
        ("embed", {"sinusoidal": True, "max_positions": 0}, "have a largest one"),
        ("head", {"precision": "int8"}, "the precision of 'embed'"),
        ("embed", {"vocabulary": 95}, "another vocabulary|no token_embedding"),
        ("embed", {"max_positions": 3}, "fewer positions"),
        ("embed", {"vocabulary": 10**9}, "is between"),
    ],
)
def test_transformers_that_cannot_be(row: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        kinds.check(SPECS["gpt2"].edit(row, **changes))


def test_token_ids_go_into_language_models_alone() -> None:
    row = Block("token_embedding", "e", vocabulary=5, dim=4)
    with pytest.raises(SpecError, match="cannot take an input"):
        kinds.check(ModelSpec("pictures", (row,)))
    with pytest.raises(SpecError, match="but 24 come in"):
        kinds.check(SPECS["gpt2"].replace(rows=(*SPECS["gpt2"].rows[1:],)))
    with pytest.raises(SpecError, match=r"is for networks of pictures; .* takes texts"):
        SPECS["gpt2"].pictures  # noqa: B018
