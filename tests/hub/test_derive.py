"""Variants of published weights that are made here, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

import zoo
from hub_server import HubServer, hub
from zoo.catalog import hub_index
from zoo.catalog.derive import check_agreement
from zoo.naming import parse
from zoo.passes import int8

NAME = "mobilenetv3_small_050.lamb_in1k"
REPO = f"timm/{NAME}"
SIDE = 64  # of its pictures, which are quick
X = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def timm_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv3_small_050", pretrained_cfg_overlay={"input_size": (3, SIDE, SIDE)})
    timm.models._hub.save_for_hf(theirs, str(folder), safe_serialization=True)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def server(tmp_path: Path, timm_files: dict[str, bytes]) -> Iterator[HubServer]:
    with hub(tmp_path, timeout=5) as server:
        server.add_repo(REPO, timm_files)
        yield server


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One item for every int8 plan that is made."""
    made: list[object] = []
    plan = int8.plan
    monkeypatch.setattr(int8, "plan", lambda *args, **options: made.append(args) or plan(*args, **options))
    return made


@pytest.fixture(autouse=True)
def few_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.catalog.derive.PICTURES", 4)


def test_int8_is_made_once_with_the_photographs_that_ship(
    server: HubServer, planned: list[object], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils.are_progress_bars_disabled", lambda: False)
    model = zoo.create(f"{NAME}-int8")
    assert f"making {NAME}-int8 from {NAME}, once" in capfd.readouterr().err
    facts = model.made["derived"]
    assert (facts["from"], facts["inputs"]) == (NAME, 4) and 0 <= facts["agreement"] <= 100
    assert model.made["source"]["repo"] == REPO and model.labels[0] == "tench"
    dense = zoo.create(NAME)
    photographs = zoo.samples("photographs", "calibration").images
    expected = zoo.compress(dense, "int8", calibration=zoo.preprocess(dense)(list(photographs[:4])))
    assert torch.equal(model(X), expected(X))
    server.requests.clear()
    planned.clear()
    assert torch.equal(zoo.create(f"{NAME}-int8")(X), model(X))
    assert not planned and not server.requests and "making" not in capfd.readouterr().err
    assert zoo.create("mobilenetv3_small_050-int8", num_classes=3)(X).shape == (2, 3)


def test_another_calibration_or_source_is_another_file(
    server: HubServer, planned: list[object], timm_files: dict[str, bytes], tmp_path: Path
) -> None:
    name, images = f"{NAME}-int8", torch.randn(4, 3, 64, 64)
    first = zoo.create(name, calibration=images)
    assert torch.equal(zoo.create(name, calibration=[images])(X), first(X)) and len(planned) == 1
    zoo.create(name, calibration=images * 3)
    assert len(planned) == 2
    dense = zoo.create(NAME, cache_dir=tmp_path / "elsewhere")
    zoo.create(name, calibration=images, cache_dir=tmp_path / "elsewhere")
    assert len(planned) == 3 and len(list((tmp_path / "elsewhere").rglob(f"{name}-*.safetensors"))) == 1
    state = {key: value * 0.5 if value.ndim > 1 else value for key, value in dense.state_dict().items()}
    dense.load_state_dict(state)
    zoo.save(dense, tmp_path / "other")
    other = {file.name: file.read_bytes() for file in (tmp_path / "other").iterdir()}
    commit = server.add_repo(REPO, other)
    assert not torch.equal(zoo.create(name, calibration=images, revision=commit)(X), first(X))
    assert zoo.create(name, calibration=images, revision=commit).made["source"]["commit"] == commit
    config = {**json.loads(timm_files["config.json"]), "label_names": ["same"] * 1000}
    prepared = {**config["pretrained_cfg"], "mean": [0.1, 0.2, 0.3]}
    files = {**timm_files, "config.json": json.dumps({**config, "pretrained_cfg": prepared}).encode()}
    again = zoo.create(name, calibration=images, revision=server.add_repo(REPO, files))
    assert again.spec.input.mean == (0.1, 0.2, 0.3) and again.labels[0] == "same"
    with pytest.raises(ValueError, match="calibration= takes preprocessed inputs, as a tensor"):
        zoo.create(name, calibration=3)


def test_a_published_variant_is_fetched(
    server: HubServer, planned: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = zoo.compress(zoo.create(NAME), "int8", calibration=X)
    zoo.save(ours, tmp_path / "ours")
    server.add_repo("zoo/int8", {file.name: file.read_bytes() for file in (tmp_path / "ours").iterdir()})
    entry = hub_index.Published(f"{NAME}-int8", "zoo/int8", 1000, "apache-2.0")
    known = {**hub_index.published(), f"{NAME}-int8": entry}
    monkeypatch.setattr(hub_index, "published", lambda: known)
    planned.clear()
    assert torch.equal(zoo.create(f"{NAME}-int8")(X), ours(X)) and not planned
    assert f"{NAME}-int8" in zoo.list_models(variant="int8")


def test_pruned_says_what_it_lost_and_is_refused_where_that_is_too_much(server: HubServer) -> None:
    told = r"pruned without training: it answers [\d.]+% \([\d.]+ to [\d.]+\) of [14] calibration inputs \(photographs"
    with pytest.warns(UserWarning, match=told):
        model = zoo.create(f"{NAME}-pruned", min_agreement=0.0)
    assert model.spec != zoo.create(NAME).spec
    record, facts = model.made["passes"][0], model.made["derived"]
    assert (record["importance"], record["macs"], facts["calibration"]) == ("calibrated", 0.8, "photographs that ship")
    with pytest.warns(UserWarning, match="Train it before use"):  # from the cache too
        zoo.create(f"{NAME}-pruned", allow_untuned=True)
    facts = {"agreement": 49.0, "interval": [30.0, 60.0], "inputs": 40, "calibration": "photographs that ship"}
    name = parse(f"{NAME}-pruned")
    with pytest.raises(ValueError, match=r"49\.0% .* less than min_agreement=0\.5.*allow_untuned=True"):
        check_agreement(name, facts, 0.5)
    check_agreement(name, {**facts, "agreement": 50.0}, 0.5)
    check_agreement(name, {"cosine": 0.5, "inputs": 3, "calibration": "inputs of the caller"}, 0.5)
    with pytest.raises(ValueError, match=r"mean cosine of 0\.400"):
        check_agreement(name, {"cosine": 0.4, "inputs": 3, "calibration": "inputs of the caller"}, 0.5)
    with pytest.raises(ValueError, match="without calibration= nobody knows"):
        check_agreement(name, {}, 0.5)
    check_agreement(parse(f"{NAME}-int8"), {"agreement": 0.0}, 0.5)  # nothing was removed


@pytest.mark.nightly  # by photographs above in every run
def test_calibration_of_the_caller_prunes(server: HubServer) -> None:
    with pytest.warns(UserWarning, match="inputs of the caller"):
        model = zoo.create(f"{NAME}-pruned", calibration=torch.randn(6, 3, SIDE, SIDE), min_agreement=0.0)
    (pruned,) = model.made["passes"]
    assert model.made["derived"]["agreement"] <= pruned["agreement"]  # of the inputs left out


def test_a_share_of_agreement_is_checked() -> None:
    with pytest.raises(ValueError, match="min_agreement= takes a share from 0 to 1, not 50"):
        zoo.create(f"{NAME}-pruned", min_agreement=50)


def test_pull_makes_it_ahead_of_time(server: HubServer, planned: list[object]) -> None:
    from zoo.factory import pull

    file = pull(f"{NAME}-int8")
    assert zoo.load(file).made["derived"]["from"] == NAME and len(planned) == 1
    zoo.create(f"{NAME}-int8")
    assert len(planned) == 1


def test_sparse_says_what_it_lost(server: HubServer) -> None:
    with pytest.warns(UserWarning, match="was sparse without training"):
        model = zoo.create(f"{NAME}-sparse-int8", min_agreement=0.0)
    weights = [value for key, value in model.state_dict().items() if key.endswith("weight")]
    zeros = sum(int((value == 0).sum()) for value in weights) / sum(value.numel() for value in weights)
    assert 0.45 < zeros < 0.6


def test_int8_says_nothing(server: HubServer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        zoo.create(f"{NAME}-int8", calibration=X)


def test_nobody_distilled_it(server: HubServer) -> None:
    with pytest.raises(zoo.UnknownName, match=r"those that exist are mobilenetv2_cifar.cifar10-distilled.*Train one"):
        zoo.create(f"{NAME}-distilled")
    assert f"{NAME}-distilled" not in zoo.list_models(shipped=False)


def test_a_damaged_file_in_the_cache_is_made_anew(server: HubServer, planned: list[object], tmp_path: Path) -> None:
    model = zoo.create(f"{NAME}-int8", calibration=X)
    (file,) = (tmp_path / "hf" / "assets").rglob("*-int8-*.safetensors")
    half = file.read_bytes()[:1000]
    file.unlink()  # the model has it mapped
    file.write_bytes(half)
    assert torch.equal(zoo.create(f"{NAME}-int8", calibration=X)(X), model(X)) and len(planned) == 2


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_processes_make_one_file(server: HubServer, tmp_path: Path) -> None:
    make = f"zoo.create({NAME!r} + '-int8', calibration=torch.eye(64).expand(2, 3, 64, 64))"
    code = f"import torch, zoo; {make}; print('made')"
    environment = {**os.environ, **server.environment(tmp_path / "both")}
    environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"
    run = [sys.executable, "-W", "ignore", "-c", code]
    children = [
        subprocess.Popen(run, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [child.communicate(timeout=120) for child in children]
    assert [out for out, _ in said] == ["made\n"] * 2, said
    assert sum("zoo: making" in err for _, err in said) == 1
