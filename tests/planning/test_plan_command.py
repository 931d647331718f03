"""`zoo plan` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from zoo.cli import app
from zoo.planning.plan import Plan

GPU = ["--device-flops", "50TFLOPS", "--device-memory-bandwidth", "1TB/s"]
PIPELINE = ["gpt2_tiny", "--devices", "4", "--batch", "32", "--link", "1Gbps", "--latency", "1us", *GPU]


def run(*words: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["plan", *words])
    return found.exit_code, found.stdout, found.stderr


def test_a_table_the_reason_and_a_drawing(tmp_path: Path) -> None:
    status, out, _ = run(*PIPELINE, "--memory", "1GB", "--timeline", str(tmp_path / "drawn.png"))
    assert status == 0
    assert "one process" in out and "4 replicas" in out and "estimated for a device of 50 TFLOPS" in out
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_one_json_document_has_the_plan() -> None:
    status, out, _ = run(*PIPELINE, "--json")
    found = json.loads(out)
    assert status == 0 and Plan.from_json(found["chosen"]["plan"]).devices <= 4
    assert {one["kind"] for one in found["others"]} | {found["chosen"]["kind"]} >= {"one process", "data", "pipeline"}


def test_wrong_wishes_are_one_line_that_says_the_option(tmp_path: Path) -> None:
    for words, told in (
        (["resnet20", "--devices", "2", "--device-flops", "1T"], "--device-flops and --device-memory-bandwidth"),
        ([*PIPELINE, "--memory", "1MB"], "row 'head' needs"),
        ([*PIPELINE, "--memory", "8"], "--memory"),
        ([*PIPELINE, "--timeline", str(tmp_path / "drawn.svg")], "written as a .png"),
        (["resnet21", "--devices", "2"], "Did you mean"),
    ):
        status, out, err = run(*words)
        assert status == 2 and told in err and not out, (words, err)
        assert len(err.strip().splitlines()) == 1
