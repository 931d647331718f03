"""The rules for transformers' settings files, as data: a `Table` for each kind of network and of file."""

from __future__ import annotations

from zoo.weights.settings import Table, words

# Settings of every network: which outputs a call returns, how the network was trained and stored, its authors.
_NOTES = words("""
    transformers_version architectures model_type output_hidden_states output_attentions return_dict dtype torch_dtype
    use_cache torchscript use_bfloat16 tf_legacy_loss chunk_size_feed_forward initializer_range initializer_factor
    name_or_path finetuning_task num_labels label2id tokenizer_class task_specific_params gradient_checkpointing
    attn_implementation unsloth_version unsloth_fixed transformers.js_config model_max_length max_length min_length
    do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
    repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size num_return_sequences
    output_scores return_dict_in_generate remove_invalid_values exponential_decay_length_penalty
    decoder_start_token_id sep_token_id cls_token_id mask_token_id unk_token_id prefix language output_past torchao
""")
# Settings without effect after training.
_TRAINING = words("""
    hidden_dropout_prob attention_probs_dropout_prob classifier_dropout dropout attention_dropout qa_dropout
    seq_classif_dropout resid_pdrop embd_pdrop attn_pdrop summary_first_dropout hidden_dropout classif_dropout
    layerdrop
""")
_BASE = Table(
    "config.json",
    used=frozenset({"architectures", "model_type", "id2label", "problem_type"}),
    harmless=_NOTES | _TRAINING,
    allowed={
        "is_encoder_decoder": (False, None),
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
        "cross_attention_hidden_size": (None,),
        "tie_encoder_decoder": (False, None),
        "pruned_heads": ({}, None),
    },
)
_TEXT = _BASE.more(used=("vocab_size", "max_position_embeddings", "pad_token_id", "eos_token_id"),
                   harmless=("bos_token_id",))  # fmt: skip
_BERT_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
_BERT = _TEXT.more(
    used=(*_BERT_SIZES, "type_vocab_size", "layer_norm_eps", "embedding_size", "sentence_transformers",
          "sbert_ce_default_activation_function"),
    # BERT's training head is never read, so it may be tied or not. The pooler_ keys, in BERT's own multilingual
    # folders, describe a pooler that was never built.
    harmless=("tie_word_embeddings", "directionality", "pooler_fc_size", "pooler_num_attention_heads",
              "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "classifier_activation"),
    allowed={"position_embedding_type": ("absolute", None)},
)  # fmt: skip
_LLAMA = _TEXT.more(
    used=("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
          "hidden_act", "rms_norm_eps", "head_dim", "rope_theta", "rope_scaling", "rope_parameters",
          "tie_word_embeddings"),
    harmless=("pretraining_tp", "is_llama_config"),
    allowed={"attention_bias": (False, None), "mlp_bias": (False, None), "partial_rotary_factor": (1.0, None),
             "rope_interleaved": (False, None)},
)  # fmt: skip
_VIT = _BASE.more(
    used=("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "head_dim",
          "layer_norm_eps", "image_size", "patch_size", "num_channels", "qkv_bias"),
    # The pooler and the decoder are used in training only.
    harmless=("encoder_stride", "pooler_act", "pooler_output_size", "tie_word_embeddings"),
)  # fmt: skip
_TARGETS = ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids",
            "renormalize_logits")  # fmt: skip
CONFIGS: dict[str, Table] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT),
    # A summary is read by networks that choose among texts alone.
    "electra": _BERT.more(harmless=("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout")),
    "mpnet": _BERT.more(allowed={"relative_attention_num_buckets": (32, None), "pad_token_id": (1, None)}),
    "albert": _BERT.more(
        used=("num_hidden_groups",),
        # The last four are in Google's own folders, and no library reads them.
        harmless=("classifier_dropout_prob", "net_structure_type", "gap_size", "num_memory_blocks",
                  "down_scale_factor"),
        allowed={"inner_group_num": (1, None)},
    ),
    "distilbert": _TEXT.more(
        used=("dim", "n_layers", "n_heads", "hidden_dim", "activation", "sentence_transformers",
              "sbert_ce_default_activation_function"),
        # Sinusoidal positions are stored as an ordinary table.
        harmless=("tie_word_embeddings", "tie_weights_", "sinusoidal_pos_embds"),
    ),
    "gpt2": _TEXT.more(
        used=("n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function", "layer_norm_epsilon"),
        harmless=("n_ctx", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
                  "predict_special_tokens", "reorder_and_upcast_attn"),
        allowed={"scale_attn_weights": (True, None), "scale_attn_by_inverse_layer_idx": (False, None),
                 "tie_word_embeddings": (True, None)},
    ),
    "llama": _LLAMA,
    "qwen2": _LLAMA.more(
        used=("layer_types",),
        harmless=("sliding_window", "max_window_layers"),  # without effect unless use_sliding_window is on
        allowed={"use_sliding_window": (False, None), "use_mrope": (False, None)},
    ),
    "mistral": _LLAMA.more(used=("sliding_window",)),
    "marian": _TEXT.more(
        used=("decoder_vocab_size", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "decoder_ffn_dim",
              "encoder_attention_heads", "decoder_attention_heads", "activation_function", "d_model",
              "scale_embedding", "share_encoder_decoder_embeddings", "tie_word_embeddings", *_TARGETS),
        harmless=("activation_dropout", "encoder_layerdrop", "decoder_layerdrop", "init_std", "num_hidden_layers",
                  "classifier_dropout"),
        allowed={"is_encoder_decoder": (True, None), "add_bias_logits": (False, None),
                 "normalize_before": (False, None), "add_final_layer_norm": (False, None),
                 "normalize_embedding": (False, None), "static_position_embeddings": (True, None)},
    ),
    "t5": _TEXT.more(
        used=("d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "layer_norm_epsilon",
              "feed_forward_proj", "tie_word_embeddings", "scale_decoder_outputs", "n_positions",
              "dense_act_fn", "is_gated_act", *_TARGETS),
        harmless=("dropout_rate",),
        allowed={"is_encoder_decoder": (True, None), "relative_attention_num_buckets": (32, None),
                 "relative_attention_max_distance": (128, None)},
    ),
    "vit": _VIT,
    "deit": _VIT,
    "resnet": _BASE.more(
        used=("depths", "layer_type", "num_channels"),
        # The widths are compared with the tensors; the other keys choose the outputs of a backbone.
        harmless=("embedding_size", "hidden_sizes", "out_features", "out_indices", "stage_names"),
        allowed={"hidden_act": ("relu",), "downsample_in_first_stage": (False,), "downsample_in_bottleneck": (False,)},
    ),
}  # fmt: skip

ROPE: dict[str, Table] = {
    kind: Table("config.json", frozenset({"rope_type", "type", "rope_theta", *used}), frozenset(harmless),
                {"partial_rotary_factor": (1.0, None)})
    for kind, used, harmless in (
        ("default", (), ("factor", "original_max_position_embeddings")),
        ("linear", ("factor",), ("original_max_position_embeddings",)),
        ("llama3", ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), ()),
    )
}  # fmt: skip

# `generate` takes the settings of sampling as arguments; settings that forbid or force tokens are refused.
GENERATION = Table(
    "generation_config.json",
    used=frozenset({"eos_token_id", "pad_token_id"}),
    harmless=words("""
        transformers_version bos_token_id max_length max_new_tokens min_length min_new_tokens early_stopping max_time
        do_sample num_beams use_cache use_mtp cache_implementation cache_config max_cache_len temperature top_k top_p
        min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty encoder_repetition_penalty length_penalty
        no_repeat_ngram_size renormalize_logits remove_invalid_values num_return_sequences output_attentions
        output_hidden_states output_scores output_logits return_dict_in_generate encoder_no_repeat_ngram_size
        decoder_start_token_id is_assistant num_assistant_tokens num_assistant_tokens_schedule
        assistant_confidence_threshold prompt_lookup_num_tokens max_matching_ngram_size assistant_early_exit
        assistant_lookbehind target_lookbehind assistant_ensemble_weight speculation_type compile_config disable_compile
        continuous_batching_config low_memory penalty_alpha dola_layers diversity_penalty num_beam_groups
        prefill_chunk_size exponential_decay_length_penalty chat_format max_window_size
    """),
)  # fmt: skip

# What changes the choice of tokens is refused where `translate` has no argument for it.
_FREE = ("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
         "min_length", "min_new_tokens", "num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers",
         "exponential_decay_length_penalty", "renormalize_logits", "do_sample", "num_return_sequences")  # fmt: skip
GENERATION_OF_TARGETS = Table(
    GENERATION.file,
    used=GENERATION.used | set(_TARGETS),
    harmless=GENERATION.harmless - set(_FREE) | {"top_k", "top_p", "temperature"},
    allowed={
        **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty"), (1.0, None)),
        **dict.fromkeys(("num_beam_groups", "num_return_sequences"), (1, None)),
        "do_sample": (False, None),
    },
)

# How a processor prepares pictures.
PREPROCESSING = Table(
    "preprocessor_config.json",
    used=words("""
        do_resize do_rescale do_normalize do_center_crop size crop_size crop_pct resample image_mean image_std
        image_processor_type feature_extractor_type
    """),
    harmless=words("""
        do_convert_rgb return_tensors data_format input_data_format device disable_grouping processor_class
        image_seq_length valid_processor_keys
    """),
    allowed={"rescale_factor": (1 / 255, 0.00392156862745098, None), "do_pad": (False, None)},
)  # fmt: skip
