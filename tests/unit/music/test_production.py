"""Analysis and generation with a small embedder and generator whose results can be reckoned by hand."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from music.analysis import Analysis, analyse
from music.audio import AudioError
from music.audio.decode import resample
from music.audio.encode import CONTENT_TYPES
from music.audio.loudness import integrated_loudness, true_peak
from music.dsp.sound import Sound
from music.interfaces import Candidate, GenerationError, Identity, Parameters, Request, Section
from music.loading import Profile, load
from music.production import MAX_REPLACEMENTS, CandidateFile, Generated, generate
from music.profiles import ProfileError
from music.resume import Snapshots
from music.seeds import candidate_seeds
from tests.support import sound


class Bands:
    """Embeds as the energies of eight octave bands."""

    identity = Identity("bands", "1", "1", "float32")
    dimension = 8
    sample_rate = 16000

    def listen(self) -> None:
        """It needs the whole."""

    def tags(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        return {}

    def embed(self, audio: np.ndarray, sound: Sound | None = None) -> np.ndarray:
        power = (np.abs(np.fft.rfft(np.atleast_2d(audio))) ** 2).mean(axis=0)
        frequency = np.fft.rfftfreq(np.shape(audio)[-1], 1 / self.sample_rate)
        band = np.clip(np.log2(np.maximum(frequency, 1.0) / 31.25), 0, 7.99).astype(int)
        energies = np.sqrt(np.bincount(band, weights=power, minlength=8)) + 1e-9
        return (energies / np.linalg.norm(energies)).astype(np.float32)


class Tones:
    """Candidates are tones whose pitch follows from the seed; seed 440 is the likest to the source."""

    name = "tones"
    identity = Identity("tones", "abc123", "1", "int8")
    sample_rate = 32000
    channels = 2
    license: str | None = "CC-BY-NC-4.0"
    checks: Sequence[str] = ()
    given: np.ndarray | None = None

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        source, parameters = request.source, request.parameters
        self.given = source
        for index in range(parameters.candidates):
            seed = (parameters.seed, 440, 6000, 440)[index]
            progress((index + 0.5) / parameters.candidates)
            t = np.arange(round(parameters.duration * self.sample_rate)) / self.sample_rate
            tone = 0.02 * np.sin(2 * np.pi * seed * t) + 0.02 * np.sin(2 * np.pi * (seed + 1) * t)
            audio = np.repeat(tone[None].astype(np.float32), len(source), axis=0)
            yield Candidate(audio, seed, {"semitones": index, "runs": [1, 2, 3]})
            progress((index + 1) / parameters.candidates)


PROFILE = Profile("builtin", Bands(), Tones())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a stereo chord around 440 Hz."""
    t = np.arange(3 * 44100) / 44100
    left = sum(0.1 * np.sin(2 * np.pi * f * t) for f in (415.0, 440.0, 466.0))
    path = tmp_path_factory.mktemp("source") / "chord"
    soundfile.write(path, np.stack([left, 0.9 * left], axis=1), 44100, format="WAV", subtype="PCM_24")
    return path


def run(
    source: Path, progress: Callable[[float], None] = lambda done: None, **asked: object
) -> tuple[Analysis, Generated]:
    analysis = analyse(source, PROFILE.embedder)
    parameters = Parameters(**{"seed": 3000, "duration": 2.0, "candidates": 4, **asked})  # type: ignore[arg-type]
    return analysis, generate(source, PROFILE, parameters, analysis.vector, analysis.features, progress)


def test_analysis(source: Path) -> None:
    done: list[float] = []
    analysis = analyse(source, PROFILE.embedder, done.append)
    assert analysis.vector.shape == (8,)
    assert analysis.vector.dtype == np.float32
    assert np.argmax(analysis.vector) == 3  # 250 to 500 Hz
    assert analysis.identity is Bands.identity
    assert analysis.features.duration == pytest.approx(3.0, abs=0.001)
    audio, _ = soundfile.read(source, always_2d=True)
    assert analysis.features.loudness == pytest.approx(integrated_loudness(audio.T, 44100), abs=0.1)
    assert all(isinstance(tag, str) for tag in analysis.tags)
    json.dumps(analysis.features.to_dict(), allow_nan=False)
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_loudness_is_that_of_all_channels(tmp_path: Path) -> None:
    """A tone in opposite phase is silent as mono and as loud as any in stereo."""
    t = np.arange(3 * 44100) / 44100
    tone = 0.2 * np.sin(2 * np.pi * 1000 * t)
    soundfile.write(tmp_path / "x", np.stack([tone, -tone], axis=1), 44100, format="WAV")
    assert analyse(tmp_path / "x", PROFILE.embedder).features.loudness == pytest.approx(-14.0, abs=0.1)


def test_silence_can_be_analysed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", np.zeros((44100, 2)), 44100, format="WAV")
    analysis = analyse(tmp_path / "x", PROFILE.embedder)
    assert analysis.features.loudness is None
    json.dumps(analysis.features.to_dict(), allow_nan=False)


@pytest.mark.parametrize("samples", [1, 40, 1000])
def test_too_short_a_source_is_refused(samples: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", np.zeros(samples), 48000, format="WAV")
    with pytest.raises(AudioError) as caught:
        analyse(tmp_path / "x", PROFILE.embedder)
    assert caught.value.code == "too_short"


def test_the_likest_candidate_is_kept_and_all_are_told(source: Path) -> None:
    report = run(source)[1].report
    assert [tried["seed"] for tried in report["candidates"]] == [3000, 440, 6000, 440]
    scores = [tried["similarity"]["embedding"] for tried in report["candidates"]]
    assert scores[1] == scores[3] == max(scores)
    assert report["seed"] == 440
    assert report["details"] == {"semitones": 1}  # the first of equals; lists stay out
    assert report["similarity"] == report["candidates"][1]["similarity"]
    assert set(report["similarity"]) == {"embedding", "chroma", "tempo", "form"}
    assert all(0 <= score <= 1 for tried in report["candidates"] for score in tried["similarity"].values())
    assert 0.9 < scores[1] <= 1.0
    assert scores[2] < 0.1


def kept_of(source: Path, profile: Profile, **asked: Any) -> tuple[Generated, list[CandidateFile]]:
    """Generate, and return what was kept of each candidate."""
    kept: list[CandidateFile] = []
    heard = analyse(source, profile.embedder)
    made = generate(
        source,
        profile,
        Parameters(**asked),
        heard.vector,
        heard.features,
        lambda done: None,
        keep=kept.append,
    )
    return made, kept


def test_every_candidate_is_kept_as_it_would_be_given(source: Path) -> None:
    profile = replace(PROFILE, generator=Plain())
    asked = {"seed": 220, "candidates": 3, "duration": 1.0}
    made, kept = kept_of(source, profile, **asked, format="flac")
    assert [one.index for one in kept] == [0, 1, 2]
    assert made.report["chosen"] == 1
    assert kept[1].audio == made.audio
    assert kept[1].report == {name: made.report[name] for name in ("loudness", "duration", "details")}
    assert kept[0].report["loudness"] != kept[1].report["loudness"]
    assert {one.origins for one in kept} == {None}
    again, kept_again = kept_of(source, profile, **asked, format="wav")
    assert [asdict(one) for one in kept_again] == [asdict(one) for one in kept]
    wav, flac = (soundfile.read(io.BytesIO(file))[0] for file in (again.audio, kept[1].audio))
    assert np.array_equal(wav, flac)


def test_keeping_changes_nothing_of_the_result(source: Path) -> None:
    heard = analyse(source, PROFILE.embedder)
    parameters = Parameters(seed=220, candidates=2, duration=1.0)
    given = (source, replace(PROFILE, generator=Plain()), parameters, heard.vector, heard.features)
    plain = generate(*given, lambda done: None)
    made, _ = kept_of(source, replace(PROFILE, generator=Plain()), **asdict(parameters))
    assert made.audio == plain.audio


class Plain(Tones):
    """Tells nothing of where its music comes from."""

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        for candidate in super().candidates(request, progress):
            yield replace(candidate, details={})


@pytest.mark.parametrize("section", [None, Section(4.0, 16.0)])
def test_origins_say_where_a_mosaic_comes_from(tmp_path: Path, section: Section | None) -> None:
    rate = 22050
    (tmp_path / "x").write_bytes(sound.wav(sound.song(120.0, 9, "minor", 20.0)[None], rate))
    profile = load("builtin")
    made, kept = kept_of(tmp_path / "x", profile, seed=3, duration=8.0, section=section)
    (origins,) = (one.origins for one in kept)
    assert origins is not None
    assert origins[0]["start"] == 0.0
    assert origins[-1]["end"] == pytest.approx(made.report["duration"])
    for before, after in pairwise(origins):
        assert before["end"] == after["start"]
    first, last = (section.start, section.end) if section else (0.0, 20.0)
    assert all(first - 0.1 <= part["source_start"] <= last for part in origins)
    assert len(json.dumps(origins)) < 100_000


def test_the_report(source: Path) -> None:
    analysis, made = run(source, temperature=0.7)
    report = made.report
    assert (report["engine"], report["model"], report["revision"]) == ("tones", "tones", "abc123")
    assert (report["precision"], report["license"]) == ("int8", "CC-BY-NC-4.0")
    assert report["parameters"]["temperature"] == 0.7
    assert report["parameters"]["seed"] == 3000
    assert set(report["parameters"]) == set(Parameters.__dataclass_fields__)
    assert set(report["timings"]) == {"decode", "generate", "master", "score", "encode"}
    assert (report["duration"], report["sample_rate"], report["channels"]) == (2.0, 32000, 2)
    loudness = report["loudness"]
    assert loudness["target"] == analysis.features.loudness
    assert loudness["integrated"] == pytest.approx(loudness["target"], abs=1.0)
    assert loudness["true_peak"] <= -1.0
    assert loudness["on_target"]
    assert len(json.dumps(report, allow_nan=False)) < 2000


@pytest.mark.parametrize("format", CONTENT_TYPES)
def test_delivered_files(format: str, source: Path, tmp_path: Path) -> None:
    analysis, made = run(source, format=format)
    again = run(source, format=format)[1]
    assert made.audio == again.audio
    assert made.content_type == CONTENT_TYPES[format]
    path = tmp_path / "x"
    path.write_bytes(made.audio)
    audio, rate = soundfile.read(path, always_2d=True)
    assert len(audio) / rate == pytest.approx(2.0, abs=0.02)
    assert integrated_loudness(audio.T, rate) == pytest.approx(analysis.features.loudness, abs=1.0)
    assert true_peak(audio.T.astype(np.float32)) <= (-1.0 if format in ("wav", "flac") else 0.0)
    with av.open(str(path)) as file:
        found = {**file.metadata, **file.streams[0].metadata}
    assert found["title"] == "Generated music"
    assert found["copyright"] == "Weights: CC-BY-NC-4.0"
    assert "seed 440" in found["comment"]
    # That a machine made it.
    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
    assert source_type in found["comment"]
    assert made.report["digital_source_type"] == source_type
    if format != "wav":
        assert found["digitalsourcetype"] == source_type


def test_a_mono_source_gives_mono_music(tmp_path: Path, source: Path) -> None:
    audio, rate = soundfile.read(source, always_2d=True)
    soundfile.write(tmp_path / "x", audio[:, 0], rate, format="WAV")
    made = run(tmp_path / "x")[1]
    assert made.report["channels"] == 1
    given = PROFILE.generator.given  # type: ignore[attr-defined]
    assert given.shape == (1, 96000)
    assert made.report["loudness"]["on_target"]


def test_progress_rises_from_0_to_1(source: Path) -> None:
    done: list[float] = []
    run(source, done.append)
    assert done[0] == 0.0
    assert done[-1] == 1.0
    assert done == sorted(done)
    assert len(done) > 8


@pytest.mark.parametrize("after", [0, 1, 3, 8])
def test_progress_can_cancel(after: int, source: Path) -> None:
    class Cancelled(Exception):
        pass

    calls = 0

    def progress(done: float) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(source, progress)
    assert calls == after + 1


def test_what_the_profile_cannot_do_is_an_error(source: Path) -> None:
    with pytest.raises(ProfileError):
        run(source, mode="melody")
    with pytest.raises(ProfileError):
        run(source, prompt="calm piano")


def test_a_silent_source(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", np.zeros((44100, 2)), 44100, format="WAV")
    made = run(tmp_path / "x", candidates=1)[1]
    assert made.report["loudness"]["target"] is None
    assert not made.report["loudness"]["on_target"]
    json.dumps(made.report, allow_nan=False)


@pytest.mark.parametrize("before", [False, True])
def test_what_extends_a_silent_source_is_as_long_as_both(tmp_path: Path, before: bool) -> None:
    soundfile.write(tmp_path / "x", np.zeros((3 * 44100, 2)), 44100, format="WAV")
    builtin = load("builtin")
    analysis = analyse(tmp_path / "x", builtin.embedder)
    asked = Parameters(seed=1, mode="extend", before=before, duration=2.0)
    result = generate(tmp_path / "x", builtin, asked, analysis.vector, analysis.features, lambda done: None)
    (tmp_path / "made").write_bytes(result.audio)
    assert soundfile.info(tmp_path / "made").duration == pytest.approx(5.0, abs=1e-3)
    assert result.report["details"]["seam"] == (2.0 if before else 3.0)


def beat(seconds: float) -> np.ndarray:
    """Decaying notes of a scale at 120 BPM, over some noise."""
    t = np.arange(round(seconds * 44100)) / 44100
    note = 220 * 2 ** (np.array([0, 4, 7, 12, 9, 5, 2, 11])[(2 * t).astype(int) % 8] / 12)
    noise = np.random.default_rng(5).standard_normal(len(t))
    return 0.3 * np.exp(-6 * (t % 0.5)) * np.sin(2 * np.pi * note * t) + 0.001 * noise


SOURCES = {
    "music": lambda: beat(12.0),
    "one second": lambda: beat(1.0),
    "silence": lambda: np.zeros(3 * 44100),
    "noise": lambda: 0.1 * np.random.default_rng(0).standard_normal(3 * 44100),
    "quiet": lambda: 0.01 * beat(4.0),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_builtin_profile_takes_any_source(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", SOURCES[kind](), 44100, format="FLAC")
    profile = load("builtin")
    analysis = analyse(tmp_path / "x", profile.embedder)
    parameters = [Parameters(seed=seed, duration=3.0, candidates=2) for seed in (1, 1, 2)]
    same, again, other = (
        generate(tmp_path / "x", profile, asked, analysis.vector, analysis.features, lambda done: None)
        for asked in parameters
    )
    assert same.audio == again.audio
    audio, rate = soundfile.read(io.BytesIO(same.audio), always_2d=True)
    assert audio.shape == (3 * rate, 1)
    json.dumps(same.report, allow_nan=False)
    if kind == "silence":
        assert not audio.any()
        assert analysis.features.loudness is same.report["loudness"]["integrated"] is None
        return
    assert other.audio != same.audio
    assert true_peak(audio.T.astype(np.float32)) <= -1.0
    assert same.report["loudness"]["on_target"]
    assert same.report["similarity"]["embedding"] > 0.3  # unrelated music: 0 on average
    best = max(tried["similarity"]["embedding"] for tried in same.report["candidates"])
    assert same.report["similarity"]["embedding"] == best
    alone = generate(
        tmp_path / "x",
        profile,
        Parameters(seed=same.report["seed"], duration=3.0),
        analysis.vector,
        analysis.features,
        lambda done: None,
    )
    assert alone.audio == same.audio


# -- a section -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a loud low tone, then three of a soft high one."""
    t = np.arange(3 * 32000) / 32000
    parts = [0.4 * np.sin(2 * np.pi * 110.0 * t), 0.02 * np.sin(2 * np.pi * 3000.0 * t)]
    path = tmp_path_factory.mktemp("parts") / "parts"
    soundfile.write(path, np.concatenate(parts), 32000, format="WAV", subtype="FLOAT")
    return path


def test_a_section_is_used_as_if_it_were_the_track(two_parts: Path, tmp_path: Path) -> None:
    _, made = run(two_parts, candidates=1, section=Section(3.5, 6.0))
    given = PROFILE.generator.given  # type: ignore[attr-defined]
    whole = soundfile.read(two_parts, dtype="float32")[0]
    assert np.array_equal(given, whole[None, 112_000:192_000])
    soundfile.write(tmp_path / "part", whole[112_000:192_000], 32000, format="WAV", subtype="FLOAT")
    _, alone = run(tmp_path / "part", candidates=1)
    assert made.report["similarity"] == pytest.approx(alone.report["similarity"], abs=1e-3)
    assert made.report["loudness"]["target"] == pytest.approx(alone.report["loudness"]["target"], abs=0.1)
    assert made.report["parameters"]["section"] == {"start": 3.5, "end": 6.0}
    assert Parameters.from_dict(made.report["parameters"]).section == Section(3.5, 6.0)


def test_a_section_has_the_beats_and_bars_of_the_track(two_parts: Path) -> None:
    class Listening(Tones):
        def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
            self.features = request.features
            return super().candidates(request, progress)

    generator = Listening()
    analysis = analyse(two_parts, PROFILE.embedder)
    features = replace(
        analysis.features,
        tempo=120.0,
        beats=[0.5 * beat for beat in range(12)],
        meter="4/4",
        bars=[0.0, 2.0, 4.0],
    )
    parameters = Parameters(seed=3000, duration=1.0, section=Section(1.75, 4.5))
    profile = Profile("builtin", Bands(), generator)
    generate(two_parts, profile, parameters, analysis.vector, features, lambda done: None)
    assert generator.features.beats == [0.25, 0.75, 1.25, 1.75, 2.25]
    assert (generator.features.meter, generator.features.bars) == ("4/4", [0.25, 2.25])
    assert generator.features.duration == 2.75


def test_of_a_section_with_another_tempo_and_key_its_own_are_in_reach(tmp_path: Path) -> None:
    parts = [sound.song(120.0, 9, "minor", 12.0), sound.song(84.0, 0, "major", 12.0)]
    path = tmp_path / "x"
    path.write_bytes(sound.wav(np.concatenate(parts)[None], 22050))
    profile = load("builtin")
    heard = analyse(path, profile.embedder)

    def of_the_second(**asked: Any) -> dict[str, Any]:
        parameters = Parameters(seed=1, duration=8.0, section=Section(12.0, 24.0), **asked)
        return generate(path, profile, parameters, heard.vector, heard.features, lambda done: None).report

    report = of_the_second(tempo=88.2, key="D major", loop=True, bars=4)
    assert report["details"]["speed"] == pytest.approx(1.05, abs=0.004)
    assert report["details"]["semitones"] == 2
    assert report["duration"] == pytest.approx(16 * 60.0 / 88.2, rel=0.01)
    with pytest.raises(GenerationError, match="in C major; in reach are C major"):
        of_the_second(key="C minor")
    with pytest.raises(GenerationError, match=r"8[34]\.\d+ BPM; 67\.\d+ to 10[45]\.\d+ are"):
        of_the_second(tempo=120.0)


def test_a_section_beyond_the_end_fails_with_its_code(two_parts: Path) -> None:
    run(two_parts, candidates=1, section=Section(4.0, 6.04))
    with pytest.raises(GenerationError, match="ends at 6") as refused:
        run(two_parts, candidates=1, section=Section(4.0, 6.2))
    assert refused.value.code == "section_out_of_range"


# -- the quality gate ----------------------------------------------------------------------------------------


class Wanting(Tones):
    """Makes noise of its own for every seed, but for those that are told to go wrong."""

    checks = ("silent", "clipped")
    runs: list[tuple[int, int]]
    wrong: dict[int, str]

    def __init__(self, wrong: dict[int, str]) -> None:
        self.runs, self.wrong = [], wrong

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        parameters = request.parameters
        self.runs.append((parameters.seed, parameters.candidates))
        self.tags, self.kept = request.tags, request.kept
        for index, seed in enumerate(candidate_seeds(parameters.seed, parameters.candidates)):
            audio = np.random.default_rng(seed).standard_normal((2, 64000)).astype(np.float32) * 0.05
            wrong = self.wrong.get(seed)
            if wrong == "silent":
                audio *= 1e-5
            if wrong == "fault":
                yield Candidate(audio[:, :0], seed, {}, fault="logits not finite at step 3")
            else:
                yield Candidate(audio, seed, {})
            progress((index + 1) / parameters.candidates)


SEEDS = candidate_seeds(3000, 3 + MAX_REPLACEMENTS)


def gated(
    source: Path, wrong: dict[int, str], progress: Callable[[float], None] = lambda done: None
) -> tuple[Wanting, Generated]:
    generator = Wanting(wrong)
    profile = Profile("builtin", Bands(), generator)
    analysis = analyse(source, PROFILE.embedder)
    parameters = Parameters(seed=3000, duration=2.0, candidates=3)
    made = generate(source, profile, parameters, analysis.vector, analysis.features, progress, tags=["calm"])
    return generator, made


def test_candidates_that_pass_are_not_replaced(source: Path) -> None:
    generator, made = gated(source, {})
    assert generator.runs == [(3000, 3)]
    assert generator.tags == ["calm"]
    assert made.report["faults"] == []
    assert [candidate["seed"] for candidate in made.report["candidates"]] == SEEDS[:3]


@pytest.mark.parametrize("kind", ["silent", "fault"])
def test_a_candidate_with_a_fault_is_replaced_and_told_of(source: Path, kind: str) -> None:
    done: list[float] = []
    generator, made = gated(source, {SEEDS[1]: kind}, done.append)
    assert generator.runs == [(3000, 3), (SEEDS[3], 1)]
    told = made.report["candidates"]
    assert [candidate["seed"] for candidate in told] == SEEDS[:4]
    assert told[1]["faults"] == ["silent" if kind == "silent" else "logits not finite at step 3"]
    assert [("faults" in candidate) for candidate in told] == [False, True, False, False]
    assert made.report["faults"] == []
    assert made.report["seed"] != SEEDS[1]
    assert done == sorted(done)


def test_replacements_are_replaced_but_not_for_ever(source: Path) -> None:
    generator, made = gated(source, dict.fromkeys(SEEDS[1:], "silent"))
    assert len(generator.runs) == 1 + MAX_REPLACEMENTS
    assert made.report["seed"] == SEEDS[0]
    assert made.report["faults"] == []


def test_what_passes_wins_over_what_does_not_however_like(source: Path) -> None:
    """Near-silence is made louder by mastering, and its bands may be the likest."""
    for good in SEEDS[:3]:
        wrong = {seed: "silent" for seed in SEEDS if seed != good}
        assert gated(source, wrong)[1].report["seed"] == good


def test_a_fault_is_never_delivered_unmarked(source: Path) -> None:
    generator, made = gated(source, dict.fromkeys(SEEDS, "silent"))
    assert len(generator.runs) == 1 + MAX_REPLACEMENTS
    assert made.report["faults"] == ["silent"]


def test_when_nothing_was_made_it_fails_with_the_reason(source: Path) -> None:
    with pytest.raises(GenerationError, match="not finite at step 3") as caught:
        gated(source, dict.fromkeys(SEEDS, "fault"))
    assert caught.value.code == "nothing_made"


def test_the_builtin_generator_is_not_gated(source: Path) -> None:
    profile = load("builtin")
    analysis = analyse(source, profile.embedder)
    parameters = Parameters(seed=1, duration=1.0)
    report = generate(
        source, profile, parameters, analysis.vector, analysis.features, lambda done: None
    ).report
    assert "faults" not in report


def test_replacements_go_on_from_the_same_snapshots(source: Path) -> None:
    class Shelf:
        def load(self) -> list[bytes]:
            return []

        def save(self, data: bytes, step: int) -> None: ...

        def remaining(self) -> float:
            return 42.0

    shelf: Snapshots = Shelf()
    generator = Wanting({SEEDS[0]: "silent"})
    analysis = analyse(source, PROFILE.embedder)
    generate(
        source, Profile("builtin", Bands(), generator), Parameters(seed=3000, duration=2.0), analysis.vector,
        analysis.features, lambda done: None, snapshots=shelf,
    )  # fmt: skip
    assert generator.kept is not None
    assert generator.kept.fits(22.0)
    assert not generator.kept.fits(22.1)


# -- tempo and key of what is chosen -----------------------------------------------------------------------


class Clicks(Tones):
    """Candidates are clicks, at one of some tempos after the other."""

    def __init__(self, *tempos: float) -> None:
        self.tempos = iter(tempos)
        self.requests: list[Request] = []

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        self.requests.append(request)
        for seed in candidate_seeds(request.parameters.seed, request.parameters.candidates):
            audio = np.zeros((2, round(request.parameters.duration * self.sample_rate)), np.float32)
            ring = 0.5 * np.exp(-np.arange(800) / 80.0) * np.sin(np.arange(800) * 0.2)
            for beat in np.arange(0.1, request.parameters.duration - 0.1, 60.0 / next(self.tempos)):
                begin = round(beat * self.sample_rate)
                audio[:, begin : begin + 800] += ring
            yield Candidate(audio, seed)


def choose(source: Path, generator: Clicks, **asked: Any) -> Generated:
    analysis = analyse(source, PROFILE.embedder)
    parameters = Parameters(seed=3000, duration=16.0, **asked)
    return generate(
        source, Profile("small", Bands(), generator), parameters, analysis.vector, analysis.features,
        lambda done: None, tags=["slow", "minor", "warm"],
    )  # fmt: skip


def tempo_of(made: Generated, tmp_path: Path) -> float:
    (tmp_path / "made").write_bytes(made.audio)
    return analyse(tmp_path / "made", PROFILE.embedder).features.tempo


def test_a_candidate_near_the_tempo_is_chosen_and_stretched_to_it(source: Path, tmp_path: Path) -> None:
    generator = Clicks(104.0, 108.0)
    made = choose(source, generator, tempo=120.0)
    assert tempo_of(made, tmp_path) == pytest.approx(120.0, rel=0.01)
    assert made.report["duration"] == 16.0
    assert made.report["candidates"][0]["faults"] == ["tempo"]
    assert (made.report["chosen"], made.report["faults"]) == (1, [])
    assert made.report["details"]["speed"] == pytest.approx(120.0 / 108.0, rel=0.005)
    assert made.report["parameters"]["duration"] == 16.0
    assert generator.requests[0].features.tempo == 120.0
    assert generator.requests[0].tags == ["minor", "warm"]


@pytest.mark.parametrize(("asked", "code"), [({"tempo": 120.0}, "tempo"), ({"key": "C major"}, "key")])
def test_where_no_candidate_has_what_is_asked_for_the_job_fails_with_its_code(
    source: Path, asked: Any, code: str
) -> None:
    generator = Clicks(100.0, 80.0, *[100.0] * (MAX_REPLACEMENTS - 1))
    with pytest.raises(GenerationError) as refused:
        choose(source, generator, **asked)
    assert refused.value.code == f"{code}_out_of_reach"
    if code == "tempo":
        assert f"120 BPM; {1 + MAX_REPLACEMENTS} were made" in refused.value.detail
        heard = re.findall(r"([\d.]+) BPM", refused.value.detail)[1:]
        assert [round(float(tempo) / 20) * 20 for tempo in heard] == [100, 80]
    assert len(generator.requests) == 1 + 1 + MAX_REPLACEMENTS - 1


class OutOfReach(Wanting):
    """Brings its source to a tempo and a key by itself, and comes to nothing with some seeds."""

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        name = "tempo" if request.parameters.tempo else "key"
        heard = {"heard": {"tempo": "100 BPM", "key": "D minor"}}
        for candidate in super().candidates(request, progress):
            yield replace(candidate, fault=name, details=heard) if candidate.fault else candidate


@pytest.mark.parametrize("fails", [1, 2])
@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [("key", {"key": "C minor"}, "C minor.*D minor"), ("tempo", {"tempo": 50.0}, "50.*100 BPM")],
)
def test_where_a_generator_that_turns_its_source_does_not_come_there_it_is_not_asked_again(
    source: Path, fails: int, name: str, asked: dict[str, Any], said: str
) -> None:
    generator = OutOfReach(dict.fromkeys(SEEDS[:fails], "fault"))
    analysis = analyse(source, PROFILE.embedder)
    parameters = Parameters(seed=3000, duration=2.0, candidates=2, **asked)
    profile = Profile("builtin", Bands(), generator)
    if fails == 1:
        made = generate(source, profile, parameters, analysis.vector, analysis.features, lambda done: None)
        assert (made.report["chosen"], made.report["candidates"][0]["faults"]) == (1, [name])
    else:
        with pytest.raises(GenerationError, match=said) as refused:
            generate(source, profile, parameters, analysis.vector, analysis.features, lambda done: None)
        assert refused.value.code == f"{name}_out_of_reach"
    assert len(generator.runs) == 1


# -- the source in the result -------------------------------------------------------------------------------


def write_song(path: Path, rate: int, subtype: str, kind: str = "WAV") -> np.ndarray:
    """Write 20 s with beats [shape=(2, n)]; return what a reader of the file hears."""
    mono = resample(sound.song(120.0, 2, "minor", 20.0), 22050, rate)
    soundfile.write(path, np.stack([mono, 0.7 * mono], axis=1), rate, format=kind, subtype=subtype)
    return np.asarray(soundfile.read(path, dtype="int32", always_2d=True)[0]).T


def made_of(path: Path, tmp_path: Path, **asked: Any) -> tuple[Generated, np.ndarray, Any]:
    profile = load("builtin")
    heard = analyse(path, profile.embedder)
    parameters = Parameters(**{"seed": 3, **asked})
    made = generate(path, profile, parameters, heard.vector, heard.features, lambda done: None)
    (tmp_path / "result").write_bytes(made.audio)
    audio, _ = soundfile.read(tmp_path / "result", dtype="int32", always_2d=True)
    return made, audio.T, soundfile.info(tmp_path / "result")


@pytest.mark.parametrize(
    ("rate", "subtype", "kind", "format"),
    [
        (44100, "PCM_16", "WAV", "wav"),
        (48000, "PCM_24", "FLAC", "flac"),
        (22050, "PCM_16", "FLAC", "wav"),
        (96000, "PCM_24", "WAV", "wav"),
    ],
)
def test_outside_the_region_the_file_is_the_source_bit_for_bit(
    rate: int, subtype: str, kind: str, format: str, tmp_path: Path
) -> None:
    source = write_song(tmp_path / "x", rate, subtype, kind)
    region = Section(6.0, 12.0)
    made, audio, told = made_of(tmp_path / "x", tmp_path, mode="repaint", region=region, format=format)
    assert (told.samplerate, told.subtype) == (rate, subtype)
    assert audio.shape == source.shape
    changed = np.flatnonzero((audio != source).any(axis=0)) / rate
    assert 6.0 <= changed[0] < 7.2
    assert 10.8 < changed[-1] <= 12.0
    assert made.report["sample_rate"] == rate
    assert made.report["details"]["region_start"] >= 6.0


def test_extending_gives_source_and_music_in_one_file(tmp_path: Path) -> None:
    source = write_song(tmp_path / "x", 44100, "PCM_16")
    asked = {"mode": "extend", "duration": 5.0, "sample_rate": 44100}
    made, audio, _ = made_of(tmp_path / "x", tmp_path, **asked)
    seam = round(made.report["details"]["seam"] * 44100)
    assert audio.shape[1] == seam + 5 * 44100
    part = slice(44100, seam - 44100)
    ratio = np.vdot(audio[:, part] / 1e6, source[:, part] / 1e6) / np.vdot(
        source[:, part] / 1e6, source[:, part] / 1e6
    )
    off = audio[:, part] - ratio * source[:, part]
    assert np.sqrt((off**2).mean()) < 0.01 * np.sqrt((source[:, part].astype(float) ** 2).mean())


def write_sounding(path: Path) -> np.ndarray:
    """Write 20 s with beats that sound from the first sample to the last [shape=(2, n)]."""
    mono = resample(sound.song(120.0, 2, "minor", 24.0), 22050, 44100)[66150:948150]
    mono = mono + (0.05 * np.sin(2 * np.pi * 220.0 * np.arange(len(mono)) / 44100 + 1.0)).astype(np.float32)
    soundfile.write(path, np.stack([mono, 0.7 * mono], axis=1), 44100, subtype="PCM_16")
    return np.asarray(soundfile.read(path, dtype="float64", always_2d=True)[0]).T


@pytest.mark.parametrize("before", [False, True])
def test_what_is_extended_begins_or_ends_with_the_samples_of_the_source(before: bool, tmp_path: Path) -> None:
    source = write_sounding(tmp_path / "x.wav")
    asked = {"mode": "extend", "before": before, "duration": 3.0, "sample_rate": 44100, "bit_depth": 24}
    _, audio, _ = made_of(tmp_path / "x.wav", tmp_path, **asked)
    part = slice(-44100, None) if before else slice(0, 44100)
    made, own = audio[:, part] / 2.0**31, source[:, part]
    np.testing.assert_allclose(made, np.vdot(made, own) / np.vdot(own, own) * own, rtol=0.0, atol=1e-6)
    # What is new begins and ends as excerpts do.
    assert np.abs(audio[:, 0 if before else -1]).max() / 2.0**31 < 1e-3


@pytest.mark.parametrize("before", [False, True])
def test_a_section_that_is_extended_does_not_begin_or_end_with_a_click(before: bool, tmp_path: Path) -> None:
    write_sounding(tmp_path / "x.wav")
    asked = {"mode": "extend", "before": before, "duration": 3.0, "section": Section(2.003, 18.003)}
    _, audio, _ = made_of(tmp_path / "x.wav", tmp_path, **asked)
    assert np.abs(audio[:, [0, -1]]).max() / 2.0**31 < 1e-3


def test_a_result_has_the_rate_of_its_source_where_that_is_asked_for(tmp_path: Path) -> None:
    write_song(tmp_path / "x", 22050, "PCM_16")
    made, audio, told = made_of(tmp_path / "x", tmp_path, sample_rate="source", duration=4.0)
    assert told.samplerate == made.report["sample_rate"] == 22050
    assert audio.shape[1] == 4 * 22050
    assert made.report["parameters"]["sample_rate"] == "source"


@pytest.mark.parametrize(("rate", "seconds"), [(6000, 20.0), (8000, 5401.0)])
@pytest.mark.parametrize(
    "asked",
    [{"sample_rate": "source"}, {"mode": "repaint", "region": Section(1.0, 3.0)}],
    ids=["own", "repaint"],
)
def test_a_rate_that_is_not_worked_on_fails_with_what_is(
    source: Path, tmp_path: Path, rate: int, seconds: float, asked: dict[str, Any]
) -> None:
    heard = analyse(source, PROFILE.embedder)
    features = replace(heard.features, duration=seconds)
    soundfile.write(tmp_path / "x", np.zeros(rate), rate, format="WAV")
    parameters = Parameters(seed=1, **asked)
    with pytest.raises(GenerationError, match="8000 to 192000 Hz and at most 43200000 samples") as refused:
        generate(tmp_path / "x", load("builtin"), parameters, heard.vector, features, lambda done: None)
    assert refused.value.code == "source_rate"


def test_a_region_of_a_track_with_many_channels_fails_with_its_code(source: Path, tmp_path: Path) -> None:
    heard = analyse(source, PROFILE.embedder)
    soundfile.write(tmp_path / "x", np.zeros((32000, 3)), 32000, format="WAV")
    parameters = Parameters(seed=1, mode="repaint", region=Section(1.0, 3.0))
    with pytest.raises(GenerationError, match="3 channels") as refused:
        generate(tmp_path / "x", load("builtin"), parameters, heard.vector, heard.features, lambda done: None)
    assert refused.value.code == "too_many_channels"


def test_a_region_past_the_end_fails_with_its_code(tmp_path: Path) -> None:
    write_song(tmp_path / "x", 44100, "PCM_16")
    with pytest.raises(GenerationError) as refused:
        made_of(tmp_path / "x", tmp_path, mode="repaint", region=Section(18.0, 21.0))
    assert refused.value.code == "region_out_of_range"


def test_a_neural_extension_goes_on_from_a_beat_of_the_source(tmp_path: Path) -> None:
    source = write_song(tmp_path / "x", 44100, "PCM_16")
    generator = Clicks(100.0)
    profile = Profile("small", Bands(), generator)
    heard = analyse(tmp_path / "x", PROFILE.embedder)
    parameters = Parameters(seed=3, mode="extend", duration=6.0)
    made = generate(tmp_path / "x", profile, parameters, heard.vector, heard.features, lambda done: None)
    seam = made.report["details"]["seam"]
    assert min(abs(seam - beat) for beat in [*heard.features.beats, heard.features.duration]) < 0.001
    assert made.report["duration"] == pytest.approx(seam + 6.0, abs=1e-3)
    assert generator.requests[0].parameters.mode == "continue"
    assert generator.requests[0].source.shape[1] == round(seam * 32000)
    assert source.any()
