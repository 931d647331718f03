"""fuse: the same answers, with norms folded in and weights packed."""

from __future__ import annotations

import copy

import pytest
import torch

import zoo
from daily import daily
from networks import CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL, gated, lively, pictures, small
from zoo.engine.cpu import onednn, packed
from zoo.model.answer import answer
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.spec import Block, ImageInput, ModelSpec, SpecError


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("name", [*daily(CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL), "gated"])
def test_it_answers_as_the_dense_network(name: str, there: bool, monkeypatch) -> None:
    if not there:
        monkeypatch.setattr(packed, "available", lambda: False)
    model = gated("swish") if name == "gated" else small(name)
    fused = zoo.fuse(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        for batch, *size in ((2, 32, 32), (1, 45, 33), (3, 32, 32)):
            x = torch.randn(batch, 3, *size)
            kept = x.clone()
            close(answer(fused, x), answer(model, x))
            close(answer(fused, x.contiguous(memory_format=torch.channels_last)), answer(model, x))
            assert torch.equal(x, kept)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any("running" in key for key in fused.state_dict())


@pytest.mark.skipif(not packed.available(), reason="a torch without the operators")
@pytest.mark.parametrize("shape", [(320, 960, 1, 1), (16, 8, 3, 3)])
def test_weights_have_the_order_that_the_batch_wants(shape: tuple[int, ...]) -> None:
    """One packed for another batch is reordered at every call, up to 40 times slower."""

    def order(tensor: torch.Tensor) -> bytes:
        return torch.ops.mkldnn._get_mkldnn_serialized_md(tensor).numpy().tobytes()

    weight, settings = torch.randn(shape), ([0, 0], [1, 1], [1, 1], 1)
    held = packed.PackedWeight(weight, *settings, [shape[1], 7, 7])
    for batch in (1, 2, 3, 32, 2):
        fresh = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, [batch, shape[1], 7, 7])
        assert order(held.of(batch)) == order(fresh)
        assert torch.equal(held.of(batch).to_dense(), weight)
    assert len(held._by_order) == len({order(held.of(batch)) for batch in (1, 2, 3, 32)})  # held once
    for batch in range(1, packed.MAX_BATCHES + 10):
        held.of(batch)
    assert len(held._by_batch) <= packed.MAX_BATCHES


def test_a_row_that_adds_its_input_leaves_it() -> None:
    """Even the first one, whose input is the caller's."""
    row = {"in_channels": 8, "out_channels": 8, "skip": True, "out_activation": "none"}
    shape = ImageInput(size=(16, 16), channels=8, mean=(0.5,) * 8, std=(0.5,) * 8)
    model = lively(ModelSpec("skips", (Block("depthwise_separable", "a", **row),), shape))
    fused = zoo.fuse(model)
    x = torch.randn(2, 8, 16, 16).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    with torch.inference_mode():
        close(fused(x), model(x))
        close(fused(x), model(before))
    assert torch.equal(x, before)


def test_torch_has_the_operators_here() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    assert packed.available()


def test_gradients_reach_the_input() -> None:
    model = small("mobilenetv2_cifar")
    x = pictures(model, 2)
    gradients = []
    for one in (model, zoo.fuse(model)):
        with torch.inference_mode():
            one(x)
        one(x)
        leaf = x.clone().requires_grad_()
        one(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    close(gradients[1], gradients[0])


def test_a_fresh_row_before_fused_ones_trains() -> None:
    fused = zoo.edit(zoo.fuse(small("mobilenetv2_cifar")), "stem", kernel_size=5)
    x = pictures(fused, 2)
    with torch.inference_mode():
        fused(x)
    fused(x).square().sum().backward()
    gradient = fused.stem.conv.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_int8_rows_stay() -> None:
    model = small("mobilenetv2_cifar")
    mixed = compress(model, "int8", calibration=pictures(model, 32), keep_float=("stem", "s2_2"))
    fused = zoo.fuse(mixed)
    assert [row.precision for row in fused.spec][:2] == ["fused", "int8"]
    x = pictures(model, 4)
    with torch.inference_mode():
        assert torch.nn.functional.cosine_similarity(fused(x), mixed(x)).min() > 0.999


def test_labels_copies_features_and_edits() -> None:
    model = zoo.create("mobilenet")
    fused = zoo.fuse(model)
    x = zoo.preprocess(model)(zoo.samples("cifar10").images[:4])
    with torch.inference_mode():
        assert fused.labels == model.labels
        assert torch.equal(copy.deepcopy(fused)(x), fused(x))
        assert zoo.edit(fused, "classifier", num_classes=3)(x).shape == (4, 3)
        _, taps = fused(x, taps=("s2_3",))
        close(taps["s2_3"], model(x, taps=("s2_3",))[1]["s2_3"])


@pytest.mark.parametrize("passes", ["int8", "pruned", "sparse"])
def test_it_is_not_compressed(passes: str) -> None:
    model = small("mobilenetv2_cifar")
    with pytest.raises(ValueError, match="fused already"):
        compress(zoo.fuse(model), passes, calibration=pictures(model) if passes == "int8" else None)


def test_it_is_not_trained_and_not_made_of_what_trains() -> None:
    model = small("mobilenetv2_cifar")
    with pytest.raises(ValueError, match="train the network"):
        prepare_qat(zoo.fuse(model), pictures(model))
    with pytest.raises(ValueError, match="quantization-aware"):
        zoo.fuse(prepare_qat(model, pictures(model)))
    with pytest.raises(ValueError, match="zoo model"):
        zoo.fuse(torch.nn.Linear(2, 2))
    with pytest.raises(SpecError, match="uint8"):
        zoo.build(zoo.fuse(model).spec.edit("stem", emits="uint8"))


def test_a_row_before_it_may_begin_to_learn() -> None:
    fused = zoo.edit(zoo.fuse(small("mobilenetv2_cifar")), "stem", kernel_size=5)
    x = pictures(fused, 2)
    fused.stem.requires_grad_(False)
    fused(x)
    fused.stem.requires_grad_(True)
    fused(x).sum().backward()
    assert fused.stem.conv.weight.grad is not None


@torch.inference_mode()
def test_one_convolution_of_one_pixel_is_packed_for_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "trusted", lambda: True)  # int8 ones are products there
    fused = zoo.fuse(small("mobilenetv2_cifar"))
    for side in (32, 64):
        fused(torch.randn(1, 3, side, side))
    assert len(fused.s2_2.expand._calls) == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("made", ["fused", "int8"])
def test_weights_written_in_place_are_the_ones_that_compute(made: str, mode) -> None:
    model = small("mobilenetv2_cifar")
    x = pictures(model, 4)
    model = zoo.fuse(model) if made == "fused" else compress(model, "int8", calibration=x)
    with mode():
        before = model(x)
        for key in ("s3_2.expand.weight", "classifier.fc.bias"):
            model.state_dict()[key].zero_()
        now = model(x)
        assert not torch.equal(now, before)
        assert torch.equal(now, copy.deepcopy(model)(x))  # packs anew
        assert torch.equal(now, model(x))
