"""Embedding tables in 8 and 4 bits: what is looked up is what plain floats say, and a file holds few bytes."""

from __future__ import annotations

import copy

import pytest
import torch

import zoo
from networks import RECOMMENDERS, small
from zoo import kinds, registry
from zoo.engine.execution import reference_execution
from zoo.engine.int8 import feature_embedding
from zoo.inputs import Feature
from zoo.model.build import Model, from_state
from zoo.spec import TableInput


def dequantized(codes: torch.Tensor, scale: torch.Tensor, bits: int, width: int) -> torch.Tensor:
    """By hand, value by value."""
    if bits == 8:
        values = [[float(code) for code in row] for row in codes.tolist()]
    else:
        halves = [[half for byte in row for half in (byte % 16, byte // 16)] for row in codes.tolist()]
        values = [[float(half - 8) for half in row[:width]] for row in halves]
    return torch.tensor(values) * scale.float()[:, None]


@pytest.mark.parametrize("width", [1, 5, 8])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_table_is_rounded_to_the_nearest_code_of_its_row(bits: int, width: int) -> None:
    weight = torch.randn(50, width) * torch.logspace(-6, 3, 50)[:, None]
    weight[7] = 0.0
    codes, scale = feature_embedding.quantized_rows(weight, bits)
    real = dequantized(codes, scale, bits, width)
    most = 127 if bits == 8 else 7
    reach = most * scale.float()[:, None]
    assert not real[7].any()
    if bits == 8:
        assert bool((reach >= weight.abs()).all())  # nothing is cut off
    off = (real - weight.clamp(-reach, reach)).abs()
    assert bool((off <= 0.5001 * scale.float()[:, None]).all())
    table = feature_embedding.Int8Table(50, width) if bits == 8 else feature_embedding.Int4Table(50, width)
    table.weight, table.scale = codes, scale
    rows = torch.randint(50, (3, 4))
    assert torch.equal(table(rows), real[rows])


def test_four_bits_reach_to_where_the_error_is_least() -> None:
    weight = torch.randn(200, 32)
    codes, scale = feature_embedding.quantized_rows(weight, 4)
    lost = (dequantized(codes, scale, 4, 32) - weight).square().sum()
    widest = weight.abs().amax(1, keepdim=True) / 7
    assert lost < ((weight / widest).round() * widest - weight).square().sum()


def test_values_that_no_scale_reaches_are_refused() -> None:
    with pytest.raises(ValueError, match="no scale in float16 reaches"):
        feature_embedding.quantized_rows(torch.full((2, 3), 1e8), 8)


def real_twin(model: Model, dense: Model) -> Model:
    """The float network with the tables that the integers of `model` stand for."""
    state, ours = dict(dense.state_dict()), model.state_dict()
    for row in model.spec:
        kind, args = kinds.KINDS[row.kind], kinds.arguments(row)
        for table in kind.tables(args):
            key = f"{row.name}.{table.path}"
            codes, scale = ours[f"{key}weight"], ours[f"{key}scale"]
            if table.parts:
                scale = torch.cat([one.expand(rows) for one, rows in zip(scale, table.parts, strict=True)])
            bits = 4 if row.precision == "int4" else 8
            state[f"{key}weight"] = dequantized(codes, scale, bits, table.width)
    return from_state(dense.spec, state)


@pytest.mark.parametrize("held", ["int8", "int4"])
@pytest.mark.parametrize("name", RECOMMENDERS)
def test_an_integer_network_is_plain_float_arithmetic(name: str, held: str) -> None:
    dense = small(name)
    x = dense.spec.input.example(64)
    model = zoo.compress(dense, "int8", calibration=x, tables=held)
    assert model.spec["embed"].precision == held
    twin, looks = real_twin(model, dense), [row.name for row in dense.spec if row.name in ("embed", "wide")]
    with torch.inference_mode():
        y, found = model(x, taps=looks)
        for row in looks:
            torch.testing.assert_close(found[row], twin(x, taps=looks)[1][row], rtol=1e-5, atol=1e-5)
        with reference_execution():
            torch.testing.assert_close(model(x), y, rtol=0, atol=1e-2 * float(y.abs().max()))
        near = 0.2 if held == "int4" else 0.1
        torch.testing.assert_close(y, twin(x), rtol=0, atol=near * float(y.abs().max()))


@pytest.mark.parametrize("held", ["float32", "int8", "int4"])
@pytest.mark.parametrize("more", [0, 8])  # features; many are looked up together
def test_one_row_is_scored_as_it_is_among_others(held: str, more: int) -> None:
    """One row takes a way of its own through the tables, of as many widths as pruning leaves."""
    features = (
        Feature("a", num_embeddings=9, hashed=True),
        Feature("b", "numeric"),
        Feature("c", "list", num_embeddings=50, hashed=True, max_length=3),
        Feature("d", "list", num_embeddings=9000, hashed=True, max_length=2, pooling="sum"),
        Feature("e", "bucketed", boundaries=(0.0, 1.0)),
        *(Feature(f"f{place}", num_embeddings=5, hashed=True) for place in range(more)),
    )
    spec = registry.spec("deepfm", schema=TableInput(features), dim=4, hidden=(8,))
    dims = (4, 8, 4, 8, 3, *[8] * more)
    rows = tuple(row.replace(dims=dims) if "dims" in row.args else row for row in spec)
    model: Model = zoo.build(spec.replace(rows=rows).edit("deep1", in_features=sum(dims)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    x = spec.input.example(40)
    x[0] = 0.0  # nothing is known
    if held != "float32":
        model = zoo.compress(model, "int8", calibration=x, tables=held)
    with torch.inference_mode():
        _, together = model(x, taps=["embed", "wide"])
        for place in range(len(x)):
            _, alone = model(x[place : place + 1], taps=["embed", "wide"])
            for name, found in alone.items():
                torch.testing.assert_close(found[0], together[name][place], rtol=1e-5, atol=1e-5)


def test_a_table_that_is_exchanged_or_moved_is_read_anew() -> None:
    """numpy's views of the codes, which one row is read through, follow the codes."""
    table = feature_embedding.Int8Table(3, 2)
    table.weight.fill_(5)
    asked = torch.tensor([1])
    assert table(asked).tolist() == [[5.0, 5.0]]
    table.weight.fill_(6)
    assert table(asked).tolist() == [[6.0, 6.0]] and table(asked[None]).shape == (1, 1, 2)
    other = copy.deepcopy(table)
    table.load_state_dict({"weight": torch.full((3, 2), 7, dtype=torch.int8), "scale": table.scale * 2}, assign=True)
    assert table(asked).tolist() == [[14.0, 14.0]] and other(asked).tolist() == [[6.0, 6.0]]
    other.weight.fill_(1)
    assert table(asked).tolist() == [[14.0, 14.0]] and other(asked).tolist() == [[1.0, 1.0]]


def test_rows_stay_float_where_that_is_asked() -> None:
    dense = small("deepfm")
    model = zoo.compress(dense, "int8", calibration=dense.spec.input.example(8), keep_float=("embed", "wide"))
    assert [row.precision for row in model.spec if row.name in ("embed", "wide", "deep1")] == [
        "float32",
        "float32",
        "int8",
    ]
    with pytest.raises(ValueError, match="is for recommenders"):
        zoo.compress(small("resnet20"), "int8", calibration=torch.randn(2, 3, 32, 32), tables="int4")


@pytest.mark.parametrize(("held", "share"), [("int8", 0.27), ("int4", 0.16)])
def test_a_file_of_tables_is_small(held: str, share: float, tmp_path) -> None:
    given = TableInput(
        (Feature("a", num_embeddings=20_000, hashed=True), Feature("b", num_embeddings=5000, hashed=True))
    )
    dense = zoo.create(zoo.create("deepfm", schema=given).spec)
    model = zoo.compress(dense, "int8", calibration=given.example(16), tables=held)
    sizes = []
    for one in (dense, model):
        zoo.save(one, tmp_path / "m")
        sizes.append((tmp_path / "m" / "model.safetensors").stat().st_size)
    width = 16  # two bytes of a scale beside the values of each row
    assert sizes[1] < (share + 2 / (4 * width)) * sizes[0]
    mapped = zoo.load(tmp_path / "m")
    assert torch.equal(mapped(given.example(4)), model(given.example(4)))


def test_dtypes_stay_when_a_network_moves() -> None:
    dense = small("deepfm")
    model = zoo.compress(dense, "int8", calibration=dense.spec.input.example(16), tables="int4")
    before = {key: value.dtype for key, value in model.state_dict().items() if "table" in key or "vocabulary" in key}
    x = dense.spec.input.example(3)
    y = model(x)
    model.double().float()
    assert {key: model.state_dict()[key].dtype for key in before} == before
    torch.testing.assert_close(model(x), y)
    model.wide.table.scale.mul_(2.0)  # what was derived of it is made again
    assert not torch.allclose(model(x), y)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_tables_are_made_sparse_too(scope: str) -> None:
    model = zoo.compress(small("deepfm"), "sparse", sparsity=0.6, scope=scope)
    weights = [value for key, value in model.state_dict().items() if key.endswith("weight")]
    zeros = sum(int((one == 0).sum()) for one in weights) / sum(one.numel() for one in weights)
    assert zeros == pytest.approx(0.6, abs=1e-3)
    assert float((model.embed.tables[0].weight == 0).float().mean()) > 0.3


def test_a_pass_takes_the_raw_rows_that_the_call_takes() -> None:
    pd = pytest.importorskip("pandas")
    feature = Feature("user", num_embeddings=12, hashed=True)
    model = zoo.create("deepfm", schema=TableInput((feature, Feature("age", "numeric", mean=5.0, std=2.0))))
    table = {"user": list(range(20)), "age": [float(place) for place in range(20)], "other": ["x"] * 20}
    rows = [{name: column[place] for name, column in table.items()} for place in range(20)]
    labels = [place % 2 for place in range(20)]
    x = zoo.preprocess(model)(table)
    expected = zoo.compress(model, "int8", calibration=x)(table)
    for given in (rows, (table, labels), [pd.DataFrame(table)]):
        assert zoo.compress(model, "int8", calibration=given)(table).equal(expected)
    taylor = {"importance": "taylor", "ratio": 0.5}
    expected = zoo.compress(model, "pruned", data=(x, torch.tensor(labels)), **taylor)(table)
    for data in ((table, labels), [(pd.DataFrame(table), labels)]):
        assert zoo.compress(model, "pruned", data=data, **taylor)(table).equal(expected)
    with pytest.raises(ValueError, match="reads the column 'age', and the table has no such column"):
        zoo.compress(model, "int8", calibration={"user": [1, 2]})
    with pytest.raises(ValueError, match=r"not int\. zoo\.preprocess\(model\) makes them of raw examples"):
        zoo.compress(model, "int8", calibration=7)
