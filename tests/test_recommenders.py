"""Recommenders: each against its plain formula, on the same weights."""

from __future__ import annotations

import pickle
from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import zoo
from networks import schema_for
from zoo import kinds, registry
from zoo.inputs import Feature
from zoo.model.build import Model, build
from zoo.models.recommender import EXAMPLE
from zoo.spec import ModelSpec, SpecError, TableInput
from zoo.tabular.model import TableModel

NAMES = ("wide_deep", "deepfm", "dcnv2", "finalmlp")
# no lists and no numbers: one row number for each feature
PLAIN = TableInput(
    (Feature("a", num_embeddings=7), Feature("b", num_embeddings=9, hashed=True)), crosses=(("a", "b", 5),)
)
SUMS = TableInput(
    (
        Feature("tags", "list", num_embeddings=9, max_length=3, pooling="sum"),
        Feature("n", "numeric"),
        Feature("m", "numeric"),
    )
)


def lively(spec: ModelSpec) -> Model:
    """Weights that no default value could stand in for."""
    model = build(spec)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model


def vectors(model: Model, x: Tensor) -> list[Tensor]:
    """The vector of each feature, one row and one value at a time."""
    embed, given = model.get_submodule("embed"), model.spec.table
    dims = embed.dims
    order = list(dict.fromkeys(dims))
    begins = [0] * len(order)
    found = []
    for place, one in enumerate(given.features):
        group = order.index(dims[place])
        table = embed.tables[group].weight[begins[group] : begins[group] + one.rows]
        begins[group] += one.rows
        found.append(_vector(table, one, x[:, given.columns(one.name)]))
    return found


def _vector(table: Tensor, one: Feature, columns: Tensor) -> Tensor:
    rows = []
    for cells in columns:
        numbers = [int(cell) for cell in cells]
        if one.kind == "numeric":
            rows.append(table[1] * float(cells[1]) if numbers[0] else table[0])
        elif one.kind == "list":
            there = [table[number] for number in numbers if number]
            total = torch.stack(there).sum(0) / (len(there) if one.pooling == "mean" else 1) if there else table[0]
            rows.append(total)
        else:
            rows.append(table[numbers[0]])
    return torch.stack(rows)


def wide(model: Model, x: Tensor) -> Tensor:
    row, given = model.get_submodule("wide"), model.spec.table
    weights, start, total = row.table.weight, 0, row.bias.clone().expand(len(x), 1)
    for one in given.features:
        total = total + _vector(weights[start : start + one.rows], one, x[:, given.columns(one.name)])
        start += one.rows
    for place in range(len(model.spec["wide"].args["crosses"])):
        numbers = x[:, given.cross_columns][:, place].long()
        total = total + weights[start + numbers]
        start += model.spec["wide"].args["crosses"][place]
    return total


def tower(model: Model, name: str, x: Tensor) -> Tensor:
    for row in model.spec:
        if row.kind == "hidden" and row.name.startswith(name):
            layer = model.get_submodule(f"{row.name}.fc")
            x = F.relu(x @ layer.weight.T + layer.bias)
    return x


def formula(model: Model, x: Tensor) -> Tensor:
    parts = vectors(model, x)
    flat = torch.cat(parts, 1)
    head: Any = model.get_submodule("head")
    match model.spec.name:
        case "wide_deep":
            return tower(model, "deep", flat) @ head.fc.weight.T + head.fc.bias + wide(model, x)
        case "deepfm":
            pairs = sum((one * other).sum(1, keepdim=True) for one, other in combinations(parts, 2))
            return tower(model, "deep", flat) @ head.fc.weight.T + head.fc.bias + wide(model, x) + pairs
        case "dcnv2":
            crossed = flat
            for name, layer in ((n, m) for n, m in model.named_children() if n.startswith("cross")):
                if model.spec[name].args["rank"]:
                    weight, bias = layer.up.weight @ layer.down.weight, layer.up.bias
                else:
                    weight, bias = layer.fc.weight, layer.fc.bias
                crossed = flat * (crossed @ weight.T + bias) + crossed
            both = torch.cat([tower(model, "deep", flat), crossed], 1)
            return both @ torch.cat([head.fc.weight, head.side.weight], 1).T + head.fc.bias
        case "finalmlp":
            streams = []
            for at in (1, 2):
                gate: Any = model.get_submodule(f"gate{at}")
                context = model.spec[f"gate{at}"].args["context"]
                seen = torch.cat([parts[place] for place in context], 1) if context else gate.learned
                hidden = F.relu(seen @ gate.fc1.weight.T + gate.fc1.bias)
                weights = 2 * torch.sigmoid(hidden @ gate.fc2.weight.T + gate.fc2.bias)
                streams.append(tower(model, f"stream{at}_", flat * weights))
            first, second = streams
            y = second @ head.fc.weight.T + head.fc.bias + first @ head.side.weight.T
            size = second.shape[1] // head.heads
            for at in range(head.heads):
                part = slice(at * size, (at + 1) * size)
                y = y + ((second[:, part] @ head.weight[at]) * first[:, part]).sum(1, keepdim=True)
            return y
    raise AssertionError(model.spec.name)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    *((name, {"schema": schema_for(name, PLAIN), "dim": 4, "hidden": (8,)}) for name in NAMES),
    *((name, {"schema": SUMS, "dim": 4, "hidden": (8, 8)}) for name in NAMES),
    ("dcnv2", {"rank": 4, "cross_layers": 2}),
    ("dcnv2", {"cross_layers": 0}),
    ("finalmlp", {"contexts": (("user_id", "age"), ("item_id",)), "heads": 4}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_recommender_is_its_formula(name: str, options: dict[str, Any]) -> None:
    model = lively(registry.spec(name, **options))
    x = model.spec.input.example(16)
    x[0] = 0.0  # nothing is known
    with torch.inference_mode():
        expected = formula(model, x)
        assert expected.std() > 0.01
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
        for one in (0, 5):
            torch.testing.assert_close(model(x[one : one + 1]), expected[one : one + 1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims", [(4, 8, 4, 8, 2, 8), (4,) * 6])
def test_vectors_may_differ_in_width(dims: tuple[int, ...]) -> None:
    spec = registry.spec("deepfm", dim=4, hidden=(8,))
    rows = tuple(row.replace(dims=dims) if "dims" in row.args else row for row in spec)
    model = lively(spec.replace(rows=rows).edit("deep1", in_features=sum(dims)))
    x = spec.input.example(8)
    parts = vectors(model, x)
    with torch.inference_mode():
        _, tapped = model(x, taps=["embed", "fm"])
        torch.testing.assert_close(tapped["embed"], torch.cat(parts, 1))
        padded = [F.pad(one, (0, 8 - one.shape[1])) for one in parts]
        pairs = sum((one * other).sum(1, keepdim=True) for one, other in combinations(padded, 2))
        torch.testing.assert_close(tapped["fm"], pairs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_learns(name: str) -> None:
    model = build(registry.spec(name)).train()
    x = model.spec.input.example(256)
    x[:8] = 0.0
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    model(x).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), key


def test_the_declared_counts_are_the_modules() -> None:
    for name in NAMES:
        spec = registry.spec(name)
        assert kinds.cost(spec).parameters == sum(one.numel() for one in build(spec).parameters())


def test_raw_rows_are_scored_as_their_tensor() -> None:
    model = lively(registry.spec("deepfm"))
    keys = torch.sort(torch.randint(-(2**62), 2**62, (18,)))[0]
    model.vocabulary[:18] = keys
    assert isinstance(model, TableModel)
    rows = {
        "user_id": [3, "17", None],
        "item_id": ["a", "b", "c"],
        "genres": [["x"], [], ["x", "y"]],
        "device": ["phone", None, "tv"],
        "age": [20, 40.5, None],
        "price": [1.0, None, -2.5],
        "unread": [1, 2, 3],
    }
    with torch.inference_mode():
        y = model(rows)
        assert y.shape == (3, 1)
        assert torch.equal(y, model(zoo.preprocess(model)(rows)))
        one = {name: column[1] for name, column in rows.items()}
        torch.testing.assert_close(model(one), y[1:2])
        assert torch.equal(pickle.loads(pickle.dumps(model))(rows), y)
        del rows["age"]
        with pytest.raises(ValueError, match="'age'"):
            model(rows)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (0, 1024.0, "feature 'user_id' has the row number 1024 in row 1, and its table the rows 0 to 1023"),
        (0, -1.0, "feature 'user_id' has the row number -1"),
        (3, 0.5, "feature 'genres' has the row number 0.5"),
        (8, 2.0, "feature 'price' has the row number 2"),
        (9, float("nan"), "feature 'price' is nan in row 1"),
        (9, float("inf"), "feature 'price' is inf in row 1"),
        (10, 64.0, "the cross of 'device' and 'age' has the row number 64"),
    ],
)
def test_values_that_the_tables_do_not_have_are_refused(column: int, value: float, said: str) -> None:
    model = build(registry.spec("wide_deep"))
    x = model.spec.input.example(3)
    x[1, column] = value
    with pytest.raises(ValueError, match=said):
        model(x)
    with pytest.raises(ValueError, match=said.replace("row 1", "row 0")):
        model(x[1:2])
    with pytest.raises(ValueError, match="float64 of shape"):
        model(x.float())


@pytest.mark.parametrize(
    ("row", "changes", "said"),
    [
        ("embed", {"rows": (2000,) * 5 + (2,)}, "'embed': rows is .*, and the input has"),
        ("embed", {"keys": (0,) * 6}, "'embed': keys is"),
        ("embed", {"reads": ("row",) * 6}, "columns"),
        ("embed", {"dims": (4,)}, "one for each feature"),
        ("embed", {"dims": (4.0,) * 6}, "dims is a tuple"),
        ("embed", {"reads": ("eval",) * 6}, "reads is a tuple"),
        ("wide", {"crosses": (63,)}, "crosses"),
        ("head", {"num_classes": 2}, "between 1 and 1"),
        ("head", {"summands": 1}, "takes 1 taps, not 2"),
        ("fm", {"dims": (16,) * 5}, "takes 80 channels, but 96 come in"),
        ("deep1", {"in_features": 8}, "takes 8 channels"),
    ],
)
def test_recommenders_that_cannot_be(row: str, changes: dict[str, Any], said: str) -> None:
    spec = registry.spec("deepfm")
    with pytest.raises(SpecError, match=said):
        kinds.check(spec.edit(row, **changes))


def test_rows_of_tables_are_read_from_the_input_alone() -> None:
    spec = registry.spec("deepfm")
    with pytest.raises(SpecError, match="reads rows of a table, the input"):
        kinds.check(spec.replace(rows=tuple(row for row in spec if row.name != "shared")))
    with pytest.raises(SpecError, match="takes no num_classes"):
        registry.spec("deepfm", num_classes=2)


def test_a_schema_makes_a_recommender() -> None:
    model = zoo.create("deepfm", schema=PLAIN)
    assert model.spec.input == PLAIN and model({"a": 1, "b": 2}).shape == (1, 1)
    with pytest.raises(ValueError, match="schema= is for recommenders"):
        zoo.create("resnet20", schema=PLAIN)
    with pytest.raises(ValueError, match="The dict of schema= is no schema"):
        zoo.create("deepfm", schema={"a": 1})
    assert zoo.create("deepfm", weights=None).spec.input == EXAMPLE


@pytest.mark.parametrize("name", NAMES)
def test_crosses_are_used_or_refused(name: str) -> None:
    if name in ("wide_deep", "deepfm"):
        assert registry.spec(name, schema=PLAIN)["wide"].args["crosses"] == (5,)
    else:
        with pytest.raises(SpecError, match=f"{name} has no linear part for crosses"):
            registry.spec(name, schema=PLAIN)


def test_a_trained_network_keeps_its_values() -> None:
    table = {"user_id": [1, 1, 2, 2], "click": [0, 1, 0, 1]}
    fresh = zoo.create("deepfm", schema=zoo.infer_schema(table))
    with pytest.raises(ValueError, match="has no rows"):
        fresh.fit_vocabulary({"user_id": [], "click": []})
    fresh.fit_vocabulary(table).made = {"trained": {"on": "rows"}}
    with pytest.raises(ValueError, match="was trained, and its rows stand for the values that it knows"):
        fresh.fit_vocabulary(table)


@pytest.mark.parametrize("name", ["deepfm", "deepfm-int8"])
def test_rows_are_prepared_for_another_runtime(name: str) -> None:
    pytest.importorskip("onnxruntime")
    model, here = zoo.create(name, runtime="onnxruntime"), zoo.create(name)
    row = {"user_id": 3, "item_id": 50, "age": 24, "gender": "F", "occupation": None, "year": 1977, "genres": []}
    assert zoo.preprocess(model)(row).equal(zoo.preprocess(here)(row))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_plain_operators(name: str) -> None:
    model = lively(registry.spec(name))
    x = model.spec.input.example(32)
    x[:4] = 0.0
    found = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    expected = torch.autograd.grad(formula(model, x).square().sum(), list(model.parameters()))
    for one, other, (key, _) in zip(found, expected, model.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()), msg=key)


def test_options_of_another_recommender_and_widths_that_are_none_are_refused() -> None:
    for name, options, said in (
        ("deepfm", {"rank": 4}, "rank= is for dcnv2, and deepfm has none"),
        ("wide_deep", {"heads": 2}, "heads= is for finalmlp"),
        ("finalmlp", {"cross_layers": 2}, "cross_layers= is for dcnv2"),
        ("dcnv2", {"contexts": (("user_id",), ())}, "contexts= is for finalmlp"),
        ("deepfm", {"dim": -1}, "dim= of deepfm takes whole numbers from 1 on, not -1"),
        ("deepfm", {"hidden": (8, 0)}, "hidden= of deepfm takes whole numbers"),
    ):
        with pytest.raises(SpecError, match=said):
            registry.spec(name, **options)
    assert set(zoo.create("deepfm", weights=None, dim=8, device="meta").spec["embed"].args["dims"]) == {8}
    for given, said in (("deepfm", "dim= is for fresh weights"), ("resnet20", "dim= is for recommenders")):
        with pytest.raises(ValueError, match=said):
            zoo.create(given, dim=8)
