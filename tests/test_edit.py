"""`edit`: the legal way to change a row."""

import pytest
import torch

from networks import pictures, small
from zoo.model.build import upto
from zoo.model.editing import edit
from zoo.passes.compress import compress
from zoo.spec import SpecError
from zoo.weights.file import load, save_file


def test_a_new_head_keeps_the_trunk() -> None:
    model = small("mobilenetv2_cifar")
    edited = edit(model, "classifier", num_classes=3)
    assert edited(pictures(model, 2)).shape == (2, 3) and model(pictures(model, 2)).shape == (2, 10)
    before = model.state_dict()
    new = {key for key, value in edited.state_dict().items() if not torch.equal(value, before[key])}
    assert new <= {"classifier.fc.weight", "classifier.fc.bias"} and "classifier.fc.weight" in new


def test_a_setting_keeps_the_tensors() -> None:
    model = small("mobilenetv2_cifar")
    edited = edit(model, "stem", activation="hard_swish")
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in edited.state_dict().items())
    assert edited.spec["stem"].args["activation"] == "hard_swish"


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        ("stem", {"out_channels": 24}, "channels"),
        ("s9_9", {"stride": 2}, "s9_9"),
        ("stem", {"name": "trunk"}, "name"),
        ("stem", {"strides": 2}, "strides"),
        ("stem", {}, "nothing"),
    ],
)
def test_what_does_not_fit_is_refused(row: str, changes: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        edit(small("mobilenetv2_cifar"), row, **changes)


def test_labels_go_with_the_classes() -> None:
    model = small("mobilenetv2_cifar")
    model.labels = tuple("abcdefghij")
    assert edit(model, "classifier", num_classes=3).labels == ()
    assert edit(model, "stem", activation="relu").labels == model.labels


def test_a_fresh_row_in_an_int8_model_is_float(tmp_path) -> None:
    model = compress(small("mobilenetv2_cifar"), "int8", calibration=pictures(small("mobilenetv2_cifar")))
    edited = edit(model, "classifier", num_classes=3)
    assert edited.spec["classifier"].precision == "float32" and edited.spec["pool"].emits == "float32"
    save_file(edited, tmp_path / "edited.safetensors")
    x = pictures(model, 2)
    assert torch.equal(load(tmp_path / "edited.safetensors")(x), edited(x))
    middle = edit(model, "s2_2", kernel_size=5)
    assert [r.precision for r in middle.spec].count("float32") == 1 and middle(x).shape == (2, 10)


def test_an_argument_that_a_row_has_not_is_answered_with_those_it_has() -> None:
    model = small("mobilenetv2_cifar")
    with pytest.raises(SpecError, match=r"Row 'stem', a conv_norm_act, has the arguments .*kernel_size.* num_classes="):
        edit(model, "stem", num_classes=5)
    with pytest.raises(SpecError, match=r"The head is row 'classifier'\.$"):
        edit(model, "stem", num_classes=5)
    with pytest.raises(SpecError, match=r"cannot change colour= there\.$"):
        edit(model, "stem", colour=5)
    with pytest.raises(SpecError, match=r"has the arguments .*; edit cannot change nothing there"):
        edit(model, "stem")


def test_a_cut_model_shares_the_tensors_and_ends_in_floats() -> None:
    dense = small("mobilenetv2_cifar")
    model = compress(dense, "int8", calibration=pictures(dense))
    assert model.spec["s2_2"].emits == "uint8"
    cut = upto(model, "s2_2")
    x, state = pictures(model, 2), model.state_dict()
    assert [row.name for row in cut.spec] == [row.name for row in model.spec][: len(cut.spec.rows)]
    assert all(value.data_ptr() == state[key].data_ptr() for key, value in cut.state_dict().items())
    assert torch.equal(cut(x), model(x, taps=["s2_2"])[1]["s2_2"]) and cut.made == model.made
    with pytest.raises(KeyError, match="has no row 's9_9'"):
        upto(model, "s9_9")
