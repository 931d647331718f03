"""What the package promises of the networks of texts that it ships. Their data does not ship, so the figures of the
manifest are not measured here; what users do with each network is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import zoo
from daily import daily
from zoo.catalog import manifest
from zoo.cli import app
from zoo.naming import parse

pytest.importorskip("tokenizers")

TASKS = {  # task -> (its metric, the least value of the dense network, most that int8 loses, most that pruning loses)
    "translation": ("BLEU", 33.0, 0.3, 2.2),
}
ENTRIES = {name: entry for name, entry in manifest.entries().items() if entry.task in TASKS}


def of(task: str, kept: tuple[str, ...] = ("", "-int8", "-pruned-int8")) -> list[object]:
    names = [name for name in ENTRIES if ENTRIES[name].task == task]
    return daily(names, [name for name in names if name.removeprefix(parse(name).dense) in kept])


def test_they_are_small_together() -> None:
    assert zoo.info("marian-int8").name == "marian_tiny.multi30k-int8"
    assert sum(entry.bytes for entry in ENTRIES.values()) < 10_000_000


@pytest.mark.parametrize("name", ENTRIES)
def test_the_figures_are_whole(name: str) -> None:
    entry, dense = ENTRIES[name], ENTRIES[parse(name).dense]
    metric, least, by_int8, by_pruning = entry.metric, *TASKS[entry.task][1:]
    assert metric.name == TASKS[entry.task][0] and metric.dense == dense.metric.value and dense.metric.value >= least
    assert {len(metric.sha256), len(metric.train_sha256)} == {64} and metric.sha256 != metric.train_sha256
    lost = dense.metric.value - metric.value
    match parse(name).variant:
        case "int8":
            assert lost <= by_int8 and entry.bytes <= 0.6 * dense.bytes  # dense files have float16
        case "pruned":
            assert lost <= by_pruning
        case "distilled":
            assert lost <= 2.0 and entry.parameters <= 0.5 * dense.parameters
        case "pruned-int8":
            narrow = ENTRIES[f"{parse(name).dense}-pruned"]
            assert narrow.metric.value - metric.value <= by_int8 and entry.bytes <= 0.6 * narrow.bytes


@pytest.mark.parametrize("name", of("translation"))
def test_a_caption_is_translated(name: str) -> None:
    model = zoo.create(name)
    found = model.translate(["A man is riding a bicycle.", "Two children are playing with a dog."])
    assert "Mann" in found[0] and "Fahrrad" in found[0] and "Hund" in found[1]
    assert model.translate("A man is riding a bicycle.") == found[0]


def test_lines_go_in_and_translations_come_out() -> None:
    text = "A man is riding a bicycle.\n\nTwo children are playing with a dog.\n"
    result = CliRunner().invoke(app, ["translate", "marian.multi30k-int8"], input=text)
    assert result.exit_code == 0, result.output
    first, empty, second = result.stdout.splitlines()
    assert "Fahrrad" in first and not empty and "Hund" in second


@pytest.mark.parametrize("name", daily(ENTRIES, [name for name in ENTRIES if parse(name).variant == "pruned-int8"]))
def test_a_saved_copy_holds_all_of_it(name: str, tmp_path: Path) -> None:
    model = zoo.create(name)
    zoo.save(model, tmp_path)
    again = zoo.load(tmp_path)
    assert again.spec == model.spec and json.loads(str(again.tokenizer)) == json.loads(str(model.tokenizer))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
