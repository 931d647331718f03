"""Folders of sentence-transformers: modules.json decides, in every spelling, and what the zoo has not is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

import theirs as library
import transformers

import zoo
from zoo.files import FileError

MEAN = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world", "Hello", "World", "caf", "##e", "##é"]


def written(
    folder: Path, *, pooling: Any = MEAN, kinds: str = "Transformer Pooling Normalize", place: str = "1_Pooling"
) -> Any:
    """The network in a folder whose modules are those `kinds`."""
    theirs = library.saved("bert", folder)
    paths = {"Transformer": "", "Pooling": place}
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": paths.get(kind, f"{i}_{kind}"),
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds.split())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / place / "config.json").write_text(json.dumps(pooling))
    return theirs


def weighted(x: Tensor, mask: Tensor) -> Tensor:
    weights = mask * torch.arange(1, x.shape[1] + 1)
    return (x * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)


POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda x, mask: x[:, 0],
    "lasttoken": lambda x, mask: torch.stack([row[n - 1] for row, n in zip(x, mask.sum(1), strict=True)]),
    "max": lambda x, mask: torch.stack([row[:n].amax(0) for row, n in zip(x, mask.sum(1), strict=True)]),
    "mean": lambda x, mask: (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True),
    "mean_sqrt_len_tokens": lambda x, mask: (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) ** 0.5,
    "weightedmean": weighted,
}
OLD = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "lasttoken": "lasttoken",
       "mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "weightedmean": "weightedmean_tokens"}  # fmt: skip


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("mode", POOLS)
@torch.inference_mode()
def test_every_pool_in_every_spelling(mode: str, normalize: bool, tmp_path: Path) -> None:
    ids = torch.randint(3, 97, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:] = mask[2, 1:] = 0
    ids = ids.masked_fill(mask == 0, 0)
    old = {f"pooling_mode_{name}": other == mode for other, name in OLD.items()}
    kinds = "Transformer Pooling" + (" Normalize" if normalize else "")
    for pooling in (old, {"pooling_mode": mode}, {"embedding_dimension": 64, "pooling_mode": [mode]}):
        theirs = written(tmp_path, pooling=pooling, kinds=kinds, place="1_FirstToken")
        ours = zoo.load(tmp_path)
        expected = POOLS[mode](theirs(ids, attention_mask=mask).last_hidden_state, mask)
        expected = torch.nn.functional.normalize(expected, dim=1) if normalize else expected
        found = ours(ids, mask).sentence_embedding
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        whole = torch.ones(1, 11, dtype=torch.long)
        assert torch.allclose(ours(ids[:1]).sentence_embedding, ours(ids[:1], whole).sentence_embedding, atol=1e-5)
    zoo.save(ours, tmp_path / "ours")
    assert zoo.load(tmp_path / "ours").spec == ours.spec


def beside(file: str, found: dict[str, Any]) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_text(json.dumps(found)) and None


@pytest.mark.parametrize(
    ("settings", "change", "said"),
    [
        ({"kinds": "Transformer Pooling Dense Normalize"}, None, "names a 'Dense' module"),
        ({"kinds": "Transformer Pooling Normalize Dense"}, None, "names a 'Dense' module"),
        ({"kinds": "WordEmbeddings Pooling"}, None, "names a 'WordEmbeddings' module"),
        ({"kinds": "Transformer Normalize Pooling"}, None, "names the modules"),
        ({"pooling": {"pooling_mode": "median"}}, None, "pooling_mode: \\['median'\\]"),
        ({"pooling": {"pooling_mode": ["cls", "mean"]}}, None, "pooling_mode: \\['cls', 'mean'\\]"),
        ({"pooling": {**MEAN, "pooling_mode_cls_token": True}}, None, "pooling_mode: \\['cls', 'mean'\\]"),
        ({"pooling": {**MEAN, "pooling_mode_median": True}}, None, "pooling_mode_median"),
        ({"pooling": []}, None, "missing or no object"),
        ({}, lambda folder: (folder / "1_Pooling" / "config.json").unlink(), "missing or no object"),
        ({}, beside("sentence_bert_config.json", {"new": 1}), "new: 1, a setting that the zoo does not know"),
        ({}, beside("sentence_bert_config.json", {"max_seq_length": "7"}), "no number of tokens"),
        ({}, beside("sentence_bert_config.json", {"do_lower_case": "false"}), "do_lower_case: 'false', which is"),
        ({}, beside("sentence_roberta_config.json", {"new": 1}), "sentence_roberta_config.json says new: 1"),
        ({"pooling": {"pooling_mode_cls_token": "false"}}, None, "pooling_mode_cls_token: 'false', which is neither"),
        ({}, beside("config_sentence_transformers.json", {"default_prompt_name": "q", "prompts": {"q": "query: "}}),
         "default_prompt_name: 'q'"),
        ({}, beside("modules.json", {"a": 1}), "no list of modules"),
        ({"place": "../1_Pooling"}, None, "none beside it"),
    ],
)  # fmt: skip
def test_what_the_zoo_has_not_is_refused_by_name(
    settings: dict[str, Any], change: Callable[[Path], None] | None, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    written(folder, **settings)
    if change:
        change(folder)
    with pytest.raises(FileError, match=said):
        zoo.load(folder)


def test_the_most_tokens_of_each_file(tmp_path: Path) -> None:
    written(tmp_path)
    assert zoo.load(tmp_path).spec.input.length == 40  # as many as there are positions
    beside("tokenizer_config.json", {"model_max_length": 30})(tmp_path)
    assert zoo.load(tmp_path).spec.input.length == 30
    beside("sentence_bert_config.json", {"max_seq_length": 20})(tmp_path)
    assert zoo.load(tmp_path).spec.input.length == 20
    beside("tokenizer_config.json", {"model_max_length": 10**30})(tmp_path)
    assert zoo.load(tmp_path).spec.input.length == 20


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
def test_the_settings_of_the_transformer_have_several_names(kind: str, tmp_path: Path) -> None:
    """The first of them that says anything counts, as in sentence-transformers."""
    written(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    beside("tokenizer_config.json", {"do_lower_case": False})(tmp_path)
    beside("sentence_bert_config.json", {})(tmp_path)
    beside(f"sentence_{kind}_config.json", {"max_seq_length": 7, "do_lower_case": True})(tmp_path)
    ours = zoo.load(tmp_path)
    assert ours.spec.input.length == 7
    assert zoo.preprocess(ours)("Hello")["input_ids"].tolist() == [[2, 4, 3]]
    beside("sentence_bert_config.json", {"max_seq_length": 9})(tmp_path)
    assert zoo.load(tmp_path).spec.input.length == 9


@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_alone_is_berts_own_tokenizer(lower: bool, tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    beside("tokenizer_config.json", {"do_lower_case": lower, "tokenizer_class": "BertTokenizer"})(tmp_path)
    ours = zoo.preprocess(zoo.load(tmp_path))
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    for text in ("hello world", "Hello World Café 漢字!", ("hello", "World"), ""):
        expected = theirs(*text) if isinstance(text, tuple) else theirs(text)
        found = ours([text])
        assert found["input_ids"][0].tolist() == expected["input_ids"]
        assert found["token_type_ids"][0].tolist() == expected["token_type_ids"]
    assert ours.decode(torch.tensor([2, 4, 5, 3])) == "hello world"


@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
def test_byte_pairs_alone(kind: str, tmp_path: Path) -> None:
    library.saved(kind, tmp_path)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<|endoftext|>", "<mask>"]
    words = [*special, *"helowrd !H", "Ġ", "he", "ll", "hell", "hello", "Ġw", "Ġwo", "é"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    merges = ["#version: 0.2", "h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o"]
    (tmp_path / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    named = {"gpt2": transformers.GPT2Tokenizer, "roberta": transformers.RobertaTokenizer}[kind]
    theirs, ours = named.from_pretrained(tmp_path), zoo.preprocess(zoo.load(tmp_path))
    for text in ("hello world!", " hello", "a<mask> hello", ("hello", "world") if kind == "roberta" else "Hello"):
        expected = theirs(*text) if isinstance(text, tuple) else theirs(text)
        assert ours([text])["input_ids"][0].tolist() == expected["input_ids"]
    assert ours.decode(ours("hello world")["input_ids"][0]) == "hello world"
    (tmp_path / "vocab.json").write_text("[1]")
    with pytest.raises(FileError, match=r"vocab\.json is no vocabulary"):
        zoo.load(tmp_path)


def test_settings_that_stand_above_the_tokenizer(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(zoo.load(tmp_path).tokenizer)
    words = "Hello World"

    def ids() -> list[int]:
        found: Tensor = zoo.preprocess(zoo.load(tmp_path))(words)["input_ids"]
        return found[0, 1:-1].tolist()

    assert ids() == [4, 5]
    beside("tokenizer_config.json", {"do_lower_case": False})(tmp_path)
    assert ids() == [6, 7]
    beside("sentence_bert_config.json", {"do_lower_case": True})(tmp_path)
    assert ids() == [4, 5]


def test_a_text_is_text(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    prepare = zoo.preprocess(zoo.load(tmp_path))
    for several in (("hello", "world"), ("hello",), ("hello", "world", "hello")):
        with pytest.raises(ValueError, match="several texts as a list, list\\(texts\\)"):
            prepare(several)
    assert prepare([("hello", "world")])["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]
    for text in ("a \ud83d b", ("hello", "\udc00")):
        with pytest.raises(ValueError, match="half of a character"):
            prepare(["hello", text])
    assert prepare.decode(torch.tensor([[4, 5], [5, 4]])) == ["hello world", "world hello"]
    assert prepare.decode([[4], [5, 4]]) == ["hello", "world hello"]
    for ids in ([-1], ["a"], [1.5]):
        with pytest.raises(ValueError, match="token ids"):
            prepare.decode(ids)
