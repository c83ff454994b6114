"""Which keys of config.json and of GGUF metadata change no number, and which families can.

Knows names and values; knows no network and no file. docs/checkpoints.md holds these lists, and a
test compares the two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "CONFIG_KEYS",
    "EXPERT_KEYS",
    "FAMILIES",
    "GENERATION",
    "GGUF_KEYS",
    "Family",
    "Tolerated",
]


class Tolerated(NamedTuple):
    """Keys that change no number: at every value, or at the listed ones."""

    names: str
    """Separated by blanks; ``*`` stands for any characters."""
    reason: str
    values: tuple[Any, ...] | None = None
    """None: every value. Of a list, each element is compared. Null is tolerated everywhere."""


class Family(NamedTuple):
    """Keys that can change a network, known by the words in their names."""

    title: str
    inside: str
    """Texts that occur anywhere in a name."""
    words: str = ""
    """Whole words of a name, with or without a plural's s."""


DESCRIBES = "describes the file or who made it"
TRAINING = "is used in training only"
OUTPUTS = "chooses what transformers returns, not what it computes"
PLAIN = "layers look back only, and add one part after the other"
IDS = "belongs to the tokenizer"
GENERATION = "an option of generation; another value is noted"

CONFIG_KEYS = (
    Tolerated("transformers_version transformers.js_config _name_or_path _commit_hash", DESCRIBES),
    Tolerated("architectures auto_map custom_pipelines", "classes; model_type names the network"),
    Tolerated("torch_dtype dtype", "the type of the file; numbers here are float32"),
    Tolerated(
        "_attn_implementation _attn_implementation_autoset _attn_implementation_internal"
        " attn_implementation use_flash_attn use_flash_attn_2 use_flash_attention",
        "the same attention",
    ),
    Tolerated("use_cache cache_implementation", "keeps keys and values, and changes no number"),
    Tolerated("unsloth_version unsloth_fixed finetuning_task problem_type", DESCRIBES),
    Tolerated("id2label label2id num_labels task_specific_params", "of classifiers and pipelines"),
    Tolerated("return_dict return_dict_in_generate use_return_dict output_past", OUTPUTS),
    Tolerated("output_attentions output_hidden_states output_logits output_scores", OUTPUTS),
    Tolerated("output_router_logits keys_to_ignore_at_inference", OUTPUTS),
    Tolerated("torchscript use_bfloat16 tf_legacy_loss chunk_size_feed_forward", OUTPUTS),
    Tolerated("initializer_range initializer_factor", TRAINING),
    Tolerated("dropout attention_dropout attn_dropout attention_probs_dropout_prob", TRAINING),
    Tolerated("hidden_dropout hidden_dropout_prob activation_dropout ffn_dropout", TRAINING),
    Tolerated("ff_dropout mlp_dropout resid_dropout residual_dropout emb_dropout", TRAINING),
    Tolerated("embd_dropout embed_dropout embedding_dropout classifier_dropout", TRAINING),
    Tolerated("summary_first_dropout attn_pdrop resid_pdrop embd_pdrop emb_pdrop", TRAINING),
    Tolerated("drop_path drop_path_rate drop_rate", TRAINING),
    Tolerated("router_aux_loss_coef gradient_checkpointing loss_type", TRAINING),
    Tolerated("weight_decay fuse_cross_entropy fused_linear_cross_entropy", TRAINING),
    Tolerated("mup_denominator", "only the draft model of MiniCPM4 computes with it"),
    Tolerated("max_window_layers", "counts the layers of use_sliding_window, which must be false"),
    Tolerated("tokenizer_class prefix sep_token_id unk_token_id mask_token_id", IDS),
    Tolerated("decoder_start_token_id image_token_id", IDS),
    Tolerated("rope_scaling.finetuned rope_parameters.finetuned", DESCRIBES),
    Tolerated(
        "attention_bias mlp_bias use_bias bias qkv_bias lm_head_bias attn_bias add_bias_linear",
        "no linear has a bias",
        (False,),
    ),
    Tolerated("use_sliding_window", "every layer attends to all positions", (False,)),
    Tolerated("_sliding_window_pattern", "layer_types names the layers"),
    Tolerated("sliding_window", "a window, unless use_sliding_window beside it is false", ()),
    Tolerated("layer_types", "every layer attends to all positions", ("full_attention",)),
    Tolerated("sparse_config", "every layer attends to all positions", ()),
    Tolerated("pretraining_tp tensor_parallel_size", "other values split the sums", (1,)),
    Tolerated("rope_interleaved use_mrope", "q and k turn in halves, by one position", (False,)),
    Tolerated("num_experts num_local_experts n_routed_experts", "no layer has experts", (0,)),
    Tolerated("num_experts_per_tok num_shared_experts n_shared_experts", "no experts", (0,)),
    Tolerated("use_moe", "no experts", (False,)),
    Tolerated("norm_topk_prob decoder_sparse_step", "of experts, whose number must be 0"),
    Tolerated("mlp_only_layers", "no layer has experts", ()),
    Tolerated(
        "scoring_func scoring_function score_func score_function router_score_function"
        " moe_router_score_function",
        "a router takes the softmax",
        ("softmax",),
    ),
    Tolerated("sigmoid use_sigmoid use_sigmoid_router", "a router takes the softmax", (False,)),
    Tolerated(
        "capacity capacity_factor expert_capacity token_drop drop_tokens",
        "every token goes to all of its experts",
        (False,),
    ),
    Tolerated("num_nextn_predict_layers mtp_num_layers num_mtp_layers", "no further heads", (0,)),
    Tolerated("use_mtp", "no layer predicts further", (False,)),
    Tolerated("logit_scale logits_scaling embedding_multiplier", "a factor of 1", (1,)),
    Tolerated("residual_multiplier", "a factor of 1", (1,)),
    Tolerated("attn_logit_softcapping final_logit_softcapping clip_qkv", "no bound", (0, False)),
    Tolerated("qk_layernorm use_qk_norm qk_norm", "the record names the norms", (False,)),
    Tolerated("is_decoder", "every network here is one, whatever transformers' default says"),
    Tolerated("is_causal causal", "a decoder", (True,)),
    Tolerated("is_encoder_decoder add_cross_attention tie_encoder_decoder", "one stack", (False,)),
    Tolerated("use_bidirectional_attention parallel_attn use_parallel_residual", PLAIN, (False,)),
    Tolerated("pruned_heads", "no head is pruned", ()),
    Tolerated("max_length", GENERATION, (20,)),
    Tolerated("min_length no_repeat_ngram_size encoder_no_repeat_ngram_size", GENERATION, (0,)),
    Tolerated("num_beams num_beam_groups num_return_sequences", GENERATION, (1,)),
    Tolerated("temperature top_p typical_p", GENERATION, (1,)),
    Tolerated("repetition_penalty length_penalty", GENERATION, (1,)),
    Tolerated("diversity_penalty", GENERATION, (0,)),
    Tolerated("top_k", GENERATION, (50,)),
    Tolerated("do_sample early_stopping remove_invalid_values", GENERATION, (False,)),
)

# Where layers have experts, these stand in place of the rows above that have the same names.
EXPERT_KEYS = (
    Tolerated(
        "num_experts num_local_experts n_routed_experts",
        "another field of this network counts its experts",
        (),
    ),
    Tolerated("num_shared_experts n_shared_experts", "no shared expert is counted", (0,)),
    Tolerated("use_moe", "every layer has experts", (True,)),
    Tolerated("decoder_sparse_step", "every layer has experts", (1,)),
    Tolerated("mlp_only_layers", "every layer has experts", ()),
    Tolerated("norm_topk_prob", "the shares of a token's experts add up to 1", (True,)),
)

# Those that begin with a dot belong to the architecture: ``.vocab_size`` is ``llama.vocab_size``.
GGUF_KEYS = (
    Tolerated("general.name general.basename general.finetune general.size_label", DESCRIBES),
    Tolerated("general.author general.organization general.version general.uuid", DESCRIBES),
    Tolerated("general.description general.languages general.tags general.quantized_by", DESCRIBES),
    Tolerated("general.license general.license.name general.license.link", DESCRIBES),
    Tolerated("general.url general.doi general.repo_url general.datasets", DESCRIBES),
    Tolerated("general.source.url general.source.doi general.source.uuid", DESCRIBES),
    Tolerated("general.source.repo_url general.source.huggingface.repository", DESCRIBES),
    *(
        Tolerated(
            f"general.{of}.count general.{of}.*.name general.{of}.*.author general.{of}.*.version"
            f" general.{of}.*.organization general.{of}.*.description general.{of}.*.url"
            f" general.{of}.*.doi general.{of}.*.uuid general.{of}.*.repo_url",
            DESCRIBES,
        )
        for of in ("base_model", "dataset")
    ),
    Tolerated("general.file_type general.quantization_version", "each tensor names its own type"),
    Tolerated(
        "general.sampling.sequence general.sampling.top_k general.sampling.top_p"
        " general.sampling.min_p general.sampling.xtc_probability"
        " general.sampling.xtc_threshold general.sampling.temp"
        " general.sampling.penalty_last_n general.sampling.penalty_repeat"
        " general.sampling.mirostat general.sampling.mirostat_tau"
        " general.sampling.mirostat_eta",
        "options of generation, which change no network",
    ),
    Tolerated("general.type", "a whole model, not an adapter", ("model",)),
    Tolerated(
        "tokenizer.chat_template tokenizer.chat_template.* tokenizer.chat_templates"
        " tokenizer.huggingface.json tokenizer.rwkv.world",
        IDS,
    ),
    Tolerated("tokenizer.ggml.*_token_id tokenizer.ggml.*_token_ids", IDS),
    Tolerated(
        "tokenizer.ggml.add_bos_token tokenizer.ggml.add_eos_token"
        " tokenizer.ggml.add_sep_token tokenizer.ggml.add_space_prefix",
        IDS,
    ),
    Tolerated(
        "tokenizer.ggml.model tokenizer.ggml.pre tokenizer.ggml.tokens"
        " tokenizer.ggml.token_type tokenizer.ggml.token_type_count tokenizer.ggml.scores"
        " tokenizer.ggml.merges tokenizer.ggml.added_tokens",
        IDS,
    ),
    Tolerated(
        "tokenizer.ggml.remove_extra_whitespaces tokenizer.ggml.precompiled_charsmap"
        " tokenizer.ggml.normalizer.lowercase",
        IDS,
    ),
    Tolerated(
        "quantize.imatrix.file quantize.imatrix.dataset quantize.imatrix.entries_count"
        " quantize.imatrix.chunks_count",
        "tells how the weights were quantized",
    ),
    Tolerated("mradermacher.*", DESCRIBES),
    Tolerated("split.no split.count split.tensors.count", "counts the parts of a model"),
    Tolerated(".rope.scaling.finetuned", DESCRIBES),
    Tolerated(".rope.scaling.original_context_length", "only yarn and longrope compute with it"),
    Tolerated(".rope.scaling.attn_factor .rope.scale_linear", "a factor of 1", (1,)),
    Tolerated(".attention.causal", "a decoder", (True,)),
    Tolerated(".attention.sliding_window", "every layer attends to all positions", (0,)),
    Tolerated(".attention.scale .attention.output_scale", "not set", (0,)),
    Tolerated(".attention.clamp_kqv .attention.max_alibi_bias", "none", (0,)),
    Tolerated(".logit_scale .residual_scale .embedding_scale", "not set, or a factor of 1", (0, 1)),
    Tolerated(".attn_logit_softcapping .final_logit_softcapping", "no bound", (0,)),
    Tolerated(".expert_count .expert_used_count .expert_shared_count", "no experts", (0,)),
    Tolerated(".nextn_predict_layers .leading_dense_block_count", "no such layers", (0,)),
    Tolerated(".use_parallel_residual", "layers add one after the other", (False,)),
    Tolerated(".tensor_data_layout", "rows of q and k in pairs", ("Meta AI original pth",)),
    Tolerated(".pooling_type", "logits, not an embedding of the text", (0,)),
)

FAMILIES = (
    Family("attention", "attn attention softcap sliding alibi local_global temperature_tuning",
           "window swa head kv q k v qk qkv mask causal sink mla query key value bidirectional"
           " lambda indexer multiquery differential"),
    Family("positions", "rope rotary position yarn theta ntk", "pos nope mrope xpos"),
    Family("norms", "norm unit_offset plus_one subtract_mean", "eps epsilon rms ln subln preln"
           " postln gamma centering sandwich"),
    Family("scales", "scal multipl dim_model softmax", "mup factor logit clip clamp cap limit"
           " gain"),
    Family("biases", "bias"),
    Family("experts", "expert moe sigmoid sinkhorn scoring capacity", "router routed routing topk"
           " shared gate gating score drop dropped dropping dropless jitter dispatch activated"),
    Family("quantization", "quant ternar bitwidth zero_point sign_only low_rank per_tensor"
           " per_token per_channel", "bit wbit nbit abit binary"
           " codebook group act activation weight sparse sparsity compression pruned zeropoint"
           " precision int2 int4 int8 fp4 fp6 fp8 nf4 mxfp4 mxfp8 nvfp4 gptq awq aqlm vq hqq"
           " onebit trit plane twn outlier svd channelwise lut"),
    Family("transforms of the basis", "hadamard rotat permut walsh quarot spinquant", "transform"
           " basis prism had fwht rht dct orthogonal butterfly"),
    Family("the structure of layers", "layer embed embd residual glu", "block mlp ffn feed ssm"
           " mamba conv recurrent state dense depth skip parallel hidden tie gated relu relu2 silu"
           " gelu nonlinearity loop ut hyper altup laurel"),
    Family("further predictions", "mtp nextn medusa speculat", "eagle draft"),
    Family("adapters", "lora adapter virtual_token prompt_tuning", "peft ia3"),
    Family("other inputs", "vision multimodal", "image audio video pixel encoder decoder cross"),
)  # fmt: skip
