"""The commands that score rows of tables with a recommender: `zoo predict --rows`, `zoo eval`, `zoo compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.inputs import Feature, TableInput
from zoo.report import memory, timing
from zoo.spec import Block, ModelSpec
from zoo.tabular.reader import RowReader

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = 50
TABLE = {
    "user_id": list(range(ROWS)),
    "item_id": [f"item {place % 7}" for place in range(ROWS)],
    "genres": [["drama", "war"][: place % 3] for place in range(ROWS)],
    "device": [None if place % 5 == 0 else "phone" for place in range(ROWS)],
    "age": [20.0 + place if place % 4 else None for place in range(ROWS)],
    "price": [place / 10 for place in range(ROWS)],
    "extra": ["x"] * ROWS,
    "label": [place % 2 for place in range(ROWS)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = zoo.create("deepfm", weights=None)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    folder = tmp_path_factory.mktemp("scoring")
    zoo.save(model, folder / "model")
    pq.write_table(pa.table(TABLE), folder / "rows.parquet", row_group_size=20)
    written = {**TABLE, "genres": ["|".join(genres) for genres in TABLE["genres"]]}
    from pyarrow import csv

    csv.write_csv(pa.table(written), folder / "rows.csv")
    return folder


def told(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_rows_of_a_file_are_scored_in_its_order(folder: Path, name: str) -> None:
    with torch.inference_mode():
        expected = zoo.load(folder / "model")(TABLE).double().sigmoid().flatten().tolist()
    done = told("predict", folder / "model", "--rows", folder / name, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"scores": pytest.approx(expected, abs=1e-6)} and len(set(expected)) > ROWS / 2
    plain = told("predict", folder / "model", "--rows", folder / name)
    assert [float(line) for line in plain.stdout.splitlines()] == pytest.approx(expected, abs=1e-6)


def test_rows_of_the_command_line_are_told_as_those_of_a_file_are(folder: Path) -> None:
    row = {name: values[3] for name, values in TABLE.items()}
    missing = {**row, "age": float("nan")}  # Python's json writes NaN, and reads it
    done = told("predict", folder / "model", json.dumps(row), json.dumps(missing), "--json")
    with torch.inference_mode():
        expected = [zoo.load(folder / "model")(one).sigmoid().item() for one in (row, missing)]
    assert json.loads(done.stdout) == {"scores": pytest.approx(expected, abs=1e-6)}
    lacking = {name: value for name, value in row.items() if name != "age"}
    given = (row, {**row, "age": "old"}, lacking)
    done = told("predict", folder / "model", *map(json.dumps, given), "--json")
    assert json.loads(done.stdout) == {"scores": [pytest.approx(expected[0], abs=1e-6), None, None]}
    assert done.exit_code == 1 and "'age' in row 1 has the text 'old'" in done.stderr
    assert "'age', and row 2 has no such value" in done.stderr
    assert "%" in told("predict", folder / "model", json.dumps(row)).stdout


def test_a_table_that_cannot_be_scored_is_one_error(folder: Path, tmp_path: Path) -> None:
    table = pa.table(TABLE)
    wrong = {
        "lacking": (table.drop_columns("age"), "lacking.parquet has no column 'age'; its columns are 'user_id', "),
        "texts": (table.set_column(4, "age", pa.array(["x"] * ROWS)), "Column 'age' holds texts where numbers belong"),
        "lists": (table.set_column(5, "price", pa.array([[1.0]] * ROWS)), "Column 'price' holds lists where numbers"),
        "single": (
            table.set_column(2, "genres", pa.array([1] * ROWS)),
            "Column 'genres' holds int64 where lists belong",
        ),
        "large": (
            table.set_column(0, "user_id", pa.array([1e17] * ROWS)),
            "Column 'user_id' in row 0 has the float 1e+17",
        ),
    }
    for name, (given, said) in wrong.items():
        pq.write_table(given, tmp_path / f"{name}.parquet")
        done = told("predict", folder / "model", "--rows", tmp_path / f"{name}.parquet", "--json")
        assert done.exit_code == 2 and said in done.stderr and not done.stdout and len(done.stderr.splitlines()) == 1
    (tmp_path / "wrong.csv").write_text((folder / "rows.csv").read_text().replace("0.1", "zero"))
    done = told("predict", folder / "model", "--rows", tmp_path / "wrong.csv", "--json")
    assert done.exit_code == 2 and "column 'price'" in done.stderr and "zero" in done.stderr and not done.stdout


def test_empty_tables_and_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table(TABLE).slice(0, 0), tmp_path / "empty.parquet")
    (tmp_path / "empty.csv").write_text(",".join(TABLE) + "\n")
    (tmp_path / "text.parquet").write_text("no table")
    for name, said in (
        ("empty.parquet", "empty.parquet has no rows"),
        ("empty.csv", "empty.csv has no rows"),
        ("text.parquet", "cannot be read as Parquet"),
        ("nothing.csv", "No such table"),
    ):
        done = told("predict", folder / "model", "--rows", tmp_path / name, "--json")
        assert done.exit_code == 2 and said in done.stderr and not done.stdout, name


def test_rows_and_inputs_are_for_networks_that_take_them(folder: Path) -> None:
    for arguments, said in (
        (
            ["resnet20", "--rows", folder / "rows.csv"],
            "resnet20 takes pictures, and --rows is for networks of table rows",
        ),
        ([folder / "model", "a.png"], "'a.png' is no row: give a JSON object"),
        ([folder / "model"], "Give the inputs behind the name, or --rows with a table"),
        ([folder / "model"], "reads the columns user_id, item_id, genres, device, age, price."),
        ([folder / "model", "{}", "--rows", folder / "rows.csv"], "give one of the two"),
    ):
        done = told("predict", *arguments)
        assert done.exit_code == 2 and said in done.stderr, done.output


def test_it_is_evaluated_and_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics")
    monkeypatch.setattr(memory, "peak_memory", lambda files: [1] * len(files))
    monkeypatch.setattr(timing, "median_times", lambda models, inputs, seconds: ([1.0] * len(models), 1))
    done = told("eval", folder / "model", "--data", folder / "rows.parquet", "--json")
    found = json.loads(done.stdout)
    assert (found["metric"], set(found["metrics"]), found["examples"]) == ("AUC", {"AUC", "log loss"}, ROWS)
    shown = told("eval", folder / "model", "--data", folder / "rows.parquet").stdout
    assert f"{found['value']:.2f}% AUC on 50 rows" in shown and f"log loss {found['metrics']['log loss']:.4f}" in shown
    table = zoo.compare([str(folder / "model")] * 2, data=folder / "rows.parquet")
    assert [row.accuracy for row in table.rows] == [found["value"]] * 2 and table.images == ROWS
    assert table.rows[0].metrics == found["metrics"] and f"{found['metrics']['log loss']:.4f}" in str(table)
    assert "AUC: of 50 examples of rows.parquet" in str(table) and "time: per row at batch 1" in str(table)
    assert "1,000.0 ms and 31.2 ms" in str(table)
    low, high = table.rows[0].intervals["AUC"]
    assert low < found["value"] < high and f"{found['value']:.2f} ({low:.1f}-{high:.1f})" in str(table)
    assert "95% intervals by bootstrap, each row by itself" in str(table)
    with pytest.raises(ValueError, match="images= is how many shipped test pictures are answered, and none ship for"):
        zoo.compare([str(folder / "model")], images=5)


def test_rows_of_one_user_are_drawn_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics")
    asked: list[Any] = []

    def ends(outputs: Any, targets: Any, judge: Any, *, groups: Any, resamples: int) -> dict[str, Any]:
        asked.append((len(outputs), groups, resamples))
        return dict.fromkeys(("AUC", "log loss"), (1.0, 2.0))

    monkeypatch.setattr("zoo.report.evaluate.intervals", ends)
    options = ["--data", folder / "rows.parquet", "--resamples", "7", "--group-column"]
    done = told("eval", folder / "model", *options, "item_id")
    assert "95% interval 1.00 to 2.00%" in done.stdout, done.output
    count, groups, resamples = asked[0]
    column = pq.read_table(folder / "rows.parquet")["item_id"].to_pylist()
    assert (count, resamples) == (ROWS, 7)
    assert [column[groups.index(one)] for one in groups] == column and len(set(groups)) == len(set(column))
    for name, said in (("nobody", "no column 'nobody'"), ("genres", "in the column 'genres': no groups")):
        done = told("eval", folder / "model", *options, name)
        assert done.exit_code == 2 and said in done.stderr, done.output
    for wrong, said in (({"group_column": "item_id"}, "give resamples="), ({"resamples": -1}, "resamples= takes")):
        with pytest.raises(ValueError, match=said):
            zoo.evaluate(zoo.load(folder / "model"), folder / "rows.parquet", **wrong)
    with pytest.raises(ValueError, match="say yes or no of a row"):
        zoo.evaluate(zoo.create("resnet20"), zoo.samples(), resamples=5)
    with pytest.raises(ValueError, match="there is none"):
        zoo.compare("resnet20", group_column="user")


def test_who_gave_inputs_to_calibrate_on_is_not_asked_for_some(folder: Path, tmp_path: Path) -> None:
    done = told("compress", folder / "model", "int8", "--calibration", folder / "rows.csv", "--out", tmp_path / "small")
    assert done.exit_code == 0 and "Give inputs" not in done.output, done.output
    assert "gives numbers, not classes" in done.stderr


def test_the_columns_that_are_read_are_named(folder: Path) -> None:
    names = ["user_id", "item_id", "genres", "device", "age", "price"]
    assert json.loads(told("info", folder / "model", "--json").stdout)["columns"] == names
    assert ", ".join(names) in told("info", folder / "model").stdout
    assert zoo.info("resnet20").columns == () and "columns" not in dict(zoo.info("resnet20").rows())
    example = told("predict", folder / "model", "row").stderr.split("such as ")[1].split(", or --rows")[0]
    assert 0 < json.loads(told("predict", folder / "model", example, "--json").stdout)["scores"][0] < 1
    many = TableInput(tuple(Feature(f"c{place}", "numeric", std=1.0) for place in range(30)))
    with pytest.raises(ValueError, match=r'"c19": 1, \.\.\.\} with 30 columns, or --rows'):
        RowReader(ModelSpec("many", (Block("rows", "rows"),), many)).of_arguments(["row"])


def test_the_command_says_which_file_calibrates(folder: Path, tmp_path: Path) -> None:
    """Files hold raw examples, whatever passes take in Python."""
    zoo.save(zoo.create("resnet20", weights=None), tmp_path / "pictures")
    zoo.save(zoo.create("bert_tiny", weights=None), tmp_path / "texts")
    few = "a few dozen to a few hundred"
    for model, options, said in (
        (folder / "model", ["int8"], f"int8 needs --calibration: {few} rows. Give --calibration rows.parquet."),
        (tmp_path / "pictures", ["int8"], f"int8 needs --calibration: {few} pictures. Give --calibration pictures/."),
        (tmp_path / "texts", ["int8", "--rounding", "gptq"], "Give --calibration texts.txt."),
        (folder / "model", ["pruned", "--min-count", "2"], "rows, typical ones, without labels, in which values are"),
    ):
        done = told("compress", model, *options, "--out", tmp_path / "out")
        assert done.exit_code == 2 and said in done.stderr and "preprocess" not in done.stderr, done.output


@pytest.mark.parametrize("command", [["finetune"], ["distill", "--teacher", "resnet20"]])
def test_int8_that_no_training_takes_is_refused_before_data_is_read(
    folder: Path, tmp_path: Path, command: list[str]
) -> None:
    zoo.save(zoo.compress(zoo.load(folder / "model"), "int8", calibration=TABLE), tmp_path / "rows")
    zoo.save(zoo.compress(zoo.create("bert_tiny", weights=None), "int8"), tmp_path / "texts")
    for name in ("rows", "texts"):
        done = told(*command, tmp_path / name, "--data", tmp_path / "nothing", "--out", tmp_path / "out")
        assert done.exit_code == 2 and "There is no quantization-aware training for" in done.stderr, done.output


def test_tables_in_a_pipe_have_no_blanks_behind_their_lines(folder: Path) -> None:
    for command in (["info", folder / "model"], ["info", "resnet20"], ["list", "deepfm"]):
        done = told(*command)
        assert done.exit_code == 0 and len(done.stdout.splitlines()) > 3, done.output
        assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []


def test_a_number_that_csv_has_wrong_is_named_with_its_row(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted as in all other errors, from 0 and without the header, through the blocks that are read at a time."""
    monkeypatch.setattr("zoo.data.table_files.BLOCK", 600)
    lines = (folder / "rows.csv").read_text().splitlines()
    lines[41] = lines[41].replace(",4,", ",four,")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    assert "four" in lines[41]
    done = told("predict", folder / "model", "--rows", tmp_path / "rows.csv", "--json")
    assert done.exit_code == 2 and "column 'price': row 40: " in done.stderr, done.output
