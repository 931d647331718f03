"""Generation: token for token what transformers generates, with prompts of unequal length, and by chance as it is."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

import theirs as library

import zoo
from zoo import kinds
from zoo.blocks.kv_cache import KVCache
from zoo.text.decoder import TextDecoder
from zoo.text.generate import filtered
from zoo.text.model import TextModel


def both(name: str, folder: Path) -> tuple[Any, Any]:
    return library.saved(name, folder), zoo.load(folder)


@pytest.mark.parametrize("name", library.DECODERS)
def test_greedy_as_transformers(name: str, tmp_path: Path) -> None:
    theirs, ours = both(name, tmp_path)
    ids = torch.randint(0, 97, (2, 7))
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=25, do_sample=False, pad_token_id=98, eos_token_id=None
    )
    assert torch.equal(ours.generate(ids, max_new_tokens=25, stop_tokens=()), expected)


@pytest.mark.parametrize("name", ["gpt2", "smollm2", "mistral"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_of_unequal_length(name: str, side: str, tmp_path: Path) -> None:
    theirs, ours = both(name, tmp_path)
    ids = torch.randint(0, 97, (3, 9))
    left = torch.ones_like(ids)
    left[1, :4] = left[2, :8] = 0
    given = ids.masked_fill(left == 0, 98)
    expected = theirs.generate(
        given, attention_mask=left, max_new_tokens=15, do_sample=False, pad_token_id=98, eos_token_id=None
    )
    mask = left
    if side == "right":
        counts = left.sum(1).tolist()
        given = torch.stack([row.roll(count - 9) for row, count in zip(given, counts, strict=True)])
        mask = torch.stack([row.roll(count - 9) for row, count in zip(left, counts, strict=True)])
    found = ours.generate(given, mask, max_new_tokens=15, stop_tokens=())
    assert torch.equal(found, expected)
    alone = ours.generate(ids[1:2, 4:], max_new_tokens=15, stop_tokens=())
    assert torch.equal(found[1, 4:], alone[0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_masks_of_any_type(dtype: torch.dtype, tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    ids, mask = torch.randint(0, 97, (2, 6)), torch.ones(2, 6, dtype=torch.long)
    mask[0, :2] = 0
    expected = ours.generate(ids, mask, max_new_tokens=4, stop_tokens=())
    assert torch.equal(ours.generate(ids, mask.to(dtype), max_new_tokens=4, stop_tokens=()), expected)
    assert torch.equal(ours.generate(ids.int(), mask, max_new_tokens=4, stop_tokens=()).long(), expected)
    assert torch.equal(ours.generate(ids, max_new_tokens=0), ids)


def test_a_row_ends_with_a_stop_token(tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    ids = torch.randint(0, 97, (2, 5))
    free = ours.generate(ids, max_new_tokens=12, stop_tokens=())
    stop = int(free[0, 8])
    found = ours.generate(ids, max_new_tokens=12, stop_tokens=(stop,))
    for row, whole in zip(found[:, 5:].tolist(), free[:, 5:].tolist(), strict=True):
        end = whole.index(stop) + 1 if stop in whole else len(whole)
        assert row[:end] == whole[:end][: len(row)]
        assert set(row[end:]) <= {ours.spec.input.padding}
    one = ours.generate(ids[:1], max_new_tokens=12, stop_tokens=(stop,))
    assert one[0, -1] == stop


def test_streaming_gives_the_same_tokens(tmp_path: Path) -> None:
    _, ours = both("llama", tmp_path)
    ids = torch.randint(0, 97, (2, 5))
    steps = list(ours.stream(ids, max_new_tokens=8, stop_tokens=()))
    assert all(step.shape == (2,) for step in steps)
    assert torch.equal(torch.stack(steps, 1), ours.generate(ids, max_new_tokens=8, stop_tokens=())[:, 5:])


def test_between_two_tokens_the_mode_is_the_callers(tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    one, other = (ours.stream(torch.randint(0, 97, (1, 5)), stop_tokens=()) for _ in range(2))
    next(one), next(other)
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    one.close()
    with torch.inference_mode():
        next(other)
    other.close()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("temperature", [1e-50, 1e-45, 1e-29, 1e-3])
def test_the_lowest_temperatures_are_greedy(temperature: float, tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    ids = torch.randint(0, 97, (2, 5))
    options = {"max_new_tokens": 5, "stop_tokens": ()}
    assert torch.equal(ours.generate(ids, temperature=temperature, **options), ours.generate(ids, **options))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.7, 0, 1.0), (1.3, 5, 1.0), (1.0, 0, 0.6), (0.8, 7, 0.9)]
)
def test_chances_are_those_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = 3 * torch.randn(6, 50)
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    torch.testing.assert_close(filtered(logits, temperature, top_k, top_p), expected)


def test_a_seed_repeats_what_was_drawn(tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    ids = torch.randint(0, 97, (2, 5))
    drawn = [ours.generate(ids, temperature=2.0, seed=seed, stop_tokens=()) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_it_stops_where_there_are_no_more_positions(tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    found = ours.generate(torch.randint(0, 97, (1, 60)), max_new_tokens=50, stop_tokens=())
    assert found.shape == (1, 64)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_k": -2}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": None}, "top_p"),
        ({"stop_tokens": 5}, "stop_tokens"),
        ({"attention_mask": torch.zeros(1, 5)}, "keeps a token of each"),
    ],
)
def test_options_out_of_bounds(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    with pytest.raises(ValueError, match=said):
        ours.generate(torch.randint(0, 97, (1, 5)), **options)
    with pytest.raises(ValueError, match=said):  # at once, not at its first token
        ours.stream(torch.randint(0, 97, (1, 5)), **options)
    full = torch.randint(0, 97, (1, 64))
    with pytest.raises(ValueError, match="the prompt has 64"):
        ours.generate(full)
    assert torch.equal(ours.generate(full, max_new_tokens=0), full)


def test_an_encoder_continues_no_texts(tmp_path: Path) -> None:
    _, ours = both("bert", tmp_path)
    assert isinstance(ours, TextModel) and not isinstance(ours, TextDecoder)
    for name in ("generate", "stream"):
        assert not hasattr(ours, name) and name not in dir(ours)
        with pytest.raises(AttributeError, match=rf"feature-extraction and has no {name}\(\).* such as gpt2"):
            getattr(ours, name)
        with pytest.raises(ValueError, match="continues no texts"):  # what earlier versions raised
            getattr(ours, name)(torch.ones(1, 3, dtype=torch.long))
    with pytest.raises(AttributeError, match="no attribute 'generates'"):
        ours.generates  # noqa: B018
    for option in ({"cache": KVCache()}, {"last": True}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            ours(torch.ones(1, 3, dtype=torch.long), **option)


@pytest.mark.parametrize("name", ["gpt2", "bert", "bert_classifier", "bert_tokens"])
def test_the_task_alone_says_who_decodes(name: str, tmp_path: Path) -> None:
    _, ours = both(name, tmp_path)
    kind = TextDecoder if name in library.DECODERS else TextModel
    zoo.save(ours, tmp_path / "again")
    copies = copy.deepcopy(ours), copy.copy(ours), pickle.loads(pickle.dumps(ours))
    made = zoo.compress(ours, "int8"), zoo.compress(ours, "sparse")
    for one in (ours, zoo.load(tmp_path / "again"), zoo.build(ours.spec), *copies, *made):
        assert type(one) is kind and isinstance(one, TextModel)
        assert hasattr(one, "generate") == hasattr(one, "stream") == (kind is TextDecoder)


def test_a_row_may_be_called_like_a_method_of_decoders(tmp_path: Path) -> None:
    _, ours = both("bert", tmp_path)
    spec = ours.spec
    last = spec.rows[-1]
    renamed = zoo.build(spec.replace(rows=(*spec.rows[:-1], zoo.Block(last.kind, "generate", **last.args))))
    assert renamed.generate is renamed.get_submodule("generate")
    assert not hasattr(renamed, "stream")


def test_a_decoder_without_its_head_says_so(tmp_path: Path) -> None:
    _, ours = both("gpt2", tmp_path)
    cut = zoo.build(kinds.headless(ours.spec))
    with pytest.raises(ValueError, match="no row that scores the next token"):
        cut.generate(torch.ones(1, 3, dtype=torch.long))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_torch_compiles_and_exports_it_whole(name: str, tmp_path: Path) -> None:
    _, ours = both(name, tmp_path)
    ids = torch.randint(0, 97, (2, 7))
    expected = ours(ids).last_hidden_state
    torch.testing.assert_close(torch.compile(ours, fullgraph=True, backend="eager")(ids).last_hidden_state, expected)
    torch.testing.assert_close(torch.export.export(ours, (ids,)).module()(ids).last_hidden_state, expected)
