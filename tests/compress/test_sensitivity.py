"""Mixed precision: the rows that int8 hurts most are found, and stay float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import zoo
from networks import pictures, small
from zoo.model.build import Model, from_state
from zoo.passes.compress import compress
from zoo.passes.sensitivity import sensitivity
from zoo.weights.file import load, save_file

BAD = "s3_2"


@pytest.fixture
def model() -> Model:
    """One channel inside of one row is a thousand times as large as the others, and leads nowhere.

    One scale for the whole map leaves the other channels hardly a code. As floats the network is as good as any.
    """
    model = small("mobilenetv2_cifar")
    row = model.get_submodule(BAD)
    with torch.no_grad():
        row.depthwise.bn.weight[0] *= 1000
        row.depthwise.bn.bias[0] = row.depthwise.bn.bias[0] * 1000 + 4000
        row.project.conv.weight[:, 0] = 0
    return from_state(model.spec.edit(BAD, activation="relu"), model.state_dict())  # a bound at 6 would hide it


def answered(model: Model, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(x)


def test_the_error_of_a_row_is_that_of_the_network_with_it_alone_in_int8(model: Model) -> None:
    x = pictures(model, 96)
    errors = sensitivity(model, [x[:60], x[60:]])
    names = [row.name for row in model.spec]
    assert set(errors) == set(names) and list(errors.values()) == sorted(errors.values(), reverse=True)
    expected = answered(model, x)
    for name in (BAD, "stem", "classifier", "pool"):
        alone = compress(model, "int8", calibration=x, keep_float=tuple(set(names) - {name}))
        direct = float((answered(alone, x) - expected).square().mean() / expected.square().mean())
        assert errors[name] == pytest.approx(direct, rel=0.05), name


def test_the_bad_row_stands_first_and_is_kept(model: Model, tmp_path) -> None:
    x = pictures(model, 64)
    errors = sensitivity(model, x)
    first, second = list(errors)[:2]
    assert first == BAD and errors[first] > 5 * errors[second]

    plain = compress(model, "int8", calibration=x)
    mixed = compress(model, "int8", calibration=x, keep_float=1)
    assert mixed.made["passes"][-1]["keep_float"] == [BAD]
    assert mixed.made["passes"][-1]["chosen_by"] == {"sensitivity": 1}
    named = compress(model, "int8", calibration=x, keep_float=(BAD,))
    assert named.spec == mixed.spec and "chosen_by" not in named.made["passes"][-1]
    assert all(torch.equal(a, b) for a, b in zip(mixed.state_dict().values(), named.state_dict().values(), strict=True))

    expected = answered(model, x)
    error = {name: float(F.mse_loss(answered(one, x), expected)) for name, one in (("plain", plain), ("mixed", mixed))}
    assert error["mixed"] < 0.2 * error["plain"]

    save_file(mixed, tmp_path / "mixed.safetensors")
    again = load(tmp_path / "mixed.safetensors")
    assert [row.name for row in again.spec if row.precision == "float32"] == [BAD] and again.spec == mixed.spec
    assert torch.equal(answered(again, x), answered(mixed, x))


def test_as_many_stay_as_the_number_says(model: Model) -> None:
    x = pictures(model, 32)
    ranked = list(sensitivity(model, x))
    for count in (0, 3, len(ranked)):
        mixed = compress(model, "int8", calibration=x, keep_float=count)
        kept = {row.name for row in mixed.spec if row.precision == "float32"}
        assert kept == set(ranked[:count]) == set(mixed.made["passes"][-1]["keep_float"])


def test_a_budget_of_accuracy(model: Model) -> None:
    x = pictures(model, 64)
    labels = answered(model, x).argmax(1)  # so the float network is always right
    ranked = list(sensitivity(model, x))

    def drop(one: Model) -> float:
        return 100 * float((answered(one, x).argmax(1) != labels).float().mean())

    least = {}
    for budget in (2.0, 100.0):
        mixed = compress(model, "int8", calibration=x, max_drop=budget, labelled=(x, labels))
        told = mixed.made["passes"][-1]
        assert drop(mixed) <= budget and told["chosen_by"] == {"max_drop": budget, "drop": round(drop(mixed), 4)}
        least[budget] = len(told["keep_float"])
        assert set(told["keep_float"]) == set(ranked[: least[budget]])
        if least[budget]:  # one row fewer is too few
            assert drop(compress(model, "int8", calibration=x, keep_float=least[budget] - 1)) > budget
    assert least[2.0] >= 1 and least[100.0] == 0
    named = compress(model, "int8", calibration=x, max_drop=2.0, labelled=[(x, labels)], keep_float=("stem",))
    assert "stem" in named.made["passes"][-1]["keep_float"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_float": -1}, "-1"),
        ({"keep_float": 99}, "rows, not 99"),
        ({"keep_float": True}, "not True"),
        ({"max_drop": 1.0}, "labelled="),
        ({"labelled": (torch.zeros(2, 3, 32, 32), torch.zeros(2))}, "max_drop"),
        ({"max_drop": -1.0, "labelled": (torch.zeros(2, 3, 32, 32), torch.zeros(2))}, "0 or more, not -1"),
        ({"max_drop": 1.0, "labelled": 3}, "labelled="),
        ({"max_drop": 1.0, "labelled": (torch.zeros(2, 3, 32, 32), torch.zeros(2)), "keep_float": 2}, "give one"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(small("mobilenetv2_cifar"), "int8", calibration=torch.randn(2, 3, 32, 32), **options)


def test_a_budget_is_in_the_figure_of_a_task() -> None:
    x = torch.randn(2, 3, 32, 32)
    features = zoo.create("resnet20", weights=None, num_classes=0)
    with pytest.raises(ValueError, match="ends in 'pool' and has no such figure"):
        compress(features, "int8", calibration=x, max_drop=1.0, labelled=(x, torch.zeros(2, dtype=torch.int64)))
    for wrong, said in ((torch.tensor([0.5, 1.0]), "whole numbers"), (torch.tensor([0, 99]), "knows only 0 to 9")):
        with pytest.raises(ValueError, match=said):
            compress(small("resnet20"), "int8", calibration=x, max_drop=1.0, labelled=(x, wrong))


def test_what_is_int8_is_not_asked(model: Model) -> None:
    x = pictures(model, 8)
    with pytest.raises(ValueError, match="float network"):
        sensitivity(compress(model, "int8", calibration=x), x)
    with pytest.raises(ValueError, match="max_drop= is an option of the pass 'int8'"):
        compress(model, "sparse", max_drop=1.0)
