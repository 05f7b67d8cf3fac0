"""Random checkpoints are what transformers loads: every name and shape, at full size, and every tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from weights import Checkpoint, configs, synthetic
from weights.check import published
from weights.layouts import layout
from weights.sources import models_of, profiles

# Those of pocket are in the repository: `test_training` reads them.
MODELS = sorted({model.name for name in profiles() if name != "pocket" for model in models_of(name).values()})
TINY = [profile for profile in profiles() if profile.startswith("tiny")]
# Published, though newer releases compute it.
COMPUTED = "decoder.model.decoder.embed_positions.weights"


def _class(config: dict[str, Any]) -> Any:
    return getattr(transformers, config["architectures"][0])


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_of_the_full_model_is_in_the_layout_with_its_shape(model: str) -> None:
    config = configs.files(model)["config.json"]
    kind = _class(config)
    with torch.device("meta"):
        built = kind(kind.config_class.from_dict(config))
    theirs = {published(name): tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    ours = {name: tensor.shape for name, tensor in layout(config).items() if name != COMPUTED}
    assert ours == theirs
    integers = {name for name, tensor in built.state_dict().items() if not tensor.is_floating_point()}
    assert integers == {name for name, tensor in layout(config).items() if synthetic.is_integer(tensor)}


@pytest.mark.parametrize("kind", configs.DEFAULTS)
def test_what_a_config_leaves_out_is_what_transformers_assumes(kind: str) -> None:
    theirs = transformers.AutoConfig.for_model(kind) if kind != "musicgen" else transformers.MusicgenConfig()
    for name, value in configs.DEFAULTS[kind].items():
        assumed = getattr(theirs, name)
        assert (list(assumed) if isinstance(assumed, tuple) else assumed) == value, name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for profile in TINY:
        synthetic.write(profile, folder / profile)
    return folder


@pytest.mark.parametrize("profile", TINY)
@pytest.mark.parametrize("part", ["musicgen", "clap"])
def test_transformers_loads_it_without_a_word(made: Path, profile: str, part: str) -> None:
    checkpoint = Checkpoint(made / profile / part)
    model, notes = _class(checkpoint.config).from_pretrained(checkpoint.folder, output_loading_info=True)
    assert not any(notes.values()), notes
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            np.testing.assert_array_equal(checkpoint.tensor(published(name)), tensor.numpy(), err_msg=name)
    buffers = {
        name: tensor for name, tensor in layout(checkpoint.config).items() if synthetic.is_integer(tensor)
    }
    fresh = _class(checkpoint.config)(model.config).state_dict()
    for name, tensor in buffers.items():
        if tensor.constant and not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(tensor.constant(), fresh[name].numpy(), err_msg=name)


@pytest.mark.parametrize("part", ["musicgen", "clap"])
@pytest.mark.parametrize(
    "text", ["calm solo piano at 120 BPM", "Été,  naïve 音楽\nunseen!", "", " leading space"]
)
def test_the_tokenizer_alone_gives_what_transformers_gives(made: Path, part: str, text: str) -> None:
    folder = made / "tiny" / part
    theirs = transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids == theirs


def test_the_processors_load(made: Path) -> None:
    # Melody's wants torchaudio, which this environment has no use for otherwise.
    for profile, size in (("tiny", 1), ("tiny-stereo", 2)):
        extractor = transformers.AutoFeatureExtractor.from_pretrained(made / profile / "musicgen")
        assert (extractor.sampling_rate, extractor.feature_size) == (32000, size)
    clap = transformers.AutoFeatureExtractor.from_pretrained(made / "tiny" / "clap")
    assert (clap.nb_max_samples, clap.truncation) == (480000, "rand_trunc")


def test_activations_stay_sane(made: Path) -> None:
    config = Checkpoint(made / "tiny" / "musicgen").config
    model = _class(config).from_pretrained(made / "tiny" / "musicgen").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        text = model.text_encoder(torch.randint(3, 400, (1, 12))).last_hidden_state
        codes = torch.randint(0, 256, (4, 50))
        logits = model.decoder(input_ids=codes, encoder_hidden_states=model.enc_to_dec_proj(text)).logits
        audio = model.audio_encoder.decode(codes[None, None], [None]).audio_values
        encoded = model.audio_encoder.encode(audio).audio_codes
    assert 0.5 < text.std() < 2
    assert 1 < logits.std() < 4
    assert 0.05 < audio.std() < 0.5
    assert all(len(codes.unique()) > 10 for codes in encoded[0, 0])
