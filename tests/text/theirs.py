"""transformers' networks, small and with weights that no default could stand in for, as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import transformers

BERT = {"vocab_size": 99, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 96, "max_position_embeddings": 40}  # fmt: skip
DISTILBERT = {"vocab_size": 99, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "max_position_embeddings": 40}
ROBERTA = {**BERT, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
ELECTRA = {**BERT, "embedding_size": 32}
MPNET = {**BERT, "max_position_embeddings": 42}
ALBERT = {**ELECTRA, "num_hidden_layers": 3, "num_hidden_groups": 2}
GPT2 = {"vocab_size": 99, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 98,
        "eos_token_id": 98}  # fmt: skip
LLAMA = {"vocab_size": 99, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8,
         "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 64, "eos_token_id": 98,
         "bos_token_id": 97, "pad_token_id": None}  # fmt: skip
LLAMA3_ROPE = {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
MISTRAL = {**LLAMA, "sliding_window": 5}

# name -> (class, config class, settings)
ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", BERT),
    "bert_classifier": ("BertForSequenceClassification", "BertConfig", {**BERT, "num_labels": 3}),
    "bert_tokens": ("BertForTokenClassification", "BertConfig", {**BERT, "num_labels": 5}),
    "bert_answers": ("BertForQuestionAnswering", "BertConfig", BERT),
    "bert_masked": ("BertForMaskedLM", "BertConfig", BERT),
    "bert_pretraining": ("BertForPreTraining", "BertConfig", BERT),
    "distilbert": ("DistilBertModel", "DistilBertConfig", DISTILBERT),
    "distilbert_classifier": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {**DISTILBERT, "num_labels": 2},
    ),
    "distilbert_tokens": ("DistilBertForTokenClassification", "DistilBertConfig", {**DISTILBERT, "num_labels": 4}),
    "distilbert_answers": ("DistilBertForQuestionAnswering", "DistilBertConfig", DISTILBERT),
    "roberta": ("RobertaModel", "RobertaConfig", ROBERTA),
    "roberta_classifier": ("RobertaForSequenceClassification", "RobertaConfig", {**ROBERTA, "num_labels": 3}),
    "roberta_tokens": ("RobertaForTokenClassification", "RobertaConfig", {**ROBERTA, "num_labels": 5}),
    "roberta_answers": ("RobertaForQuestionAnswering", "RobertaConfig", ROBERTA),
    **{
        f"{name}{ending}": (
            f"{theirs}{made}",
            f"{theirs}Config",
            {**settings, **({"num_labels": labels} if labels else {})},
        )
        for name, theirs, settings in (
            ("electra", "Electra", ELECTRA),
            ("mpnet", "MPNet", MPNET),
            ("albert", "Albert", ALBERT),
        )
        for ending, made, labels in (
            ("", "Model", 0),
            ("_classifier", "ForSequenceClassification", 3),
            ("_tokens", "ForTokenClassification", 5),
            ("_answers", "ForQuestionAnswering", 0),
        )
    },
    "electra_wide": ("ElectraModel", "ElectraConfig", {**ELECTRA, "embedding_size": 64}),
    "electra_pretraining": ("ElectraForPreTraining", "ElectraConfig", ELECTRA),
    "albert_shared": ("AlbertForPreTraining", "AlbertConfig", {**ALBERT, "num_hidden_groups": 1}),
}
DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "tie_word_embeddings": False}),
    "smollm2": ("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "llama3": ("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "rope_parameters": LLAMA3_ROPE, "head_dim": 16}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**LLAMA, "tie_word_embeddings": True}),
    "mistral": ("MistralForCausalLM", "MistralConfig", MISTRAL),
}
MARIAN = {"vocab_size": 99, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 96,
          "decoder_ffn_dim": 80, "encoder_attention_heads": 4, "decoder_attention_heads": 8,
          "max_position_embeddings": 40, "activation_function": "swish", "scale_embedding": True, "pad_token_id": 98,
          "eos_token_id": 0, "forced_eos_token_id": 0, "decoder_start_token_id": 98}  # fmt: skip
T5 = {"vocab_size": 99, "d_model": 64, "d_kv": 24, "d_ff": 96, "num_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 0}  # fmt: skip
TRANSLATORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "marian": ("MarianMTModel", "MarianConfig", MARIAN),
    "marian_apart": (
        "MarianMTModel",
        "MarianConfig",
        {**MARIAN, "share_encoder_decoder_embeddings": False, "decoder_vocab_size": 120, "scale_embedding": False,
         "activation_function": "relu"},
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5_gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
}  # fmt: skip


def livelier(model: nn.Module) -> nn.Module:
    """No parameter at a value that a mistake could hide behind."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def make(name: str) -> Any:
    made, config, settings = {**ENCODERS, **DECODERS, **TRANSLATORS}[name]
    torch.manual_seed(0)
    model = getattr(transformers, made)(getattr(transformers, config)(**settings))
    return searching(model) if name in TRANSLATORS else livelier(model)


def searching(model: Any) -> Any:
    """Weights by which tokens differ from step to step, so that a search has something to choose; sines stay."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                wide = 0.3 if getattr(model.config, "is_gated_act", False) else 0.5
                spread = wide if parameter.dim() > 1 and "shared" not in name and "embed" not in name else 0.2
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(std=0.3, generator=generator)
            model.generation_config.bad_words_ids = [[98]]
    if "lm_head.weight" not in dict(model.named_parameters()) and not getattr(
        model.config, "scale_decoder_outputs", True
    ):
        model.lm_head.weight = nn.Parameter(torch.randn(99, 64, generator=generator))
        model.config.tie_word_embeddings = False
    return model.eval()


def saved(name: str, folder: Path) -> Any:
    """The network, after it was written to `folder`."""
    theirs = make(name)
    theirs.save_pretrained(folder)
    return theirs
