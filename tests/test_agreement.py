"""How often two networks give the same answer."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from typer.testing import CliRunner

import zoo
from networks import inputs, small
from zoo.cli import app
from zoo.report.agreement import agreement


def test_it_counts_equal_classes() -> None:
    model = zoo.create("mobilenet", num_classes=2)
    turned = zoo.edit(model, "stem", activation="relu6")
    with torch.no_grad():
        for p in turned.classifier.parameters():
            p.neg_()  # of two classes the other one is the larger
    x = torch.randn(20, 3, 32, 32)
    assert agreement(model, model, [x]) == (100.0, 20)
    assert agreement(model, turned, [x[:17], x[17:]]) == (0.0, 20)


def test_texts_are_counted_by_their_main_output() -> None:
    model = small("bert_base_uncased")
    ids, mask = inputs(model)
    assert agreement(model, model, [{"input_ids": ids, "attention_mask": mask}])[0] == 100.0


def test_compress_says_that_a_network_is_wrecked(tmp_path: Path) -> None:
    arguments = ["compress", "mobilenet", "pruned", "--macs", "0.3", "--importance", "l2"]
    arguments += ["--out", str(tmp_path / "small")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "get the same answer as from mobilenet" in done.stdout
    assert "Train it before use" in done.stderr
    told = json.loads(CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "again"), "--json"]).stdout)
    assert told["agreement"] < 70 and told["agreement_inputs"] > 100


def test_predict_takes_folders_and_pipes(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        Image.fromarray(zoo.samples("cifar10").images[0]).save(tmp_path / f"{name}.png")
    done = CliRunner().invoke(app, ["predict", "mobilenet", str(tmp_path), "--json"])
    assert [Path(one["image"]).name for one in json.loads(done.stdout)["images"]] == ["a.png", "b.png"]
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["predict", "mobilenet", str(tmp_path / "empty")])
    assert done.exit_code == 2 and "is a folder without pictures" in done.stderr
