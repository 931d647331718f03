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
from zoo.engine.cpu import onednn
from zoo.naming import parse
from zoo.report import timing

pytest.importorskip("tokenizers")

TASKS = {  # task -> (its metric, the least value of the dense network, most that int8 loses, most that pruning loses)
    "text-classification": ("accuracy", 85.0, 0.5, 1.5),
    "question-answering": ("F1", 50.0, 0.5, 2.0),
    "translation": ("BLEU", 33.0, 0.3, 1.5),
    "text-generation": ("perplexity", 0.0, 0.5, 2.0),
}
ENTRIES = {name: entry for name, entry in manifest.entries().items() if entry.task in TASKS}
DENSE = [name for name in ENTRIES if not parse(name).passes]
ALIASES = ("bert.sst2", "bert.policyqa", "marian.multi30k", "gpt.shakespeare")
REVIEWS = ("a stirring, funny film", "a dull and lifeless mess, and far too long")
POLICY = (
    "We collect your email address when you sign up for our newsletter. We do not sell your personal information to "
    "third parties. You may contact us at privacy@example.com to delete your account."
)


def of(task: str, kept: tuple[str, ...] = ("", "-int8", "-pruned-int8")) -> list[object]:
    names = [name for name in ENTRIES if ENTRIES[name].task == task]
    return daily(names, [name for name in names if name.removeprefix(parse(name).dense) in kept])


def test_they_are_small_together() -> None:
    assert {zoo.info(alias).name for alias in ALIASES} == set(DENSE)
    vit = [entry for name, entry in manifest.entries().items() if parse(name).arch == "vit_cifar"]
    assert sum(entry.bytes for entry in [*ENTRIES.values(), *vit]) < 30_000_000


@pytest.mark.parametrize("name", ENTRIES)
def test_the_figures_are_whole(name: str) -> None:
    entry, dense = ENTRIES[name], ENTRIES[parse(name).dense]
    metric, least, by_int8, by_pruning = entry.metric, *TASKS[entry.task][1:]
    assert metric.name == TASKS[entry.task][0] and metric.dense == dense.metric.value and dense.metric.value >= least
    assert {len(metric.sha256), len(metric.train_sha256)} == {64} and metric.sha256 != metric.train_sha256
    sign = -1 if metric.name == "perplexity" else 1
    lost = sign * (dense.metric.value - metric.value)
    match parse(name).variant:
        case "int8":
            assert lost <= by_int8 and entry.bytes <= 0.6 * dense.bytes  # dense files have float16
        case "pruned":
            assert lost <= by_pruning
        case "pruned-int8":
            narrow = ENTRIES[f"{parse(name).dense}-pruned"]
            assert sign * (narrow.metric.value - metric.value) <= by_int8 and entry.bytes <= 0.6 * narrow.bytes


@pytest.mark.parametrize("name", of("text-classification"))
def test_a_review_is_judged(name: str) -> None:
    good, bad = zoo.create(name).classify(list(REVIEWS))
    assert (good[0]["label"], bad[0]["label"]) == ("positive", "negative")


@pytest.mark.parametrize("name", of("question-answering"))
def test_a_policy_is_asked(name: str) -> None:
    found = zoo.create(name).answer("Do you sell my personal information?", POLICY)
    assert POLICY[found["start"] : found["end"]] == found["answer"] and found["answer"]


@pytest.mark.parametrize("name", of("translation"))
def test_a_caption_is_translated(name: str) -> None:
    model = zoo.create(name)
    found = model.translate(["A man is riding a bicycle.", "Two children are playing with a dog."])
    assert "Mann" in found[0] and "Fahrrad" in found[0] and "Hund" in found[1]
    assert model.translate("A man is riding a bicycle.") == found[0]


@pytest.mark.parametrize("name", of("text-generation"))
def test_a_play_goes_on(name: str) -> None:
    model = zoo.create(name)
    with torch.inference_mode():
        first, again = (model.generate("KING RICHARD:\n", max_new_tokens=24) for _ in range(2))
    assert first == again and len(str(first)) > 30


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "bert.sst2-int8", REVIEWS[0]], "positive"),
        (["answer", "bert.policyqa-int8", "--question", "Do you sell my data?", "--context", "{policy}"], "sell"),
        (["translate", "marian.multi30k-int8"], "Fahrrad"),
        (["generate", "gpt.shakespeare-int8", "--prompt", "KING RICHARD:", "--tokens", "8"], "KING"),
    ],
    ids=["predict", "answer", "translate", "generate"],
)
def test_each_is_used_by_one_command(arguments: list[str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "policy.txt").write_text(POLICY)
    given = [one.format(policy=tmp_path / "policy.txt") for one in arguments]
    result = CliRunner().invoke(app, given, input="A man is riding a bicycle.\n")
    assert result.exit_code == 0, result.output
    assert expected in result.output


@pytest.mark.parametrize("name", daily(ENTRIES, [name for name in ENTRIES if parse(name).variant == "pruned-int8"]))
def test_a_saved_copy_holds_all_of_it(name: str, tmp_path: Path) -> None:
    model = zoo.create(name)
    zoo.save(model, tmp_path)
    again = zoo.load(tmp_path)
    assert again.spec == model.spec and json.loads(str(again.tokenizer)) == json.loads(str(model.tokenizer))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.timing
@pytest.mark.parametrize("alias", ["bert.sst2", "bert.policyqa"])
def test_int8_is_not_slower(alias: str) -> None:
    if not onednn.trusted():
        pytest.skip("the processor has no integer instructions")
    models = [zoo.create(alias), zoo.create(f"{alias}-int8")]
    x = torch.randint(5, 1000, (8, 32))
    times, _ = timing.median_times(models, [x, x], seconds=4)
    assert times[1] < times[0]
