"""From raw rows to the tensor of a recommender: the same numbers whatever library holds the rows, and clear errors."""

from __future__ import annotations

import math
import re
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.inputs import Feature, TableInput
from zoo.spec import Block, ModelSpec
from zoo.tabular import keys
from zoo.tabular.encoder import TableEncoder
from zoo.tabular.examples import GivenRow, RowOf
from zoo.tabular.reader import RowReader

USERS, JOBS, GENRES = (1, 7, -3, 2**63 + 5), ("writer", "", "nurse"), ("Drama", "War", "Sci-Fi")
INPUT = TableInput(
    (
        Feature("user", num_embeddings=6),
        Feature("job", num_embeddings=4),
        Feature("genres", "list", num_embeddings=5, max_length=2),
        Feature("tag", num_embeddings=12, hashed=True),
        Feature("age", "bucketed", boundaries=(18.0, 30.0)),
        Feature("year", "numeric", mean=1990.0, std=10.0),
    ),
    crosses=(("user", "job", 40), ("tag", "age", 30)),
)
VOCABULARY = [sorted(key for key in map(keys.of_value, known) if key is not None) for known in (USERS, JOBS, GENRES)]
SPEC = ModelSpec("net", (Block("global_pool", "pool"),), INPUT)
ROW = {"user": 7, "job": "nurse", "genres": ["War", "Drama"], "tag": "a", "age": 30, "year": 1995}
ROWS: list[dict[str, Any]] = [
    ROW,
    {"user": -3, "job": None, "genres": [], "tag": None, "age": None, "year": None},
    {"user": 8, "job": "actor", "genres": None, "tag": "b", "age": 12.5, "year": 1990.0},
    {"user": 1, "job": "writer", "genres": ["Opera", None, "Sci-Fi", "War"], "tag": "a", "age": 99, "year": math.nan},
]


@pytest.fixture
def encode() -> TableEncoder:
    return TableEncoder(SPEC, torch.tensor([key for known in VOCABULARY for key in known]))


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in ROW}


def row_of(known: int, value: object) -> int:
    """By a look through the whole list."""
    return 2 + VOCABULARY[known].index(keys.of_value(value))  # type: ignore[arg-type]


def test_rows_are_numbers_of_rows(encode: TableEncoder) -> None:
    x = encode(columns(ROWS))
    assert x.dtype == torch.float64 and x.shape == (4, INPUT.width)
    users, jobs, genres = (x[:, INPUT.columns(name)].tolist() for name in ("user", "job", "genres"))
    assert users == [[row_of(0, 7)], [row_of(0, -3)], [1], [row_of(0, 1)]]
    assert jobs == [[row_of(1, "nurse")], [0], [1], [row_of(1, "writer")]]
    assert genres == [[row_of(2, "War"), row_of(2, "Drama")], [0, 0], [0, 0], [1, row_of(2, "Sci-Fi")]]
    assert x[:, INPUT.columns("age")].flatten().tolist() == [4, 0, 2, 4]
    assert x[:, INPUT.columns("year")].tolist() == [[1, 0.5], [0, 0], [1, 0], [0, 0]]
    tags = x[:, INPUT.columns("tag")].flatten().tolist()
    assert tags[0] == tags[3] != 0 and tags[1] == 0 and all(2 <= tag < 12 for tag in tags if tag)


def test_crosses_tell_pairs_apart(encode: TableEncoder) -> None:
    """By a hash of both values, known or not; 0 where one is missing. Most of 400 pairs have another row of 40."""
    crosses = encode(columns(ROWS))[:, INPUT.cross_columns]
    assert (
        crosses[1].tolist() == [0, 0] and (crosses[[0, 2, 3]] >= 1).all() and (crosses < torch.tensor([40, 30])).all()
    )
    many = [{**ROW, "user": user, "job": str(job)} for user in range(20) for job in range(20)]
    rows = encode(many)[:, INPUT.cross_columns.start]
    counts = torch.bincount(rows.long(), minlength=40)
    assert len(rows.unique()) == 39 and counts.max() < 30
    assert rows.equal(encode(columns(many))[:, INPUT.cross_columns.start])


def test_every_library_gives_the_same(encode: TableEncoder) -> None:
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    table = pa.table(columns(ROWS))
    x = encode(table)
    assert x.equal(encode(columns(ROWS))) and x.equal(encode(ROWS)) and x.equal(encode(tuple(ROWS)))
    assert x.equal(torch.cat([encode(row) for row in ROWS]))
    assert x.equal(torch.cat([encode(table.slice(i, 1)) for i in range(4)]))
    frame = pd.DataFrame(columns(ROWS))
    assert x.equal(encode(frame)) and x.equal(encode(frame.assign(extra="x")))
    nullable = frame.astype({"user": "Int64", "job": "category", "age": "Float32", "year": object, "tag": "string"})
    assert x.equal(encode(nullable))
    assert x.equal(encode(pa.concat_tables([table.slice(0, 1), table.slice(1)])))
    dictionary = table.set_column(1, "job", table["job"].dictionary_encode()).combine_chunks()
    assert x.equal(encode(dictionary)) and x.equal(encode(dictionary.to_batches()[0]))
    for kind in (pa.large_list(pa.large_string()), pa.list_(pa.dictionary(pa.int8(), pa.string()))):
        assert x.equal(encode(table.set_column(2, "genres", pa.array(columns(ROWS)["genres"], kind))))
    assert x.equal(encode({**columns(ROWS), "user": np.array([7, -3, 8, 1], dtype=np.int8)}))
    assert x.equal(encode({**columns(ROWS), "user": torch.tensor([7, -3, 8, 1])}))
    assert encode(frame.iloc[0].to_dict()).equal(x[:1])


def test_lists_are_written_as_texts_too(encode: TableEncoder) -> None:
    """CSV has no lists."""
    pa = pytest.importorskip("pyarrow")
    written = columns([{**row, "genres": "|".join(filter(None, row["genres"] or []))} for row in ROWS])
    assert encode(written).equal(encode(columns(ROWS))) and encode(pa.table(written)).equal(encode(columns(ROWS)))
    for printed in ("['Drama', 'War']", "[]"):
        for rows in ({**ROW, "genres": printed}, pa.table({**columns([ROW]), "genres": [printed]})):
            with pytest.raises(ValueError, match=r"Column 'genres' .*has the text .*a printed list"):
                encode(rows)


def test_ids_beyond_64_bits_are_texts_whatever_holds_them(encode: TableEncoder, tmp_path: Path) -> None:
    """CSV has texts alone: the id there is the value that the same text is elsewhere, and no float has rounded it."""
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    ids = [str(2**70), str(2**70 + 1)]
    rows = [{**ROW, "tag": one} for one in ids]
    x = encode(rows)
    assert not x[0].equal(x[1])
    (tmp_path / "rows.csv").write_text(
        "user,job,genres,tag,age,year\n" + "".join(f"7,nurse,War|Drama,{one},30,1995\n" for one in ids)
    )
    read = list(encode.in_turn(RowReader(SPEC).batches(str(tmp_path / "rows.csv"))[1]))
    for found in (torch.cat(read), encode(pa.table(columns(rows))), encode(pd.DataFrame(rows)), encode(columns(rows))):
        assert found.equal(x)
    for number in (2**70, float(2**70)):
        for one in ({**ROW, "tag": number}, [{**ROW, "tag": number}], pd.DataFrame([{**ROW, "tag": number}])):
            with pytest.raises(ValueError, match=r"Column 'tag' .*Give (such ids as|whole numbers or) texts"):
                encode(one)


SAME = [
    (17, 17.0, "17", "17.0", np.int8(17), np.float32(17), Decimal(17), Decimal("17.00")),
    (-5, -5.0, "-5", np.int64(-5)),
    (2**63 + 5, str(2**63 + 5), np.uint64(2**63 + 5)),
    (17.5, "17.5", np.float64(17.5), Decimal("17.5")),
    (1, True, "true", "True", np.bool_(True), "1"),
    ("", None, math.nan, np.float32("nan")),
]
OTHERS = [17, -17, "017", "+17", "17 ", 2**63 + 5, 5 - 2**63, "17.5", "x", "X", "é", "e\u0301", 2**64 - 1, -1, "nan"]


@pytest.mark.parametrize("same", SAME, ids=lambda same: repr(same[0]))
def test_one_value_has_one_key(same: tuple[Any, ...]) -> None:
    assert len({keys.of_value(one) for one in same}) == 1


def test_other_values_have_other_keys() -> None:
    assert len({keys.of_value(one) for one in OTHERS}) == len(OTHERS)
    numbers = np.arange(-100_000, 100_000)
    assert len(np.unique(keys.of_integers(numbers))) == len(numbers)


def test_keys_stay_as_they_are() -> None:
    """Files hold them. SplitMix64 of 0 is Vigna's published value; the text's is BLAKE2b's, of eight bytes."""
    assert keys.of_value(0) == 0xE220A8397B1DCDAF - 2**64
    assert keys.of_value("abc") == int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little", signed=True)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.text() | st.none() | st.booleans() | st.floats(-1e9, 1e9)))
def test_a_column_has_the_keys_of_its_values(values: list[Any]) -> None:
    from zoo.tabular.columns import keyed

    found = keyed(values)
    expected = [keys.of_value(value) for value in values]
    missing = found.missing if found.missing is not None else np.zeros(len(values), bool)
    assert [None if lacks else key for key, lacks in zip(found.of_rows(found.keys), missing, strict=True)] == expected


@given(
    st.sampled_from(["int8", "uint8", "int16", "uint32", "int64", "uint64", "float32", "float64", "bool"]), st.data()
)
def test_a_column_of_numbers_has_the_keys_of_its_values(kind: str, data: Any) -> None:
    from zoo.tabular.columns import keyed

    small = st.integers(0, 1) if kind == "bool" else st.integers(-128 if kind in ("int8", "int16", "int64") else 0, 127)
    wide = {"int64": st.integers(-(2**63), 2**63 - 1), "uint64": st.integers(0, 2**64 - 1)}.get(kind, small)
    column = np.array(data.draw(st.lists(small) | st.lists(wide)), dtype=kind)
    found = keyed(column)
    assert found.of_rows(found.keys).tolist() == [keys.of_value(value) for value in column.tolist()]


@pytest.mark.parametrize(
    ("column", "wrong", "said"),
    [
        ("user", [3], "Column 'user' has a list"),
        ("age", [30, 31], "Column 'age' has a list, and column 'user' a single value"),
        ("user", {"a": 1}, "Column 'user' has a dict where a single number or text belongs"),
        ("user", {1, 2}, "Column 'user' has a set where a single number or text belongs"),
        ("genres", {"a": 1}, "Column 'genres' has a single dict where a list belongs"),
        ("user", b"abc", "Column 'user' has a bytes where a single number or text belongs"),
        ("user", 2**64, "Column 'user' has the whole number 18446744073709551616, which is beyond 64 bits"),
        ("user", 10**50, "Column 'user' has the whole number of 167 bits, which is beyond 64 bits"),
        ("user", 1e17, r"Column 'user' has the float 1e\+17, which may stand for several ids"),
        ("user", math.inf, "Column 'user' has infinity"),
        ("age", "30", "Column 'age' has the text '30' where a number belongs"),
        ("year", "x" * 1000, "Column 'year' has the text 'xxx"),
        ("year", math.inf, "Column 'year' has infinity where a number belongs"),
        ("age", -math.inf, "Column 'age' has infinity where a number belongs"),
        ("year", 1e300, r"Column 'year' has the number 1e\+300, which is too far"),
        ("year", {}, "Column 'year' has a dict where a number belongs"),
        ("genres", 7, "Column 'genres' has a single int where a list belongs"),
        ("genres", [["War"]], "Column 'genres' has a list where a single number or text belongs"),
        ("genres", {"War"}, "Column 'genres' has a set"),
    ],
)
def test_a_wrong_value_is_named_with_its_column(encode: TableEncoder, column: str, wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        encode({**ROW, column: wrong})
    if column != "user" or wrong != [3]:
        return
    with pytest.raises(ValueError, match="Column 'user' in row 0 has a list where a single number or text belongs"):
        encode([{**ROW, column: wrong}] * 2)


def test_a_wrong_value_of_many_is_named_with_its_row(encode: TableEncoder) -> None:
    """In whatever holds the rows, and however they come: all together, one by one, in batches."""
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    for name, wrong, said in (
        ("age", "x", "Column 'age' in row 70 has the text 'x' where a number belongs"),
        ("user", 2**70, "Column 'user' in row 70 has the whole number"),
        ("year", math.inf, "Column 'year' in row 70 has"),
        ("genres", "[1]", "Column 'genres' in row 70 has the text"),
    ):
        bad = {**ROW, name: wrong}
        rows = [ROW] * 70 + [bad, ROW, bad]
        table = {**columns(rows), name: tuple(row[name] for row in rows)}
        for one in (
            rows,
            table,
            {**table, name: deque(table[name])},
            pd.DataFrame(rows),
            table | {name: pd.Series(table[name])},
        ):
            with pytest.raises(ValueError, match=re.escape(said)):
                encode(one)
        for alone in (GivenRow(bad, 70), RowOf(columns([ROW, ROW, bad]), 2, 68)):
            with pytest.raises(ValueError, match=re.escape(said)):
                encode([alone])
        with pytest.raises(ValueError, match=re.escape(said)):
            list(encode.in_turn([rows[:40], rows[40:70], rows[70:]]))
    lacking = {name: value for name, value in ROW.items() if name != "age"}
    with pytest.raises(ValueError, match="reads the column 'age', and row 70 has no such value"):
        encode([GivenRow(lacking, 70)])
    with pytest.raises(ValueError, match="Column 'year' in row 3 has infinity"):
        encode(pa.table({**columns([ROW] * 4), "year": [1.0, None, 2.0, math.inf]}))


def test_a_wrong_column_is_named(encode: TableEncoder) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(columns([ROW]))
    for column, wrong, said in (
        ("user", pa.array([[7]]), "Column 'user' holds lists where single numbers or texts belong"),
        ("user", pa.array([0], pa.timestamp("s")), r"Column 'user' holds timestamp\[s\] where"),
        ("user", pa.array([1e17]), "Column 'user' in row 0 has the float"),
        ("age", pa.array(["30"]), "Column 'age' holds texts where numbers belong"),
        ("year", pa.array([[1.0]]), "Column 'year' holds lists where numbers belong"),
        ("age", pa.array([math.inf]), "Column 'age' in row 0 has infinity"),
        ("year", pa.array([1e300]), "Column 'year' in row 0 has the number"),
        ("genres", pa.array([3]), "Column 'genres' holds int64 where lists belong"),
    ):
        with pytest.raises(ValueError, match=said):
            encode(table.drop_columns(column).append_column(column, wrong))


def test_a_wrong_table_is_refused(encode: TableEncoder) -> None:
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    lacking = {name: value for name, value in ROW.items() if name != "tag"}
    for table in (lacking, [ROW, lacking], pa.table(columns([ROW])).drop_columns("tag"), pd.DataFrame([lacking])):
        with pytest.raises(ValueError, match="net reads the column 'tag', and"):
            encode(table)
    for empty in (
        {name: [] for name in ROW},
        [],
        pa.table(columns([ROW])).slice(0, 0),
        pd.DataFrame(columns=list(ROW)),
    ):
        with pytest.raises(ValueError, match=r"The table has no rows: net takes at least one\."):
            encode(empty)
    with pytest.raises(ValueError, match="Column 'tag' has 2 values, and column 'user' has 4"):
        encode({**columns(ROWS), "tag": ["a", "b"]})
    for name, wrong in (("user", [[1, 2], [3, 4]]), ("tag", [[1.5, 2], [3, 4]]), ("age", [[1, 2], [3, 4]])):
        square = {**{name: np.array([value] * 2, dtype=object) for name, value in ROW.items()}, name: np.array(wrong)}
        with pytest.raises(ValueError, match=rf"Column '{name}' has the shape .* where a column of single values"):
            encode(square)
    with pytest.raises(ValueError, match="two columns called 'tag'"):
        encode(pd.concat([pd.DataFrame([ROW]), pd.DataFrame([ROW])[["tag"]]], axis=1))
    with pytest.raises(ValueError, match="net takes a dict of values or of columns"):
        encode(7)
    with pytest.raises(ValueError, match="row 1 is a int"):
        encode([ROW, 7])


def test_it_needs_the_network_s_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"net knows 9 values of its features.*give the network itself"):
        zoo.preprocess(SPEC)
    with pytest.raises(ValueError, match="has 9 keys, not"):
        TableEncoder(SPEC, torch.zeros(3, dtype=torch.int64))
    free = ModelSpec("free", SPEC.rows, TableInput((INPUT.feature("tag"), INPUT.feature("year"))))
    assert zoo.preprocess(free)({"tag": "a", "year": 2000})[0, 1:].tolist() == [1, 1]


def test_an_unknown_value_beside_none_that_is_known() -> None:
    """A key that no value has pads a vocabulary: looked up, nothing is found there."""
    padded = TableEncoder(SPEC, torch.full((9,), 2**63 - 1))
    assert padded(ROW)[0, :2].tolist() == padded(columns([ROW]))[0, :2].tolist() == [1, 1]
