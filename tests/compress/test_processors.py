"""int8 is right on every processor: with exact products, with products that saturate, and without any."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import processors
from networks import answer, calibration_of, gated, inputs, small
from zoo.engine import execution, reference_execution
from zoo.engine.cpu import onednn
from zoo.model.build import Model
from zoo.passes.compress import compress
from zoo.runtime import executorch, onnx
from zoo.runtime.numerics.decomposed import DECOMPOSED
from zoo.runtime.numerics.qdq import QDQ
from zoo.runtime.settle import settled

hosts_own = pytest.mark.skipif(
    processors.of_host() == "other" or processors.emulated(), reason="no operators of the host's own"
)


def made(name: str, form: str, reduce_range: bool) -> Model:
    """Without what another processor's first use packed."""
    return copy.deepcopy(_made(name, form, reduce_range))


@functools.cache
def _made(name: str, form: str, reduce_range: bool) -> Model:
    model = gated("hard_swish") if name == "gated" else small(name)
    options: dict[str, Any] = {"dynamic": True} if form == "dynamic" else {"calibration": calibration_of(model)}
    return compress(model, "int8", reduce_range=reduce_range, **options)


def codes_and_weights(channels: int, size: int, groups: int, widest: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, channels, 9, 9), dtype=torch.uint8, generator=generator)
    weight = torch.randint(-widest, widest + 1, (32, channels // groups, size, size), generator=generator)
    return {
        "x": x.contiguous(memory_format=torch.channels_last),
        "weight": weight.to(torch.int8),
        "scale": torch.rand(32, generator=generator) * 0.02,
        "bias": torch.randn(32, generator=generator) * 20,
    }


def convolved(
    operators: Any, given: dict[str, Any], *, stride: int = 1, groups: int = 1, floats: bool = False,
    post_op: tuple[str, list[float]] = ("none", []), skip: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    x, weight, scale, bias = given.values()
    moves = ([stride] * 2, [weight.shape[-1] // 2] * 2, [1, 1], groups)
    packed = operators.qconv_prepack(weight, scale, 0.1, 0, *moves, [1, *x.shape[1:]])
    before = (x, 0.1, 0, packed, scale, torch.zeros(len(scale), dtype=torch.int64))
    written = (1.0, 0, torch.float32) if floats else (1.7, 99, torch.uint8)
    if skip is None:
        return operators.qconv2d_pointwise.default(*before, bias, *moves, *written, *post_op, "")
    return operators.qconv2d_pointwise.binary(*before, skip, bias, *moves, *written, 0.37, 77, "sum", 1.0, *post_op, "")


def multiplied(operators: Any, given: dict[str, Any], zero: int, *, floats: bool = False, post_op: str = "none") -> Any:
    x, weight, scale, bias = given.values()
    packed = operators.qlinear_prepack(weight.flatten(1).contiguous(), None)
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    written = (1.0, 0, torch.float32) if floats else (1.7, 99, torch.uint8)
    x = x.permute(0, 2, 3, 1)
    return operators.qlinear_pointwise.default(x, 0.1, zero, packed, scale, zeros, bias, *written, post_op, [], "")


@hosts_own
@pytest.mark.parametrize(
    ("channels", "size", "stride", "groups"),
    [(32, 1, 1, 1), (32, 3, 1, 1), (32, 3, 2, 1), (3, 3, 2, 1), (7, 5, 1, 1), (32, 3, 1, 32), (32, 3, 2, 32)],
)
@pytest.mark.parametrize("widest", [onednn.REDUCED, onednn.WHOLE])
def test_the_emulation_is_the_hosts_own(channels: int, size: int, stride: int, groups: int, widest: int) -> None:
    """Bit for bit, saturation included, in floats and in codes, with a sum inside, or as a product."""
    own, emulated = processors.OWN, processors.operators(processors.of_host())
    given = codes_and_weights(channels, size, groups, widest)
    skip = torch.randint(0, 256, (2, 32, -(-9 // stride), -(-9 // stride)), dtype=torch.uint8)
    skip = skip.contiguous(memory_format=torch.channels_last)
    for more in ({"floats": True}, {}, {"post_op": ("hardtanh", [0.0, 6.0])}):
        one, other = (convolved(by, given, stride=stride, groups=groups, **more) for by in (own, emulated))
        assert torch.equal(one, other) and one.stride() == other.stride()
    sums = [skip.clone(memory_format=torch.preserve_format) for _ in range(2)]
    one, other = (
        convolved(by, given, stride=stride, groups=groups, skip=into, post_op=("relu", []))
        for by, into in zip((own, emulated), sums, strict=True)
    )
    assert torch.equal(one, other)
    assert all(torch.equal(into, one) for into in sums)  # the skip's own memory
    if size == 1:
        for zero in (0, 128):
            for floats in (True, False):
                one, other = (multiplied(by, given, zero, floats=floats) for by in (own, emulated))
                assert torch.equal(one, other)


@hosts_own
@pytest.mark.parametrize(
    ("of", "change"),
    [
        *(("product", {"bias": dtype}) for dtype in (torch.int32, torch.float64)),
        *(("product", {"scale": dtype}) for dtype in (torch.float64, torch.bfloat16)),
        *((of, {"x": dtype}) for of in ("product", "convolution") for dtype in (torch.float32, torch.int32)),
        *((of, {"weight": dtype}) for of in ("product", "convolution") for dtype in (torch.float32, torch.int32)),
        ("convolution", {"scale": torch.bfloat16}),
        ("convolution", {"bias": 4}),
        ("sum", {"skip": torch.channels_last}),
        ("sum", {"skip": torch.contiguous_format}),
    ],
)  # fmt: skip
def test_what_the_hosts_own_refuse_is_refused(of: str, change: dict[str, Any]) -> None:
    given: dict[str, Any] = codes_and_weights(32, 1, 1, onednn.REDUCED)
    skip = torch.zeros(2, 32, 9, 9, dtype=torch.uint8)
    for name, to in change.items():
        if name == "skip":
            skip = skip.contiguous(memory_format=to)
        else:
            given[name] = given[name].to(to) if isinstance(to, torch.dtype) else given[name][:to]
    right = of == "sum" and change["skip"] == torch.channels_last
    for operators in (processors.OWN, *map(processors.operators, ("vnni", "avx2"))):
        try:
            multiplied(operators, given, 3) if of == "product" else convolved(
                operators, given, skip=skip if of == "sum" else None
            )
            refused = False
        except RuntimeError:
            refused = True
        assert refused != right


def test_every_kind_is_told_by_its_operators(processor: str) -> None:
    widest = {"vnni": (127, 127), "avx2": (63, 127), "other": (0, 0)}[processor]
    assert (onednn.widest_weight(), onednn.widest_weight(depthwise=True)) == widest
    assert onednn.trusted() == (processor == "vnni")
    assert onednn.has_post_op("gelu") == (processor != "other")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("mobilenetv2_cifar", "static"),
        ("resnet20", "static"),
        ("gated", "static"),
        *((name, form) for name in ("bert_base_uncased", "vit_tiny_patch16_224") for form in ("static", "dynamic")),
    ],
)
@pytest.mark.parametrize("reduce_range", [False, True])
@torch.inference_mode()
def test_every_processor_answers_right(name: str, form: str, reduce_range: bool, processor: str) -> None:
    """And says once where it cannot do so in integers."""
    model = made(name, form, reduce_range)
    given = inputs(model, 4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        found = answer(model, given)
        answer(model, given)
    with reference_execution():
        expected = answer(model, given)
    assert F.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.999
    warned = [one for one in said if "run in floats" in str(one.message)]
    assert len(warned) == (processor == "avx2" and not reduce_range)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("bert_base_uncased", "static"),
        ("bert_base_uncased", "dynamic"),
        ("gpt2", "static"),
        ("mobilenetv2_cifar", "static"),
    ],
)
@pytest.mark.parametrize("way", ["onnx", "executorch"])
def test_what_an_export_changes_never_runs_fast(
    name: str, form: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even on a processor whose operators would take most of it."""
    with processors.running_as("vnni"):
        model = made(name, form, reduce_range=True)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        for owner in (onednn.PackedConv, onednn):
            for maker in ("function", "adding", "linear", "linear_by_convolution"):
                monkeypatch.setattr(owner, maker, None, raising=False)
        where, by = (onnx, QDQ) if way == "onnx" else (executorch, DECOMPOSED)
        with settled(model, by, where._settle) as changed:
            assert execution.forced()
            if way == "onnx":
                changed(*inputs(model, 2))
        assert not execution.forced()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
