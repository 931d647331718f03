"""A folder of transformers is loaded as what its config.json says, and answers as transformers does."""

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
from zoo.blocks.kv_cache import KVCache
from zoo.files import FileError


def same(found: Tensor | None, expected: Tensor, share: float = 1e-5) -> None:
    assert found is not None and found.shape == expected.shape
    assert (found - expected).abs().max() <= share * expected.abs().max()


def padded(padding: int) -> tuple[Tensor, Tensor]:
    """Ids of an odd length, two texts shorter than the others."""
    ids = torch.randint(3, 97, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = mask[2, 1:] = 0
    return ids.masked_fill(mask == 0, padding), mask


@pytest.mark.parametrize("name", library.ENCODERS)
@torch.inference_mode()
def test_encoders(name: str, tmp_path: Path) -> None:
    theirs = library.saved(name, tmp_path)
    ours = zoo.load(tmp_path)
    ids, mask = padded(1 if name.startswith(("roberta", "mpnet")) else 0)
    types: dict[str, Tensor] = {}
    if name.startswith(("bert", "electra", "albert")):
        types = {"token_type_ids": (torch.arange(17) > 6).long().expand(3, -1) * mask}
    expected = theirs(input_ids=ids, attention_mask=mask, **types, output_hidden_states=True)
    found = ours(ids, mask, **types)
    same(found.last_hidden_state[mask.bool()], expected.hidden_states[-1][mask.bool()])
    logits = expected.get("logits")
    if logits is not None and ours.spec.task != "feature-extraction":
        same(found.logits if logits.dim() == 2 else found.logits[mask.bool()], logits if logits.dim() == 2
             else logits[mask.bool()])  # fmt: skip
    if "start_logits" in expected:
        same(found.start_logits[mask.bool()], expected["start_logits"][mask.bool()])
        same(found.end_logits[mask.bool()], expected["end_logits"][mask.bool()])
    if expected.get("pooler_output") is not None:
        same(found.pooler_output, expected["pooler_output"])
    same(ours(ids[:1]).last_hidden_state, theirs(ids[:1], output_hidden_states=True).hidden_states[-1])


@pytest.mark.parametrize("name", library.DECODERS)
@torch.inference_mode()
def test_decoders(name: str, tmp_path: Path) -> None:
    theirs = library.saved(name, tmp_path)
    ours = zoo.load(tmp_path)
    ids, mask = padded(0)
    same(ours(ids).logits, theirs(ids).logits, 1e-4)
    expected = theirs(input_ids=ids, attention_mask=mask).logits
    same(ours(ids, mask).logits[mask.bool()], expected[mask.bool()], 1e-4)
    cache = KVCache()
    steps = [ours(part, cache=cache).logits for part in ids.split([7, 1, 1, 5, 3], dim=1)]
    same(torch.cat(steps, 1), theirs(ids).logits, 1e-4)
    same(ours(ids, last=True).logits, theirs(ids).logits[:, -1:], 1e-4)


@pytest.mark.parametrize("name", ["bert_classifier", "gpt2", "smollm2", "roberta"])
@torch.inference_mode()
def test_a_loaded_folder_is_saved_and_loaded_as_ours(name: str, tmp_path: Path) -> None:
    library.saved(name, tmp_path / "theirs")
    ours = zoo.load(tmp_path / "theirs")
    zoo.save(ours, tmp_path / "ours")
    again = zoo.load(tmp_path / "ours")
    assert again.spec == ours.spec and again.labels == ours.labels and again.made == ours.made
    ids, mask = padded(1)
    x, y = ours(ids, mask), again(ids, mask)
    assert all(torch.equal(x[key], y[key]) for key in x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_half_precision_becomes_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = library.make("smollm2").to(dtype)
    theirs.save_pretrained(tmp_path)
    ours = zoo.load(tmp_path)
    assert {tensor.dtype for tensor in ours.state_dict().values()} == {torch.float32}
    ids, _ = padded(0)
    same(ours(ids).logits, theirs.float()(ids).logits, 1e-4)


@torch.inference_mode()
def test_checkpoints_with_names_of_old(tmp_path: Path) -> None:
    """BERT's own has gamma and beta, GPT-2's its masks; both came before today's names."""
    from safetensors.torch import load_file, save_file

    library.saved("bert", tmp_path)
    ids, mask = padded(0)
    before = zoo.load(tmp_path)(ids, mask).last_hidden_state
    state = load_file(tmp_path / "model.safetensors")
    renamed = {
        f"bert.{key}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in state.items()
    }
    renamed |= {"bert.embeddings.position_ids": torch.arange(40)[None], "cls.predictions.bias": torch.zeros(99)}
    save_file(renamed, tmp_path / "model.safetensors")
    assert torch.equal(zoo.load(tmp_path)(ids, mask).last_hidden_state, before)


_SIZES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
          "max_position_embeddings": 512, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "vocab_size": 30522,
          "type_vocab_size": 2, "pad_token_id": 0}  # fmt: skip
_SMALL = {**_SIZES, "hidden_size": 384, "intermediate_size": 1536}
_MPNET = {**_SIZES, "vocab_size": 30527, "max_position_embeddings": 514, "pad_token_id": 1, "layer_norm_eps": 1e-05,
          "relative_attention_num_buckets": 32}  # fmt: skip
_ALBERT = {**_SIZES, "embedding_size": 128, "hidden_act": "gelu_new", "vocab_size": 30000, "num_hidden_groups": 1,
           "inner_group_num": 1, "net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0, "down_scale_factor": 1,
           "classifier_dropout_prob": 0.1}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("minilm_l6_h384_uncased", "bert", {**_SMALL, "num_hidden_layers": 6}),
        ("minilm_l12_h384_uncased", "bert", _SMALL),
        ("all_minilm_l12_v2", "bert", _SMALL),
        ("electra_small", "electra", {**_SIZES, "embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4,
                                      "intermediate_size": 1024}),
        ("electra_base", "electra", {**_SIZES, "embedding_size": 768}),
        ("mpnet_base", "mpnet", _MPNET),
        ("all_mpnet_base_v2", "mpnet", _MPNET),
        ("albert_base_v2", "albert", _ALBERT),
        ("albert_large_v2", "albert", {**_ALBERT, "hidden_size": 1024, "num_hidden_layers": 24,
                                       "num_attention_heads": 16, "intermediate_size": 4096}),
    ],
)  # fmt: skip
def test_what_is_published_has_its_name(name: str, kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    """The sizes and settings of the repositories' own config.json."""
    from zoo.weights import text_folder

    if name.startswith("all_"):
        modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        told = [{"path": path, "type": f"sentence_transformers.models.{module}"} for module, path in modules]
        (tmp_path / "modules.json").write_text(json.dumps(told))
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    spec, *_ = text_folder.read(tmp_path, {"model_type": kind, **config}, {})
    assert spec.name == name


def test_the_names_of_classes(tmp_path: Path) -> None:
    library.saved("bert_classifier", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "bad", "1": "so so", "2": "good"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert zoo.load(tmp_path).labels == ("bad", "so so", "good")


@torch.inference_mode()
def test_sentence_embeddings_where_the_folder_has_pooling(tmp_path: Path) -> None:
    theirs = library.saved("bert", tmp_path)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    (tmp_path / "modules.json").write_text(
        json.dumps([{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in modules])
    )
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}))
    ours = zoo.load(tmp_path)
    assert ours.spec.task == "sentence-similarity" and ours.spec.input.length == 20
    ids, mask = padded(0)
    hidden = theirs(ids, attention_mask=mask).last_hidden_state * mask[..., None]
    mean = hidden.sum(1) / mask.sum(1, keepdim=True)
    same(ours(ids, mask).sentence_embedding, torch.nn.functional.normalize(mean, dim=1))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type: 'relative_key'"),
        ("bert", {"hidden_act": "mish"}, "activation 'mish' is none of"),
        ("bert", {"hidden_size": "64"}, "not a whole number"),
        ("bert", {"num_hidden_layers": 10**9}, "more than 512 are refused"),
        ("bert", {"vocab_size": 10**9}, "is from 1 to|is between"),
        ("bert", {"num_hidden_layers": 3}, "is missing"),
        ("bert", {"num_attention_heads": 0}, "division"),
        ("albert", {"num_hidden_groups": 4}, "3 layers cannot share the weights of 4 blocks"),
        ("albert", {"inner_group_num": 2}, "inner_group_num: 2"),
        ("electra", {"embedding_size": 0}, "embedding_size: 0"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets: 64"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("llama", {"attention_bias": True}, "attention_bias: True"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "scaled by 'yarn'"),
        ("llama", {"num_key_value_heads": 3}, "."),
        ("gpt2", {"architectures": ["GPT2ForSequenceClassification"]}, "GPT2ForSequenceClassification"),
    ],
)
def test_what_the_zoo_has_not_is_refused(name: str, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    library.saved(name, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(FileError, match=said) as error:
        zoo.load(tmp_path)
    assert str(tmp_path) in str(error.value)


@torch.inference_mode()
def test_wrong_input_says_what_to_do(tmp_path: Path) -> None:
    library.saved("bert", tmp_path)
    model = zoo.load(tmp_path)
    ids, mask = padded(0)
    for wrong in (ids.float(), ids[0], "text", ids[:, :0]):
        with pytest.raises(ValueError, match=r"zoo\.preprocess"):
            model(wrong)
    with pytest.raises(ValueError, match="tokens 0 to 98, not 3 to 99"):
        model(torch.tensor([[3, 99]]))
    for wrong in (mask[:2], mask[:, :5], torch.ones(3, 18)):
        with pytest.raises(ValueError, match="attention_mask"):
            model(ids, wrong)
    for wrong in (mask[:, :3], mask.float()):
        with pytest.raises(ValueError, match="token_type_ids"):
            model(ids, mask, wrong)
    with pytest.raises(ValueError, match="token types 0 to 1, not 0 to 7"):
        model(ids, mask, 7 * mask)
    with pytest.raises(ValueError, match="cut the text"):
        model(torch.ones(1, 41, dtype=torch.long))


@torch.inference_mode()
def test_a_decoder_without_its_head_invents_none(tmp_path: Path) -> None:
    theirs = library.make("llama")
    theirs.model.save_pretrained(tmp_path)
    ours = zoo.load(tmp_path)
    ids, mask = padded(0)
    same(ours(ids).last_hidden_state, theirs.model(ids).last_hidden_state, 1e-4)
    assert ours(ids).logits is None
    with pytest.raises(ValueError, match="continues no texts"):
        ours.generate(ids, mask)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(FileError, match=r"lm_head\.weight is missing"):
        zoo.load(tmp_path)
