"""CLAP on the engine against transformers, with random weights of the published size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor

from music.clap.audio_encoder import ClapAudio
from music.clap.embedder import Clap
from music.clap.mel import WINDOW, log_mel
from music.clap.tags import ClapTags
from music.clap.text_encoder import ClapText
from music.engine.packing import Tensors, write
from music.torch.clap import ClapTowers
from tests.models import parity
from weights import Checkpoint, synthetic
from weights.export import export

DISTANCE = {"float32": 1e-6, "int8": 1e-3}
"""Most cosine distance from transformers in float32."""
TEXTS = ("calm solo piano", "This is a sound of drum and bass music", "é", "and then some more " * 40)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    synthetic.write("small", folder, layers=1)
    return folder / "clap"


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> ClapTowers:
    return ClapTowers(checkpoint)


@pytest.fixture(scope="module", params=["float32", "int8"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def audio(checkpoint: Path, precision: str, tmp_path_factory: pytest.TempPathFactory) -> ClapAudio:
    path = tmp_path_factory.mktemp("audio") / "audio.safetensors"
    write(path, *export("clap_audio", Checkpoint(checkpoint), precision))
    return ClapAudio(Tensors(path))


@pytest.fixture(scope="module")
def text(checkpoint: Path, precision: str, tmp_path_factory: pytest.TempPathFactory) -> ClapText:
    path = tmp_path_factory.mktemp("text") / "text.safetensors"
    write(path, *export("clap_text", Checkpoint(checkpoint), precision))
    return ClapText(Tensors(path))


def sounds() -> dict[str, np.ndarray]:
    t = np.arange(WINDOW) / 48_000
    draw = np.random.default_rng(3)
    pulse = np.exp(-8 * (t % 0.5))
    made = {
        "noise": 0.1 * draw.standard_normal(WINDOW),
        "chord": sum(0.2 * np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6)) * pulse,
        "sweep": 0.5 * np.sin(2 * np.pi * (50 + 700 * t) * t),
        "clicks": np.where(np.arange(WINDOW) % 24_000 == 17, 0.9, 0.0),
        "clipped": np.clip(3 * np.sin(2 * np.pi * 110 * t), -1, 1),
        "faint": 1e-5 * draw.standard_normal(WINDOW),
        "silence": np.zeros(WINDOW),
    }
    return {name: np.asarray(sound, np.float32) for name, sound in made.items()}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("name", sounds())
def test_spectrograms_are_the_extractors_to_the_bit(checkpoint: Path, name: str) -> None:
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
    sound = sounds()[name]
    theirs = extractor(sound, sampling_rate=48_000, return_tensors="np")["input_features"][0, 0]
    assert (log_mel(sound) == theirs).all()


def test_audio(audio: ClapAudio, reference: ClapTowers, precision: str) -> None:
    mels = np.stack([log_mel(sound) for sound in sounds().values()])
    expected, found = reference.audio(mels), audio(mels)
    # The comparison means something: sounds differ by far more than the two runtimes.
    assert distance(expected[0], expected[1]) > 10 * DISTANCE["int8"]
    worst = max(map(distance, found, expected))
    relative = np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean())
    parity.note("clap", f"audio, {precision}: cosine distance", worst, DISTANCE[precision])
    parity.note("clap", f"audio, {precision}: relative RMS error", float(relative), None)


def test_text(text: ClapText, reference: ClapTowers, precision: str) -> None:
    worst = 0.0
    for words in TEXTS:
        ids = reference._tokenizer.encode(words).ids
        worst = max(worst, distance(text(ids), reference.text(ids)))
    parity.note("clap", f"text, {precision}: cosine distance", worst, DISTANCE[precision])


def test_a_track_and_its_tags(
    checkpoint: Path, audio: ClapAudio, reference: ClapTowers, precision: str, tmp_path: Path
) -> None:
    """From samples to tags, and against what transformers does with the same windows by itself."""
    if precision != "float32":
        pytest.skip("tags are float32")
    write(tmp_path / "tags", *export("clap_tags", Checkpoint(checkpoint), "float32"))
    theirs = reference.embedder()
    ours = Clap(audio, ClapTags(Tensors(tmp_path / "tags")), theirs.identity, audio.dimension)
    track = np.concatenate([*sounds().values(), np.ones(1000, np.float32)])
    found = ours.embed(track)
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
    windows = track[: len(track) // WINDOW * WINDOW].reshape(-1, WINDOW)
    features = extractor(list(windows), sampling_rate=48_000, return_tensors="pt")
    with torch.inference_mode():
        pooled = reference.model.audio_model(input_features=features["input_features"]).pooler_output
        raw = reference.model.audio_projection(pooled)
    apart = distance(found, raw.mean(dim=0).numpy())
    parity.note("clap", "track of 7 windows, float32: cosine distance", apart, 1e-6)
    assert distance(found, theirs.embed(track)) <= 1e-6
    for category, scores in theirs.tags(found).items():
        assert list(ours.tags(found)[category]) == list(scores)
        assert list(ours.tags(found)[category].values()) == pytest.approx(list(scores.values()), abs=2e-4)


MEMORY = """
import sys
from pathlib import Path
from music.clap.embedder import Clap
from music.analysis import analyse
from music.engine.packing import Tensors
from music.clap.audio_encoder import ClapAudio
from music.interfaces import Identity
from tests.support import memory
network = ClapAudio(Tensors(Path(sys.argv[1])))
embedder = Clap(network, lambda vector: {}, Identity("clap", "1", "1", "float32"), network.dimension)
print(analyse(sys.argv[2], embedder).windows)
print(memory.peak())
"""


def test_a_quarter_of_an_hour_stays_under_600_mb(audio: ClapAudio, precision: str, tmp_path: Path) -> None:
    import soundfile

    draw = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "long", "w", 44_100, 2, "PCM_16", format="FLAC") as file:
        for _ in range(90):
            file.write(0.1 * draw.standard_normal((441_000, 2)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(audio._tensors.path), str(tmp_path / "long")],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    windows, resident = map(int, run.stdout.split())  # of this process; decoding has one of its own
    assert windows == 90
    parity.note("clap", f"15 minutes embedded, {precision}: MB of memory", resident / 1e6, 600)
