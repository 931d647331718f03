"""From the Hub by name and by address, against a Hub on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import save_file

import zoo
from hub_server import HubServer, hub
from zoo import registry
from zoo.catalog import hub_index, listing
from zoo.model.build import Model
from zoo.models import bert
from zoo.report import memory
from zoo.spec import TextInput

NAME = "mobilenetv3_small_050.lamb_in1k"
REPO = f"timm/{NAME}"
Own = tuple[Model, dict[str, bytes]]  # a network of ours, and the files of its folder
X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def timm_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("mobilenetv3_small_050").eval()


@pytest.fixture(scope="module")
def timm_files(timm_network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("timm")
    timm.models._hub.save_for_hf(timm_network, str(folder), safe_serialization="both")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    with hub(tmp_path, timeout=2) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Own:
    model = zoo.create("mobilenet-pruned-int8")
    zoo.save(model, tmp_path / "own")
    return model, {file.name: file.read_bytes() for file in (tmp_path / "own").iterdir()}


def test_a_published_name_gives_timms_network(
    server: HubServer, timm_network: torch.nn.Module, timm_files: dict[str, bytes]
) -> None:
    commit = server.add_repo(REPO, timm_files)
    model = zoo.create(NAME)
    with torch.inference_mode():
        expected, found = timm_network(X), model(X)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (model.labels[0], len(model.labels)) == ("tench", 1000)
    config = timm.data.resolve_data_config(timm_network.pretrained_cfg)
    mine = model.spec.input
    assert (3, *mine.size) == config["input_size"] and mine.crop == config["crop_pct"]
    assert (mine.mean, mine.std, mine.interpolation) == (config["mean"], config["std"], config["interpolation"])
    assert model.made["source"]["repo"] == REPO and model.made["source"]["commit"] == commit
    assert not [request.path for request in server.requests if "pytorch_model" in request.path]
    assert zoo.create(NAME, num_classes=7)(X).shape == (2, 7)
    assert [f.shape[0] for f in zoo.create(NAME, features_only=True)(X)] == [2] * 5
    assert torch.equal(zoo.create("mobilenetv3_small_050")(X), model(X))  # its default weights


def test_a_family_of_texts_takes_a_tag_and_is_fetched(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`distilbert.sst2` at a width that is quick: the published network's rows, classes and names of classes."""
    monkeypatch.setitem(bert.DISTILBERT, "distilbert_base_uncased", (bert.UNCASED, 64, 2))
    sizes = {"dim": 64, "n_layers": 2, "n_heads": 1, "hidden_dim": 256}
    config = transformers.DistilBertConfig(**sizes, id2label={0: "NEGATIVE", 1: "POSITIVE"})
    torch.manual_seed(0)
    theirs = transformers.DistilBertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path / "sst2")
    files = {file.name: file.read_bytes() for file in (tmp_path / "sst2").iterdir()}
    server.add_repo("distilbert/distilbert-base-uncased-finetuned-sst-2-english", files)
    model, ids = zoo.create("distilbert.sst2"), torch.tensor([[101, 7, 8, 102]])
    with torch.inference_mode():
        expected = theirs(ids).logits
        assert (model(ids).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.labels == ("NEGATIVE", "POSITIVE") and model.spec.task == "text-classification"
    assert model.made["source"]["name"] == "distilbert_base_uncased.sst2"
    assert zoo.create("distilbert.sst2-int8")(ids).logits.shape == (1, 2)
    monkeypatch.setattr(memory, "peak_memory", lambda names: [None] * len(names))
    dense, int8 = zoo.compare("distilbert.sst2-int8").rows
    assert [dense.name, int8.name] == ["distilbert_base_uncased.sst2", "distilbert_base_uncased.sst2-int8"]
    assert dense.bytes == len(files["model.safetensors"]) > 2 * int8.bytes > 0


def test_what_is_cached_needs_no_request_and_offline_makes_none(
    server: HubServer, timm_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_repo(REPO, timm_files)
    first = zoo.create(NAME)
    server.requests.clear()
    assert torch.equal(zoo.create(NAME)(X), first(X))
    assert server.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(zoo.load(REPO)(X), first(X))
    with pytest.raises(zoo.HubError, match=r"config.json is not in the cache, and HF_HUB_OFFLINE is set.*`zoo pull`"):
        zoo.create("resnet18.a1_in1k")
    with pytest.raises(zoo.HubError, match="HF_HUB_OFFLINE"):
        zoo.load("some/repo")
    assert server.requests == []


def test_revisions_and_pins(
    server: HubServer, timm_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = server.add_repo(REPO, timm_files)
    state = {
        key: torch.zeros_like(value) for key, value in timm.create_model("mobilenetv3_small_050").state_dict().items()
    }
    save_file(state, tmp_path / "zeros.safetensors")
    new = server.add_repo(REPO, {**timm_files, "model.safetensors": (tmp_path / "zeros.safetensors").read_bytes()})
    assert zoo.create(NAME, revision=old).made["source"]["commit"] == old
    assert zoo.load(f"hf-hub:{REPO}@{old}").made["source"]["commit"] == old
    assert zoo.create(NAME, weights=f"hf-hub:{REPO}", revision=old)(X).abs().max() > 0
    assert zoo.load(REPO).made["source"]["commit"] == new
    assert zoo.create(NAME)(X).abs().max() == 0
    pinned = hub_index.Published(NAME, REPO, 1000, "", revision=old)
    monkeypatch.setattr(hub_index, "published", lambda: {NAME: pinned})
    assert zoo.create(NAME).made["source"]["commit"] == old
    wrong = hub_index.Published(NAME, REPO, 1000, "", revision=old, sha256="0" * 64)
    monkeypatch.setattr(hub_index, "published", lambda: {NAME: wrong})
    with pytest.raises(zoo.HubError, match=r"SHA-256 is .* and 000000000000\.\.\. was promised"):
        zoo.create(NAME)
    server.add_repo(REPO, {"model.safetensors.index.json": b'{"weight_map": {"a": "a.safetensors"}}'})
    unpinned = hub_index.Published(NAME, REPO, 1000, "", sha256="0" * 64)
    monkeypatch.setattr(hub_index, "published", lambda: {NAME: unpinned})
    with pytest.raises(zoo.HubError, match=r"has no model\.safetensors"):  # a pinned hash is not got round by an index
        zoo.create(NAME, cache_dir=tmp_path / "empty")
    with pytest.raises(zoo.HubError, match="has no such branch, tag or commit"):
        zoo.load(f"{REPO}@nowhere")
    with pytest.raises(ValueError, match="revision='main' is for a repository"):
        zoo.create(NAME, weights=tmp_path, revision="main")
    with pytest.raises(ValueError, match="revision='main' is for a repository"):
        zoo.create(NAME, weights=None, revision="main")
    with pytest.raises(ValueError, match="ships with the package"):
        zoo.create("mobilenet", revision="main")


def test_pull_asks_for_news(server: HubServer, timm_files: dict[str, bytes]) -> None:
    from zoo.factory import pull

    old = server.add_repo(REPO, timm_files)
    assert pull(NAME).name == old
    new = server.add_repo(REPO, {**timm_files, "more.txt": b"news"})
    assert pull(NAME).name == new == pull(REPO).name
    assert pull("mobilenet-int8") == listing.find("mobilenet-int8")[1].path  # type: ignore[union-attr]


def test_own_repositories_need_nothing_but_themselves(
    server: HubServer, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[valid-type]
    model, files = own
    server.add_repo("me/small", files)
    x = X[:, :, :32, :32]
    assert torch.equal(zoo.load("me/small")(x), model(x))
    assert torch.equal(zoo.create("mobilenetv2_cifar-pruned-int8", weights="hf-hub:me/small")(x), model(x))
    assert zoo.info("me/small").parameters == zoo.info("mobilenet-pruned-int8").parameters
    server.add_repo("me/bare", {"model.safetensors": files["model.safetensors"]})
    assert torch.equal(zoo.load("me/bare")(x), model(x))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(zoo.load("me/bare")(x), model(x))  # that it has no config.json is known
    assert torch.equal(zoo.create(model.spec, weights="me/bare")(x), model(x))


def test_a_folder_on_disk_comes_before_the_hub(
    server: HubServer,
    own: Own,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[valid-type]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "own", tmp_path / "me" / "small")
    assert zoo.load("me/small").spec == own[0].spec
    assert server.requests == []


def test_weights_in_several_files(server: HubServer, tmp_path: Path) -> None:
    model = zoo.create("mobilenet")
    zoo.save(model, tmp_path / "split", max_shard_size=500_000)
    files = {file.name: file.read_bytes() for file in (tmp_path / "split").iterdir()}
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) >= 4 and "model.safetensors" not in files
    server.add_repo("me/split", files)
    x = X[:, :, :32, :32]
    for source in ("me/split", tmp_path / "split"):
        assert torch.equal(zoo.load(source)(x), model(x))
    zoo.save(model, tmp_path / "split")  # whole again: the index goes
    assert torch.equal(zoo.load(tmp_path / "split")(x), model(x))
    assert not list((tmp_path / "split").glob("model-*"))  # what no index names any more goes with it
    (tmp_path / "split" / "model.safetensors").rename(tmp_path / "split" / shards[0])
    with pytest.raises(zoo.FileError, match=r"has no model\.safetensors, but"):
        zoo.load(tmp_path / "split")


@pytest.mark.parametrize("name", ["../own/model.safetensors", "/etc/passwd", "sub/a.safetensors", "a.bin", "..", 3])
def test_names_in_an_index_cannot_leave_the_folder(server: HubServer, tmp_path: Path, name: object) -> None:
    index = json.dumps({"weight_map": {"stem.conv.weight": name}}).encode()
    (tmp_path / "hostile").mkdir()
    (tmp_path / "hostile" / "model.safetensors.index.json").write_bytes(index)
    server.add_repo("evil/repo", {"model.safetensors.index.json": index})
    for source in ("evil/repo", tmp_path / "hostile"):
        with pytest.raises(zoo.FileError, match="which is no safetensors file beside it; it is refused"):
            zoo.load(source)
    assert not [request for request in server.requests if "passwd" in request.path]


def test_only_pickles_are_refused(server: HubServer, timm_files: dict[str, bytes]) -> None:
    server.add_repo(
        REPO, {"pytorch_model.bin": timm_files["pytorch_model.bin"], "config.json": timm_files["config.json"]}
    )
    with pytest.raises(
        zoo.HubError, match=r"has no model.safetensors, only pickles \(pytorch_model.bin\).*zoo convert"
    ):
        zoo.create(NAME)
    assert not [request.path for request in server.requests if "pytorch_model" in request.path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "convnext_tiny"}, "config.json says 'convnext_tiny', which is not among the zoo's"),
        ({"architecture": "resnet18"}, "resnet18 of timm"),
        ({"architecture": None, "model_type": "mamba"}, "config.json says 'mamba'"),
        ({"pretrained_cfg": {"input_size": [3, 10**9, 10**9]}}, "is no mobilenetv3_small_050 of timm: .*size"),
        ({"pretrained_cfg": {"mean": "x", "std": {"a": 1}}}, "is no mobilenetv3_small_050 of timm"),
        ({"pretrained_cfg": {"mean": [1] * 100_000}}, "is no mobilenetv3_small_050 of timm: .*input mean needs"),
        ({"architecture": None, "model_type": "resnet", "depths": 5}, "a setting is of another type"),
        ({"architecture": None, "model_type": "resnet", "layer_type": {}}, "a setting is of another type"),
        ({"model_args": {"act_layer": "silu"}}, "model_args says act_layer: 'silu'"),
        ({"global_pool": "max"}, "global_pool: 'max', not 'avg'"),
        ({"model_args": 3}, "model_args: 3, which is no object"),
    ],
)
def test_foreign_folders_that_are_none_of_ours(
    timm_files: dict[str, bytes], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    config = json.loads(timm_files["config.json"])
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    (tmp_path / "model.safetensors").write_bytes(timm_files["model.safetensors"])
    with pytest.raises(zoo.FileError, match=message) as caught:
        zoo.load(tmp_path)
    assert len(str(caught.value)) < 600


def test_a_config_that_is_no_json(timm_files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff{")
    (tmp_path / "model.safetensors").write_bytes(timm_files["model.safetensors"])
    with pytest.raises(zoo.FileError, match=r"config\.json: does not parse"):
        zoo.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["hf-hub:", "hf-hub:one", "hf-hub:a/b/c", "hf-hub:a/../b", "hf-hub:a/b@", "hf-hub:-a/b"]
)
def test_addresses_that_cannot_be(text: str) -> None:
    with pytest.raises(zoo.HubError, match="is no address; write 'hf-hub:organisation/name'"):
        zoo.load(text)


def test_every_published_name_is_one_that_timm_has() -> None:
    for name, known in hub_index.published().items():
        if isinstance(registry.spec(known.arch or zoo.parse_name(name).arch).input, TextInput):  # no list has them
            assert listing.find(name) == (zoo.parse_name(name), None)
            continue
        config = timm.get_pretrained_cfg(name)
        assert (known.repo, known.classes) == (config.hf_hub_id, config.num_classes)
        assert listing.find(name) == (zoo.parse_name(name), None)
    assert {zoo.parse_name(name).arch for name in hub_index.published()} <= set(registry.MODELS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "layer", "depths"), [("resnet18", "basic", [2] * 4), ("resnet50", "bottleneck", [3, 4, 6, 3])]
)
def test_a_resnet_of_transformers(server: HubServer, tmp_path: Path, arch: str, layer: str, depths: list[int]) -> None:
    torch.manual_seed(0)
    widths = [64, 128, 256, 512] if layer == "basic" else [256, 512, 1024, 2048]
    names = {0: "left", 1: "right", 2: "neither"}
    config = transformers.ResNetConfig(layer_type=layer, depths=depths, hidden_sizes=widths, id2label=names)
    theirs = transformers.ResNetForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path / "hf")
    prepared = {"size": {"shortest_edge": 96}, "crop_pct": 0.9, "resample": 2, "image_mean": [0.5] * 3}
    preprocessor = tmp_path / "hf" / "preprocessor_config.json"
    preprocessor.write_text(json.dumps(prepared))
    server.add_repo("microsoft/net", {file.name: file.read_bytes() for file in (tmp_path / "hf").iterdir()})
    model = zoo.load("microsoft/net")
    with torch.inference_mode():
        expected = theirs(X).logits
        assert (model(X) - expected).abs().max() <= 1e-5 * expected.abs().max()
    mine = model.spec.input
    assert (model.spec.name, model.labels) == (arch, ("left", "right", "neither"))
    assert (mine.size, mine.crop, mine.interpolation, mine.mean) == ((96, 96), 0.9, "bilinear", (0.5,) * 3)
    bit = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "crop_size": 224}
    preprocessor.write_text(json.dumps(bit))
    assert (zoo.load(tmp_path / "hf").spec.input.size, zoo.load(tmp_path / "hf").spec.input.crop) == ((224, 224), 0.875)
    for odd in ({"image_processor_type": "ViTImageProcessor"}, {"do_normalize": False}, {"resample": 1}, {"size": 384}):
        preprocessor.write_text(json.dumps({**prepared, **odd}))
        with pytest.raises(zoo.FileError, match=r"the zoo's preprocessing cannot|unknown interpolation"):
            zoo.load(tmp_path / "hf")
    preprocessor.unlink()
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config.to_dict(), "downsample_in_bottleneck": True}))
    with pytest.raises(zoo.FileError, match="says downsample_in_bottleneck: True, and the zoo's networks have false"):
        zoo.load(tmp_path / "hf")
