"""Encoders with decoders: equal to transformers' in logits and token by token, in every search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

import theirs as library

import zoo
from zoo.files import FileError

SEARCHES: tuple[dict[str, Any], ...] = (
    {"beams": 1, "max_tokens": 14},
    {"beams": 4, "max_tokens": 14},
    {"beams": 3, "max_tokens": 9, "length_penalty": 0.4, "early_stopping": True},
    {"beams": 2, "max_tokens": 12, "length_penalty": 2.0, "early_stopping": "never"},
    {"beams": 5, "max_tokens": 6, "length_penalty": -0.5},
)


def padded() -> tuple[Tensor, Tensor]:
    """Ids of an odd length, two texts shorter than the others."""
    ids = torch.randint(3, 97, (4, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = mask[2, 1:] = 0
    return ids.masked_fill(mask == 0, 0), mask


def searched(theirs: Any, ids: Tensor, mask: Tensor, options: dict[str, Any]) -> Tensor:
    named = {"beams": "num_beams", "max_tokens": "max_new_tokens"}
    return theirs.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, **{named.get(key, key): x for key, x in options.items()}
    )


def ended(ids: Tensor, ends: set[int]) -> list[list[int]]:
    """Each row up to its end: behind it transformers fills with another token than padding where that is 0."""
    rows = []
    for row in ids.tolist():
        place = next((at for at, token in enumerate(row[1:], 2) if token in ends), len(row))
        rows.append(row[:place])
    return rows


@pytest.mark.parametrize("name", library.TRANSLATORS)
@torch.inference_mode()
def test_scores(name: str, tmp_path: Path) -> None:
    theirs = library.saved(name, tmp_path)
    ours = zoo.load(tmp_path)
    ids, mask = padded()
    targets = torch.randint(3, 97, (4, 9), generator=torch.Generator().manual_seed(2))
    expected = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=targets).logits
    found = ours(ids, mask, targets).logits
    assert found.shape == expected.shape and (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    again = ours.decode(targets, ours.encode(ids, mask), mask)
    torch.testing.assert_close(again, found)
    zoo.save(ours, tmp_path / "ours")
    torch.testing.assert_close(zoo.load(tmp_path / "ours")(ids, mask, targets).logits, found)


@pytest.mark.parametrize("name", library.TRANSLATORS)
@torch.inference_mode()
def test_searches_choose_the_same_tokens(name: str, tmp_path: Path) -> None:
    theirs = library.make(name)
    ids, mask = padded()
    # A token that comes often ends a text, so that texts end at different places.
    first = searched(theirs, ids, mask, {"beams": 1, "max_tokens": 14})[:, 1:]
    theirs.generation_config.eos_token_id = [int(first[0, 4]), int(first[3, 7])]
    theirs.generation_config.renormalize_logits = name == "marian"
    theirs.generation_config.forced_bos_token_id = 7 if name == "t5" else None
    theirs.save_pretrained(tmp_path)
    ours = zoo.load(tmp_path)
    ends = set(theirs.generation_config.eos_token_id)
    lengths, several = set(), set()
    for options in SEARCHES:
        expected = ended(searched(theirs, ids, mask, options), ends)
        found = ended(ours.translate_ids(ids, mask, **options), ends)
        assert found == expected, options
        lengths |= {len(row) for row in found}
        several |= {tuple(row) for row in found}
    assert len(lengths) > 1 and len(several) > 3, (lengths, several)
    alone = [ours.translate_ids(ids[at : at + 1], mask[at : at + 1], **SEARCHES[1])[0].tolist() for at in range(4)]
    together = ours.translate_ids(ids, mask, **SEARCHES[1]).tolist()
    assert [row[: len(one)] for one, row in zip(alone, together, strict=True)] == alone


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("marian", {"normalize_before": True}, "normalize_before"),
        ("marian", {"add_final_layer_norm": True}, "add_final_layer_norm"),
        ("marian", {"decoder_vocab_size": 50}, "decoder_vocab_size"),
        ("marian", {"architectures": ["MarianModel"]}, "MarianModel"),
        ("marian", {"encoder_layers": 10**9}, "more than 512"),
        ("t5", {"relative_attention_num_buckets": 8}, "relative_attention_num_buckets"),
        ("t5", {"relative_attention_max_distance": 64}, "relative_attention_max_distance"),
        ("t5", {"feed_forward_proj": "swiglu-relu"}, "feed_forward_proj"),
        ("t5", {"feed_forward_proj": ["relu"]}, "feed_forward_proj"),
        ("t5", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel"),
        ("t5", {"num_layers": -1}, "not a whole number"),
    ],
)
def test_what_the_zoo_has_not_is_refused(name: str, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    library.saved(name, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(FileError, match=said):
        zoo.load(tmp_path)


OTHER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("marian", {"activation_function": "gelu"}),
    ("marian", {"scale_embedding": False}),
    ("marian", {"encoder_attention_heads": 8, "decoder_attention_heads": 2}),
    ("marian", {"tie_word_embeddings": False}),
    ("marian", {"share_encoder_decoder_embeddings": False}),
    ("marian", {"max_position_embeddings": 30}),
    ("marian", {"encoder_layers": 1}),
    ("t5", {"feed_forward_proj": "gelu"}),
    ("t5", {"layer_norm_epsilon": 0.1}),
    ("t5", {"num_heads": 8, "d_kv": 12}),
    ("t5", {"tie_word_embeddings": False}),
    ("t5", {"scale_decoder_outputs": False}),
    ("t5", {"is_gated_act": True, "dense_act_fn": "silu"}),
)


@pytest.mark.parametrize(("name", "changes"), OTHER)
@torch.inference_mode()
def test_a_changed_setting_is_used_as_there_or_refused(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = library.saved(name, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    try:
        ours = zoo.load(tmp_path)
    except FileError:
        return
    there = type(theirs).from_pretrained(tmp_path).eval()
    ids, mask = padded()
    found, expected = ours(ids, mask, ids).logits, there(ids, attention_mask=mask, decoder_input_ids=ids).logits
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"min_length": 4}, "min_length"),
        ({"bad_words_ids": [[3, 4]]}, "words of one token"),
        ({"suppress_tokens": [5]}, "suppress_tokens"),
        ({"forced_bos_token_id": "de"}, "which is no token"),
    ],
)
def test_searches_that_the_zoo_has_not_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    library.saved("marian", tmp_path)
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(FileError, match=said):
        zoo.load(tmp_path)


def test_wrong_calls_say_what_is_wrong() -> None:
    model = zoo.create("marian_tiny", weights=None)
    ids = torch.tensor([[5, 6, 0]])
    for call, said in (
        (lambda: model(ids, decoder_input_ids=torch.tensor([[8000]])), "target tokens 0 to 7999"),
        (lambda: model(ids, decoder_input_ids=torch.tensor([[1], [2]])), "are of 2 texts, and input_ids of 1"),
        (lambda: model(ids, decoder_input_ids=torch.zeros(1, 513, dtype=torch.long)), "512 tokens of a target"),
        (lambda: model(ids, decoder_input_ids=torch.zeros(1, 3)), "whole numbers"),
        (lambda: model.translate_ids(ids, beams=0), "beams is a whole number from 1 to 64"),
        (lambda: model.translate_ids(ids, beams=1, length_penalty=2.0), "for more than one beam"),
        (lambda: model.translate_ids(ids, early_stopping="soon"), "early_stopping is True, False"),
        (lambda: model.translate_ids(ids, max_tokens=True), "max_tokens is a whole number"),
        (lambda: model.translate(["a"]), "tokenizer of this marian_tiny is not known"),
        (lambda: model.generate(ids), "continues no texts"),
        (lambda: zoo.export(model, "never.onnx"), "translates texts step by step"),
        (lambda: zoo.create("gpt2", weights=None).translate(["a"]), "translate"),
    ):
        with pytest.raises((ValueError, AttributeError), match=said):
            call()


@torch.inference_mode()
def test_int8_and_pruned_forms_translate() -> None:
    """The cache of a search gives what a call without one gives."""
    torch.manual_seed(0)
    model = zoo.create("marian_tiny", weights=None)
    ids = torch.randint(1, 7000, (4, 6))
    forms = {
        "dynamic": zoo.compress(model, "int8"),
        "static": zoo.compress(model, "int8", calibration={"input_ids": ids}),
        "pruned": zoo.compress(model, "pruned", macs=0.8),
    }
    for form in forms.values():
        found = form.translate_ids(ids, beams=1, max_tokens=5)
        scores = form(ids, decoder_input_ids=found).logits
        scores[..., 7999] = -torch.inf
        assert torch.equal(scores[:, :4].argmax(-1), found[:, 1:5])


def test_dropped_blocks_of_the_encoder() -> None:
    """The decoder then reads what is last."""
    model = zoo.create("marian_small", weights=None)
    small = zoo.compress(model, "pruned", drop_blocks=("h2", "d1"))
    assert [row.name for row in small.spec][-4:] == ["target", "d0", "d2", "head"]
    assert all(row.taps == ("h1",) for row in small.spec if row.kind == "decoder_block")
    assert small(torch.tensor([[5, 6, 0]])).logits.shape == (1, 3, 8000)
