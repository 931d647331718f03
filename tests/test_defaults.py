"""torch's defaults of the caller change nothing inside, and come back behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

import zoo
from picture_data import network
from zoo.model.defaults import usual_defaults

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BUILDERS: dict[str, Callable[[], torch.nn.Module]] = {
    "build": lambda: zoo.build(network("a", "b").spec),
    "create": lambda: zoo.create("resnet20", weights=None),
    "load": lambda: zoo.create("resnet"),
    "edit": lambda: zoo.edit(zoo.create("resnet"), "classifier", num_classes=3),
    "fuse": lambda: zoo.fuse(zoo.create("resnet")),
    "compress": lambda: zoo.compress(zoo.create("resnet"), "int8", calibration=X.repeat(1, 1, 4, 4)),
    "prepare_qat": lambda: zoo.prepare_qat(zoo.create("resnet-int8")),
    "features": lambda: zoo.create("resnet", features_only=True),
}


@pytest.fixture(params=["float64", "bfloat16", "meta", "cpu"])
def chosen(request: pytest.FixtureRequest) -> Iterator[str]:
    """The caller's own defaults."""
    if request.param in ("meta", "cpu"):
        torch.set_default_device(request.param)
    else:
        torch.set_default_dtype(getattr(torch, request.param))
    yield request.param
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def given() -> tuple[torch.dtype, torch.device]:
    made = torch.empty(1)
    return made.dtype, made.device


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("builder", BUILDERS)
def test_a_network_is_float32_and_on_the_cpu(chosen: str, builder: str) -> None:
    before = given()
    made = BUILDERS[builder]()
    tensors = [*made.parameters(), *made.buffers()]
    assert {one.device.type for one in tensors} == {"cpu"}
    assert {one.dtype for one in tensors if one.is_floating_point()} == {torch.float32}
    assert given() == before, "the caller's defaults are as they were"


def test_inside_they_are_torchs_own_and_behind_an_error_the_callers(chosen: str) -> None:
    before = given()
    seen = []

    @usual_defaults()
    def fails() -> None:
        seen.append(given())
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [(torch.float32, torch.device("cpu"))] and given() == before
    with usual_defaults("meta"):
        assert given() == (torch.float32, torch.device("meta"))
    with usual_defaults(None):
        assert given() == (torch.float32, torch.device("cpu"))
    assert given() == before


def test_where_they_are_torchs_own_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default dtype belongs to the whole process: another thread would see it change."""
    monkeypatch.setattr(torch, "set_default_dtype", lambda dtype: pytest.fail("it was set"))
    with usual_defaults():
        assert given() == (torch.float32, torch.device("cpu"))


# What a network computes in, and what comes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", ["float", "fused", "features"])
def test_an_input_of_another_dtype_is_one_clear_error(form: str, dtype: torch.dtype) -> None:
    model = network("a", "b")
    made = {
        "float": lambda: model,
        "fused": lambda: zoo.fuse(model),
        "features": lambda: zoo.model.features.Features(model),
    }
    net = made[form]()
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"tiny computes in float32, and its input is {name}: give it x\.to\(torch"):
        net(X.to(dtype))
    if form == "float":
        with pytest.raises(ValueError, match=rf"tiny computes in {name}, and its input is float32"):
            model.to(dtype)(X)
        assert model(X.to(dtype)).dtype == dtype


def test_an_input_on_another_device_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"tiny is on meta, and its input on cpu: give it x\.to\(model\.device\)"):
        network("a", "b").to("meta")(X)


def test_autocast_and_int8_take_any_float() -> None:
    model = network("a", "b")
    with torch.autocast("cpu"):
        assert model(X).dtype == torch.bfloat16
        assert model(X.bfloat16()).dtype == torch.bfloat16
    int8 = zoo.compress(model, "int8", calibration=X)
    assert int8(X.double()).dtype == int8(X.half()).dtype == torch.float32
