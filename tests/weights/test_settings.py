"""Settings of other libraries: each key is known, and a value either has its effect here too, or is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

import theirs as library
import transformers

import zoo
from zoo.files import FileError
from zoo.weights import transformers_settings as known
from zoo.weights.settings import Table

CONFIGS = {
    "bert": "BertConfig",
    "roberta": "RobertaConfig",
    "xlm-roberta": "XLMRobertaConfig",
    "camembert": "CamembertConfig",
    "distilbert": "DistilBertConfig",
    "electra": "ElectraConfig",
    "mpnet": "MPNetConfig",
    "albert": "AlbertConfig",
    "gpt2": "GPT2Config",
    "llama": "LlamaConfig",
    "qwen2": "Qwen2Config",
    "mistral": "MistralConfig",
    "marian": "MarianConfig",
    "t5": "T5Config",
    "vit": "ViTConfig",
    "deit": "DeiTConfig",
    "resnet": "ResNetConfig",
}


@pytest.mark.parametrize("kind", known.CONFIGS)
def test_every_key_that_transformers_writes_is_known(kind: str) -> None:
    written = getattr(transformers, CONFIGS[kind])().to_dict()
    assert not [key for key in written if not known.CONFIGS[kind].knows(key)]
    known.CONFIGS[kind].check(written)  # and the usual values are taken


def test_what_other_files_say_is_known() -> None:
    written = transformers.GenerationConfig().to_dict()
    refused = {"stop_strings", "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens",
               "begin_suppress_tokens", "sequence_bias", "token_healing", "guidance_scale", "watermarking_config",
               "constraints", "force_words_ids"}  # fmt: skip
    assert {key for key in written if not known.GENERATION.knows(key)} <= refused
    for name in ("ViTImageProcessor", "DeiTImageProcessor", "ConvNextImageProcessor"):
        known.PREPROCESSING.check(getattr(transformers, name)().to_dict())


def test_the_rule() -> None:
    table = Table("a.json", frozenset({"used"}), frozenset({"note"}), {"flag": (True, None), "one": (1,)})
    table.check({"used": 5, "note": "x", "flag": True, "one": 1.0, "_private": 3, "new": None, "off": False, "no": []})
    for key, value in (("flag", False), ("flag", 1), ("one", True), ("one", 2), ("new", 3), ("new", {"a": 1})):
        with pytest.raises(ValueError, match=rf"a\.json says {key}: "):
            table.check({key: value})


def changed(folder: Path, file: str, changes: dict[str, Any]) -> None:
    path = folder / file
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, **changes}))


# name -> other values for settings; every key that is used or allowed has one, or says in SAME why not
OTHER: dict[str, dict[str, Any]] = {
    "bert": {
        "hidden_act": "relu", "layer_norm_eps": 0.1, "pad_token_id": 5, "num_hidden_layers": 1,
        "num_attention_heads": 2, "position_embedding_type": "relative_key", "is_decoder": True,
        "add_cross_attention": True, "pruned_heads": {"0": [1]}, "embedding_size": 32, "hidden_size": 32,
        "intermediate_size": 48, "max_position_embeddings": 20, "type_vocab_size": 1, "vocab_size": 50,
        "is_encoder_decoder": True, "cross_attention_hidden_size": 4, "tie_encoder_decoder": True,
    },
    "distilbert": {"activation": "relu", "n_heads": 2, "n_layers": 1, "sinusoidal_pos_embds": True},
    "electra_classifier": {"embedding_size": 64, "summary_type": "mean", "hidden_act": "relu", "layer_norm_eps": 0.1},
    "mpnet": {"relative_attention_num_buckets": 16, "pad_token_id": 0, "layer_norm_eps": 0.1},
    "albert": {"num_hidden_groups": 3, "inner_group_num": 2, "num_hidden_layers": 4, "hidden_act": "relu",
               "pad_token_id": 3, "net_structure_type": 1, "gap_size": 2},
    "roberta": {"pad_token_id": 0, "layer_norm_eps": 0.1, "hidden_act": "silu"},
    "gpt2": {
        "activation_function": "relu", "layer_norm_epsilon": 0.1, "n_head": 2, "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True, "tie_word_embeddings": False,
        "n_inner": 32,
    },
    "llama": {
        "hidden_act": "gelu", "rms_norm_eps": 0.1, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
        "rope_scaling": {"rope_type": "linear", "factor": 4.0}, "attention_bias": True, "mlp_bias": True,
        "partial_rotary_factor": 0.5, "num_key_value_heads": 4, "head_dim": 4, "num_attention_heads": 4,
        "tie_word_embeddings": True, "pretraining_tp": 2,
    },
    "qwen2": {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 0,
              "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"sliding_window": 3},
}  # fmt: skip


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, changes in OTHER.items() for key in changes])
@torch.inference_mode()
def test_a_changed_setting_is_used_as_there_or_refused(name: str, key: str, tmp_path: Path) -> None:
    before = library.saved(name, tmp_path)
    changed(tmp_path, "config.json", {key: OTHER[name][key]})
    try:
        ours = zoo.load(tmp_path)
    except FileError:
        return
    there = type(before).from_pretrained(tmp_path).eval()
    ids = torch.randint(2, 97, (2, 17), generator=torch.Generator().manual_seed(1))
    found, expected = ours(ids).answer, there(ids)
    wanted = expected.get("logits", expected.get("pooler_output"))
    wanted = expected.last_hidden_state if wanted is None else wanted
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("config.json", {"attention_sinks": 4}, "attention_sinks: 4, a setting that the zoo does not know"),
        ("config.json", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
         "partial_rotary_factor: 0.5"),
        ("generation_config.json", {"suppress_tokens": [3]}, "suppress_tokens"),
        ("tokenizer_config.json", {"truncation_side": "left"}, "truncation_side: 'left'"),
        ("tokenizer_config.json", {"add_eos_token": True}, "add_eos_token: True"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(file: str, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    library.saved("llama", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    changed(tmp_path, file, changes)
    with pytest.raises(FileError, match=said):
        zoo.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "changes", "said"),
    [
        ("bert", "config.json", {"layer_norm_eps": "1e-1"}, "layer_norm_eps: '1e-1', which is no number"),
        ("gpt2", "config.json", {"layer_norm_epsilon": True}, "layer_norm_epsilon: True, which is no number"),
        ("llama", "config.json", {"rms_norm_eps": "1e-5"}, "rms_norm_eps: '1e-5', which is no number"),
        ("llama", "config.json", {"rope_theta": "100", "rope_parameters": None}, "rope_theta: '100', which is no"),
        ("llama", "config.json", {"rope_parameters": {"rope_theta": "100"}}, "rope_theta: '100', which is no number"),
        ("llama", "config.json", {"rope_scaling": {"rope_type": "linear", "factor": "4"}}, "factor: '4', which is no"),
        ("llama", "config.json", {"rope_scaling": {"rope_type": "linear"}}, "factor: None, which is no number"),
        ("llama", "config.json", {"tie_word_embeddings": "false"}, "tie_word_embeddings: 'false', which is neither"),
    ],
)  # fmt: skip
def test_text_in_the_place_of_a_number_or_of_true_is_refused(
    name: str, file: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    library.saved(name, tmp_path)
    changed(tmp_path, file, changes)
    with pytest.raises(FileError, match=said):
        zoo.load(tmp_path)


def test_the_ends_of_texts_are_those_of_the_settings_of_generation(tmp_path: Path) -> None:
    library.saved("llama", tmp_path)
    assert zoo.load(tmp_path).spec.input.ends == (98,)
    changed(tmp_path, "generation_config.json", {"eos_token_id": [3, 7], "pad_token_id": 4})
    takes = zoo.load(tmp_path).spec.input
    assert (takes.ends, takes.padding) == ((3, 7), 4)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("name", ["bert_classifier", "gpt2", "llama"])
@torch.inference_mode()
def test_names_under_a_wrapper(name: str, prefix: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    library.saved(name, tmp_path)
    ids = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(1))
    before = zoo.load(tmp_path)(ids).answer
    file = tmp_path / "model.safetensors"
    save_file({prefix + key: value for key, value in load_file(file).items()}, file)
    assert torch.equal(zoo.load(tmp_path)(ids).answer, before)


@pytest.mark.parametrize("label", ["می\u200cروم", "👩\u200d🚀", "37\u00a0%", "a\u3000b", "🏴\U000e0067\U000e007f"])
def test_labels_in_every_writing(label: str, tmp_path: Path) -> None:
    library.saved("bert_classifier", tmp_path)
    changed(tmp_path, "config.json", {"id2label": {"0": label, "1": "b", "2": "c"}})
    model = zoo.load(tmp_path)
    assert model.labels == (label, "b", "c")
    zoo.save(model, tmp_path / "ours")
    assert zoo.load(tmp_path / "ours").labels == model.labels


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"0": "a\x1b[31m", "1": "b", "2": "c"}, "cannot be printed"),
        ({"0": "a\u202e", "1": "b", "2": "c"}, "cannot be printed"),
        ({"0": "a", "1": "b"}, "names 2 classes, and its classifier has 3"),
        ({"0": "a", "1": "b", "2": "c", "3": "d"}, "names 4 classes, and its classifier has 3"),
        ({"0": "a", "1": "b", "7": "c"}, "a name each to 0 to 2"),
        ({"0": "a", "1": "b", "2": None}, "name each"),
    ],
)
def test_labels_are_never_dropped_unsaid(names: dict[str, Any], said: str, tmp_path: Path) -> None:
    library.saved("bert_classifier", tmp_path)
    changed(tmp_path, "config.json", {"id2label": names})
    with pytest.raises(FileError, match=said):
        zoo.load(tmp_path)


@pytest.mark.parametrize(
    ("outputs", "changes", "task"),
    [
        (3, {}, "text-classification"),
        (3, {"problem_type": "single_label_classification"}, "text-classification"),
        (3, {"problem_type": "multi_label_classification"}, "multi-label-text-classification"),
        (1, {}, "multi-label-text-classification"),
        (1, {"problem_type": "regression"}, "text-scoring"),
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "text-scoring"),
        (1, {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"},
         "multi-label-text-classification"),
    ],
)  # fmt: skip
def test_what_the_outputs_of_a_classifier_mean(
    outputs: int, changes: dict[str, Any], task: str, tmp_path: Path
) -> None:
    from zoo.tasks.answers import answers

    config = transformers.BertConfig(**library.BERT, num_labels=outputs)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    changed(tmp_path, "config.json", changes)
    assert zoo.load(tmp_path).spec.task == task
    logits = torch.tensor([1.0, -2.0, 0.5][:outputs])
    right = {"text-classification": logits.softmax(0), "text-scoring": logits}.get(task, logits.sigmoid())
    what, values = answers(task, logits)
    assert torch.equal(values, right) and what == ("score" if task == "text-scoring" else "probability")
