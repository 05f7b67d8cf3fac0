"""From a source and parameters to a finished file: candidates, mastering, scoring, encoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from music import features as measuring
from music import quality, reach, similarity
from music.audio.decode import decode, probe, resample
from music.audio.encode import CONTENT_TYPES, encode
from music.audio.loudness import integrated_loudness, true_peak
from music.audio.master import (
    CUT_SECONDS,
    FADE_IN_SECONDS,
    FADE_OUT_SECONDS,
    Mastered,
    master,
    master_loop,
    ramp,
)
from music.dsp.channels import Levels, folded, is_silent
from music.dsp.sound import Sound
from music.dsp.stretch import stretched
from music.features import Features
from music.interfaces import Candidate, GenerationError, Parameters, Request, Section
from music.loading import Profile
from music.profiles import ProfileError
from music.resume import Forgetful, Kept, Snapshots
from music.seeds import candidate_seeds

TITLE = "Generated music"

MAX_REPLACEMENTS = 4
"""Candidates that are made in place of those that fail the quality gate, at most."""

_SLOWEST_RATE, _FASTEST_RATE = 8000, 192_000  # Hz of a source that is worked on at its own
_MOST_SAMPLES = 900 * 48_000  # of it, in each channel
_LOWEST_BEFORE_SEAM = 9.0  # dB below the usual level: there the track dies away
_SEAM_SECONDS = 0.02  # of the crossfade to what is made by another model
_MOST_STRETCH = 0.12  # of a candidate whose tempo is nearly what is asked for
_SURE_TEMPO = 0.9  # likelihood of a section's own tempo, from which on it may be another than the whole's
_SAME_TEMPO = 0.02  # octaves
_READ, _MADE = 0.05, 0.95  # of the progress, when the source is read, and when all candidates are scored


@dataclass(frozen=True)
class Generated:
    """A finished piece.

    Attributes
    ----------
    audio : bytes
        The content of the file.
    content_type : str
        Its media type.
    report : dict
        What the record tells about it: JSON-ready, without NaN or infinity (silence has a loudness of None),
        and a few kilobytes long at most.
    """

    audio: bytes
    content_type: str
    report: dict[str, Any]


@dataclass(frozen=True, eq=False)
class CandidateFile:
    """A candidate to keep beside the result.

    Attributes
    ----------
    index : int
        Its number among the candidates.
    audio : bytes
        A flac file.
    origins : list of dict or None
        What `origins` returns of it.
    report : dict
        What the record tells of the result alone: its duration, loudness and details.
    """

    index: int
    audio: bytes
    origins: list[dict[str, float]] | None
    report: dict[str, Any]


Keep = Callable[[CandidateFile], None]
"""What `generate` hands its candidates to."""


@dataclass(frozen=True, eq=False)
class _Scored:
    """A candidate that was mastered and compared with the source."""

    index: int
    candidate: Candidate
    mastered: Mastered
    similarity: dict[str, float]
    faults: list[str]
    own: dict[str, Any]

    @property
    def rank(self) -> tuple[bool, float]:
        """The greater, the better: without faults first, whatever it is like; then the embedding's score."""
        return not self.faults, self.similarity["embedding"]


def generate(
    path: str | Path,
    profile: Profile,
    parameters: Parameters,
    vector: np.ndarray,
    features: Features,
    progress: Callable[[float], None],
    *,
    tags: Sequence[str] = (),
    snapshots: Snapshots | None = None,
    stage: Callable[[str], None] = lambda name: None,
    keep: Keep | None = None,
) -> Generated:
    """Make candidates, keep the one most like the source, and encode it.

    The same source, parameters and models give the same bytes.

    Parameters
    ----------
    path : str or Path
        The source, a local file.
    profile : Profile
        Whose generator to use; its embedder scores the candidates.
    parameters : Parameters
        What the user asked for.
    vector : np.ndarray [shape=(dimension,)]
        The source's embedding, made by the embedder of `profile`.
    features : Features
        The source's features.
    progress : callable
        Called with the share that is done, rising from 0 to 1. It may raise to cancel: the exception passes
        through and nothing is kept.
    tags : sequence of str
        What the source is like, most telling first.
    snapshots : Snapshots, optional
        What earlier invocations kept, and where to keep what this one makes; without it nothing is kept.
    stage : callable
        Called with what is begun: ``"decoding"``, ``"making"``, ``"encoding"``.
    keep : callable, optional
        Called with each candidate that came to anything, as soon as it is mastered and scored: its index in
        the report's `candidates`, its file in flac, and its origins (see `origins`). What it raises passes
        through.

    Returns
    -------
    Generated

    Raises
    ------
    AudioError
        If the source cannot be decoded.
    ProfileError
        If the profile does not support what is asked.
    GenerationError
        If the generator cannot make it of this source; ``nothing_made`` if no candidate has audio;
        ``tempo_out_of_reach`` or ``key_out_of_reach`` if none comes near enough to what is asked for;
        ``section_out_of_range`` if the source ends before the section does.
    music.resume.Suspended
        If there is not enough time; what was made is kept.

    Notes
    -----
    The highest embedding score alone chooses (the earliest candidate where scores are equal); chroma and
    tempo are reported as measures that had no say. The report's `seed` is the chosen candidate's: with it and
    one candidate, the same piece is made again. Only one candidate beside the best is held at a time.

    Where the generator wants its candidates checked, one with a fault (see `music.quality`) is replaced by
    one with the next seed, up to `MAX_REPLACEMENTS` times. The report's `candidates` has all of them, with
    their faults. If nothing better was made, the likest of the faulty ones is given, and `faults` says so.

    Where a tempo or a key is asked for, and the generator does not bring its source there, it is told what is
    asked for instead of what the source has. A candidate in another key, or over `_MOST_STRETCH` from the
    tempo, has that as a fault; the others are stretched to the tempo.

    Where a whole track is part of the result, it is neither faded in nor out.
    """
    _require_support(profile, parameters)
    generator = profile.generator
    asked = parameters
    timings: dict[str, float] = {}
    progress(0.0)
    stage("decoding")
    with _timed(timings, "decode"):
        rate, bit_depth = _format(path, parameters, features)
        parameters = replace(parameters, sample_rate=rate, bit_depth=bit_depth)
        source, stereo, fold = _read(path, rate, generator.channels, parameters.section)
    if parameters.section:
        with _timed(timings, "analyse"):
            vector, features, tags = _of_section(stereo, rate, profile, features, parameters.section)
    with _timed(timings, "score"):
        chroma, _, _ = measuring.measure_likeness(resample(stereo, rate, measuring.SAMPLE_RATE))
    progress(_READ)

    fingerprint = None
    if "copy" in generator.checks:
        with _timed(timings, "check"):
            fingerprint = quality.Fingerprint(resample(folded(stereo), rate, measuring.SAMPLE_RATE))
    _require_room(parameters, stereo.shape[1] / rate)
    told, described_as, wanted = features, tags, parameters
    seam = None
    if parameters.mode == "extend" and not profile.before:
        seam = _seam(stereo, rate, features)
        source = source[:, :seam]
        wanted = replace(wanted, mode="continue")
    chosen_for = not profile.turns and (parameters.tempo is not None or parameters.key is not None)
    if chosen_for:
        told, described_as = _as_asked(features, tags, parameters)
        if parameters.tempo is not None:  # what is played faster has to be longer first
            wanted = replace(parameters, duration=parameters.duration * (1.0 + _MOST_STRETCH))
    request = Request(source, told, wanted, described_as, Kept(snapshots or Forgetful()))

    best: _Scored | None = None
    tried: list[dict[str, Any]] = []
    heard: list[dict[str, str]] = []
    faulty, replaced = 0, 0
    spare = candidate_seeds(parameters.seed, parameters.candidates + MAX_REPLACEMENTS)[
        parameters.candidates :
    ]
    made = 0.0

    def report(done: float) -> None:
        # Replacements are more of the job than was known before: meanwhile it stands still.
        nonlocal made
        made = max(made, done)
        progress(_READ + (_MADE - _READ) * made)

    candidates = generator.candidates(request, report)
    stage("making")
    while True:
        with _timed(timings, "generate"):
            candidate = next(candidates, None)
        if candidate is None:
            if replaced == min(faulty, MAX_REPLACEMENTS):
                break
            again = replace(wanted, seed=spare[replaced], candidates=1)
            candidates = generator.candidates(replace(request, parameters=again), report)
            replaced += 1
            continue
        faults = [candidate.fault] if candidate.fault else []
        if generator.checks and not faults:
            with _timed(timings, "check"):
                faults = quality.faults(candidate.audio, rate, fingerprint, generator.checks)
        if chosen_for and not faults:
            with _timed(timings, "check"):
                candidate, faults, found = _brought(candidate, rate, parameters)
                heard.append(found)
        if seam is not None and not candidate.fault:
            candidate = _behind(stereo, seam, candidate, rate, parameters.duration)
        # A generator that brings its source to a tempo and a key has searched for itself.
        faulty += bool(faults) and not (profile.turns and faults[0] in ("tempo", "key"))
        outcome: dict[str, Any] = {"seed": candidate.seed}
        if faults:
            outcome["faults"] = faults
        tried.append(outcome)
        if candidate.fault:
            heard.append(candidate.details.get("heard", {}))
            continue
        with _timed(timings, "master"):
            mastered = _mastered(candidate, rate, parameters, features.loudness)
        with _timed(timings, "score"):
            new = mastered.audio[:, slice(*candidate.new)] if candidate.new else mastered.audio
            scores = _score(new, rate, profile, vector, chroma, features.tempo)
        outcome["similarity"] = scores
        index, own = len(tried) - 1, _own(candidate, mastered, rate, features.loudness)
        if keep:
            with _timed(timings, "encode"):
                file = encode(
                    mastered.audio,
                    rate,
                    "flac",
                    _tags(profile, candidate.seed),
                    bit_depth=parameters.bit_depth,
                )
            section = parameters.section
            begin = section.start if section else 0.0
            keep(CandidateFile(index, file, origins(candidate.details, own["duration"], begin), own))
        scored = _Scored(index, candidate, mastered, scores, faults, own)
        if best is None or scored.rank > best.rank:
            best = scored
    if not tried:
        raise RuntimeError(f"generator {generator.name!r} made no candidates")
    _require_reached(parameters, best.faults if best else tried[0]["faults"], len(tried), heard)
    if best is None:
        raise GenerationError("nothing_made", f"No candidate came to anything: {tried[0]['faults'][0]}.")

    progress(_MADE)
    stage("encoding")
    with _timed(timings, "encode"):
        audio = encode(
            best.mastered.audio,
            rate,
            parameters.format,
            _tags(profile, best.candidate.seed),
            bit_depth=parameters.bit_depth,
        )
    progress(1.0)
    identity = generator.identity
    summary: dict[str, Any] = {
        "engine": generator.name,
        "model": identity.model,
        "revision": identity.revision,
        "precision": identity.precision,
        "license": generator.license,
        "digital_source_type": profile.source_type,
        "seed": best.candidate.seed,
        "parameters": asdict(asked),
        "similarity": best.similarity,
        "chosen": best.index,
        "candidates": tried,
        **best.own,
        "sample_rate": rate,
        "channels": len(best.mastered.audio),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
    }
    if fold != "mean":
        summary["fold"] = fold
    if generator.checks or chosen_for:
        summary["faults"] = best.faults
    return Generated(audio, CONTENT_TYPES[parameters.format], summary)


def origins(details: dict[str, Any], duration: float, begin: float = 0.0) -> list[dict[str, float]] | None:
    """Tell which part of a candidate comes from where in the source.

    Parameters
    ----------
    details : dict
        The candidate's; `runs` has what was copied: each with `start` and `source_start`.
    duration : float
        The candidate's, in seconds.
    begin : float
        Where in the track that begins which the generator was given, in seconds.

    Returns
    -------
    list of dict or None
        In playing order, each with `start` and `end` in the candidate and `source_start` in the source, in
        seconds; empty where nothing comes from the source, as of a silent one. None where the generator does
        not copy.
    """
    if details.get("silent"):
        return []
    runs = details.get("runs")
    if runs is None:
        return None
    ends = [*(run["start"] for run in runs[1:]), duration]
    return [
        {
            "start": run["start"],
            "end": round(end, 4),
            "source_start": round(begin + run["source_start"], 4),
        }
        for run, end in zip(runs, ends, strict=True)
        if end > run["start"]
    ]


def _require_support(profile: Profile, parameters: Parameters) -> None:
    """Refuse what a profile does not do."""
    described = parameters.prompt or parameters.negative_prompt
    if parameters.mode not in profile.modes or (described and not profile.text):
        raise ProfileError(f"profile {profile.name!r} does not support this mode or prompt")
    if parameters.ending not in (None, *profile.endings):
        raise ProfileError(f"profile {profile.name!r} does not support this ending")
    if parameters.loop and not profile.loops:
        raise ProfileError(f"profile {profile.name!r} makes no loops")
    if parameters.before and not profile.before:
        raise ProfileError(f"profile {profile.name!r} puts nothing in front of a track")
    if parameters.sample_rate not in profile.sample_rates:
        raise ProfileError(f"profile {profile.name!r} does not work at {parameters.sample_rate} Hz")


def _require_room(parameters: Parameters, length: float) -> None:
    """Refuse a region or an extension that a track of `length` seconds has no room for."""
    if parameters.region and parameters.region.end > length + reach.SLACK:
        raise GenerationError("region_out_of_range", f"The track ends at {length:.3f} s.")
    if parameters.mode == "extend" and length + parameters.duration > reach.LONGEST_EXTENDED:
        raise GenerationError("too_long", f"Track and music last over {reach.LONGEST_EXTENDED:g} s together.")


def _require_reached(
    parameters: Parameters, missing: Sequence[str], made: int, heard: Sequence[dict[str, str]]
) -> None:
    """Refuse where the best candidate is not what was asked for.

    Parameters
    ----------
    parameters : Parameters
        What was asked for.
    missing : sequence of str
        The faults of the best candidate.
    made : int
        How many there were.
    heard : sequence of dict
        The tempo and the key of each, in words, as far as they are known.
    """
    tempo = None if parameters.tempo is None else f"{parameters.tempo:g} BPM"
    for name, value in (("tempo", tempo), ("key", parameters.key)):
        if name in missing:
            others = dict.fromkeys(one[name] for one in heard if name in one)
            nearest = f" What is heard: {', '.join(others)}." if others else ""
            raise GenerationError(
                f"{name}_out_of_reach", f"No candidate has {value}; {made} were made.{nearest}"
            )


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that a block takes to those of its stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start


def _format(path: str | Path, parameters: Parameters, features: Features) -> tuple[int, int]:
    """Return the rate to work at, in Hz, and the bits of a wav or flac file."""
    repaint = parameters.mode == "repaint"
    if parameters.sample_rate != "source" and not repaint:
        return int(parameters.sample_rate), parameters.bit_depth
    rate, channels, bits = probe(path)
    if not _SLOWEST_RATE <= rate <= _FASTEST_RATE or rate * features.duration > _MOST_SAMPLES:
        raise GenerationError(
            "source_rate",
            f"The track has {features.duration:g} s at {rate} Hz. At its own rate one is worked on that has "
            f"{_SLOWEST_RATE} to {_FASTEST_RATE} Hz and at most {_MOST_SAMPLES} samples in a channel.",
        )
    if repaint and channels > 2:
        raise GenerationError("too_many_channels", f"The track has {channels} channels, not one or two.")
    return rate, max(parameters.bit_depth, bits) if repaint else parameters.bit_depth


def _seam(audio: np.ndarray, rate: int, features: Features) -> int:
    """Return the sample of the last bar line, or beat, before a track dies away; its end without beats."""
    lines = np.array(features.bars or features.beats)
    size = max(rate // 2, 1)
    blocks = audio[:, : audio.shape[1] // size * size].reshape(len(audio), -1, size)
    level = 10.0 * np.log10((blocks**2).mean(axis=(0, 2)) + 1e-12)
    at = np.round(lines * rate).astype(np.int64)
    at = at[(at > size) & (at <= audio.shape[1])]
    loud = at[level[np.minimum(at // size, len(level)) - 1] > np.median(level) - _LOWEST_BEFORE_SEAM]
    return int(loud[-1]) if len(loud) else audio.shape[1]


def _behind(audio: np.ndarray, seam: int, candidate: Candidate, rate: int, duration: float) -> Candidate:
    """Put what a generator made behind the track that it goes on from."""
    made = candidate.audio[:, : round(duration * rate)]
    channels = max(len(audio), len(made))
    before, after = (np.broadcast_to(one, (channels, one.shape[1])) for one in (audio, made))
    joined = np.concatenate([before[:, :seam], after], axis=1).astype(np.float32)
    rest = before[:, seam : seam + round(_SEAM_SECONDS * rate)]
    joined[:, seam : seam + rest.shape[1]] += rest * ramp(rest.shape[1])[::-1]
    details = {**candidate.details, "seam": round(seam / rate, 4)}
    return replace(candidate, audio=joined, details=details, new=(seam, joined.shape[1]))


def _read(
    path: str | Path, rate: int, channels: int, section: Section | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Decode a source, or a section of it.

    Returns
    -------
    source : np.ndarray [shape=(at most `channels`, n)]
        What the generator is given.
    stereo : np.ndarray [shape=(1 or 2, n)]
        What is measured.
    fold : str
        Of `music.dsp.channels.FOLDS`, what stands for all channels where the generator takes one.
    """

    def part(audio: np.ndarray) -> np.ndarray:
        if section is None:
            return audio
        last = audio.shape[1] / rate
        if section.end > last + reach.SLACK:
            raise GenerationError("section_out_of_range", f"The track ends at {last:.3f} s.")
        return audio[:, round(section.start * rate) : round(section.end * rate)]

    stereo = part(decode(path, rate=rate, channels=2))
    if channels == 2 or len(stereo) == 1:
        return stereo, stereo, "mean"
    fold = Levels(stereo).fold
    if fold == "mean":  # of all channels, which may be more than two
        return part(decode(path, rate=rate, channels=1)), stereo, fold
    return folded(stereo, fold)[None], stereo, fold


def _of_section(
    audio: np.ndarray, rate: int, profile: Profile, whole: Features, section: Section
) -> tuple[np.ndarray, Features, list[str]]:
    """Return the vector, the features and the tags of a section, as if it were a track.

    Beats, bars and tempo are those of the whole track, where it has some: they are the surer for it. Only a
    section that surely has another tempo has its own.
    """
    embedder = profile.embedder
    vector = embedder.embed(resample(audio, rate, embedder.sample_rate))
    loudness = integrated_loudness(audio, rate)
    if not np.isfinite(loudness) and not is_silent(audio):
        loudness = integrated_loudness(audio, rate, -np.inf)
    measured = measuring.measure(resample(audio, rate, measuring.SAMPLE_RATE), loudness)
    if whole.beats and not _has_another_tempo(measured, whole):
        measured = replace(
            measured,
            tempo=whole.tempo,
            tempo_confidence=whole.tempo_confidence,
            beats=_inside(whole.beats, section),
            meter=whole.meter,
            bars=None if whole.bars is None else _inside(whole.bars, section),
            bars_confidence=whole.bars_confidence,
        )
    words = measuring.tags(measured)
    if measured.loudness is not None:
        scores = embedder.tags(vector)
        words += [tag for category in scores.values() for tag in category if tag not in words]
    return vector, measured, words


def _has_another_tempo(measured: Features, whole: Features) -> bool:
    """Tell whether a section surely has another tempo than the whole, which is not its half or its double."""
    if not measured.tempo or (measured.tempo_confidence or 0.0) < _SURE_TEMPO:
        return False
    octaves = abs(np.log2(measured.tempo / whole.tempo))
    return bool(abs(octaves - round(octaves)) > _SAME_TEMPO)


def _inside(times: Sequence[float], section: Section) -> list[float]:
    """Return those of some times that lie in a section, counted from its beginning."""
    return [round(time - section.start, 3) for time in times if section.start <= time < section.end]


def _as_asked(
    features: Features, tags: Sequence[str], parameters: Parameters
) -> tuple[Features, Sequence[str]]:
    """Return features and tags as they would be of what is asked for."""
    if parameters.tempo is not None:
        features = replace(features, tempo=parameters.tempo)
        tags = [tag for tag in tags if tag not in ("slow", "mid-tempo", "fast", "beatless")]
    if parameters.key is not None:
        tonic, mode = parameters.key.split()
        features = replace(features, key=tonic, mode=mode)
        tags = [tag for tag in tags if tag not in ("major", "minor")]
    return features, tags


def _brought(
    candidate: Candidate, rate: int, parameters: Parameters
) -> tuple[Candidate, list[str], dict[str, str]]:
    """Stretch a candidate to the tempo that is asked for; or tell what is too far from what is asked for.

    Returns
    -------
    candidate : Candidate
    faults : list of str
        ``"tempo"``, ``"key"``.
    heard : dict
        Its tempo and its key in words, as far as they are heard.
    """
    heard = measuring.measure(resample(candidate.audio, rate, measuring.SAMPLE_RATE), -np.inf)
    told = {"tempo": f"{heard.tempo:g} BPM"} if heard.tempo else {}
    told |= {"key": f"{heard.key} {heard.mode}"} if heard.key else {}
    faults = []
    if parameters.key is not None and told.get("key") != parameters.key:
        faults.append("key")
    if parameters.tempo is not None:
        speed = parameters.tempo / heard.tempo if heard.tempo else np.inf
        if abs(speed - 1.0) > _MOST_STRETCH:
            return candidate, ["tempo", *faults], told
        details = {**candidate.details, "speed": round(speed, 4)}
        audio = stretched(candidate.audio, 1.0 / speed, 0.0, rate)
        candidate = replace(candidate, audio=audio, details=details)
    return candidate, faults, told


def _mastered(candidate: Candidate, rate: int, parameters: Parameters, loudness: float | None) -> Mastered:
    """Master a candidate with the end that it has."""
    if candidate.finished:
        level, peak = integrated_loudness(candidate.audio, rate), true_peak(candidate.audio)
        near = loudness is not None and abs(level - loudness) <= 1.0
        return Mastered(candidate.audio, level, peak, limited=False, on_target=near)
    if parameters.loop:
        return master_loop(candidate.audio, rate, target_loudness=loudness)
    length = candidate.audio.shape[1]
    # A section of a track begins and ends where somebody said, in the middle of sound.
    begin, end = (candidate.new if parameters.section is None else None) or (0, length)
    fade_out = CUT_SECONDS if candidate.ends or parameters.ending == "cut" else FADE_OUT_SECONDS
    return master(
        candidate.audio,
        rate,
        duration=length / rate if candidate.new else parameters.duration,
        target_loudness=loudness,
        fade_in=0.0 if begin else FADE_IN_SECONDS,
        fade_out=0.0 if end < length else fade_out,
    )


def _score(
    made: np.ndarray, rate: int, profile: Profile, vector: np.ndarray, chroma: np.ndarray, tempo: float
) -> dict[str, float]:
    """Compare what was made with its source: the three similarities, rounded as they are reported."""
    audio = resample(made, rate, measuring.SAMPLE_RATE)
    embedder = profile.embedder
    sound: Sound | None = Sound(audio, measuring.SAMPLE_RATE)
    own_chroma, own_tempo, form = measuring.measure_likeness(audio, sound)
    scores = {
        "chroma": similarity.chroma(chroma, own_chroma),
        "tempo": similarity.tempo(tempo, own_tempo),
        "form": form,
    }
    if embedder.sample_rate != measuring.SAMPLE_RATE:
        audio, sound = resample(made, rate, embedder.sample_rate), None
    scores = {"embedding": similarity.embedding(vector, embedder.embed(audio, sound)), **scores}
    return {name: round(score, 6) for name, score in scores.items()}


def _own(candidate: Candidate, mastered: Mastered, rate: int, target: float | None) -> dict[str, Any]:
    """Return what the report tells of one candidate alone, once it is the result."""
    return {
        "loudness": _loudness(mastered, target),
        "duration": mastered.audio.shape[1] / rate,
        "details": _plain(candidate.details),
    }


def _loudness(mastered: Mastered, target: float | None) -> dict[str, Any]:
    """Return what the report tells of loudness, in LUFS, and of the true peak, in dBTP."""

    def finite(value: float) -> float | None:
        return round(value, 2) if np.isfinite(value) else None

    return {
        "integrated": finite(mastered.loudness),
        "true_peak": finite(mastered.true_peak),
        "target": target,
        "limited": mastered.limited,
        "on_target": mastered.on_target,
    }


def _tags(profile: Profile, seed: int) -> dict[str, str]:
    """Return the tags of the file; no date is among them, so that the same music is the same bytes."""
    identity = profile.generator.identity
    tags = {
        "title": TITLE,
        "artist": profile.generator.name,
        # wav has no place of its own for it, so it stands in the comment, too.
        "comment": f"Made by {identity.model} {identity.revision}, seed {seed}. {profile.source_type}",
        "digitalsourcetype": profile.source_type,
    }
    if profile.generator.license:
        tags["copyright"] = f"Weights: {profile.generator.license}"
    return tags


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Keep the single values of a candidate's details: a record has no room for lists of its units."""
    return {name: value for name, value in details.items() if isinstance(value, str | int | float | bool)}
