"""How float networks use memory in inference changes no answer, and nothing that anybody sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn as nn
from torch import Tensor

from daily import daily
from networks import EACH_CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL, gated, lively, mixed, pictures, small
from zoo.blocks import memory
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.spec import Block, ImageInput, ModelSpec


def check_near(found: Tensor, expected: Tensor) -> None:
    """Equal but for the order of sums, which deep networks of random weights amplify."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def as_written(model: Model, x: Tensor) -> Tensor:
    """What the modules give one by one, where gradients are wanted: nothing in place, in the format of `x`."""
    with torch.enable_grad():
        return answer(model, x).detach()


def wide() -> Model:
    """With weights so large that small batches go through them in plain format."""
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=256, stride=2, activation="relu"),
        Block("basic_block", "block", in_channels=256, mid_channels=256, out_channels=256),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=256, num_classes=10),
    )
    return lively(ModelSpec("wide", rows, ImageInput(size=(32, 32))))


@pytest.mark.parametrize("arch", daily(EACH_CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"])
def test_inference_answers_as_the_modules_do(arch: str, layout: torch.memory_format) -> None:
    model = small(arch)
    x = pictures(model, 3).contiguous(memory_format=layout)
    before = x.clone()
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            check_near(answer(model, x), as_written(model, before))
    assert torch.equal(x, before)  # an activation in place never reaches the input


@pytest.mark.parametrize("make", [gated, mixed, wide])
def test_a_large_batch_in_parts_answers_as_one(make: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = gated("swish") if make is gated else make()
    x = pictures(model, 7)
    with torch.inference_mode():
        whole = model(x)
        monkeypatch.setattr(memory, "PART", 2 * x.shape[2] * x.shape[3] // torch.get_num_threads())  # two pictures
        assert memory.parts(tuple(model.children()), x, memory.PART) > 1
        check_near(model(x), whole)


@pytest.mark.parametrize("arch", EACH_CONVOLUTIONAL)
def test_a_hook_sees_what_its_module_gave(arch: str) -> None:
    """The norm's output is not overwritten by the activation behind it, where somebody watches the norm."""
    model = small(arch)
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda module, given, result: seen.append(result))
    x = pictures(model, 2)
    with torch.inference_mode():
        model(x)
    as_written(model, x)
    check_near(seen[0], seen[1].detach())


def test_taps_are_not_overwritten_by_the_rows_behind() -> None:
    model = mixed()
    x, names = pictures(model, 2), [row.name for row in model.spec]
    with torch.inference_mode():
        _, tapped = model(x, taps=names)
        for name in names:
            check_near(tapped[name], model(x, taps=[name])[1][name])
    for name, value in model(x, taps=names)[1].items():
        check_near(tapped[name], value.detach())


@pytest.mark.parametrize("count", [1, 2])
def test_few_places_of_a_large_weight_are_computed_in_plain_format(count: int) -> None:
    """A batch of one has 256 places behind the stem, a batch of two has more."""
    model = wide()
    layouts: list[bool] = []
    model.block.conv1.bn.register_forward_hook(lambda module, given, result: layouts.append(result.is_contiguous()))
    x = pictures(model, count)
    with torch.inference_mode():
        check_near(model(x), as_written(model, x))
    assert layouts[0] == (count == 1)


@pytest.mark.parametrize("make", [mixed, wide])
def test_functional_calls_traces_and_exports_answer_the_same(make: Callable[..., Model]) -> None:
    model = make()
    x = pictures(model, 2)
    expected = as_written(model, x)
    with torch.inference_mode(False), torch.no_grad():
        mapped = torch.func.vmap(lambda one: model(one[None])[0])(x)
        traced = torch.jit.trace(model, x)(x)
        exported = torch.export.export(model, (x,)).module()(x)
    for found in (mapped, traced, exported):
        check_near(found, expected)
