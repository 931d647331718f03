"""Whatever is typed is used or refused by name: options given twice, empty, out of bounds or without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import zoo
from networks import small
from picture_data import network, tree
from zoo.cli import app, training
from zoo.cli.common import out_of_memory
from zoo.cli.once import MAY_BE_EMPTY
from zoo.cli.training.common import options_of

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
for _name in training.COMMANDS:  # their options are read apart
    _app = typer.Typer(add_completion=False)
    _app.command()(options_of(__import__(f"zoo.cli.training.{_name}", fromlist=["run"])))
    COMMANDS[_name] = typer.main.get_command(_app)


OPTIONS = [
    (name, one)
    for name, command in COMMANDS.items()
    for one in command.params
    if one.param_type_name == "option" and "--help" not in one.opts
]


def options(of: list[tuple[str, Any]]) -> list[Any]:
    return [pytest.param(name, one, id=f"{name} {one.opts[0]}") for name, one in of]


def refusal(*args: str) -> str:
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2 and not done.stdout, done.output
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(("command", "option"), options([one for one in OPTIONS if not one[1].multiple]))
def test_no_option_counts_twice(command: str, option: Any) -> None:
    names = [*option.opts, *option.secondary_opts]
    once, again = ([one] if option.is_flag else [one, "1"] for one in (names[0], names[-1]))
    assert f"{option.opts[0]}" in (said := refusal(command, *once, *again)) and "is given 2 times" in said


@pytest.mark.parametrize(("command", "option"), options([one for one in OPTIONS if not one[1].is_flag]))
def test_no_option_is_empty(command: str, option: Any) -> None:
    if option.name in MAY_BE_EMPTY:
        return
    assert f"{option.opts[0]} is given an empty value" in refusal(command, f"{option.opts[0]}=")


MODEL = network("cat", "dog")
PAIR = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("split", lambda _: zoo.evaluate(MODEL, PAIR, split="")),
        ("label_column", lambda _: zoo.evaluate(MODEL, PAIR, label_column="")),
        (r"input_columns\[1\]", lambda _: zoo.evaluate(MODEL, PAIR, input_columns=["a", ""])),
        ("repo_id", lambda _: zoo.push_to_hub(MODEL, "")),
        ("revision", lambda _: zoo.push_to_hub(MODEL, "a/b", revision="")),
        ("token", lambda _: zoo.push_to_hub(MODEL, "a/b", token="")),
        ("variant", lambda _: zoo.list_models(variant="")),
    ],
)
def test_no_argument_is_empty(name: str, call: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{name}= is empty"):
        call(tmp_path)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "5GB", 2**60])
def test_the_size_of_a_shard_is_a_number_of_bytes(size: Any, tmp_path: Path) -> None:
    for call in (
        lambda: zoo.save(MODEL, tmp_path / "new", max_shard_size=size),
        lambda: zoo.push_to_hub(MODEL, "a/b", max_shard_size=size),
    ):
        with pytest.raises(ValueError, match="max_shard_size= takes a whole number from 1"):
            call()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("given", [{"private": "yes"}, {"create_pr": 1}, {"repo_id": None}])
def test_a_push_checks_its_arguments_first(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))}= takes"):
        zoo.push_to_hub(MODEL, **{"repo_id": "a/b", **given})


@pytest.mark.parametrize("given", [{"top_k": 3}, {"top_p": 0.5}, {"seed": 0}, {"top_k": 3, "seed": 1}])
def test_what_draws_nothing_takes_no_chances(given: dict[str, Any]) -> None:
    model: Any = small("gpt2")
    ids = torch.zeros(1, 3, dtype=torch.long)
    names = " and ".join(f"{name}=" for name in given)
    for call in (model.generate, model.stream):
        with pytest.raises(ValueError, match=f"^{names} (is|are) for drawing at random"):
            call(ids, **given)
        call(ids, max_new_tokens=1, temperature=1.0, **given)


def test_own_data_and_a_number_of_shipped_pictures_are_two_things() -> None:
    with pytest.raises(ValueError, match=r"images= is .* and data= is answered whole"):
        zoo.compare(["resnet20"], images=5, data=PAIR)


@pytest.mark.parametrize("number", [2**31, 2**64, -1, 10**400])
def test_numbers_out_of_bounds_are_refused_by_name(number: int, tmp_path: Path) -> None:
    text = str(number)
    root = tree(tmp_path / "pets", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)))
    zoo.save(MODEL, tmp_path / "tiny")
    tiny = str(tmp_path / "tiny")
    train = ["finetune", tiny, "--data", str(root), "--out", str(tmp_path / "out")]
    for args in (
        ["bench", tiny, "--runtime", "eager", "--batch", text],
        ["bench", tiny, "--runtime", "eager", "--threads", text],
        ["bench", tiny, "--runtime", "eager", "--size", text],
        ["compare", "resnet20", "--images", text],
        ["eval", tiny, "--data", str(root), "--batch-size", text],
        [*train, "--batch-size", text],
        [*train, "--epochs", text],
        [*train, "--accumulate", text],
        [*train, "--threads", text],
        [*train, "--workers", text],
        [*train, "--seed", text.replace("2147483648", str(2**63))],
        ["export", tiny, "--out", str(tmp_path / "a.onnx"), "--opset", text],
    ):
        assert f"{args[-2]}" in refusal(*args), args
    assert not (tmp_path / "out").exists()


def test_a_batch_that_no_memory_holds_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn", lambda *_, **__: pytest.fail("it was tried"))
    with pytest.raises(ValueError, match=r"1,000,000,000 pictures of a batch take .* GB at least"):
        zoo.bench("resnet20", runtimes=["eager"], batches=[10**9], memory=False)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("x: DefaultCPUAllocator: can't allocate memory: you")])
def test_want_of_memory_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("zoo.report.bench.bench", fail)
    assert "There is not enough memory. Choose a smaller batch" in refusal("bench", "resnet20")
    monkeypatch.setattr("zoo.cli.training.finetune.run", fail)
    assert "There is not enough memory" in refusal("finetune", "x", "--data", "y", "--out", str(tmp_path / "z"))
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pte"])
def test_a_name_that_a_library_cannot_open_is_refused(suffix: str, tmp_path: Path) -> None:
    for file in (tmp_path / f"caf\udce9{suffix}", tmp_path / "caf\udce9" / f"a{suffix}"):
        with pytest.raises(zoo.FileError, match="opens no name that is not UTF-8"):
            zoo.export(MODEL, file)
    assert not list(tmp_path.iterdir())
