"""What quantization-aware training brings back where post-training quantization loses much.

    python benchmarks/qat.py resnet-distilled --data cifar10

Of the small networks tried here none lost more than 0.3 points by our post-training quantization (docs/finetuning.md),
so one is made that does: behind the first convolution of every residual block, each channel is scaled by a factor
between 1/e^spread and e^spread, and the weights that read it by the inverse. The float network computes the same, but
its channels share one uint8 range; networks trained without batch norm, or by others, can look like that (Nagel et al.,
2019).
"""

import copy
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer

import zoo
from zoo import formatting
from zoo.model.build import Model
from zoo.train.data import hold_out, open_pictures
from zoo.train.finetune import finetune, labelled_inputs
from zoo.train.loop import accuracy
from zoo.train.recipe import Recipe


def main(
    name: Annotated[str, typer.Argument(help="A network of basic blocks: its name, or its folder.")],
    data: Annotated[Path, typer.Option(help="Folder with train.parquet and test.parquet.")],
    spread: float = 2.5,
    epochs: int = 3,
    learning_rate: float = 5e-4,
    threads: int = 2,
) -> None:
    torch.set_num_threads(threads)
    network = zoo.load(name) if Path(name).exists() else zoo.create(name)
    dense = unequal(network, spread)
    train, validation = hold_out(open_pictures(data, dense.spec.input), 0.1)
    test = open_pictures(data, dense.spec.input, split="test", classes=train.classes)
    rounded = zoo.compress(dense, "int8", calibration=labelled_inputs(train, dense)[0])
    recipe = Recipe(epochs=epochs, batch_size=128, learning_rate=learning_rate, weight_decay=0.0)
    with tempfile.TemporaryDirectory() as folder:
        trained = finetune(rounded, train, recipe, folder, validation=validation, teachers=[dense])
    networks = {"as it was": network, "float": dense, "post-training int8": rounded, "after --qat": trained}
    rows = [[title, *(f"{accuracy(one, part):.2f}" for part in (validation, test))] for title, one in networks.items()]
    print(formatting.text([name, "validation", "test"], rows))


def unequal(network: Model, spread: float) -> Model:
    """The same function, its inner channels scaled apart."""
    scaled = copy.deepcopy(network)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for row in scaled.spec:
            if row.kind == "basic_block":
                block = scaled.get_submodule(row.name)
                factor = torch.exp((torch.rand(block.conv1.bn.num_features, generator=chance) * 2 - 1) * spread)
                block.conv1.bn.weight.mul_(factor)
                block.conv1.bn.bias.mul_(factor)
                block.conv2.conv.weight.div_(factor.view(1, -1, 1, 1))
    return scaled


if __name__ == "__main__":
    typer.run(main)
