"""build: from a spec to a module, its rows in order, its taps, and its refusals."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from networks import PICTURES, answer, inputs, pictures, small
from reduced import reduced
from zoo import registry, tasks
from zoo.model.build import build, from_state
from zoo.passes.compress import compress
from zoo.spec import Block, ModelSpec, SpecError

ARCHS = tuple(registry.MODELS)


@pytest.fixture
def spec() -> ModelSpec:
    return reduced(registry.spec("mobilenetv2_cifar"))


def stem(name: str = "stem") -> Block:
    return Block("conv_norm_act", name, in_channels=3, out_channels=8)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_builds_and_answers(arch: str) -> None:
    small = reduced(registry.spec(arch))
    model = build(small)
    with torch.inference_mode():
        y = answer(model, inputs(model, 2))
    if arch in PICTURES and not tasks.of(small).objects:
        assert y.shape[:2] == (2, small.rows[-1].args["num_classes"])
    assert len(y) == 2 and y.isfinite().all()
    assert not model.training
    assert [name for name, _ in model.named_children()] == [row.name for row in small]


def test_it_runs_its_rows_in_order(spec: ModelSpec) -> None:
    model = build(spec)
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)  # as a model runs its rows
    with torch.inference_mode():
        y = x
        for row in model.children():
            y = row(y)
        torch.testing.assert_close(model(x), y, rtol=0, atol=0)


def test_taps_give_what_rows_put_out(spec: ModelSpec) -> None:
    model = build(spec)
    x = torch.randn(1, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        plain = model(x)
        out, tapped = model(x, taps=("input", "stem", "pool"))
        assert torch.equal(out, plain)
        assert list(tapped) == ["input", "stem", "pool"]
        assert torch.equal(tapped["input"], x)
        assert torch.equal(tapped["stem"], model.stem(x))
        assert torch.equal(model.classifier(tapped["pool"]), plain)
        _, again = model(x, taps=(name for name in ("stem",)))
        assert torch.equal(again["stem"], tapped["stem"])


def test_an_unknown_tap_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ValueError, match=r"No such rows to tap: \['steam'\]; the rows are \['stem'"):
        build(spec)(torch.zeros(1, 3, 32, 32), taps=["steam"])


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(3, 32, 32), r"float32 of shape \(3, 32, 32\)"),
        (torch.zeros(1, 1, 32, 32), r"float32 of shape \(1, 1, 32, 32\)"),
        (torch.zeros(1, 32, 32, 3), r"\(batch, 3, height, width\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8 of shape"),
    ],
)
def test_what_is_no_picture_is_refused(spec: ModelSpec, x: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(spec)(x)


def test_meta_takes_no_memory_and_the_state_goes_in_uncopied(spec: ModelSpec) -> None:
    assert all(p.is_meta for p in build(spec, device="meta").parameters())
    model = build(spec)
    again = from_state(spec, model.state_dict())
    for key, value in again.state_dict().items():
        assert value.data_ptr() == model.state_dict()[key].data_ptr(), key
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(x), model(x))


def test_the_same_seed_gives_the_same_weights(spec: ModelSpec) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(spec).state_dict()["stem.conv.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_model_can_be_copied_and_pickled(spec: ModelSpec) -> None:
    model = build(spec)
    model.labels = ("cat", "dog")
    x = torch.randn(1, 3, 32, 32)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.spec == spec
        assert again.labels == ("cat", "dog")
        with torch.inference_mode():
            assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("name", ["forward", "training", "spec", "labels", "made", "_wiring", "type", "_modules"])
def test_a_row_cannot_take_the_name_of_an_attribute(name: str) -> None:
    with pytest.raises(SpecError, match=f"A row cannot be called '{name}'"):
        build(ModelSpec("bad", (stem(name),)))


def test_what_does_not_fit_is_not_built() -> None:
    with pytest.raises(SpecError, match="takes 16 channels, but 8 come in"):
        build(ModelSpec("bad", (stem(), Block("conv_norm_act", "b", in_channels=16, out_channels=8))))
    with pytest.raises(SpecError, match="unknown kind"):
        from_state(ModelSpec("bad", (Block("torch.nn.Linear", "a"),)), {})


def test_where_and_how_large_a_network_is() -> None:
    model = small("resnet20")
    count = sum(one.numel() for one in model.parameters())
    assert (model.device, model.dtype, model.num_parameters()) == (torch.device("cpu"), torch.float32, count)
    int8 = compress(model, "int8", calibration=pictures(model))
    assert (int8.device, int8.dtype, int8.num_parameters()) == (torch.device("cpu"), torch.float32, count)
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD(int8.parameters(), lr=0.1)
    assert model.bfloat16().dtype == torch.bfloat16 and build(model.spec, device="meta").device.type == "meta"
