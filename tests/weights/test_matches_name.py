"""A Transformer's folder has the name of its trunk, whatever head stands on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo.model.build import Model
from zoo.passes.compress import compress

NAME = "bert_tiny"


def opened(model: Model, name: str, folder: Path) -> Model:
    zoo.save(model, folder)
    return zoo.create(name, weights=folder)


@pytest.mark.parametrize("classes", [0, 3])
def test_heads_of_every_kind(classes: int, tmp_path: Path) -> None:
    headed = zoo.create(NAME, weights=None, num_classes=classes)
    assert opened(headed, NAME, tmp_path / "dense").spec == headed.spec
    int8 = compress(headed, "int8", reduce_range=True)
    assert opened(int8, f"{NAME}-int8", tmp_path / "int8").spec == int8.spec


@pytest.mark.parametrize("head", ["BertForQuestionAnswering", "BertForTokenClassification", "BertForMaskedLM"])
def test_heads_of_transformers(head: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    getattr(transformers, head)(transformers.BertConfig(**sizes)).save_pretrained(tmp_path)
    assert zoo.create(NAME, weights=tmp_path).spec == zoo.load(tmp_path).spec


def test_fewer_blocks_are_pruned(tmp_path: Path) -> None:
    shallow = compress(zoo.create(NAME, weights=None), "pruned", drop_blocks=("h1",))
    assert opened(shallow, f"{NAME}-pruned", tmp_path).spec == shallow.spec
    with pytest.raises(ValueError, match=f"of other widths or depth: a pruned one is named {NAME}-pruned"):
        zoo.create(NAME, weights=tmp_path)


def test_tables_do_not_count_among_the_zeros(tmp_path: Path) -> None:
    sparse = compress(zoo.create(NAME, weights=None), "sparse", sparsity=0.9)
    assert opened(sparse, f"{NAME}-sparse", tmp_path).spec == sparse.spec


def test_other_channels_are_the_same_network(tmp_path: Path) -> None:
    grey = zoo.create("resnet20", weights=None, in_chans=1)
    assert opened(grey, "resnet20", tmp_path / "dense").spec == grey.spec
    pruned = compress(grey, "pruned", macs=0.5)
    assert opened(pruned, "resnet20-pruned", tmp_path / "pruned").spec == pruned.spec
    with pytest.raises(ValueError, match="of other widths or depth"):
        zoo.create("resnet20", weights=tmp_path / "pruned")
