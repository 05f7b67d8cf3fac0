"""CLAP as an embedder: which windows are heard, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from music import loading, profiles
from music.analysis import analyse
from music.audio.decode import decode
from music.clap.embedder import Clap, ClapSearch
from music.clap.mel import WINDOW, log_mel
from music.clap.tags import ClapTags, categories
from music.engine.bundle import Bundle, open_bundle
from music.interfaces import Identity, TextTooLong
from music.loading import Profile
from music.mosaic.generator import Mosaic
from music.profiles import Declaration, ProfileError
from weights import pack

IDENTITY = Identity("fake", "1", "1", "float32")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(pack.build("tiny", "random", "float32", tmp_path_factory.mktemp("models")))


class Network:
    """Stands in for the audio tower: notes what it hears; its vectors are means of bands."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def __call__(self, mels: np.ndarray) -> np.ndarray:
        self.heard += list(mels)
        return self.vectors(mels)

    @staticmethod
    def vectors(mels: np.ndarray) -> np.ndarray:
        return 10 ** (mels.mean(axis=1) / 20)


def noise(samples: int) -> np.ndarray:
    """Noise whose level changes every 999 samples."""
    draw = np.random.default_rng(0)
    levels = np.repeat(draw.uniform(0.01, 0.3, samples // 999 + 1), 999)[:samples]
    return (levels * draw.standard_normal(samples)).astype(np.float32)


def clap(network: Network) -> Clap:
    return Clap(network, lambda vector: {}, IDENTITY, 64)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(WINDOW, 1), (WINDOW + 1, 1), (2 * WINDOW - 1, 1), (2 * WINDOW, 2), (5 * WINDOW + 7, 5)],
)
def test_windows_follow_each_other_and_the_rest_is_dropped(samples: int, windows: int) -> None:
    sound, network = noise(samples), Network()
    found = clap(network).embed(sound)
    wanted = [log_mel(sound[i * WINDOW : (i + 1) * WINDOW]) for i in range(windows)]
    assert len(network.heard) == windows
    for heard, mel in zip(network.heard, wanted, strict=True):
        assert (heard == mel).all()
    # The mean of raw vectors: windows count by their length, not alike.
    raw = Network.vectors(np.stack(wanted)).astype(np.float64)
    assert np.allclose(found, unit(raw.mean(axis=0)), atol=1e-6)
    if windows > 1:
        assert not np.allclose(found, unit(np.mean([unit(one) for one in raw], axis=0)), atol=1e-6)


@pytest.mark.parametrize("samples", [1, 1000, WINDOW // 3, WINDOW // 2 + 1, WINDOW - 1])
def test_less_than_a_window_is_repeated_whole_then_filled_with_silence(samples: int) -> None:
    sound, network = noise(samples), Network()
    clap(network).embed(sound)
    repetitions = WINDOW // samples
    window = np.concatenate([*[sound] * repetitions, np.zeros(WINDOW - repetitions * samples, np.float32)])
    assert len(network.heard) == 1
    assert (network.heard[0] == log_mel(window)).all()


@pytest.mark.parametrize("block", [997, WINDOW, 65536, 10**7])
def test_blocks_make_no_difference(block: int) -> None:
    sound = noise(5 * WINDOW + 12345)
    whole = clap(Network()).embed(sound)
    listener = clap(Network()).listen()
    for first in range(0, len(sound), block):
        listener.hear(sound[first : first + block])
    assert (listener.vector() == whole).all()
    assert listener.windows == 5


def test_what_cannot_be_embedded_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        clap(Network()).embed(np.zeros(0, np.float32))
    for wrong in (np.zeros((1, 2, 5), np.float32), np.array([0.0, np.nan], np.float32)):
        with pytest.raises(ValueError, match="finite"):
            clap(Network()).embed(wrong)


def test_a_file_is_heard_while_it_is_decoded(bundle: Bundle, tmp_path: Path) -> None:
    sound = noise(25 * 48_000)
    soundfile.write(
        tmp_path / "x", np.stack([sound, 0.5 * sound], axis=1), 48_000, format="WAV", subtype="FLOAT"
    )
    embedder = Clap.open(bundle)
    profile = Profile("builtin", embedder, Mosaic())
    done: list[float] = []
    analysis = analyse(tmp_path / "x", profile.embedder, done.append)
    whole = embedder.embed(decode(tmp_path / "x", rate=48_000, channels=1)[0])
    assert (analysis.vector == whole).all()
    assert (analysis.windows, analysis.identity) == (2, embedder.identity)
    assert analysis.vector.shape == (embedder.dimension,) == (512,)
    assert np.linalg.norm(analysis.vector) == pytest.approx(1, abs=1e-6)
    named = {category["name"]: category["tags"] for category in categories()}
    for category, scores in analysis.tag_scores.items():
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        assert all(0 < score <= 1 and tag in named[category] for tag, score in scores.items())
        assert set(scores) <= set(analysis.tags)
    assert set(analysis.tag_scores) == {"genre", "mood", "instrument", "energy"}
    assert len(analysis.tags) == len(set(analysis.tags))
    assert done == sorted(done)


def test_channels_in_opposite_phase_are_heard_by_their_side(tmp_path: Path) -> None:
    sound = noise(12 * 48_000)
    embedder = clap(Network())
    for other, fold, heard in ((-sound, "side", sound), (0.2 * sound, "mean", 0.6 * sound)):
        path = tmp_path / fold
        soundfile.write(path, np.stack([sound, other], axis=1), 48_000, format="WAV", subtype="FLOAT")
        analysis = analyse(path, embedder)
        assert analysis.features.fold == fold
        np.testing.assert_allclose(analysis.vector, embedder.embed(heard.astype(np.float32)), atol=1e-5)
        np.testing.assert_allclose(analysis.vector, embedder.embed(np.stack([sound, other])), atol=1e-5)


@pytest.mark.parametrize("seconds", [4, 12])
def test_an_offset_is_not_heard(bundle: Bundle, seconds: int) -> None:
    sound = noise(seconds * 48_000)
    embedder = Clap.open(bundle)
    assert embedder.embed(sound + np.float32(0.2)) @ embedder.embed(sound - sound.mean()) > 0.9999


def test_nothing_is_heard_in_silence(bundle: Bundle, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", np.zeros(48_000), 48_000, format="WAV")
    analysis = analyse(tmp_path / "x", Clap.open(bundle))
    assert (analysis.tags, analysis.tag_scores) == (["silent"], {})
    assert np.isfinite(analysis.vector).all()


def test_a_tag_is_found_by_its_own_prompt(bundle: Bundle) -> None:
    """What the text tower says of a tag's prompt is that tag: the bundle's tags are where they should be."""
    search, tags = ClapSearch(bundle), ClapTags(bundle.tensors("clap_tags"))
    for category, tag, text in (
        ("genre", "bossa nova", "This is a sound of bossa nova music"),
        ("instrument", "piano", "This is a sound of piano"),
    ):
        assert next(iter(tags(search.embed(text))[category])) == tag


def test_texts(bundle: Bundle) -> None:
    search = ClapSearch(bundle)
    calm = search.embed("calm solo piano")
    assert calm.dtype == np.float32
    assert np.linalg.norm(calm) == pytest.approx(1, abs=1e-6)
    assert (calm == search.embed("calm solo piano")).all()
    assert not np.allclose(calm, search.embed("furious drums"), atol=1e-3)
    assert search.identity == Clap.open(bundle).identity
    # Two of its 128 positions are the begin and the end.
    assert search.embed("$" * 126).shape == (512,)
    with pytest.raises(TextTooLong, match="127 tokens; 126 are allowed"):
        search.embed("$" * 127)


def test_profiles_tell_and_load_what_a_bundle_has(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        profiles.DECLARED,
        "tiny",
        Declaration("tiny", ("similar",), True, "clap", "musicgen-tiny", profiles.DECLARED["tiny"].costs),
    )
    monkeypatch.setenv("MODELS", str(bundle.path.parent))
    identity = profiles.identity("tiny")
    assert identity == Clap.open(bundle).identity
    assert (identity.model, identity.precision) == ("tiny-clap", "float32")
    assert loading.load_text("tiny").identity == identity
    monkeypatch.setenv("MODELS", str(bundle.path))
    with pytest.raises(ProfileError, match="small"):
        profiles.identity("small")
    with pytest.raises(ProfileError, match="small"):
        loading.load_text("small")
    with pytest.raises(ProfileError, match="no text"):
        loading.load_text("builtin")
    assert profiles.identity("builtin") is profiles.MIR_512
