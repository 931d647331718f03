"""Small networks to save, and their bits."""

from hashlib import sha256

import torch
import torch.nn as nn

from zoo import registry
from zoo.model.build import Model, build


def make(name: str = "mobilenetv2_cifar_small") -> Model:
    torch.manual_seed(0)
    model = build(registry.spec(name))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    model.labels = tuple(f"class {i}" for i in range(model.classifier.fc.out_features))
    model.made = {"recipe": "random", "epochs": 3, "nested": {"lr": [0.1, 0.2]}}
    return model


def bits(state: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, bytes]]:
    return {key: (value.dtype, value.detach().contiguous().numpy().tobytes()) for key, value in state.items()}


def digest(state: dict[str, torch.Tensor]) -> str:
    total = sha256()
    for key, (_, content) in sorted(bits(state).items()):
        total.update(key.encode() + content)
    return total.hexdigest()
