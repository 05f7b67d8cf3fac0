"""The tensors that follow from a checkpoint's config: names, shapes, and how a random one is drawn.

One function per network, each in the order in which data flows through it. The names are those of the
published files: weight-normalised convolutions keep ``weight_g`` and ``weight_v``, T5's tied embedding is
``shared.weight``.

Random values are normal. Matrices are scaled by their fan-in so that activations keep a unit variance through
any depth, what is added to a residual stream by the number of additions; norms lie near 1 and biases are
never zero, so that a forgotten or exchanged one changes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from weights import CheckpointError

Config = dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor before it is read.

    Attributes
    ----------
    shape : tuple of int
    mean, deviation : float
        The parameters of the normal distribution that a random checkpoint draws it from.
    constant : callable or None
        Gives the values of what is the same in every checkpoint; integers are stored as int64.
    needed : bool
        False for what only training uses: a checkpoint may lack it.
    """

    shape: tuple[int, ...]
    mean: float = 0.0
    deviation: float = 0.0
    constant: Callable[[], np.ndarray] | None = None
    needed: bool = True


Named = Iterator[tuple[str, Tensor]]


def layout(config: Config) -> dict[str, Tensor]:
    """List the tensors of a checkpoint.

    Parameters
    ----------
    config : dict
        Its complete config (see `configs.complete`), of ``musicgen``, ``musicgen_melody`` or ``clap``.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    CheckpointError
        If the config lacks an entry or describes a network that this project does not run.
    """
    networks = {"musicgen": _musicgen, "musicgen_melody": _musicgen, "clap": _clap}
    kind = config.get("model_type")
    if kind not in networks:
        raise CheckpointError(f"config.json: model_type {kind!r} is none of {', '.join(networks)}")
    try:
        return dict(networks[kind](config))
    except KeyError as error:
        raise CheckpointError(f"config.json: {error} is missing") from error


def _require(config: Config, **expected: object) -> None:
    """Refuse a variant that nothing here implements, instead of computing something else."""
    for name, value in expected.items():
        if (found := config.get(name, value)) != value:
            raise CheckpointError(f"config.json: {name} is {found!r}; only {value!r} is supported")


def _heads(config: Config, size: int, heads: int) -> None:
    if heads < 1 or size % heads or size // heads % 2:
        raise CheckpointError(f"config.json: {heads} heads do not divide {size} into even sizes")


def _linear(name: str, outputs: int, inputs: int, gain: float = 1.0, bias: bool = True) -> Named:
    yield f"{name}.weight", Tensor((outputs, inputs), 0.0, gain / sqrt(inputs))
    if bias:
        yield f"{name}.bias", Tensor((outputs,), 0.0, 0.1 * gain)


def _norm(name: str, size: int, bias: bool = True) -> Named:
    yield f"{name}.weight", Tensor((size,), 1.0, 0.1)
    if bias:
        yield f"{name}.bias", Tensor((size,), 0.0, 0.1)


# MusicGen: text encoder, codec, decoder.


def _musicgen(config: Config) -> Named:
    text, codec, decoder = config["text_encoder"], config["audio_encoder"], config["decoder"]
    melody = config["model_type"] == "musicgen_melody"
    yield from _t5(text)
    yield from _encodec(codec)
    yield from _decoder(decoder, cross_attention=not melody)
    if decoder["vocab_size"] != codec["codebook_size"]:
        raise CheckpointError("config.json: the decoder's vocabulary is not the codec's codebook")
    if decoder["num_codebooks"] != codebooks(codec) * decoder["audio_channels"]:
        raise CheckpointError(
            f"config.json: {decoder['num_codebooks']} codebooks for {decoder['audio_channels']} channels of "
            f"a codec that has {codebooks(codec)}"
        )
    if decoder["num_codebooks"] not in (4, 8):
        raise CheckpointError(f"config.json: {decoder['num_codebooks']} codebooks have no delay pattern")
    if text["d_model"] != decoder["hidden_size"]:
        yield from _linear("enc_to_dec_proj", decoder["hidden_size"], text["d_model"])
    if melody:
        yield from _linear("audio_enc_to_dec_proj", decoder["hidden_size"], config["num_chroma"], gain=2.0)


def _t5(config: Config) -> Named:
    """The encoder of T5 (Raffel et al. 2020, arXiv:1910.10683)."""
    _require(config, model_type="t5", feed_forward_proj="relu")
    size, hidden, layers = config["d_model"], config["d_ff"], config["num_layers"]
    _heads(config, config["num_heads"] * config["d_kv"], config["num_heads"])
    heads = config["num_heads"] * config["d_kv"]
    residual = 1 / sqrt(2 * layers)
    yield "text_encoder.shared.weight", Tensor((config["vocab_size"], size), 0.0, 1.0)
    for layer in range(layers):
        block = f"text_encoder.encoder.block.{layer}.layer"
        # T5 does not scale its attention: the query's weights do.
        yield from _linear(f"{block}.0.SelfAttention.q", heads, size, config["d_kv"] ** -0.5, bias=False)
        yield from _linear(f"{block}.0.SelfAttention.k", heads, size, bias=False)
        yield from _linear(f"{block}.0.SelfAttention.v", heads, size, bias=False)
        yield from _linear(f"{block}.0.SelfAttention.o", size, heads, residual, bias=False)
        if layer == 0:
            buckets = (config["relative_attention_num_buckets"], config["num_heads"])
            yield f"{block}.0.SelfAttention.relative_attention_bias.weight", Tensor(buckets, 0.0, 1.0)
        yield from _norm(f"{block}.0.layer_norm", size, bias=False)
        yield from _linear(f"{block}.1.DenseReluDense.wi", hidden, size, bias=False)
        yield from _linear(f"{block}.1.DenseReluDense.wo", size, hidden, residual * sqrt(2), bias=False)
        yield from _norm(f"{block}.1.layer_norm", size, bias=False)
    yield from _norm("text_encoder.encoder.final_layer_norm", size, bias=False)


def codebooks(config: Config) -> int:
    """Count the residual codebooks of an EnCodec config: its largest bandwidth over that of one codebook."""
    hop = int(np.prod(config["upsampling_ratios"]))
    bits = (config["codebook_size"] - 1).bit_length()
    return int(1000 * config["target_bandwidths"][-1] // (-(-config["sampling_rate"] // hop) * bits))


def _conv(name: str, outputs: int, inputs: int, width: int, gain: float = 1.0) -> Named:
    yield f"{name}.conv.bias", Tensor((outputs,), 0.0, 0.05)
    yield f"{name}.conv.weight_g", Tensor((outputs, 1, 1), gain, 0.1 * gain)
    yield f"{name}.conv.weight_v", Tensor((outputs, inputs, width), 0.0, 1 / sqrt(inputs * width))


def _transposed(name: str, outputs: int, inputs: int, width: int, gain: float = 1.0) -> Named:
    yield f"{name}.conv.bias", Tensor((outputs,), 0.0, 0.05)
    # The norm is taken per input channel here, and every output sample gets two taps of each.
    yield f"{name}.conv.weight_g", Tensor((inputs, 1, 1), gain * sqrt(width / 4), 0.1 * gain)
    yield f"{name}.conv.weight_v", Tensor((inputs, outputs, width), 0.0, 1 / sqrt(outputs * width))


def _residual_units(name: str, first: int, size: int, config: Config) -> Named:
    hidden = size // config["compress"]
    for unit in range(config["num_residual_layers"]):
        yield from _conv(f"{name}.{first + unit}.block.1", hidden, size, config["residual_kernel_size"], 1.2)
        yield from _conv(f"{name}.{first + unit}.block.3", size, hidden, 1, 0.8)


def _lstm(name: str, size: int, layers: int) -> Named:
    for layer in range(layers):
        for part in ("ih", "hh"):
            yield f"{name}.lstm.weight_{part}_l{layer}", Tensor((4 * size, size), 0.0, 1 / sqrt(size))
            yield f"{name}.lstm.bias_{part}_l{layer}", Tensor((4 * size,), 0.0, 0.1)


def _encodec(config: Config) -> Named:
    """EnCodec (Défossez et al. 2022, arXiv:2210.13438): SEANet encoder, codebooks, SEANet decoder."""
    _require(
        config, model_type="encodec", norm_type="weight_norm", use_causal_conv=False, use_conv_shortcut=False
    )
    _require(config, audio_channels=1, pad_mode="reflect", normalize=False, chunk_length_s=None)
    _require(config, num_residual_layers=1, codebook_dim=config["hidden_size"])
    filters, ratios = config["num_filters"], config["upsampling_ratios"]
    width, last = config["kernel_size"], config["last_kernel_size"]
    units = config["num_residual_layers"]
    if (widest := filters * 2 ** len(ratios)) % 16:
        raise CheckpointError(f"config.json: the codec's LSTM has {widest} units, not a multiple of 16")

    name, at, size = "audio_encoder.encoder.layers", 0, filters
    yield from _conv(f"{name}.{at}", size, config["audio_channels"], width, 3.0)
    at += 1
    for ratio in reversed(ratios):
        yield from _residual_units(name, at, size, config)
        at += units + 1  # the units and an ELU
        yield from _conv(f"{name}.{at}", 2 * size, size, 2 * ratio, 1.2)
        at, size = at + 1, 2 * size
    yield from _lstm(f"{name}.{at}", size, config["num_lstm_layers"])
    yield from _conv(f"{name}.{at + 2}", config["hidden_size"], size, last)

    rows, columns = config["codebook_size"], config["codebook_dim"]
    for layer in range(codebooks(config)):
        # Each codebook quantises what the ones before it left over.
        codebook, scale = f"audio_encoder.quantizer.layers.{layer}.codebook", 0.7 * 0.8**layer
        yield f"{codebook}.embed", Tensor((rows, columns), 0.0, scale)
        yield f"{codebook}.embed_avg", Tensor((rows, columns), 0.0, scale, needed=False)
        yield f"{codebook}.cluster_size", Tensor((rows,), 50.0, 5.0, needed=False)
        yield f"{codebook}.inited", Tensor((1,), 1.0, needed=False)

    name, at = "audio_encoder.decoder.layers", 2
    yield from _conv(f"{name}.0", size, config["hidden_size"], width)
    yield from _lstm(f"{name}.1", size, config["num_lstm_layers"])
    for ratio in ratios:
        yield from _transposed(f"{name}.{at + 1}", size // 2, size, 2 * ratio, 1.2)
        at, size = at + 2, size // 2
        yield from _residual_units(name, at, size, config)
        at += units
    yield from _conv(f"{name}.{at + 1}", config["audio_channels"], size, last, 0.15)


def _sinusoids(positions: int, size: int) -> np.ndarray:
    """The decoder's positions, cosines before sines [shape=(positions, size)]: computed, yet published."""
    frequencies = np.exp(np.arange(size // 2) * (-np.log(10000.0) / (size // 2 - 1)))
    angles = np.arange(positions)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def _decoder(config: Config, cross_attention: bool) -> Named:
    """MusicGen's language model (Copet et al. 2023, arXiv:2306.05284); no bias but in the norms."""
    _require(config, activation_function="gelu", scale_embedding=False)
    size, hidden, layers = config["hidden_size"], config["ffn_dim"], config["num_hidden_layers"]
    _heads(config, size, config["num_attention_heads"])
    residual = 1 / sqrt((3 if cross_attention else 2) * layers)
    for book in range(config["num_codebooks"]):
        # One more row than the vocabulary: the token of the delay pattern and of the start.
        rows = (config["vocab_size"] + 1, size)
        yield (
            f"decoder.model.decoder.embed_tokens.{book}.weight",
            Tensor(rows, 0.0, config["num_codebooks"] ** -0.5),
        )
    positions = Tensor(
        (config["max_position_embeddings"], size),
        constant=lambda: _sinusoids(config["max_position_embeddings"], size),
        needed=False,
    )
    yield "decoder.model.decoder.embed_positions.weights", positions
    for layer in range(layers):
        name = f"decoder.model.decoder.layers.{layer}"
        for attention in ("self_attn", "encoder_attn")[: 1 + cross_attention]:
            for part in ("q", "k", "v"):
                yield from _linear(f"{name}.{attention}.{part}_proj", size, size, bias=False)
            yield from _linear(f"{name}.{attention}.out_proj", size, size, residual, bias=False)
            yield from _norm(f"{name}.{attention}_layer_norm", size)
        yield from _linear(f"{name}.fc1", hidden, size, bias=False)
        yield from _linear(f"{name}.fc2", size, hidden, residual * sqrt(2), bias=False)
        yield from _norm(f"{name}.final_layer_norm", size)
    yield from _norm("decoder.model.decoder.layer_norm", size)
    for book in range(config["num_codebooks"]):
        yield from _linear(f"decoder.lm_heads.{book}", config["vocab_size"], size, 2.0, bias=False)


# CLAP: text tower, audio tower, projections.


def _clap(config: Config) -> Named:
    """CLAP (Wu et al. 2023, arXiv:2211.06687)."""
    text, audio = config["text_config"], config["audio_config"]
    yield "logit_scale_a", Tensor((), 2.66, 0.01)
    yield "logit_scale_t", Tensor((), 2.66, 0.01)
    yield from _roberta(text)
    yield from _htsat(audio)
    for tower, size in (("text", text["hidden_size"]), ("audio", audio["hidden_size"])):
        yield from _linear(f"{tower}_projection.linear1", config["projection_dim"], size, sqrt(2))
        yield from _linear(
            f"{tower}_projection.linear2", config["projection_dim"], config["projection_dim"], sqrt(2)
        )


def _roberta(config: Config) -> Named:
    """RoBERTa (Liu et al. 2019, arXiv:1907.11692)."""
    _require(config, model_type="clap_text_model", hidden_act="gelu", projection_hidden_act="relu")
    _require(config, position_embedding_type="absolute", is_decoder=False)
    size, hidden, positions = (
        config["hidden_size"],
        config["intermediate_size"],
        config["max_position_embeddings"],
    )
    _heads(config, size, config["num_attention_heads"])
    name = "text_model.embeddings"
    yield f"{name}.word_embeddings.weight", Tensor((config["vocab_size"], size), 0.0, 1.0)
    yield f"{name}.position_embeddings.weight", Tensor((positions, size), 0.0, 0.3)
    yield f"{name}.token_type_embeddings.weight", Tensor((config["type_vocab_size"], size), 0.0, 0.3)
    yield from _norm(f"{name}.LayerNorm", size)
    row = (1, positions)
    yield f"{name}.position_ids", Tensor(row, constant=lambda: np.arange(positions)[None], needed=False)
    yield f"{name}.token_type_ids", Tensor(row, constant=lambda: np.zeros(row, np.int64), needed=False)
    for layer in range(config["num_hidden_layers"]):
        block = f"text_model.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            yield from _linear(f"{block}.attention.self.{part}", size, size, 1.4)
        yield from _linear(f"{block}.attention.output.dense", size, size, 1.5)
        yield from _norm(f"{block}.attention.output.LayerNorm", size)
        yield from _linear(f"{block}.intermediate.dense", hidden, size)
        yield from _linear(f"{block}.output.dense", size, hidden, 0.7)
        yield from _norm(f"{block}.output.LayerNorm", size)
    yield from _linear("text_model.pooler.dense", size, size)


def _relative_positions(window: int) -> np.ndarray:
    """Which row of the bias table each pair of places in a window has [shape=(window², window²)]."""
    places = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij")).reshape(2, -1)
    apart = places[:, :, None] - places[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def _htsat(config: Config) -> Named:
    """HTS-AT (Chen et al. 2022, arXiv:2202.00874): a Swin transformer over a folded mel spectrogram."""
    _require(config, model_type="clap_audio_model", enable_fusion=False, hidden_act="gelu", qkv_bias=True)
    _require(config, enable_patch_layer_norm=True, flatten_patch_embeds=True, patch_embed_input_channels=1)
    _require(config, projection_hidden_act="relu")
    bins, size, patch = config["num_mel_bins"], config["patch_embeds_hidden_size"], config["patch_size"]
    window, depths = config["window_size"], config["depths"]
    if list(config["patch_stride"]) != [patch, patch]:
        raise CheckpointError(
            f"config.json: patches of {patch} with a stride of {config['patch_stride']} overlap"
        )
    if config["spec_size"] % (patch * bins):
        raise CheckpointError(
            f"config.json: spec_size {config['spec_size']} does not fit mel bins and patches"
        )
    if (config["spec_size"] // patch) % (window << (len(depths) - 1)):
        raise CheckpointError(f"config.json: window_size {window} does not divide the patches of every stage")
    if len(config["num_attention_heads"]) != len(depths):
        raise CheckpointError(
            f"config.json: num_attention_heads {config['num_attention_heads']} for {len(depths)} stages"
        )
    if config["hidden_size"] != size << (len(depths) - 1):
        raise CheckpointError("config.json: hidden_size of the audio tower is not that of its last stage")
    residual = 1 / sqrt(2 * sum(depths))
    name = "audio_model.audio_encoder"
    # The batch norm meets decibels.
    yield from _norm(f"{name}.batch_norm", bins)
    yield f"{name}.batch_norm.running_mean", Tensor((bins,), -30.0, 3.0)
    yield f"{name}.batch_norm.running_var", Tensor((bins,), 400.0, 30.0)
    yield f"{name}.batch_norm.num_batches_tracked", Tensor((), constant=lambda: np.array(1), needed=False)
    yield f"{name}.patch_embed.proj.weight", Tensor((size, 1, patch, patch), 0.0, 1 / patch)
    yield f"{name}.patch_embed.proj.bias", Tensor((size,), 0.0, 0.1)
    yield from _norm(f"{name}.patch_embed.norm", size)
    for stage, (depth, heads) in enumerate(zip(depths, config["num_attention_heads"], strict=True)):
        _heads(config, size, heads)
        for layer in range(depth):
            block = f"{name}.layers.{stage}.blocks.{layer}"
            attention = f"{block}.attention.self"
            yield from _norm(f"{block}.layernorm_before", size)
            for part in ("query", "key", "value"):
                yield from _linear(f"{attention}.{part}", size, size)
            yield (
                f"{attention}.relative_position_bias_table",
                Tensor(((2 * window - 1) ** 2, heads), 0.0, 0.5),
            )
            index = Tensor((window**2, window**2), constant=lambda: _relative_positions(window), needed=False)
            yield f"{attention}.relative_position_index", index
            yield from _linear(f"{block}.attention.output.dense", size, size, residual)
            yield from _norm(f"{block}.layernorm_after", size)
            hidden = int(size * config["mlp_ratio"])
            yield from _linear(f"{block}.intermediate.dense", hidden, size)
            yield from _linear(f"{block}.output.dense", size, hidden, residual * sqrt(2))
        if stage < len(depths) - 1:
            yield from _linear(f"{name}.layers.{stage}.downsample.reduction", 2 * size, 4 * size, bias=False)
            yield from _norm(f"{name}.layers.{stage}.downsample.norm", 4 * size)
            size *= 2
    yield from _norm(f"{name}.norm", size)
