"""Whatever names, files and messages hold: the commands show text that cannot steer a terminal, and strict JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from picture_data import network, png, tree
from zoo.cli import app
from zoo.report import memory, timing

HOSTILE = {  # names of files; a slash is in `said` alone
    "marks": "[red]:smile:[link=x]\x1b]0;PWNED\x07\x1b[2J\x9b31m \u202egpj\u2066.\u200e one\nError: forged\r\x0b\u2028",
    "long": "x" * 120,
    "halves": "caf\udce9",  # bytes that are no UTF-8
}
COMMANDS = {
    "list": ["list", "{evil}"],
    "info": ["info", "{model}"],
    "info of nothing": ["info", "./{evil}"],
    "info of a name": ["info", "{evil}"],
    "info of no network": ["info", "{text}"],
    "predict": ["predict", "{model}", "{picture}"],
    "predict of no picture": ["predict", "{model}", "{picture}", "{text}", "{data}/{evil}"],
    "predict of rows": ["predict", "{model}", "--rows", "{evil}"],
    "schema": ["schema", "{data}", "--label", "{evil}"],
    "schema of no table": ["schema", "{text}"],
    "generate": ["generate", "{model}", "--prompt", "{evil}"],
    "answer": ["answer", "{model}", "--question", "{evil}", "--context", "{text}"],
    "translate": ["translate", "{model}"],
    "translate of nothing": ["translate", "{evil}"],
    "eval": ["eval", "{model}", "--data", "{data}"],
    "eval of other classes": ["eval", "{model}", "--data", "{others}"],
    "eval of nothing": ["eval", "{model}", "--data", "{model}"],
    "compare": ["compare", "{model}", "{model}", "--data", "{data}"],
    "compare of nothing": ["compare", "{model}", "./{evil}"],
    "bench": ["bench", "{model}", "--runtime", "eager", "--batch", "1", "--seconds", "0", "--no-memory"],
    "plan": ["plan", "{model}", "--devices", "2", "--device-flops", "1T", "--device-memory-bandwidth", "1TB/s"],
    "plan of nothing": ["plan", "{evil}", "--devices", "2", "--link", "{evil}"],
    "bench of nothing": ["bench", "{evil}", "--runtime", "{evil}"],
    "compress": ["compress", "{model}", "int8", "--out", "{new}", "--calibration", "{data}"],
    "compress by no pass": ["compress", "{model}", "{evil}", "--out", "{new}"],
    "compress without a row": ["compress", "{model}", "int8", "--out", "{new}", "--keep-float", "{evil}"],
    "convert": ["convert", "{checkpoint}", "--arch", "resnet18", "--out", "{new}"],
    "convert of no network": ["convert", "{text}", "--arch", "{evil}", "--out", "{new}"],
    "convert with labels": ["convert", "{checkpoint}", "--arch", "resnet18", "--out", "{new}", "--labels", "{model}"],
    "export": ["export", "{model}", "--out", "{new}.pt2"],
    "export as nothing": ["export", "{model}", "--out", "{new}", "--format", "{evil}"],
    "pull": ["pull", "{evil}"],
    "push": ["push", "{model}", "{evil}"],
    "finetune": ["finetune", "{model}", "--data", "{others}", "--out", "{text}"],
    "distill": ["distill", "{model}", "--teacher", "{model}", "--data", "{evil}", "--out", "{new}"],
    "prune": ["prune", "{evil}", "--data", "{data}", "--out", "{new}"],
    "recover": ["recover", "{model}", "--teacher", "{model}", "--data", "{data}", "--out", "{new}"],
    "recover of nothing": ["recover", "{evil}", "--teacher", "{evil}", "--out", "{new}"],
    "quantize": ["quantize", "{model}", "--data", "{others}", "--out", "{new}"],
    "no command": ["{evil}"],
    "no option": ["info", "{model}", "--{evil}"],
    "no number": ["bench", "{model}", "--batch", "{evil}"],
}
NO_JSON = ("schema", "finetune", "distill", "prune", "recover", "quantize", "{evil}")


@pytest.fixture(scope="module", params=HOSTILE)
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths with hostile names: a network that tells hostile things of itself, pictures, data, a checkpoint, a text."""
    evil, root = HOSTILE[request.param], tmp_path_factory.mktemp("hostile")
    own = root / evil
    try:
        own.mkdir()
    except (OSError, ValueError):
        pytest.skip("this file system has no such names")
    model = network("cat", "dog")
    said = "[/bold]" + evil.replace("\udce9", "?")  # JSON has no halves of characters
    model.made = {"source": {"name": said, "licence": said, "repo": said}, "teacher": said, "trained": {"on": said}}
    zoo.save(model, own / "model")
    tree(own / "data", "cat/0.png", "dog/1.png")
    (own / "data" / "dog" / f"{evil}.png").write_bytes(b"no picture")
    tree(own / "others", f"cat/{evil}.png", f"{evil}/1.png", f"{evil} 2/1.png")
    (own / f"{evil}.png").write_bytes(png())
    (own / f"{evil}.txt").write_text(f"{said} and more")
    state = zoo.create("resnet18", weights=None, num_classes=2).state_dict()
    torch.save({"state_dict": state, said: 3, "epoch": said}, own / "checkpoint.pth")
    names = {name: str(own / name) for name in ("model", "data", "others", "new")}
    files = {"picture": f"{evil}.png", "text": f"{evil}.txt", "checkpoint": "checkpoint.pth"}
    return {"evil": evil, **names, **{name: str(own / file) for name, file in files.items()}}


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and times of `compare`, which are numbers."""
    monkeypatch.setattr(memory, "peak_memory", lambda files: [1] * len(files))
    monkeypatch.setattr(timing, "median_times", lambda models, inputs, seconds: ([1.0] * len(models), 1))


def run(places: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch, *more: str) -> Any:
    monkeypatch.chdir(Path(places["model"]).parent)
    return CliRunner().invoke(app, [*(word.format(**places) for word in words), *more])


def steers(text: str) -> set[str]:
    return {one for one in text if not one.isprintable() and one != "\n"}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_shown_steers_the_terminal_or_forges_a_line(
    places: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(places, COMMANDS[command], monkeypatch)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 1, 2)
    for shown in (done.stdout, done.stderr):
        assert not steers(shown)
        assert not any(line.startswith("Error: forged") for line in shown.splitlines())
        assert "\N{SMILING FACE WITH OPEN MOUTH AND SMILING EYES}" not in shown, "rich's markup shows as it is"
    if done.exit_code == 2:
        assert done.stderr.strip(), "what cannot be done is said"


@pytest.mark.parametrize("command", [name for name, words in COMMANDS.items() if words[0] not in NO_JSON])
def test_json_is_strict(places: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(places, COMMANDS[command], monkeypatch, "--json")
    assert not steers(done.stdout + done.stderr)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    if done.exit_code in (0, 1) or done.stdout:
        json.loads(done.stdout, parse_constant=refuse)
    else:
        assert done.exit_code == 2 and done.stderr.strip()


def test_every_command_is_tried() -> None:
    known = {command.name for command in app.registered_commands}
    assert known == {words[0] for words in COMMANDS.values()} - {"{evil}"}
