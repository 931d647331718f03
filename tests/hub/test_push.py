"""To the Hub, and back from it by us and by timm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import zoo
from hub_server import HubServer, hub
from zoo import registry
from zoo.cli import app
from zoo.weights.card import Figure, Publication
from zoo.weights.card import card as text_of_card

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    with hub(tmp_path, timeout=5, token="hf_right") as server:
        yield server


def card(server: HubServer, repo: str) -> ModelCard:
    return ModelCard(server.files(repo)["README.md"].decode())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "classes"), [("resnet50", 1000), ("mobilenetv3_small_050", 7), ("mobilenetv2_035", 3)]
)
def test_timm_reads_a_dense_network_of_ours(server: HubServer, arch: str, classes: int) -> None:
    torch.manual_seed(0)
    model = zoo.create(arch, weights=None, num_classes=classes)
    model.labels = tuple(f"class {i}" for i in range(classes))
    address = zoo.push_to_hub(model, "me/dense")
    assert address.startswith(f"{server.endpoint}/me/dense/commit/")
    theirs = timm.create_model("hf-hub:me/dense", pretrained=True).eval()
    again = zoo.load("me/dense")
    with torch.inference_mode():
        expected = model(X)
        assert (theirs(X) - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert torch.equal(again(X), expected)
    assert again.spec == model.spec and again.labels == model.labels
    config = timm.data.resolve_data_config(theirs.pretrained_cfg)
    assert (config["mean"], config["crop_pct"]) == (model.spec.input.mean, model.spec.input.crop)
    assert theirs.pretrained_cfg["label_names"][1] == "class 1"


def test_a_compressed_network_and_its_card(server: HubServer) -> None:
    model, known = zoo.create("mobilenet-int8"), zoo.info("mobilenet-int8")
    assert known.metric is not None
    zoo.push_to_hub(model, "me/int8", measured=known.metric, licence="apache-2.0", base_model="me/dense")
    again = zoo.load("hf-hub:me/int8")
    small = X[:, :, :32, :32]
    assert torch.equal(again(small), model(small)) and again.labels == model.labels
    found = card(server, "me/int8")
    assert (found.data.library_name, found.data.pipeline_tag) == ("zoo", "image-classification")
    assert (found.data.license, found.data.base_model) == ("apache-2.0", "me/dense")
    assert found.data.base_model_relation == "quantized" and "int8" in found.data.tags
    (result,) = found.data.eval_results
    assert (result.metric_value, result.dataset_args["examples"]) == (known.metric.value, known.metric.examples)
    assert 'zoo.load("me/int8")' in found.text and "timm" not in found.text
    assert f"{known.metric.value:.2f}%" in found.text
    assert json.loads(server.files("me/int8")["config.json"])["architecture"] == "mobilenetv2_cifar"


def test_an_evaluation_and_the_base_that_it_came_from(server: HubServer) -> None:
    dense = zoo.create("mobilenet")
    zoo.push_to_hub(dense, "me/dense", measured=zoo.evaluate(dense, zoo.samples()))
    (result,) = card(server, "me/dense").data.eval_results
    assert result.dataset_name == "cifar10-test.zip" and result.metric_value > 80
    pruned = zoo.compress(zoo.load("me/dense"), "pruned")
    zoo.push_to_hub(pruned, "me/pruned")
    data = card(server, "me/pruned").data
    assert (data.base_model, data.get("base_model_relation")) == ("me/dense", None)
    assert zoo.load("me/pruned").spec == pruned.spec


def test_privacy_message_branch_and_pull_request(server: HubServer) -> None:
    model = zoo.create("mobilenet-pruned-int8")
    zoo.push_to_hub(model, "me/secret", private=True, commit_message="the first")
    assert server.repos["me/secret"].private and "the first" in server.repos["me/secret"].titles("main")
    before = server.files("me/secret")
    model.labels = tuple(reversed(model.labels))
    address = zoo.push_to_hub(model, "me/secret", create_pr=True)
    assert address.endswith("/discussions/1") and server.files("me/secret") == before
    assert zoo.load("me/secret@refs/pr/1").labels == model.labels != zoo.load("me/secret").labels


def test_a_public_repository_does_not_pass_for_private(server: HubServer) -> None:
    model = zoo.create("mobilenet-pruned-int8")
    zoo.push_to_hub(model, "me/open", private=False)
    before = server.files("me/open")
    model.labels = tuple(reversed(model.labels))
    with pytest.raises(zoo.HubError, match=r"is there already, and public; private= is for a new repository"):
        zoo.push_to_hub(model, "me/open", private=True)
    assert server.files("me/open") == before
    zoo.push_to_hub(model, "me/open", private=False)
    assert server.files("me/open") != before


def test_several_files(server: HubServer) -> None:
    model = zoo.create("mobilenet")
    zoo.push_to_hub(model, "me/split", max_shard_size=700_000)
    assert "model.safetensors.index.json" in server.files("me/split")
    assert torch.equal(zoo.load("me/split")(X), model(X))
    other = zoo.create("mobilenet-pruned")
    zoo.push_to_hub(other, "me/split")  # the other layout goes, in both directions
    assert [name for name in server.files("me/split") if name.startswith("model")] == ["model.safetensors"]
    assert torch.equal(zoo.load("me/split")(X), other(X))
    zoo.push_to_hub(model, "me/split", max_shard_size=700_000)
    assert "model.safetensors" not in server.files("me/split")
    assert torch.equal(zoo.load("me/split")(X), model(X))


def test_what_cannot_be_pushed(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.create("mobilenet-pruned-int8")
    with pytest.raises(zoo.HubError, match="is no address"):
        zoo.push_to_hub(model, "no repository")
    model.classifier.fc.weight.data = model.classifier.fc.weight.data[:3]
    with pytest.raises(zoo.FileError, match="Row 'classifier'"):
        zoo.push_to_hub(model, "me/edited")
    assert "me/edited" not in server.repos
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(zoo.HubError, match=r"may not be written .* HF_TOKEN or `hf auth login`"):
        zoo.push_to_hub(zoo.create("mobilenet-pruned-int8"), "me/refused")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    server.fault("status", "/commit/", status=400, method="POST")
    with pytest.raises(zoo.HubError, match=r"the upload was refused \(400\)"):
        zoo.push_to_hub(zoo.create("mobilenet-pruned-int8"), "me/refused")


def test_the_commands(server: HubServer, tmp_path: Path) -> None:
    def run(*words: str) -> dict[str, str]:
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    done = run("push", "mobilenet-pruned-int8", "me/cli", "--license", "apache-2.0", "--private")
    assert done["address"].startswith(server.endpoint) and server.repos["me/cli"].private
    place = Path(run("pull", "me/cli")["me/cli"])
    assert zoo.load(place).spec == zoo.create("mobilenet-pruned-int8").spec
    assert card(server, "me/cli").data.eval_results
    failed = CliRunner().invoke(app, ["pull", "me/absent"])
    assert failed.exit_code == 2 and "no such repository" in failed.stderr


@pytest.mark.parametrize(
    ("name", "task", "figure", "kind"),
    [
        ("deepfm", "tabular-classification", "AUC", "roc_auc"),
        ("gfl_pan", "object-detection", "AP", "mAP"),
        ("lraspp", "image-segmentation", "mIoU", "mean_iou"),
    ],
)
def test_a_figure_has_the_name_that_the_hub_knows(name: str, task: str, figure: str, kind: str) -> None:
    told = Publication("me/mine", figures=(Figure(figure, 61.5, "mine", 10, "0" * 64),))
    (result,) = ModelCard(text_of_card(registry.spec(name), (), {}, told)).data.eval_results
    assert (result.task_type, result.metric_type, result.metric_name) == (task, kind, figure)
