"""The input of recommenders: what files may say of it, and where each feature has its columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zoo import inputs
from zoo.inputs import Feature, TableInput
from zoo.inputs.table import MAX_FEATURES
from zoo.spec import SpecError

USER = Feature("user", num_embeddings=9)
GENRES = Feature("genres", "list", num_embeddings=7, max_length=3)
OPEN = Feature("words", "list", num_embeddings=5, hashed=True, max_length=2, pooling="sum")
AGE = Feature("age", "bucketed", boundaries=(18.0, 35.5))
PRICE = Feature("price", "numeric", mean=3.5, std=2.0)
TABLE = TableInput((USER, GENRES, OPEN, AGE, PRICE), crosses=(("user", "age", 50), ("age", "user", 20)))


def test_columns_follow_each_other() -> None:
    """1 of the user, 3 genres, 2 words, 1 bucket, 2 of the price (there or not, and its value), then 2 crosses."""
    expected = {"user": (0, 1), "genres": (1, 4), "words": (4, 6), "age": (6, 7), "price": (7, 9)}
    assert {
        one.name: (TABLE.columns(one.name).start, TABLE.columns(one.name).stop) for one in TABLE.features
    } == expected
    assert TABLE.cross_columns == slice(9, 11) and TABLE.width == 11 and TABLE.shape() == (11,)
    with pytest.raises(KeyError, match=r"no feature 'title'.*'user', 'genres'"):
        TABLE.columns("title")


def test_tables_have_rows_for_missing_and_unknown_values() -> None:
    """7 known users and 5 genres have keys, hashed words have none. An age is missing, or in one of three buckets."""
    assert [one.rows for one in TABLE.features] == [9, 7, 5, 5, 2] and TABLE.rows == 28 + 50 + 20
    assert [TABLE.vocabulary(one.name) for one in TABLE.features] == [
        slice(0, 7),
        slice(7, 12),
        slice(12, 12),
        slice(12, 12),
        slice(12, 12),
    ]
    assert TABLE.known_values == 12


def test_examples_are_what_rows_would_be() -> None:
    x = TABLE.example(500)
    for one in TABLE.features:
        own = x[:, TABLE.columns(one.name)]
        numbers = own[:, :1] if one.kind == "numeric" else own
        assert numbers.equal(numbers.round()) and numbers.min() >= 0 and numbers.max() == one.rows - 1
    lists = x[:, TABLE.columns("genres")]
    assert ((lists[:, :-1] > 0) >= (lists[:, 1:] > 0)).all() and (lists == 0).any()
    assert x[:, TABLE.cross_columns].amax(0).tolist() == [49, 19]


def test_other_tensors_are_refused() -> None:
    x = TABLE.example(2)
    for wrong in (x.float(), x[0], x[:, :-1], x.numpy(), {"user": 3}):
        with pytest.raises(ValueError, match=r"^net takes row numbers and values, float64 of shape \(batch, 11\), not"):
            TABLE.check("net", wrong)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name has 1 to 200"),
        ({"name": "a\x1b[2J"}, "name has 1 to 200"),
        ({"kind": "text"}, "which is none of"),
        ({"num_embeddings": 2}, "has 3 to 2,147,483,647 num_embeddings"),
        ({"num_embeddings": 2**31}, "num_embeddings"),
        ({"num_embeddings": True}, "num_embeddings"),
        ({"num_embeddings": 3.0}, "num_embeddings"),
        ({"hashed": 1}, "hashed is true or false"),
        ({"max_length": 3}, "is categorical and has no max_length"),
        ({"mean": 2.0}, "is categorical and has no mean"),
        ({"kind": "list", "max_length": 0}, "max_length is from 1"),
        ({"kind": "list", "max_length": 2, "pooling": "max"}, "pooling is one of"),
        ({"kind": "numeric", "num_embeddings": 0, "std": 0.0}, "std is positive"),
        ({"kind": "numeric", "num_embeddings": 0, "mean": float("nan")}, "mean is a number"),
        ({"kind": "numeric", "num_embeddings": 0, "std": float("inf")}, "std is a number"),
        ({"kind": "numeric", "num_embeddings": 0, "mean": 1e300}, "mean is a number"),
        ({"kind": "bucketed", "num_embeddings": 0}, "boundaries"),
        ({"kind": "bucketed", "num_embeddings": 0, "boundaries": (2.0, 2.0)}, "boundaries increase"),
        ({"kind": "bucketed", "num_embeddings": 0, "boundaries": (2.0, "3")}, "boundaries, which are numbers"),
        ({"kind": "bucketed", "num_embeddings": 9, "boundaries": (2.0,)}, "is bucketed and has no num_embeddings"),
    ],
)
def test_a_feature_out_of_bounds_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Feature(**{"name": "user", "num_embeddings": 9, **changes})


@pytest.mark.parametrize(
    ("features", "crosses", "said"),
    [
        ((), (), "1 to 4,096 features, not 0"),
        ((USER,) * (MAX_FEATURES + 1), (), "1 to 4,096 features, not 4,097"),
        ((USER, AGE, USER), (), "two features are called 'user'"),
        ([USER], (), "Features in a tuple"),
        ((USER, AGE), (("user", 9),), "2 to 8 names"),
        ((USER, AGE), (("user", "user", 9),), "each once"),
        ((USER, AGE), (("user", "price", 9),), "categorical or bucketed features"),
        ((USER, GENRES), (("user", "genres", 9),), "categorical or bucketed features"),
        ((USER, AGE), (("user", "age", 1),), "has 2 to"),
        ((USER, AGE), (("user", "age", 9.0),), "has 2 to"),
        ((USER, AGE), (("user", "age", 2**31 - 1),), "more than"),
        (tuple(Feature(f"g{i}", "list", num_embeddings=3, max_length=4096) for i in range(17)), (), "columns"),
    ],
)
def test_a_table_out_of_bounds_is_refused(features: Any, crosses: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        TableInput(features, crosses)


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": {"name": "user"}},
        {"features": [["user"]]},
        {"features": [{"name": "user"}]},
        {"features": [{**USER.to_json(), "width": 3}]},
        {"features": [{**AGE.to_json(), "boundaries": 3}]},
        {"features": [{**AGE.to_json(), "boundaries": [[1.0]]}]},
        {"features": [{**USER.to_json(), "name": ["user"]}]},
        {"features": [USER.to_json()] * 1_000_000},
        {"crosses": [["user", ["age"], 9]]},
        {"crosses": [["user", "age", 9, {}]]},
        {"crosses": "user"},
        {"columns": 3},
    ],
)
def test_a_hostile_file_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        inputs.from_json({**TABLE.to_json(), **wrong})


def test_a_feature_is_written_with_its_own_fields_alone() -> None:
    """People edit it."""
    assert json.loads(json.dumps(AGE.to_json())) == {"name": "age", "kind": "bucketed", "boundaries": [18.0, 35.5]}
    assert PRICE.to_json() == {"name": "price", "kind": "numeric", "mean": 3.5, "std": 2.0}
    assert all(Feature.from_json(one.to_json()) == one for one in TABLE.features)
