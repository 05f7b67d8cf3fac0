"""Checkpoints: opened, refused, and made at random in the published layout."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tokenizers import Tokenizer

from music.engine.safetensors import WeightsError, read, write
from weights import Checkpoint, CheckpointError, configs, synthetic
from weights.__main__ import main
from weights.layouts import codebooks, layout
from weights.sources import profiles

TINY = [profile for profile in profiles() if profile.startswith("tiny")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for profile in TINY:
        synthetic.write(profile, folder / profile)
    return folder


@pytest.fixture
def musicgen(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made / "tiny" / "musicgen", tmp_path / "musicgen"))


def _rewrite(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("profile", TINY)
@pytest.mark.parametrize("part", ["musicgen", "clap"])
def test_a_random_checkpoint_opens_and_holds_what_the_safetensors_package_reads(
    made: Path, profile: str, part: str
) -> None:
    checkpoint = Checkpoint(made / profile / part)
    stored = _tensors(checkpoint.folder)
    assert checkpoint.names() == sorted(stored) == sorted(layout(checkpoint.config))
    for name, value in stored.items():
        assert checkpoint.shape(name) == value.shape
        if value.dtype == np.float32:
            np.testing.assert_array_equal(checkpoint.tensor(name, value.shape), value)
    assert sum(map(len, map(str, checkpoint.preprocessor))) > 0
    assert Tokenizer.from_str(checkpoint.tokenizer).encode("calm piano").ids


def test_the_same_seed_makes_the_same_files_and_another_seed_other_weights(
    made: Path, tmp_path: Path
) -> None:
    synthetic.write("tiny", tmp_path / "again")
    synthetic.write("tiny", tmp_path / "other", seed=1)
    for file in sorted((made / "tiny").rglob("*.*")):
        again = tmp_path / "again" / file.relative_to(made / "tiny")
        assert file.read_bytes() == again.read_bytes(), file.name
    one, other = (Checkpoint(folder / "musicgen") for folder in (tmp_path / "again", tmp_path / "other"))
    name = "decoder.lm_heads.0.weight"
    assert not np.array_equal(one.tensor(name), other.tensor(name))


def test_fewer_layers_are_the_first_ones(made: Path, tmp_path: Path) -> None:
    assert main(["random", "tiny", str(tmp_path), "--layers", "1"]) == 0
    whole, part = Checkpoint(made / "tiny" / "musicgen"), Checkpoint(tmp_path / "musicgen")
    assert part.config["decoder"]["num_hidden_layers"] == 1
    assert "decoder.model.decoder.layers.1.fc1.weight" not in part
    assert whole.tensor(name := "decoder.model.decoder.layers.0.self_attn.q_proj.weight").tobytes() == (
        part.tensor(name).tobytes()
    )


def test_a_model_that_nobody_knows_has_no_config() -> None:
    with pytest.raises(ValueError, match="no such model: large; there are musicgen-small"):
        configs.files("large")


@pytest.mark.parametrize(
    ("model", "gigabytes", "layers", "books"),
    [
        ("musicgen-small", 2.36, 24, 4),
        ("musicgen-medium", 8.04, 48, 4),
        ("musicgen-large", 13.72, 48, 4),
        ("musicgen-stereo-small", 1.22, 24, 8),
        ("musicgen-melody", 6.23, 48, 4),
        ("clap-htsat-unfused", 0.614, None, None),
    ],
)
def test_a_full_size_checkpoint_weighs_what_the_published_one_does(
    model: str, gigabytes: float, layers: int | None, books: int | None
) -> None:
    config = configs.files(model)["config.json"]
    width = {"float32": 4, "float16": 2}[config["torch_dtype"]]
    size = sum(
        math.prod(tensor.shape) * (8 if synthetic.is_integer(tensor) else width)
        for tensor in layout(config).values()
    )
    assert size / 1e9 == pytest.approx(gigabytes, abs=0.005)
    if layers:
        assert config["decoder"]["num_hidden_layers"] == layers
        assert config["decoder"]["num_codebooks"] == books
        assert codebooks(config["audio_encoder"]) == 4


def test_large_checkpoints_are_split_and_read_as_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "SHARD", 1_000_000)
    monkeypatch.setattr(synthetic, "_PIECE", 1000)
    synthetic.write("tiny", tmp_path)
    whole, split = Checkpoint(made / "tiny" / "musicgen"), Checkpoint(tmp_path / "musicgen")
    shards = sorted(path.name for path in split.folder.glob("model-*.safetensors"))
    assert shards == [f"model-{number:05}-of-00003.safetensors" for number in range(1, 4)]
    assert all(path.stat().st_size <= 1_050_000 for path in split.folder.glob("model-*"))
    assert split.names() == whole.names()
    for name in whole.names():
        if split.shape(name) and "position" not in name:
            np.testing.assert_array_equal(split.tensor(name), whole.tensor(name))

    (split.folder / shards[1]).unlink()
    with pytest.raises(CheckpointError, match=rf"lists {shards[1]}, which is not there"):
        Checkpoint(split.folder)


def test_an_index_does_not_lead_out_of_its_folder(musicgen: Path) -> None:
    (musicgen / "model.safetensors").rename(musicgen.parent / "outside.safetensors")
    index = {"weight_map": {"x": "../outside.safetensors"}}
    (musicgen / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="points out of its folder"):
        Checkpoint(musicgen)


def test_a_missing_tensor_is_refused_by_name(musicgen: Path) -> None:
    tensors = _tensors(musicgen)
    del tensors["decoder.lm_heads.2.weight"]
    _rewrite(musicgen, tensors)
    with pytest.raises(CheckpointError, match=r"tensor decoder\.lm_heads\.2\.weight is missing"):
        Checkpoint(musicgen)


def test_a_wrong_shape_is_refused_by_name(musicgen: Path) -> None:
    tensors = _tensors(musicgen)
    tensors["enc_to_dec_proj.bias"] = tensors["enc_to_dec_proj.bias"][1:]
    _rewrite(musicgen, tensors)
    with pytest.raises(
        CheckpointError, match=r"tensor enc_to_dec_proj\.bias has the shape \(63,\), not \(64,\)"
    ):
        Checkpoint(musicgen)


def test_what_only_training_needs_may_be_missing(musicgen: Path) -> None:
    tensors = _tensors(musicgen)
    unneeded = [
        name
        for name in tensors
        if name.endswith(("embed_avg", "cluster_size", "inited", "positions.weights"))
    ]
    assert len(unneeded) == 13
    for name in unneeded:
        del tensors[name]
    _rewrite(musicgen, tensors)
    assert unneeded[0] not in Checkpoint(musicgen)


def test_the_names_of_newer_releases_mean_the_same_tensors(musicgen: Path) -> None:
    before = Checkpoint(musicgen)
    renamed = {
        name.replace("weight_g", "parametrizations.weight.original0")
        .replace("weight_v", "parametrizations.weight.original1")
        .replace("text_encoder.shared", "text_encoder.encoder.embed_tokens"): value
        for name, value in _tensors(musicgen).items()
    }
    assert len(set(renamed) & set(before.names())) < len(renamed)
    other = musicgen.with_name("newer")
    shutil.copytree(musicgen, other)
    _rewrite(other, renamed)
    after = Checkpoint(other)
    assert after.names() == before.names()
    for name in ("audio_encoder.decoder.layers.3.conv.weight_g", "text_encoder.shared.weight"):
        np.testing.assert_array_equal(after.tensor(name), before.tensor(name))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        (("model_type",), "bark", "model_type 'bark' is none of musicgen"),
        (("decoder", "num_attention_heads"), 3, "3 heads do not divide 64"),
        (("decoder", "scale_embedding"), True, "scale_embedding is True"),
        (("decoder", "num_codebooks"), 5, "5 codebooks for 1 channels of a codec that has 4"),
        (("decoder", "vocab_size"), 300, "vocabulary is not the codec's"),
        (("decoder", "activation_function"), "relu", "activation_function is 'relu'"),
        (("audio_encoder", "use_causal_conv"), True, "use_causal_conv is True"),
        (("audio_encoder", "norm_type"), "time_group_norm", "norm_type is 'time_group_norm'"),
        (("audio_encoder", "audio_channels"), 2, "audio_channels is 2"),
        (("audio_encoder", "pad_mode"), "constant", "pad_mode is 'constant'"),
        (("audio_encoder", "normalize"), True, "normalize is True"),
        (("audio_encoder", "chunk_length_s"), 1.0, r"chunk_length_s is 1\.0"),
        (("audio_encoder", "num_residual_layers"), 2, "num_residual_layers is 2"),
        (("audio_encoder", "use_conv_shortcut"), True, "use_conv_shortcut is True"),
        (("audio_encoder", "upsampling_ratios"), [640], "LSTM has 8 units"),
        (("audio_encoder", "codebook_dim"), 4, "codebook_dim is 4"),
        (("text_encoder", "feed_forward_proj"), "gated-gelu", "feed_forward_proj is 'gated-gelu'"),
        (("decoder",), None, "'decoder' is missing"),
    ],
)
def test_a_network_that_is_not_run_here_is_refused(
    musicgen: Path, entry: tuple[str, ...], value: object, message: str
) -> None:
    config = json.loads((musicgen / "config.json").read_text())
    inner = config
    for key in entry[:-1]:
        inner = inner[key]
    if value is None:
        del inner[entry[-1]]
    else:
        inner[entry[-1]] = value
    (musicgen / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(musicgen)


@pytest.mark.parametrize(
    ("tower", "name", "value", "message"),
    [
        ("audio_config", "enable_fusion", True, "enable_fusion is True"),
        ("audio_config", "window_size", 5, "window_size 5 does not divide"),
        ("audio_config", "window_size", 16, "window_size 16 does not divide"),  # the last stage has 8 x 8
        ("audio_config", "patch_stride", [2, 2], "overlap"),
        ("audio_config", "hidden_act", "gelu_new", "hidden_act is 'gelu_new'"),
        ("audio_config", "hidden_size", 128, "hidden_size of the audio tower"),
        ("audio_config", "num_attention_heads", [2, 3, 4], r"num_attention_heads \[2, 3, 4\]"),
        ("audio_config", "num_mel_bins", 48, "does not fit mel bins"),
        ("text_config", "hidden_act", "relu", "hidden_act is 'relu'"),
        ("text_config", "position_embedding_type", "relative_key", "position_embedding_type is"),
        ("text_config", "is_decoder", True, "is_decoder is True"),
    ],
)
def test_a_clap_that_is_not_run_here_is_refused(
    made: Path, tmp_path: Path, tower: str, name: str, value: object, message: str
) -> None:
    clap = shutil.copytree(made / "tiny" / "clap", tmp_path / "clap")
    config = json.loads((clap / "config.json").read_text())
    config[tower][name] = value
    (clap / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(clap)


def test_other_spectrograms_are_refused_by_name(made: Path, tmp_path: Path) -> None:
    clap = shutil.copytree(made / "tiny" / "clap", tmp_path / "clap")
    preprocessor = json.loads((clap / "preprocessor_config.json").read_text())
    (clap / "preprocessor_config.json").write_text(json.dumps(preprocessor | {"truncation": "fusion"}))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: truncation is 'fusion'"):
        Checkpoint(clap)


@pytest.mark.parametrize("keep", [0, 4, 100, 20_000, -1])
def test_a_truncated_file_is_refused(musicgen: Path, keep: int) -> None:
    path = musicgen / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Checkpoint(musicgen)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]},
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": "22", "data_offsets": [0, 8]},
        7,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entry: object) -> None:
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(WeightsError, match="damaged header"):
        read(tmp_path / "x.safetensors")


def test_half_precisions_are_read_exactly(tmp_path: Path) -> None:
    values = np.array([0.0, 1.0, -2.5, 6.1e-5, 448.0], np.float32)
    stored = {"F16": values.astype(np.float16), "BF16": (values.view(np.uint32) >> 16).astype(np.uint16)}
    write(tmp_path / "x", {name: (name, (5,)) for name in stored}, stored.__getitem__)
    found, _ = read(tmp_path / "x")
    np.testing.assert_array_equal(found["F16"].float32(), stored["F16"].astype(np.float32))
    np.testing.assert_allclose(found["BF16"].float32(), values, rtol=1 / 128)
    assert found["BF16"].float32()[:3].tolist() == [0.0, 1.0, -2.5]
    assert found["BF16"].float32().dtype == np.float32


def test_integers_are_no_weights(made: Path) -> None:
    with pytest.raises(CheckpointError, match=r"num_batches_tracked: I64 is not a floating type"):
        Checkpoint(made / "tiny" / "clap").tensor("audio_model.audio_encoder.batch_norm.num_batches_tracked")


def test_what_is_written_must_be_what_was_declared(tmp_path: Path) -> None:
    given: dict[str, np.ndarray] = {"long": np.zeros(3, np.float32), "wide": np.zeros(2, np.float64)}
    for name in given:
        with pytest.raises(ValueError, match=f"{name}.*declared"):
            write(tmp_path / "x", {name: ("F32", (2,))}, given.__getitem__)
    assert not (tmp_path / "x").exists()


def test_a_folder_without_weights_says_so(musicgen: Path, tmp_path: Path) -> None:
    (musicgen / "model.safetensors").rename(musicgen / "weights.bin")
    with pytest.raises(CheckpointError, match=r"no weights: none of model\.safetensors, "):
        Checkpoint(musicgen)
    with pytest.raises(CheckpointError, match="no such folder"):
        Checkpoint(tmp_path / "nowhere")
    (musicgen / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json: not a JSON object"):
        Checkpoint(musicgen)


def test_an_unknown_profile_names_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["random", "huge", str(tmp_path)]) == 1
    assert "unknown profile 'huge'; profiles with weights: small, medium" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_tokenizers_are_of_the_published_kinds(made: Path) -> None:
    text = Tokenizer.from_file(str(made / "tiny" / "musicgen" / "tokenizer.json"))
    config = configs.files("tiny")["config.json"]["text_encoder"]
    assert text.get_vocab_size() == config["vocab_size"] - 28
    assert [text.token_to_id(token) for token in ("<pad>", "</s>", "<unk>")] == [0, 1, 2]
    assert text.token_to_id("<extra_id_0>") == text.get_vocab_size() - 1
    encoded = text.encode("calm solo piano")
    assert encoded.tokens[-1] == "</s>"
    assert text.decode(encoded.ids) == "calm solo piano"
    assert text.encode("").ids == [1]

    tags = Tokenizer.from_file(str(made / "tiny" / "clap" / "tokenizer.json"))
    assert [tags.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert tags.token_to_id("<mask>") == tags.get_vocab_size() - 1 == 511
    encoded = tags.encode("Été, 音楽!")
    assert (encoded.tokens[0], encoded.tokens[-1]) == ("<s>", "</s>")
    assert tags.decode(encoded.ids) == "Été, 音楽!"


def test_an_old_config_means_by_silence_what_transformers_assumes(musicgen: Path) -> None:
    before = Checkpoint(musicgen).config
    config = json.loads((musicgen / "config.json").read_text())
    # MusicGen was published before stereo was thought of.
    del config["decoder"]["audio_channels"], config["text_encoder"]["feed_forward_proj"]
    del config["audio_encoder"]["pad_mode"], config["decoder"]["model_type"]
    config["audio_encoder"]["codebook_dim"] = None
    (musicgen / "config.json").write_text(json.dumps(config))
    assert Checkpoint(musicgen).config == before
    # Silence about these means another network.
    del config["audio_encoder"]["use_causal_conv"]
    (musicgen / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="use_causal_conv is True"):
        Checkpoint(musicgen)
