"""int8: integer tensors, two executions that agree, ranges from data, and one clear error for what cannot be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from int8_networks import EACH_WAY, quantized
from networks import gated, pictures, small
from processors import running_as
from zoo.engine import reference_execution
from zoo.engine.int8.layer import Int8Layer
from zoo.passes.compress import compress
from zoo.passes.observers import OBSERVERS, Histogram, edge_range, scale_and_zero
from zoo.weights.file import save_file

GATED = [("hard_swish", "hard_sigmoid"), ("swish", "sigmoid"), ("relu6", "sigmoid")]


def rows_agree(model, x: torch.Tensor) -> None:
    """Layer by layer on the same codes: at most one unit in the last place.

    A row of several layers carries on what one of them rounded otherwise at a tie: a shortcut's unit is worth as many
    units of the sum as its scale is larger. That is rare, and ties are all that it comes from.
    """
    given: dict[str, tuple[Any, ...]] = {}
    layers = {name: part for name, part in model.named_modules() if isinstance(part, Int8Layer)}
    handles = [
        part.register_forward_hook(lambda _, args, out, name=name: given.__setitem__(name, (*args, out)))
        for name, part in layers.items()
    ]
    outputs = {"input": x}
    with torch.inference_mode():
        for row, module in zip(model.spec.rows, model.children(), strict=True):
            given.clear()
            tapped = [outputs[tap] for tap in row.taps]
            fast = module(x, *tapped)
            seen = dict(given)
            with reference_execution():
                for name, (*args, found) in seen.items():
                    agree(found, layers[name](*args), name)
                reference = module(x, *tapped)
            outputs[row.name] = fast
            if fast.dtype == torch.uint8:
                assert (fast != reference).float().mean() < 0.02, row.name
            x = fast
    for handle in handles:
        handle.remove()


def agree(found: torch.Tensor, expected: torch.Tensor, where: str) -> None:
    if found.dtype == torch.uint8:
        assert int((found.int() - expected.int()).abs().max()) <= 1, where
    else:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()), msg=where)


@pytest.mark.parametrize(("name", "reduce_range", "processor"), EACH_WAY, indirect=["processor"])
def test_executions_agree_layer_by_layer(name: str, reduce_range: bool, processor: str) -> None:
    """Weights of 7 bits run in integers on every x86; of 8, where products do not saturate."""
    _, int8 = quantized(name, reduce_range)
    for size in ((32, 32), (45, 33)):
        rows_agree(int8, torch.randn(3, 3, *size))


@pytest.mark.parametrize(("activation", "gate"), GATED)
def test_hard_networks_work(activation: str, gate: str) -> None:
    model = gated(activation, gate)
    int8 = compress(model, "int8", calibration=pictures(model, 64), reduce_range=True)
    x = pictures(model, 64)
    for kind in ("vnni", "avx2"):
        with running_as(kind):
            rows_agree(copy.deepcopy(int8), x)
    with torch.inference_mode():
        assert F.cosine_similarity(model(x), int8(x)).mean() > 0.97


@pytest.mark.parametrize("observer", OBSERVERS)
def test_close_to_the_float_network(observer: str) -> None:
    model = small("mobilenetv2_cifar")
    int8 = compress(model, "int8", calibration=pictures(model, 128), observer=observer)
    x = pictures(model, 64)
    with torch.inference_mode():
        assert F.cosine_similarity(model(x), int8(x)).mean() > 0.97


def test_bias_correction_takes_back_the_mean_shift() -> None:
    """A layer whose inputs are all positive and whose weights all round upwards: the shift is large, then gone."""
    model = small("mobilenetv2_cifar")
    with torch.no_grad():
        model.classifier.fc.weight.copy_(torch.full_like(model.classifier.fc.weight, 0.3))
        model.classifier.fc.weight[:, 0] = 1.0  # one large weight a row: codes are 127 and 38.1
    x = pictures(model, 64)
    with torch.inference_mode():
        expected = model(x).mean(0)
        shift = {
            correct: (compress(model, "int8", calibration=x, correct_bias=correct)(x).mean(0) - expected).abs().mean()
            for correct in (False, True)
        }
    assert shift[True] < 0.5 * shift[False]


def test_state_is_integers_and_the_file_small(tmp_path) -> None:
    model = small("mobilenetv2_100")
    int8 = compress(model, "int8", calibration=pictures(model))
    dtypes = {key: value.dtype for key, value in int8.state_dict().items()}
    assert all(dtype == torch.int8 for key, dtype in dtypes.items() if key.endswith("weight"))
    assert not any(value.is_floating_point() and value.ndim > 2 for value in int8.state_dict().values())
    save_file(int8, tmp_path / "int8"), save_file(model, tmp_path / "dense")
    assert (tmp_path / "int8").stat().st_size < 0.5 * (tmp_path / "dense").stat().st_size


def test_uint8_flows_between_rows() -> None:
    _, int8 = quantized("mobilenetv2_cifar")
    flowing = []
    for module in int8.children():
        module.register_forward_hook(lambda m, x, y: flowing.append(y.dtype))
    int8(pictures(int8, 2))
    assert set(flowing[:-1]) == {torch.uint8} and flowing[-1] == torch.float32


def test_dtypes_survive_half_and_moves() -> None:
    model, int8 = quantized("mobilenetv2_cifar")
    x = pictures(model, 2)
    before, dtypes = int8(x), [v.dtype for v in int8.state_dict().values()]
    int8.half().to(torch.bfloat16).double()
    assert [v.dtype for v in int8.state_dict().values()] == dtypes
    assert torch.equal(int8(x), before)


def test_copies_and_loads_repack() -> None:
    import pickle

    model, int8 = quantized("mobilenetv2_cifar")
    x = pictures(model, 2)
    with torch.inference_mode():
        expected = int8(x)
        assert torch.equal(copy.deepcopy(int8)(x), expected)
        assert torch.equal(pickle.loads(pickle.dumps(int8))(x), expected)
    other = compress(small("mobilenetv2_cifar"), "int8", calibration=x)
    with torch.inference_mode():
        assert not torch.equal(other(x), expected)
        other.load_state_dict(int8.state_dict())
        assert torch.equal(other(x), expected)


@pytest.mark.parametrize("name", ["mobilenetv2_cifar", "resnet20", "resnet50"])
def test_the_input_is_not_overwritten_by_the_fused_add(name: str, processor: str) -> None:
    _, int8 = quantized(name, reduce_range=True)
    row = int8.get_submodule("s2_2")
    shape = (2, int8.spec["s2_2"].args["in_channels"], 16, 16)
    codes = torch.randint(0, 256, shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    before = codes.clone()
    row(codes)
    assert torch.equal(codes, before)


def test_taps_are_floats() -> None:
    model, int8 = quantized("mobilenetv2_cifar")
    x = pictures(model, 8)
    with torch.inference_mode():
        _, expected = model(x, taps=("s2_3",))
        _, tapped = int8(x, taps=("s2_3",))
    assert tapped["s2_3"].dtype == torch.float32
    assert F.cosine_similarity(expected["s2_3"].flatten(1), tapped["s2_3"].flatten(1)).min() > 0.97


def test_rows_kept_float() -> None:
    model = small("mobilenetv2_cifar")
    mixed = compress(model, "int8", calibration=pictures(model), keep_float=("stem", "s2_2", "classifier"))
    assert [row.precision for row in mixed.spec].count("float32") == 3
    assert mixed.spec["s2_1"].emits == "float32" and mixed.spec["s2_3"].emits == "uint8"
    assert mixed(pictures(model, 2)).shape == (2, 10)


@given(st.floats(-50, 50), st.floats(0.001, 100))
def test_zero_is_always_a_code(low: float, width: float) -> None:
    low, high = min(low, 0.0), max(low + width, 0.0)
    scale, zero = scale_and_zero(low, high)
    assert scale > 0 and 0 <= zero <= 255 and (zero == 0 or low < 0)
    assert (0 - zero) * scale <= low + scale and (255 - zero) * scale >= high - scale


def test_observers_cut_what_hardly_occurs() -> None:
    values = torch.cat([torch.randn(200_000), torch.tensor([60.0])])
    histogram = Histogram()
    histogram.widen(values), histogram.count(values)
    full, cut, least = (edge_range(histogram, name)[1] for name in OBSERVERS)
    assert full == 60.0 and cut < 8 and least < full

    def error(high: float) -> float:
        scale, zero = scale_and_zero(-5.0, high)
        codes = (values / scale).round().add(zero).clamp(0, 255)
        return float(((codes - zero) * scale - values).square().mean())

    assert error(least) < error(full)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "calibration="),
        ({"calibration": []}, "calibration="),
        ({"calibration": 3}, "calibration="),
        ({"calibration": torch.full((2, 3, 32, 32), float("nan"))}, "finite"),
        ({"calibration": torch.zeros(2, 3, 32, 32), "observer": "max"}, "max"),
        ({"calibration": torch.ones(2, 3, 32, 32).cumsum(3), "keep_float": ("s9",)}, "s9"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(small("mobilenetv2_cifar"), "int8", **options)


def test_twice_is_refused() -> None:
    model, int8 = quantized("mobilenetv2_cifar")
    for again in ("int8", "pruned", "sparse"):
        with pytest.raises(ValueError, match="int8 already"):
            compress(int8, again, calibration=pictures(model) if again == "int8" else None)


def test_distilled_is_not_arithmetic() -> None:
    with pytest.raises(ValueError, match="zoo distill"):
        compress(small("mobilenetv2_cifar"), "distilled")
