"""What calibration may be, and networks whose channels stand out."""

import warnings

import pytest
import torch
from torch import nn

import zoo
from networks import answer, calibration_of, inputs, lively, small
from zoo.model.build import Model, copy_metadata, from_state
from zoo.passes.compress import _warn_of_one_answer
from zoo.passes.data import as_batches, as_labelled_batches
from zoo.passes.smooth import exponents, smoothed
from zoo.spec import Block, ImageInput, ModelSpec

WHY = "wanted"


def network() -> Model:
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=16, stride=2, activation="relu"),
        Block("basic_block", "a", in_channels=16, mid_channels=16, out_channels=16),
        Block("bottleneck", "b", in_channels=16, mid1_channels=16, mid2_channels=16, out_channels=16),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=16, num_classes=4),
    )
    torch.manual_seed(0)
    return lively(ModelSpec("tiny", rows, ImageInput(size=(16, 16))))


X = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("key", ["pixel_values", "images", "image", "img"])
def test_dicts_of_pictures_are_read_and_their_labels_left_out(key: str) -> None:
    spec, labels = network().spec, torch.arange(32) % 4
    for data in ({key: X, "labels": labels}, [{key: X, "label": labels}], [({key: X}, labels)], [(X, labels)], X):
        assert torch.equal(torch.cat(as_batches(data, WHY, spec)), X)
    for data in ({key: X, "labels": labels}, [{key: X, "label": labels}], ({key: X}, labels), (X, labels)):
        [(found, theirs)] = as_labelled_batches(data, WHY, spec)
        assert torch.equal(found, X) and torch.equal(theirs, labels)


def test_dicts_of_texts_are_read_and_their_labels_left_out() -> None:
    spec = small("bert_base_uncased").spec
    ids = torch.randint(2, 9, (3, 5))
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    [found] = as_batches({**given, "labels": torch.zeros(3)}, WHY, spec)
    assert found.keys() == given.keys()


@pytest.mark.parametrize(
    "data",
    [{"pixels": X}, {"pixel_values": X, "image": X}, {"labels": X}, {"input_ids": X}, [{"pixel_values": X, "age": X}]],
)
def test_other_parts_of_a_dict_are_refused_by_name(data: object) -> None:
    with pytest.raises(ValueError, match="A dict for tiny has one of pixel_values"):
        as_batches(data, WHY, network().spec)


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_one_value_is_no_calibration(value: float) -> None:
    for call in (zoo.prepare_qat, lambda model, x: zoo.compress(model, "int8", calibration=x)):
        with pytest.raises(ValueError, match=f"of the 8 calibration inputs is {value:g}"):
            call(network(), torch.full((8, 3, 16, 16), value))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_no_calibration(value: float) -> None:
    x = X.clone()
    x[3, 0, 0, 0] = value
    with pytest.raises(ValueError, match="Calibration data holds values that are not finite"):
        zoo.compress(network(), "int8", calibration=x)
    with pytest.raises(ValueError, match="Labelled data holds values that are not finite"):
        zoo.compress(network(), "int8", calibration=X, max_drop=1.0, labelled=(x, torch.arange(32) % 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_calibration_in_another_precision_is_made_float32(dtype: torch.dtype) -> None:
    given = X.half().to(dtype)  # the same values in every precision
    made = zoo.compress(network().to(dtype), "int8", calibration=given)
    expected = zoo.compress(network().to(dtype), "int8", calibration=given.float())
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in made.state_dict().items())


def test_one_input_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="1 input alone"):
        zoo.compress(network(), "int8", calibration=X[:1])


def test_one_answer_to_everything_is_warned_of_with_figures() -> None:
    always = network()
    with torch.no_grad():
        always.classifier.fc.weight.zero_()
        always.classifier.fc.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0]))
    plain = network()
    with torch.inference_mode():
        plain.classifier.fc.bias -= plain(X).mean(0)  # so that no class is the largest of all
        classes = plain(X).argmax(1).unique().numel()
    assert classes > 1
    with pytest.warns(UserWarning, match=rf"one class \(2\) to all 32 .* float network {classes}"):
        _warn_of_one_answer(plain, always, [X])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_of_one_answer(plain, plain, [X])


def outlier(model: Model, by: float = 128.0) -> Model:
    """The same network, but for one channel inside of each block: times `by`, and its reader's weights by 1 / `by`."""
    with torch.no_grad():
        for norm, layer in ((model.a.conv1.bn, model.a.conv2.conv), (model.b.conv2.bn, model.b.conv3.conv)):
            norm.weight[5] *= by
            norm.bias[5] *= by
            layer.weight[:, 5] /= by
    return model


def error(model: Model, **settings: object) -> float:
    with torch.inference_mode():
        right = model(X)
        found = zoo.compress(model, "int8", calibration=X, correct_bias=False, **settings)(X)
    return float((found - right).square().mean() / right.square().mean())


def test_an_outlier_channel_of_a_convolution_costs_nothing() -> None:
    plain, rough, smooth = error(network()), error(outlier(network()), smooth=False), error(outlier(network()))
    assert rough > 5 * plain and smooth < 1.5 * plain


@pytest.mark.parametrize("name", ["gpt2", "llama3_2_1b", "vit_tiny_patch16_224"])
def test_moved_scales_keep_the_bits_of_a_transformer(name: str) -> None:
    model = small(name)
    with torch.no_grad():
        for row in (row for row in model.spec if row.kind == "transformer_block"):
            norm = model.get_submodule(row.name).norm1
            norm.weight[3] *= 100
    data = calibration_of(model)
    for batches in (None, as_batches(data, WHY, model.spec)):
        moved = exponents(model, batches)
        assert moved and all(of_norm[3] > 1 for key, of_norm in moved.items() if "norm1" in key)
        other = copy_metadata(from_state(model.spec, smoothed(model.state_dict(), model.spec, moved)), model)
        given = inputs(model)
        with torch.inference_mode():
            assert torch.equal(answer(model, given), answer(other, given))


def test_what_was_moved_stands_in_the_recipe() -> None:
    told = zoo.compress(outlier(network()), "int8", calibration=X).made["passes"][-1]
    assert told["smoothed_channels"] >= 2
    assert (
        "smoothed_channels"
        not in zoo.compress(outlier(network()), "int8", calibration=X, smooth=False).made["passes"][-1]
    )


def test_a_norm_behind_the_sum_is_left_as_it_is() -> None:
    model = small("bert_base_uncased")
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data[2] *= 100
    assert not exponents(model, None)
