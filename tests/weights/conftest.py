"""A good file, for tests that damage it."""

import json

import pytest
import torch

from zoo import registry
from zoo.model.build import build
from zoo.weights.file import save_file


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small file, some of its tensors packed: its path, its JSON and the bytes behind."""
    torch.manual_seed(0)
    model = build(registry.spec("mobilenetv2_cifar_small"))
    model.s3_2.expand.conv.weight.data.masked_fill_(torch.rand_like(model.s3_2.expand.conv.weight) < 0.8, 0.0)
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    save_file(model, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return path, json.loads(content[8 : 8 + length]), content[8 + length :]
