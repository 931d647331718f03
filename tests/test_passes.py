"""Passes and their options: each is declared once, and a pass from outside is like ours."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner, Result

import zoo
from networks import sums, tiny
from zoo.cli import app
from zoo.model.build import Model
from zoo.naming import Name, UnknownName, parse, parse_passes
from zoo.passes import PASSES, Pass, in_order, register
from zoo.passes.decision import Decision
from zoo.passes.options import About, Options, about, option

X = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True, kw_only=True)
class Rounded(Options):
    bits: int = option(8, "Bits of every weight's mantissa that stay.", least=1, most=22)


def _plan(model: Model, options: Rounded) -> Decision:
    return Decision("rounded", {}, asdict(options))


def _carry(state: dict, spec: zoo.ModelSpec, decision: Decision) -> dict:
    mask = -1 << (23 - decision.recipe["bits"])
    return {key: (t.view(torch.int32) & mask).view(torch.float32) if t.ndim > 1 else t for key, t in state.items()}


ROUNDED = Pass(
    name="rounded",
    about="short mantissas",
    place=35,
    options=Rounded,
    functions=SimpleNamespace(plan=_plan, respec=lambda spec, decision: spec, carry=_carry),
)


@pytest.fixture
def rounded() -> Iterator[Pass]:
    yield register(ROUNDED)
    del PASSES["rounded"]


def typed(*line: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, line, env={"COLUMNS": "200"})
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def network() -> Model:
    torch.manual_seed(0)
    return zoo.create("resnet20", weights=None)


def test_a_pass_from_outside_is_applied_named_saved_and_loaded(rounded: Pass, network: Model, tmp_path: Path) -> None:
    made = zoo.compress(tiny(), "sparse-rounded-int8", sparsity=0.5, bits=3, calibration=X)
    assert [one["pass"] for one in made.made["passes"]] == ["sparse", "rounded", "int8"]
    made = zoo.compress(network, "rounded", bits=3)
    assert made.made["passes"] == [{"pass": "rounded", "bits": 3}]
    weight = made.state_dict()["stem.conv.weight"]
    assert 0 < len(weight.abs().log2().frac().unique()) <= 2 * 8 < len(network.stem.conv.weight.unique())
    zoo.save(made, tmp_path / "made")
    name = "resnet20-rounded"
    assert parse(name) == Name("resnet20", passes=("rounded",)) and parse_passes("sparse-rounded-int8")
    again = zoo.create(name, weights=tmp_path / "made")
    assert again.made["passes"] == made.made["passes"] and torch.equal(again(X), made(X))
    zoo.save(network, tmp_path / "dense")
    with pytest.raises(ValueError, match="does not say that it was made by the pass 'rounded'"):
        zoo.create(name, weights=tmp_path / "dense")


def test_the_options_of_a_pass_from_outside_are_checked(rounded: Pass, network: Model) -> None:
    with pytest.raises(ValueError, match=r"bits= takes a whole number from 1 to 22, not 23\."):
        zoo.compress(network, "rounded", bits=23)
    with pytest.raises(ValueError, match="bits= is an option of the pass 'rounded'; you asked for 'sparse' only"):
        zoo.compress(network, "sparse", bits=3)
    with pytest.raises(UnknownName, match="write 'rounded-int8'"):
        zoo.compress(network, "int8-rounded")
    with pytest.raises(ValueError, match="There is a pass 'rounded' already"):
        register(ROUNDED)


def test_the_command_has_the_options_of_a_pass_from_outside(rounded: Pass, network: Model, tmp_path: Path) -> None:
    zoo.save(network, tmp_path / "dense")
    assert "rounded: short mantissas" in typed("compress", "--help").stdout
    command = ["compress", str(tmp_path / "dense"), "rounded", "--out", str(tmp_path / "made")]
    done = typed(*command, "--bits", "99", status=2)
    assert "--bits takes a whole number from 1 to 22, not 99." in done.stderr
    typed(*command, "--bits", "3")
    assert zoo.load(tmp_path / "made").made["passes"] == [{"pass": "rounded", "bits": 3}]


def test_the_help_of_the_command_has_every_option_that_the_shell_can_give() -> None:
    shown = typed("compress", "--help").stdout
    for one in in_order():
        for field in fields(one.options):
            asked = f"--{field.name.replace('_', '-')}" in shown
            assert asked == (about(field).needs in ("", "calibration")), field.name


@pytest.mark.parametrize(("command", "name"), [("prune", "pruned"), ("quantize", "int8")])
def test_the_commands_that_train_have_the_options_of_their_pass(command: str, name: str) -> None:
    settings = importlib.import_module(f"zoo.cli.training.{command}").Settings
    assert issubclass(settings, PASSES[name].options)
    shown = typed(command, "--help").stdout
    options = [field.name for field in fields(settings) if field.init and field.name not in ("model", "recipe")]
    assert all(f"--{name.replace('_', '-')}" in shown for name in [*options, "learning_rate"])


def test_what_is_typed_becomes_the_settings_of_a_command(tmp_path: Path) -> None:
    from zoo.cli.training import common, distill, prune, quantize

    line = f"digits --data x --out {tmp_path} --keep-float stem,head --no-smooth --epochs 2 --max-drop 0.5 --qat"
    found = common.read(quantize, line.split(), None)
    assert (found.model, found.keep_float, found.smooth, found.max_drop) == ("digits", ("stem", "head"), False, 0.5)
    assert found.qat and (found.recipe.epochs, found.recipe.weight_decay) == (2, 0.0)  # of its own defaults
    line = f"s --data x --out {tmp_path} --teacher a --teacher b --no-bfloat16"
    found = common.read(distill, line.split(), None)
    assert found.teacher == ("a", "b") and found.recipe.bfloat16 is False and found.recipe.epochs == 30
    found = common.read(prune, f"m --data x --out {tmp_path} --ratio 0.51 --rounds 2".split(), None)
    assert found.importance == "taylor" and prune.of_a_round(found)["ratio"] == pytest.approx(0.3)
    assert prune.of_a_round(common.read(prune, f"m --data x --out {tmp_path} --rounds 2".split(), None))[
        "macs"
    ] == pytest.approx(0.5**0.5)
    for wrong, said in (("--rounds 0", "rounds= takes a whole number, 1 or more"), ("--macs 2", "between 0 and 1")):
        with pytest.raises(ValueError, match=said):
            common.read(prune, f"m --data x --out {tmp_path} {wrong}".split(), None)
    with pytest.raises(SystemExit):
        common.read(prune, ["m", "--dat", "x"], None)


def test_without_it_nobody_knows_it(network: Model) -> None:
    with pytest.raises(UnknownName, match="Unknown pass 'rounded'"):
        zoo.compress(network, "rounded")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"name": "a-b"}, "small letters and digits"),
        ({"name": "dense"}, "small letters and digits"),
        ({"takes": ("picture",)}, "picture"),
        ({"options": dataclass(frozen=True, kw_only=True)(type("Bad", (Options,), {"data": 1} | {
            "__annotations__": {"data": "int"}}))}, "data"),
    ],
)  # fmt: skip
def test_a_pass_that_cannot_be_is_refused(fault: dict, said: str) -> None:
    good = {"name": "good", "about": "", "place": 1, "functions": None}
    with pytest.raises(ValueError, match=said):
        Pass(**(good | fault))


@pytest.mark.parametrize(
    ("passes", "given", "said"),
    [
        ("sparse", {"sparsty": 0.5}, r"sparsty= is no option of a pass\. Did you mean sparsity=\? sparse takes"),
        ("pruned", {"amount": 0.5}, "pruned takes calibration, data, drop_blocks, importance, keep_at_least, macs"),
        (
            "sparse-int8",
            {"observer": "mse", "macs": 0.5},
            "macs= is an option of the pass 'pruned'; you asked for 'sparse-int8' only",
        ),
        (
            "pruned",
            {"importance": "l3"},
            r"importance= takes one of 'auto', 'calibrated', 'l1', 'l2', 'bn_scale', 'taylor', not 'l3'",
        ),
        ("pruned", {"round_to": True}, "round_to= takes a whole number, 1 or more, not True"),
        ("pruned", {"keep_at_least": 1}, "keep_at_least= takes a number from 0 to below 1, not 1"),
        ("int8", {"calibration": X, "smooth": 1}, "smooth= takes True or False, not 1"),
        ("int8", {"calibration": X, "keep_float": "stem"}, "keep_float= takes a whole number, 0 or more, or names"),
    ],
)
def test_a_wrong_option_is_one_clear_error(network: Model, passes: str, given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        zoo.compress(network, passes, **given)


def test_none_is_the_default_and_lists_are_names() -> None:
    made = zoo.compress(tiny(), "sparse-int8", calibration=X, sparsity=None, keep_float=["stem"])
    sparse, int8 = made.made["passes"]
    assert sparse["sparsity"] == 0.8 and int8["keep_float"] == ["stem"]


def test_every_option_has_help_and_an_example_that_uses_it() -> None:
    for one in in_order():
        for field in fields(one.options):
            found = about(field)
            assert found.help.endswith(".") and f"{field.name}=" in found.example and f'"{one.name}"' in found.example


def test_the_docstring_names_every_argument_and_its_examples_run() -> None:
    text = inspect.getdoc(zoo.compress)
    for one in in_order():
        assert all(f"{name} (" in text for name in (*one.options.names(), *one.takes))
    torch.manual_seed(0)
    [test] = doctest.DocTestFinder(recurse=False).find(zoo.compress, "compress", module=False)
    assert len(test.examples) > sum(len(one.options.names()) for one in in_order())
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test)
    assert not runner.failures


def test_records_of_a_file_have_the_names_of_options() -> None:
    made = zoo.compress(sums(), "pruned-sparse-int8", calibration=X, macs=0.6, sparsity=0.5, reduce_range=True)
    own = {"agreement", "by", "examples", "held_out", "interval", "pass", "smoothed_channels", "sums"}
    for record in json.loads(json.dumps(made.made["passes"])):
        assert set(record) - own <= set(PASSES[record["pass"]].options.names())


def test_calibration_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny()
    data = importlib.import_module("zoo.passes.data")
    looked: list[object] = []
    real = data.as_batches
    monkeypatch.setattr(data, "as_batches", lambda *given: looked.append(given) or real(*given))
    once = zoo.compress(network, "sparse-int8", calibration=X)
    assert len(looked) == 1
    again = zoo.compress(network, "sparse-int8", calibration=(batch for batch in (X[:3], X[3:])))
    assert once.made["passes"] == again.made["passes"]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, ""),
        ({"above": 0}, " above 0"),
        ({"least": 1}, ", 1 or more"),
        ({"below": 2}, " below 2"),
        ({"most": 2}, " at most 2"),
        ({"above": 0, "below": 1}, " between 0 and 1"),
        ({"above": 0, "most": 10}, " above 0 and at most 10"),
        ({"least": 0, "below": 1}, " from 0 to below 1"),
        ({"least": 1, "most": 3}, " from 1 to 3"),
    ],
)
def test_every_bound_is_said(bounds: dict[str, float], said: str) -> None:
    assert About(**bounds).bounds() == said
