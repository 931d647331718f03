"""What passes that solve weights share: folding and back, the streams of two networks, the normal equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from networks import inputs, lively, pictures, small
from reduced import reduced
from zoo import kinds, registry
from zoo.passes.folding import folded, unfolded
from zoo.passes.gram import Columns, Gram, as_columns, best_solution, of_columns
from zoo.passes.stream import Stream

NETWORKS = ("mobilenetv2_035", "resnet18", "vit_tiny_patch16_224")


def layers(model):
    for row in model.spec:
        args = kinds.arguments(row)
        for layer in kinds.KINDS[row.kind].layers(args):
            if not layer.table:
                yield row, layer, args.get("eps", 0.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_unfolded_is_the_inverse_of_folded(name: str) -> None:
    model = small(name)
    state = model.state_dict()
    for row, layer, eps in layers(model):
        prefix = f"{row.name}.{layer.path}"
        weight, bias = folded(state, prefix, layer, eps)
        wanted = 2 * weight, (bias + 1 if layer.bias else bias)
        again = folded({**state, **unfolded(state, prefix, layer, eps, *wanted)}, prefix, layer, eps)
        torch.testing.assert_close(again, wanted, rtol=1e-4, atol=1e-5)


def test_a_channel_that_batch_norm_has_closed_can_be_given_a_weight() -> None:
    model = small("mobilenetv2_035")
    row, layer, eps = next(iter(layers(model)))
    state = model.state_dict()
    state[f"{row.name}.bn.weight"][0] = 0.0
    weight, bias = folded(state, f"{row.name}.", layer, eps)
    weight[0] = 1.0
    again, _ = folded(
        {**state, **unfolded(state, f"{row.name}.", layer, eps, weight, bias)}, f"{row.name}.", layer, eps
    )
    torch.testing.assert_close(again, weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*NETWORKS, "bert_base_uncased"])
def test_a_stream_ends_with_what_the_network_answers(name: str) -> None:
    model = small(name)
    given = inputs(model)[0] if model.spec.input.ids else pictures(model, 20)
    with torch.inference_mode():
        answer = model(given)
        stream = Stream(model, [given])
        while stream.row:
            stream.step()
    answer = answer if isinstance(answer, torch.Tensor) else answer.answer
    torch.testing.assert_close(torch.cat(stream.inputs), answer, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenetv2_035", "tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224"])
def test_columns_times_weights_are_what_the_layer_gives(name: str) -> None:
    model, x = small(name), None
    state = model.state_dict()
    with torch.inference_mode():
        stream = Stream(model, [pictures(model, 4)])
        found = {}
        for row, layer, eps in layers(model):
            while stream.row != row.name:
                stream.step()
            if layer.pooled or row.kind == "patch_embedding":
                continue
            path = layer.path.rstrip(".")
            gives = f"{path}.bn".lstrip(".") if layer.norm else path
            columns = Columns(layer, 4)
            weight, bias = folded(state, f"{row.name}.{layer.path}", layer, eps)
            flat = as_columns(layer, weight, bias)
            for x, y in zip(stream.taken(path), stream.given(gives), strict=True):
                got = F.pad(columns.taken(x), (0, 1), value=1.0).double() @ flat
                found[row.name, path] = float((got - columns.given(y)).abs().max() / y.abs().max())
            assert torch.equal(of_columns(layer, flat, weight.shape)[0].float(), weight)
    assert len(found) > 5 and max(found.values()) < 1e-4


def test_the_solution_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(500, 6, generator=generator), torch.randn(7, 3, generator=generator).double()
    y = (F.pad(x, (0, 1), value=1.0).double() @ weight).float()
    halves = Gram(), Gram()
    for half, a, b in zip(halves, x.chunk(2), y.chunk(2), strict=True):
        half.add(a, b)
    solved = best_solution(halves, torch.zeros_like(weight))
    torch.testing.assert_close(solved, weight, rtol=1e-3, atol=1e-3)
    whole = halves[0] + halves[1]
    assert whole.count == 500 and float(whole.error(solved).sum()) < 1e-4 * float(whole.yy.sum())


@pytest.mark.parametrize("case", ["constant", "twice the same", "fewer positions than inputs", "zeros"])
def test_a_singular_system_has_a_finite_solution_no_worse_than_the_start(case: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8 if case.startswith("fewer") else 200, 20, generator=generator)
    if case == "constant":
        x[:, :5] = 3.0
    elif case.startswith("twice"):
        x[:, 10:] = x[:, :10]
    elif case == "zeros":
        x.zero_()
    y = torch.randn(len(x), 4, generator=generator)
    halves = Gram(), Gram()
    for half, a, b in zip(halves, x.chunk(2), y.chunk(2), strict=True):
        half.add(a, b)
    start = torch.randn(21, 4, generator=generator).double()
    solved, whole = best_solution(halves, start), halves[0] + halves[1]
    assert solved.isfinite().all()
    assert float(whole.error(solved).sum()) <= float(whole.error(start).sum()) * (1 + 1e-9)


def test_half_a_network_can_be_changed_while_it_streams() -> None:
    model = lively(reduced(registry.spec("mobilenetv2_035")))
    x = pictures(model, 3)
    with torch.inference_mode():
        stream = Stream(model, [x])
        stream.step()
        before = torch.cat(stream.inputs)
        getattr(model, stream.row).project.bn.bias.add_(1.0)
        stream.step()
        after = torch.cat(stream.inputs)
    assert before.shape[0] == after.shape[0] == 3
    with torch.inference_mode():
        _, maps = model(x, taps=[model.spec.rows[1].name])
    torch.testing.assert_close(after, maps[model.spec.rows[1].name], rtol=1e-4, atol=1e-5)
