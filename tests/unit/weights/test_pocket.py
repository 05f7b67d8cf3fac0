"""The weights of `pocket`, as they lie here: they load, they make music, they say what they are."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest

from client import sample
from music import loading
from music.analysis import analyse
from music.interfaces import Parameters, Request
from music.production import generate
from music.resume import Forgetful, Kept
from tests.support.networks import FEATURES
from weights import Checkpoint, CheckpointError, pack, synthetic
from weights.compose import compose, render, soundfont
from weights.compose.composer import STYLES

CHECKPOINTS = Path(pack.__file__).with_name("pocket")
# Of the codes of 2 s; what a row of logits comes to depends on no machine.
CODES = {
    "similar": "566fb077e9232ab0",
    "continue": "71f8cd554063406e",
    "melody": "9fc1ec7c15c7a46d",
}
FONT = soundfont.cached()
needs_soundfont = pytest.mark.skipif(
    not (FONT.exists() and find_spec("tinysoundfont")), reason="no soundfont here, or no tinysoundfont"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    pack.build("pocket", str(CHECKPOINTS), "int8", folder)
    return folder


@pytest.fixture(autouse=True)
def environment(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MODELS", str(models))
    monkeypatch.delenv("RUNTIME", raising=False)
    yield
    for load in (loading.load, loading.load_embedder, loading.load_text):
        load.cache_clear()


def test_the_weights_are_small_enough_to_be_committed() -> None:
    sizes = [file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()]
    assert sum(sizes) < 40e6
    assert max(sizes) < 15e6


@pytest.mark.parametrize("part", ["musicgen", "clap"])
def test_a_checkpoint_is_whole(part: str) -> None:
    checkpoint = Checkpoint(CHECKPOINTS / part)
    assert checkpoint.config["torch_dtype"] == "float16"


@pytest.mark.parametrize("mode", CODES)
def test_the_same_seed_makes_the_same_music_on_every_machine(mode: str) -> None:
    generator = loading.load("pocket").generator
    kept = Kept(Forgetful())
    request = Request(
        render(compose(3, 14.0, "waltz"), 32000, 1),
        FEATURES,
        Parameters(seed=7, duration=2.0, mode=mode),
        ("calm", "piano"),
        kept,
    )
    (made,) = generator.candidates(request, lambda done: None)
    assert made.audio.shape == (1, 64000)
    assert 0.01 < np.sqrt(np.mean(made.audio**2)) < 0.5
    codes = np.ascontiguousarray(kept.takes[7].codes[:, -100:], "<i2")
    assert hashlib.sha256(codes.tobytes()).hexdigest()[:16] == CODES[mode]


def test_the_licence_stands_in_the_record_and_in_the_file() -> None:
    profile = loading.load("pocket")
    analysis = analyse(sample.PATH, profile.embedder)
    made = generate(
        sample.PATH, profile, Parameters(seed=3, duration=1.0, format="flac"), analysis.vector,
        analysis.features, lambda done: None, tags=analysis.tags,
    )  # fmt: skip
    assert made.report["license"] == "MIT"
    assert made.report["engine"] == "musicgen-pocket"
    with av.open(io.BytesIO(made.audio)) as file:
        assert {name.lower(): tag for name, tag in file.metadata.items()}["copyright"] == "Weights: MIT"


@needs_soundfont
def test_styles_are_named_and_found_by_their_names() -> None:
    embedder, search = loading.load_embedder("pocket"), loading.load_text("pocket")
    known = json.loads((CHECKPOINTS / "clap/tags.json").read_text("utf-8"))["genre"]["tags"]
    styles = [style for style in known if style in STYLES]
    heard = np.stack(
        [embedder.embed(render(compose(77, 12.0, style), 48000, 1, FONT)[0]) for style in styles]
    )
    named = [next(iter(embedder.tags(vector)["genre"])) for vector in heard]
    found = [styles[int((heard @ search.embed(f"{style} music")).argmax())] for style in styles]
    # By chance it would be one; some are near to each other, as house is to techno.
    assert sum(a == b for a, b in zip(named, styles, strict=True)) >= 18
    assert sum(a == b for a, b in zip(found, styles, strict=True)) >= 18


def test_it_names_no_tags_but_those_it_has_heard_of() -> None:
    known = json.loads((CHECKPOINTS / "clap/tags.json").read_text("utf-8"))
    scores = analyse(sample.PATH, loading.load_embedder("pocket")).tag_scores
    assert {name: len(tags) for name, tags in scores.items()} == {
        name: known[name]["shown"] for name in ("genre", "mood", "instrument", "energy")
    }
    assert all(tag in known[name]["tags"] for name, tags in scores.items() for tag in tags)


def test_there_are_no_random_weights_of_this_profile(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="its weights are in layers/weights/pocket"):
        synthetic.write("pocket", tmp_path)
