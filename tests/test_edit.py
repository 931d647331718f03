"""`edit`: the legal way to change a row."""

import pytest
import torch

from networks import pictures, small
from zoo.build import edit
from zoo.spec import SpecError


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


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SpecError, match="channels"):
        edit(small("mobilenetv2_cifar"), "stem", out_channels=24)
    with pytest.raises(KeyError, match="s9_9"):
        edit(small("mobilenetv2_cifar"), "s9_9", stride=2)
