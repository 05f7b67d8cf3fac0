"""What checkpoints say about themselves: defaults of their configs, and the files of random ones.

A published config lacks what was added to its class later (MusicGen's of 2023 has no ``audio_channels``):
`complete` fills in what transformers assumes. `files` gives the configs of random checkpoints, with the
published values in full. ``tiny`` keeps every structural trait (layers of each kind, ratios, frame rate,
window length, vector size) at a size that can be committed.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

_DECODER: Config = {
    "vocab_size": 2048,
    "max_position_embeddings": 2048,
    "num_hidden_layers": 24,
    "ffn_dim": 4096,
    "num_attention_heads": 16,
    "layerdrop": 0.0,
    "use_cache": True,
    "activation_function": "gelu",
    "hidden_size": 1024,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "initializer_factor": 0.02,
    "scale_embedding": False,
    "num_codebooks": 4,
    "audio_channels": 1,
    "pad_token_id": 2048,
    "bos_token_id": 2048,
    "eos_token_id": None,
    "tie_word_embeddings": False,
}

DEFAULTS: dict[str, Config] = {
    "musicgen": {"initializer_factor": 0.02},
    "musicgen_melody": {"initializer_factor": 0.02, "num_chroma": 12, "chroma_length": 235},
    "musicgen_decoder": _DECODER,
    "musicgen_melody_decoder": _DECODER,
    "t5": {
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "initializer_factor": 1.0,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": True,
        "use_cache": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
    },
    "encodec": {
        "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0],
        "sampling_rate": 24000,
        "audio_channels": 1,
        "normalize": False,
        "chunk_length_s": None,
        "overlap": None,
        "hidden_size": 128,
        "num_filters": 32,
        "num_residual_layers": 1,
        "upsampling_ratios": [8, 5, 4, 2],
        "norm_type": "weight_norm",
        "kernel_size": 7,
        "last_kernel_size": 7,
        "residual_kernel_size": 3,
        "dilation_growth_rate": 2,
        "use_causal_conv": True,
        "pad_mode": "reflect",
        "compress": 2,
        "num_lstm_layers": 2,
        "trim_right_ratio": 1.0,
        "codebook_size": 1024,
        "codebook_dim": 128,
        "use_conv_shortcut": True,
    },
    "clap": {
        "projection_dim": 512,
        "projection_hidden_act": "relu",
        "logit_scale_init_value": 1 / 0.07,
        "initializer_factor": 1.0,
    },
    "clap_text_model": {
        "vocab_size": 50265,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "initializer_factor": 1.0,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "projection_dim": 512,
        "projection_hidden_act": "relu",
    },
    "clap_audio_model": {
        "window_size": 8,
        "num_mel_bins": 64,
        "spec_size": 256,
        "hidden_act": "gelu",
        "patch_size": 4,
        "patch_stride": [4, 4],
        "num_classes": 527,
        "hidden_size": 768,
        "depths": [2, 2, 6, 2],
        "num_attention_heads": [4, 8, 16, 32],
        "num_hidden_layers": 4,
        "enable_fusion": False,
        "fusion_type": None,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "patch_embed_input_channels": 1,
        "flatten_patch_embeds": True,
        "patch_embeds_hidden_size": 96,
        "enable_patch_layer_norm": True,
        "qkv_bias": True,
        "mlp_ratio": 4.0,
        "aff_block_r": 4,
        "layer_norm_eps": 1e-5,
        "initializer_factor": 1.0,
        "projection_dim": 512,
        "projection_hidden_act": "relu",
    },
}
"""The values that transformers assumes where a config of each ``model_type`` is silent."""

_PARTS = {
    "musicgen": {"text_encoder": "t5", "audio_encoder": "encodec", "decoder": "musicgen_decoder"},
    "musicgen_melody": {
        "text_encoder": "t5",
        "audio_encoder": "encodec",
        "decoder": "musicgen_melody_decoder",
    },
    "clap": {"text_config": "clap_text_model", "audio_config": "clap_audio_model"},
}

# Decoders: layers, size, heads.
_SIZES = {
    "musicgen-small": (24, 1024, 16),
    "musicgen-stereo-small": (24, 1024, 16),
    "musicgen-medium": (48, 1536, 24),
    "musicgen-melody": (48, 1536, 24),
    "musicgen-large": (48, 2048, 32),
    "tiny": (2, 64, 2),
    "tiny-stereo": (2, 64, 2),
    "tiny-melody": (2, 64, 2),
}
_CLAPS = ("clap-htsat-unfused", "tiny-clap")


def complete(config: Config) -> Config:
    """Fill in what a config leaves to the defaults, those of its parts included.

    Parameters
    ----------
    config : dict
        A config of any ``model_type``; one that is not known stays as it is.
    """
    full = DEFAULTS.get(config.get("model_type", ""), {}) | config
    for part, kind in _PARTS.get(config.get("model_type", ""), {}).items():
        given = config.get(part)
        if isinstance(given, dict):
            full[part] = complete({"model_type": kind} | given)
    if config.get("model_type") == "encodec" and full["codebook_dim"] is None:
        full["codebook_dim"] = full["hidden_size"]
    return full


def files(model: str, layers: int | None = None) -> dict[str, Config]:
    """Write the JSON files of a random checkpoint, by name.

    Parameters
    ----------
    model : str
        Its name in `sources.toml`.
    layers : int, optional
        How many layers MusicGen's decoder gets, instead of the published number.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    if model in _SIZES:
        return _musicgen(model, layers)
    if model in _CLAPS:
        return _clap(tiny=model.startswith("tiny"))
    raise ValueError(f"no such model: {model}; there are {', '.join((*_SIZES, *_CLAPS))}")


def _of(kind: str, **values: Any) -> Config:
    return {"model_type": kind} | DEFAULTS[kind] | values


def _musicgen(model: str, layers: int | None) -> dict[str, Config]:
    tiny, stereo, melody = model.startswith("tiny"), "stereo" in model, "melody" in model
    # The stereo checkpoints are published in half precision, all others in single.
    dtype = "float16" if stereo and not tiny else "float32"
    depth, size, heads = _SIZES[model]
    codec = _encodec(tiny)
    start = codec["codebook_size"]
    decoder = _of(
        "musicgen_melody_decoder" if melody else "musicgen_decoder",
        vocab_size=codec["codebook_size"],
        num_hidden_layers=layers or depth,
        hidden_size=size,
        ffn_dim=4 * size,
        num_attention_heads=heads,
        num_codebooks=8 if stereo else 4,
        audio_channels=2 if stereo else 1,
        pad_token_id=start,
        bos_token_id=start,
        torch_dtype=dtype,
    )
    config = _of(
        "musicgen_melody" if melody else "musicgen",
        architectures=[
            "MusicgenMelodyForConditionalGeneration" if melody else "MusicgenForConditionalGeneration"
        ],
        is_encoder_decoder=True,
        text_encoder=_t5(tiny) | {"torch_dtype": dtype},
        audio_encoder=codec | {"torch_dtype": dtype},
        decoder=decoder,
        torch_dtype=dtype,
    )
    if melody:
        preprocessor: Config = {
            "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
            "feature_size": 12,
            "hop_length": 4096,
            "n_fft": 16384,
            "chunk_length": 30,
            "n_samples": 960000,
            "stem_indices": [3, 2],
            "padding_side": "right",
            "return_attention_mask": False,
            "processor_class": "MusicgenMelodyProcessor",
        }
    else:
        preprocessor = {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "feature_size": 2 if stereo else 1,
            "chunk_length_s": None,
            "overlap": None,
            "padding_side": "left",
            "return_attention_mask": True,
            "processor_class": "MusicgenProcessor",
        }
    return {
        "config.json": config,
        "generation_config.json": {
            "bos_token_id": start,
            "decoder_start_token_id": start,
            "do_sample": True,
            "guidance_scale": 3.0,
            "max_length": 1500,
            "pad_token_id": start,
        },
        "preprocessor_config.json": preprocessor | {"sampling_rate": 32000, "padding_value": 0.0},
        "tokenizer_config.json": {
            "tokenizer_class": "T5Tokenizer",
            "model_max_length": 512,
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "extra_ids": 100,
        },
    }


def _t5(tiny: bool) -> Config:
    """t5-base; only its encoder is in the checkpoint."""
    config = _of(
        "t5",
        architectures=["T5ForConditionalGeneration"],
        d_model=768,
        d_ff=3072,
        num_layers=12,
        num_decoder_layers=12,
        num_heads=12,
        n_positions=512,
        dense_act_fn="relu",
        is_gated_act=False,
        decoder_start_token_id=0,
    )
    if tiny:
        config |= {"vocab_size": 512, "d_model": 48, "d_kv": 24, "d_ff": 128, "num_heads": 2}
        config |= {"num_layers": 2, "num_decoder_layers": 2}
    return config


def _encodec(tiny: bool) -> Config:
    """facebook/encodec_32khz: 4 codebooks, 50 frames a second, not causal."""
    config = _of(
        "encodec",
        architectures=["EncodecModel"],
        target_bandwidths=[2.2],
        sampling_rate=32000,
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        use_causal_conv=False,
        codebook_size=2048,
        use_conv_shortcut=False,
    )
    if tiny:
        config |= {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16}
        config |= {"codebook_size": 256, "target_bandwidths": [1.6]}
    return config


def _clap(tiny: bool) -> dict[str, Config]:
    """laion/clap-htsat-unfused."""
    text = _of("clap_text_model", position_embedding_type="absolute", use_cache=True)
    audio = _of("clap_audio_model")
    if tiny:
        text |= {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        text |= {"intermediate_size": 128, "max_position_embeddings": 130}
        audio |= {"patch_embeds_hidden_size": 8, "hidden_size": 64}
        audio |= {"depths": [2, 2, 2, 2], "num_attention_heads": [1, 2, 4, 8]}
    config = _of(
        "clap",
        architectures=["ClapModel"],
        text_config=text,
        audio_config=audio,
        hidden_size=text["hidden_size"],
        num_hidden_layers=text["num_hidden_layers"] + len(audio["depths"]),
        torch_dtype="float32",
    )
    return {
        "config.json": config,
        "preprocessor_config.json": {
            "feature_extractor_type": "ClapFeatureExtractor",
            "feature_size": 64,
            "sampling_rate": 48000,
            "hop_length": 480,
            "fft_window_size": 1024,
            "n_fft": 1024,
            "nb_frequency_bins": 513,
            "frequency_min": 50,
            "frequency_max": 14000,
            "chunk_length_s": 10,
            "max_length_s": 10,
            "nb_max_samples": 480000,
            "nb_max_frames": 1000,
            "top_db": None,
            "padding": "repeatpad",
            "truncation": "rand_trunc",
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
            "processor_class": "ClapProcessor",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "RobertaTokenizer",
            "model_max_length": text["max_position_embeddings"] - 2,
            "add_prefix_space": False,
            "trim_offsets": True,
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "errors": "replace",
        },
    }
