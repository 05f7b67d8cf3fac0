"""The neural profiles on the real engine, from untrained bundles of a few megabytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import sample
from music import loading, profiles, resume
from music.analysis import analyse
from music.audio.decode import decode
from music.features import Features
from music.interfaces import Candidate, Parameters, Request
from music.production import generate
from music.profiles import ProfileError
from music.resume import Kept
from music.seeds import candidate_seeds
from tests.support.networks import FEATURES, Killed, Shelf
from weights import pack

PARAMETERS = Parameters(seed=7, duration=1.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("tiny", "tiny-melody", "tiny-stereo"):
        pack.build(name, "random", "int8", folder)
    return folder


@pytest.fixture(autouse=True)
def environment(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MODELS", str(models))
    for variable in ("RUNTIME", "EMBEDDER_RUNTIME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)
    yield
    for load in (loading.load, loading.load_embedder, loading.load_text):
        load.cache_clear()


@cache
def track(channels: int) -> np.ndarray:
    """The first eight seconds of the sample track at 32 kHz [shape=(channels, n)]."""
    return decode(sample.PATH, rate=32000, channels=channels)[:, : 8 * 32000]


def run(
    name: str,
    parameters: Parameters = PARAMETERS,
    *,
    features: Features = FEATURES,
    kept: Kept | None = None,
    progress: Callable[[float], None] = lambda done: None,
    source: np.ndarray | None = None,
) -> list[Candidate]:
    generator = loading.load(name).generator
    source = track(generator.channels) if source is None else source
    return list(generator.candidates(Request(source, features, parameters, kept=kept), progress))


@pytest.mark.parametrize(
    ("name", "mode"),
    [("tiny", "similar"), ("tiny", "continue"), ("tiny-melody", "melody"), ("tiny-stereo", "similar")],
)
def test_a_track_goes_in_and_new_audio_comes_out(name: str, mode: str) -> None:
    profile = loading.load(name)
    analysis = analyse(sample.PATH, profile.embedder)
    made = generate(
        sample.PATH, profile, Parameters(seed=5, duration=1.5, mode=mode), analysis.vector, analysis.features,
        lambda done: None, tags=analysis.tags,
    )  # fmt: skip
    report = made.report
    assert (report["engine"], report["model"], report["precision"]) == (f"musicgen-{name}", name, "int8")
    assert report["revision"].startswith("random-")
    assert report["license"] is None  # of trained weights alone
    assert report["channels"] == (2 if name == "tiny-stereo" else 1)
    assert abs(report["duration"] - 1.5) < 0.02
    assert report["faults"] is not None
    details = report["details"]
    assert details["machine"].startswith("engine ")
    assert details["machine"].endswith(" threads")
    assert details["steps"] == 78
    json.dumps(report, allow_nan=False)


def test_candidates_equal_single_runs_bit_for_bit() -> None:
    candidates = run("tiny", replace(PARAMETERS, candidates=3))
    assert [candidate.seed for candidate in candidates] == candidate_seeds(7, 3)
    for candidate in candidates:
        (alone,) = run("tiny", replace(PARAMETERS, seed=candidate.seed))
        assert np.array_equal(alone.audio, candidate.audio)
    assert not np.array_equal(candidates[0].audio, candidates[1].audio)


@pytest.mark.parametrize(
    ("name", "mode"), [("tiny", "similar"), ("tiny", "continue"), ("tiny-melody", "melody")]
)
def test_a_generation_killed_anywhere_ends_with_the_same_bytes(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    parameters = replace(PARAMETERS, mode=mode, candidates=2)
    whole = run(name, parameters)
    for stop in (1, 2, 3, 20, 41, 52):
        shelf = Shelf()

        def kill(share: float, shelf: Shelf = shelf, stop: int = stop) -> None:
            if len(shelf.saved) >= stop:
                raise Killed

        with pytest.raises(Killed):
            run(name, parameters, kept=Kept(shelf), progress=kill)
        again = run(name, parameters, kept=Kept(shelf))
        assert [candidate.details["resumed"] for candidate in again] == [1, 1]
        assert all(np.array_equal(a.audio, b.audio) for a, b in zip(again, whole, strict=True)), stop


def test_windows_are_resumed_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("music.musicgen.generator.WINDOW_SECONDS", 0.6)
    monkeypatch.setattr("music.musicgen.generator.STRIDE_SECONDS", 0.36)
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    (whole,) = run("tiny")
    assert whole.audio.shape[1] == 32000
    shelf = Shelf()
    run("tiny", kept=Kept(shelf))
    for stop in range(3, len(shelf.saved), 11):
        part = Shelf()
        part.saved = shelf.saved[:stop]
        (candidate,) = run("tiny", kept=Kept(part))
        assert np.array_equal(candidate.audio, whole.audio), stop


def test_texts_melodies_and_sources_are_heard() -> None:
    """None of them is left out on the way to the transformer."""

    def audio(name: str, mode: str, prompt: str | None, source: np.ndarray | None = None) -> bytes:
        parameters = replace(PARAMETERS, mode=mode, prompt=prompt)
        return run(name, parameters, source=source)[0].audio.tobytes()

    t = np.arange(32000 * 4) / 32000
    one, two = ((0.3 * np.sin(2 * np.pi * f * t))[None].astype(np.float32) for f in (440.0, 523.25))
    assert audio("tiny", "similar", "calm") != audio("tiny", "similar", "wild and loud")
    assert audio("tiny-melody", "melody", "calm") != audio("tiny-melody", "melody", "wild and loud")
    assert audio("tiny-melody", "melody", "calm", one) != audio("tiny-melody", "melody", "calm", two)
    assert audio("tiny", "continue", "calm", one) != audio("tiny", "continue", "calm", two)


def test_no_text_is_not_an_empty_one() -> None:
    nothing = replace(FEATURES, tempo=0.0, key=None, mode=None)
    generator: Any = loading.load("tiny").generator
    empty = generator._text.encode(generator._tokenizer.encode("").ids)
    from music.musicgen.networks import Condition

    logits = [
        generator._language.start([condition], 4).advance(np.full((1, 1, 4), generator._language.vocabulary))
        for condition in (Condition(None), Condition(empty))
    ]
    assert not np.array_equal(logits[0], logits[1])
    (candidate,) = run("tiny", replace(PARAMETERS, duration=0.1), features=nothing)
    assert candidate.details["description"] == ""


# -- what is refused -----------------------------------------------------------------------------------------


def test_a_missing_bundle_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path))
    for load in (loading.load, loading.load_embedder):
        with pytest.raises(ProfileError, match=r"small.*no bundle there.*make models PROFILE=small"):
            load("small")


def test_a_bundle_of_another_profile_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").symlink_to(models / "tiny")
    monkeypatch.setenv("MODELS", str(tmp_path))
    with pytest.raises(ProfileError, match="a bundle of tiny, not of small"):
        loading.load("small")


def test_a_bundle_with_a_missing_file_is_refused_by_name(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    for file in (models / "tiny").iterdir():
        if file.name != "encodec.safetensors":
            (tmp_path / "tiny" / file.name).symlink_to(file)
    monkeypatch.setenv("MODELS", str(tmp_path))
    with pytest.raises(ProfileError, match=r"encodec\.safetensors: missing"):
        loading.load("tiny")
    loading.load_embedder("tiny")  # which does not need it


def test_large_is_refused_in_float32_by_name(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").mkdir()
    for file in (models / "tiny").iterdir():
        if file.name == "manifest.json":
            manifest = json.loads(file.read_text()) | {"profile": "large", "precision": "float32"}
            (tmp_path / "large" / file.name).write_text(json.dumps(manifest))
        else:
            (tmp_path / "large" / file.name).symlink_to(file)
    monkeypatch.setenv("MODELS", str(tmp_path))
    with pytest.raises(ProfileError, match=r"'large' runs at int8 only.*float32"):
        loading.load("large")


def test_too_little_memory_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    with pytest.raises(ProfileError, match="MB of memory"):
        loading.load("tiny")


def test_an_unknown_runtime_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIME", "quantum")
    with pytest.raises(ProfileError, match=r"'quantum'.*engine, torch"):
        loading.load("tiny")


def test_the_embedder_may_run_elsewhere_than_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a generator runs on torch, its sources were embedded by another function, on the engine."""
    identity = loading.load_embedder("tiny").identity
    loading.load_embedder.cache_clear()
    monkeypatch.setenv("RUNTIME", "torch")
    monkeypatch.setenv("EMBEDDER_RUNTIME", "engine")
    assert loading.load_embedder("tiny").identity == identity
    loading.load_embedder.cache_clear()
    monkeypatch.setenv("EMBEDDER_RUNTIME", "quantum")
    with pytest.raises(ProfileError, match=r"unknown EMBEDDER_RUNTIME 'quantum'"):
        loading.load_embedder("tiny")


def test_declarations_have_limits() -> None:
    for lengths in profiles.LENGTHS.values():
        assert lengths.keys() == profiles.DECLARED.keys()
        for piece, total in lengths.values():
            assert 30.0 <= piece <= 300.0
            assert piece <= total
    assert all(length == (300.0, 2400.0) for length in profiles.LENGTHS["sagemaker"].values())
    assert all(declared.modes[0] == "similar" for declared in profiles.DECLARED.values())
