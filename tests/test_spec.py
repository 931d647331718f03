"""Specs: what can be made can be written, read back, copied and hashed; what is hostile is a SpecError."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo import registry
from zoo.spec import EMITTED, MAX_DEPTH, MAX_INT, MAX_ROWS, PRECISIONS, Block, ImageInput, ModelSpec, SpecError

FIELDS = ("kind", "name", "precision", "emits", "taps")
names = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True).filter(lambda name: name != "input")
printable = st.text(min_size=1, max_size=12).filter(str.isprintable)
arg_names = st.text(min_size=1, max_size=12).filter(lambda name: name not in FIELDS)
scalars = st.one_of(
    st.booleans(), st.integers(-MAX_INT, MAX_INT), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)


def blocks(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Block]:
    return st.builds(
        lambda kind, name, precision, emits, taps, args: Block(kind, name, precision, emits, tuple(taps), **args),
        st.text(max_size=8),
        names,
        st.sampled_from(PRECISIONS),
        st.sampled_from(EMITTED),
        st.lists(names, max_size=2),
        st.dictionaries(arg_names, values, max_size=3),
    )


# at most 1 + 2 * 3 levels, below MAX_DEPTH
def nested(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, max_size=3).map(tuple), blocks(values))


values = nested(nested(scalars))


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    rows = draw(st.lists(blocks(values), min_size=1, max_size=4, unique_by=lambda row: row.name))
    seen: list[str] = ["input"]
    placed = []
    for row in rows:
        placed.append(row.replace(taps=tuple(draw(st.lists(st.sampled_from(seen), max_size=2)))))
        seen.append(row.name)
    size = draw(st.tuples(st.integers(1, 8192), st.integers(1, 8192)))
    crop = draw(st.floats(0.1, 1.0))
    return ModelSpec(draw(printable), tuple(placed), ImageInput(size=size, crop=crop), draw(printable))


@given(specs())
def test_a_spec_survives_json(spec: ModelSpec) -> None:
    again = ModelSpec.loads(spec.dumps())
    assert again == spec
    assert again.dumps() == spec.dumps()


@given(specs())
def test_a_spec_can_be_copied_pickled_and_hashed(spec: ModelSpec) -> None:
    for again in (copy.copy(spec), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert again == spec
        assert hash(again) == hash(spec)
        assert again.rows[0].args == spec.rows[0].args


@given(blocks(values))
def test_a_replaced_row_changes_only_what_was_asked(row: Block) -> None:
    changed = row.replace(name="other")
    assert changed.name == "other"
    assert changed.replace(name=row.name) == row


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
shaped = st.fixed_dictionaries(
    {"name": json_values, "task": json_values, "input": json_values, "rows": st.lists(json_values, max_size=2)}
)


@given(st.one_of(json_values, shaped))
def test_json_that_happens_to_be_there_is_refused(data: Any) -> None:
    with pytest.raises(SpecError):
        ModelSpec.loads(json.dumps(data))


@given(json_values, st.sampled_from(["kind", "name", "precision", "emits", "taps", "args"]))
def test_a_row_with_anything_in_one_place_is_a_row_or_a_spec_error(data: Any, place: str) -> None:
    row = {"kind": "conv_norm_act", "name": "a", "args": {}, place: data}
    try:
        block = Block.from_json(row)
    except SpecError:
        return
    assert Block.from_json(block.to_json()) == block


def document(**changes: Any) -> dict[str, Any]:
    spec = ModelSpec("tiny", (Block("global_pool", "pool"),))
    return {**spec.to_json(), **changes}


def row(**args: Any) -> dict[str, Any]:
    return {"kind": "k", "name": "a", "args": args}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "a spec is an object, not list"),
        ({}, "lacks"),
        (document(extra=1), "unknown keys"),
        (document(rows={}), "rows are a list"),
        (document(rows=[]), "1 to"),
        (document(rows=[row()] * 2), "two rows are called 'a'"),
        (document(rows=[{**row(), "name": "a.b"}]), "not an identifier"),
        (document(rows=[{**row(), "name": "input"}]), "two rows are called 'input'"),
        (document(rows=[{**row(), "taps": ["later"]}]), "taps"),
        (document(rows=[{**row(), "taps": "input"}]), "taps are a list"),
        (document(rows=[{**row(), "precision": "int3"}]), "precision"),
        (document(rows=[{**row(), "emits": []}]), "emits"),
        (document(rows=[{**row(), "weights": "x"}]), "unknown keys"),
        (document(rows=[{"kind": 1, "name": "a"}]), "strings"),
        (document(rows=[row(kind="x")]), "cannot be called"),
        (document(rows=[row(x=None)]), "not a finite number"),
        (document(rows=[row(x=float("nan"))]), "not a finite number"),
        (document(rows=[row(x=10**400)]), "not a finite number"),
        (document(rows=[row(x=-(2**53) - 1)]), "not a finite number"),
        (document(rows=[row(x={"a": 1})]), "a row lacks"),
        (document(rows=[row(x=deep(MAX_DEPTH + 1))]), "nested too deeply"),
        (document(rows=[row(x=[0] * (MAX_ROWS + 1))]), "elements"),
        (document(input={"size": [1, 1]}), "lacks"),
        (document(input={**document()["input"], "size": [10**9, 1]}), "input size"),
        (document(input={**document()["input"], "size": [32]}), "input size"),
        (document(input={**document()["input"], "mean": [0.5]}), "mean needs 3"),
        (document(input={**document()["input"], "std": [1, 1, 0]}), "positive"),
        (document(input={**document()["input"], "crop": 10**400}), "crop"),
        (document(input={**document()["input"], "interpolation": ["x"]}), "interpolation"),
        (document(input={**document()["input"], "crop": 1e-308}), "crop is between"),
        (document(name=3), "strings"),
        (document(name=""), "the name is ''"),
        (document(name="a\x1b[2J"), "printable"),
        (document(name="a\nb"), "printable"),
        (document(name="a" * 201), "1 to 200 characters"),
        (document(task="\x9b2J"), "the task is"),
    ],
)
def test_a_hostile_document_is_refused_by_name(data: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        ModelSpec.loads(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"name": ' + "9" * 5000 + "}", "\x00", "NaN"])
def test_text_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        ModelSpec.loads(text)


def test_what_is_nested_too_deeply_to_be_read_cannot_be_made() -> None:
    block = Block("k", "a")
    for _ in range(MAX_DEPTH):
        block = Block("k", "a", part=block)
    assert Block.from_json(block.to_json()) == block
    with pytest.raises(SpecError, match="nested too deeply"):
        Block("k", "a", part=block)


def test_an_argument_may_have_any_name_that_is_not_a_field() -> None:
    block = Block.from_json(row(self=1, data=2))
    assert block.args == {"self": 1, "data": 2}


def test_a_python_list_is_no_argument() -> None:
    with pytest.raises(SpecError, match=r"argument 'sizes' is \[1, 2\]"):
        Block("k", "a", sizes=[1, 2])


def test_rows_are_found_and_edited_by_name() -> None:
    spec = registry.spec("mobilenetv2_cifar")
    edited = spec.edit("stem", stride=1)
    assert edited["stem"].args["stride"] == 1
    assert [a == b for a, b in zip(spec, edited, strict=True)].count(False) == 1
    assert spec["stem"].args["stride"] == 2
    with pytest.raises(KeyError, match="has no row 'steam'"):
        spec["steam"]


def test_a_list_of_rows_becomes_a_tuple() -> None:
    rows = registry.spec("mobilenetv2_cifar").rows
    spec = ModelSpec("mine", list(rows))  # type: ignore[arg-type]
    assert spec.rows == rows and hash(spec) == hash(ModelSpec("mine", rows))
    for wrong in (None, "rows", [1], iter(rows)):
        with pytest.raises(SpecError, match="rows are Blocks in a tuple"):
            ModelSpec("mine", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", registry.MODELS)
def test_every_architecture_survives_json(arch: str) -> None:
    spec = registry.spec(arch)
    assert ModelSpec.loads(spec.dumps()) == spec
    assert spec.name == arch
