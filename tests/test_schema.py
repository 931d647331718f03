"""Schemas inferred from tables, the vocabulary that a table gives, and `zoo schema`."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.data import table_files
from zoo.inputs import Feature, TableInput
from zoo.tabular import keys, schema
from zoo.tabular.counting import KeyCounts, Numbers
from zoo.tabular.schema import UNUSED, fit_vocabulary, infer_schema

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROWS = 500


def table() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "user_id": (rng.zipf(1.5, ROWS) % 90).tolist(),
        "genres": [["Drama", "War", "Action"][: 1 + place % 3] if place % 7 else None for place in range(ROWS)],
        "stars": rng.integers(1, 6, ROWS).tolist(),
        "age": rng.integers(5, 80, ROWS).tolist(),
        "spent": (rng.pareto(0.5, ROWS)).tolist(),
        "weight": [None if place % 9 == 0 else float(value) for place, value in enumerate(rng.normal(70, 9, ROWS))],
        "job": [["writer", "nurse", "baker"][place % 3] for place in range(ROWS)],
        "click": rng.integers(0, 2, ROWS).tolist(),
    }


KINDS = {
    "user_id": "categorical", "genres": "list", "stars": "categorical", "age": "numeric", "spent": "bucketed",
    "weight": "numeric", "job": "categorical",
}  # fmt: skip


def test_a_schema_says_what_each_column_is() -> None:
    given, found = table(), infer_schema(table())
    assert {one.name: one.kind for one in found.features} == KINDS
    often = sum(count > 1 for count in Counter(given["user_id"]).values())
    assert found.feature("user_id").num_embeddings == 2 + often < 2 + len(set(given["user_id"]))
    assert (found.feature("genres").max_length, found.feature("genres").num_embeddings) == (3, 5)
    there = [value for value in given["weight"] if value is not None]
    assert found.feature("weight").mean == pytest.approx(np.mean(there), rel=1e-5)
    assert found.feature("weight").std == pytest.approx(np.std(there), rel=1e-5)
    counts = np.histogram(given["spent"], [-np.inf, *found.feature("spent").boundaries, np.inf])[0]
    assert len(counts) == 10 and counts.min() >= 45 and counts.max() <= 55
    assert infer_schema(given, min_count=1).feature("user_id").num_embeddings == 2 + len(set(given["user_id"]))
    assert "click" in {one.name for one in infer_schema(given, "stars").features}


def test_every_form_of_a_table_gives_one_schema(tmp_path: Path) -> None:
    given = table()
    expected = infer_schema(given)
    frame = pytest.importorskip("pandas").DataFrame(given)
    arrow = pa.table(given)
    pq.write_table(arrow, tmp_path / "a.parquet", row_group_size=64)
    frame.assign(genres=[None if one is None else "|".join(one) for one in given["genres"]]).to_csv(
        tmp_path / "a.csv", index=False
    )
    for same in (arrow, frame, tmp_path / "a.parquet", str(tmp_path / "a.csv")):
        assert infer_schema(same) == expected
        assert fit_vocabulary(expected, same).equal(fit_vocabulary(expected, given))


def test_a_vocabulary_has_the_most_frequent_values() -> None:
    given = {"a": ["x"] * 3 + ["y"] * 2 + ["z"], "b": [[1, 2], [2], None, [2, 3, 1], [], [4]], "c": [1.0] * 6}
    for size in (1, 2, 3, 5):
        wanted = TableInput(
            (
                Feature("a", num_embeddings=2 + size),
                Feature("c", "numeric"),
                Feature("b", "list", num_embeddings=4, max_length=2),
                Feature("a2", num_embeddings=9, hashed=True),
            )
        )
        found = fit_vocabulary(wanted, {**given, "a2": given["a"]}).tolist()
        known = sorted(keys.of_value(one) for one in "xyz"[:size])  # type: ignore[type-var]
        assert found[:size] == known + [UNUSED] * (size - 3)
        assert found[size:] == sorted(keys.of_value(one) for one in (1, 2))  # type: ignore[type-var]


def test_many_known_values_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MAX_KNOWN", 20)
    found = infer_schema(table()).feature("user_id")
    assert (found.hashed, found.num_embeddings) == (True, 22)


def test_columns_that_are_left_out_are_named() -> None:
    given = table()
    given |= {
        "row": [f"r{place}" for place in range(ROWS)], "empty": [None] * ROWS, "constant": [3] * ROWS,
        "day": pa.array(range(ROWS), pa.date32()), "blob": [b"x"] * ROWS, "\x1b[2J": given["age"],
    }  # fmt: skip
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = infer_schema(pa.table(given))
    assert {one.name: one.kind for one in found.features} == KINDS
    said = [str(one.message) for one in told]
    expected = (
        r"Column 'row' is left out: 500 of its values occur once, in 500 rows.",
        r"Column 'empty' is left out: it has no values.",
        r"Column 'constant' is left out: it has one value alone.",
        r"Column 'day' is left out: it holds date32[day] where single numbers or texts belong.",
        r"Column 'blob' is left out: it holds binary where single numbers or texts belong.",
        r"Column '\x1b[2J' is left out: a name has 1 to 200 printable characters.",
    )
    assert said == list(expected)


def test_a_table_without_a_schema_is_refused(tmp_path: Path) -> None:
    given = table()
    lacking = {name: column for name, column in given.items() if name != "click"}
    with pytest.raises(ValueError, match=r"no column 'label', 'click', .*: name the one to predict by label="):
        infer_schema(lacking)
    with pytest.raises(ValueError, match=r"no column 'bought' to predict; its columns are 'user_id', .*"):
        infer_schema(given, "bought")
    with pytest.raises(ValueError, match="has no column beside 'click', so there is no feature"):
        infer_schema({"click": [0, 1]})
    with pytest.raises(ValueError, match="has no column beside 'click' that could be a feature"):
        infer_schema({"click": [0, 1], "one": [1, 1]})
    with pytest.raises(ValueError, match="has no rows"):
        infer_schema({"user_id": [], "click": []})
    many = tmp_path / "many.csv"
    many.write_text(",".join(["click", *(f"c{place}" for place in range(5000))]) + "\n" + ",".join(["1"] * 5001))
    with pytest.raises(ValueError, match=r"many\.csv has 5,000 columns beside 'click', and a schema has at most 4,096"):
        infer_schema(many)
    many.write_text(",".join(f"c{place}" for place in range(1_000_000)) + "\n")
    with pytest.raises(ValueError, match=r"many\.csv has 1,000,000 columns, and tables of up to 65,536 are read"):
        infer_schema(many)
    many.with_suffix(".csv.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        infer_schema(many.with_suffix(".csv.gz"))
    with pytest.raises(ValueError, match="Column 'job' in row 0 has a list where a single number or text belongs"):
        fit_vocabulary(infer_schema(given), {**given, "job": [["a"]] * ROWS})


def test_counts_are_those_of_a_counter() -> None:
    from zoo.tabular.columns import keyed

    counts, expected, rng = KeyCounts(), Counter[int | None](), np.random.default_rng(0)
    for kind in (int, str, float):
        values = [None if value == 7 else kind(value) for value in rng.integers(0, 50, 400)]
        counts.add(keyed(values), len(values))
        expected.update(map(keys.of_value, values))
    assert counts.missing == expected.pop(None)
    assert dict(zip(counts.keys.tolist(), counts.counts.tolist(), strict=True)) == expected


def test_numbers_are_summed_as_they_come() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(1e6, 3, size) for size in (1, 70_000, 3, 150_000)]
    numbers = Numbers()
    for part in parts:
        numbers.add(np.concatenate([part, [np.nan]]))
    whole = np.concatenate(parts)
    assert (numbers.mean, numbers.std) == pytest.approx((whole.mean(), whole.std()), rel=1e-9)
    assert (numbers.count, numbers.missing, numbers.low) == (len(whole), 4, whole.min())
    ranks = np.searchsorted(np.sort(whole), numbers.quantiles(10)) / len(whole)
    assert ranks == pytest.approx(np.arange(1, 10) / 10, abs=0.01)


def test_the_command_prints_a_schema_to_edit(tmp_path: Path) -> None:
    given = table()
    pq.write_table(pa.table({**given, "constant": [1] * ROWS}), tmp_path / "a.parquet")
    done = CliRunner().invoke(app, ["schema", str(tmp_path / "a.parquet"), "--label", "click"])
    assert done.exit_code == 0, done.output
    assert TableInput.from_json(json.loads(done.stdout)) == zoo.infer_schema(given, "click")
    assert "Column 'constant' is left out" in done.stderr and len(done.stdout.splitlines()) == 4 + len(KINDS) + 1
    refused = CliRunner().invoke(app, ["schema", str(tmp_path / "a.parquet"), "--label", "bought"])
    assert refused.exit_code == 2 and "no column 'bought' to predict" in refused.stderr and not refused.stdout


@pytest.mark.parametrize(
    "values",
    [[1e300 * one for one in range(40)], [3e38 * one for one in range(40)], [2**63 + 3 * one for one in range(40)]],
)
def test_numbers_too_large_for_a_mean_are_no_numbers(values: list[float]) -> None:
    """Other columns stay."""
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"big": values, "age": [float(one) / 3 for one in range(40)], "click": [0, 1] * 20})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = zoo.infer_schema(table)
    assert [one.kind for one in given.features if one.name == "age"] == ["numeric"]
    assert all(one.kind != "numeric" for one in given.features if one.name == "big")


def test_columns_of_several_lengths_are_refused_by_name() -> None:
    table = {"user_id": [1, 1, 2, 2], "item": ["a", "b", "a"], "click": [0, 1, 0, 1]}
    for wrong in (table, {**table, "item": list("abab"), "click": [0, 1]}):
        with pytest.raises(ValueError, match=r"has 4 values of 'user_id' and [23] of '(item|click)': columns have one"):
            zoo.infer_schema(wrong, label="click")


def test_ids_beyond_64_bits_are_values_and_no_numbers(tmp_path: Path) -> None:
    """In CSV, whose numbers would be floats, and as decimals, of which none is rounded."""
    ids = [str(2**70 + place % 5) for place in range(40)]
    (tmp_path / "a.csv").write_text("account,big,click\n" + "".join(f"{one},{2**63 + int(one) % 3},1\n" for one in ids))
    found = zoo.infer_schema(tmp_path / "a.csv", label="click")
    assert [(one.kind, one.keys) for one in found.features] == [("categorical", 5), ("categorical", 3)]
    assert found.features[1].keys == len(set(fit_vocabulary(found, tmp_path / "a.csv")[5:].tolist()))
    large, other = "1234567890123456789012345678901234567890", "1234567890123456789012345678901234567891"
    assert keys.of_value(Decimal(large)) == keys.of_value(large) != keys.of_value(Decimal(other))
    assert keys.of_value(Decimal("17.00")) == keys.of_value(17) and keys.of_value(Decimal("1E+2")) == keys.of_value(100)


def test_a_value_that_is_too_long_is_told_with_its_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "BLOCK", 2000)
    (tmp_path / "a.csv").write_text("user_id,text,click\n1,a,0\n2," + "x" * 5000 + ",1\n")
    with pytest.raises(
        ValueError, match=r"column 'text' has a value of 5,000 characters in row 1, and rows of up to 2"
    ):
        infer_schema(tmp_path / "a.csv", label="click")


def test_a_schema_is_given_as_itself_as_json_or_in_a_file(tmp_path: Path) -> None:
    schema = infer_schema({"user": [1, 1, 2, 2], "age": [1.5, 2, 3, 5], "click": [0, 1, 0, 1]})
    written = schema.to_json()
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(written))
    for form in (schema, written, {"features": written["features"]}, file, str(file)):
        assert zoo.create("deepfm", schema=form).spec.table == schema
    (tmp_path / "other.json").write_text("[1]")
    for wrong, said in (
        ({"type": "text"}, "The dict of schema= is no schema: .*of type 'text'"),
        ({"type": "table"}, "The dict of schema= is no schema: .*features"),
        (tmp_path / "other.json", r"other\.json is no schema: .*an object, not list"),
        (tmp_path / "none.json", r"none\.json cannot be read as a schema"),
        (7, r"as zoo\.infer_schema\(table\) makes it, the dict of its JSON, or the path .*, not int"),
    ):
        with pytest.raises(ValueError, match=said):
            zoo.create("deepfm", schema=wrong)
    with pytest.raises(ValueError, match="schema is a TableInput, not dict;"):
        zoo.registry.spec("deepfm", schema=written)
