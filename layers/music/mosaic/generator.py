"""Mosaic: new music from a track's own beats (audio mosaicing, beat-synchronous concatenative synthesis).

The source is cut into beats (`units`), a new path is drawn through them (`walk`), and its runs are joined
without clicks (`synthesis`). No weights: all it knows is the source.

References
----------
.. [1] Schwarz, "Data-Driven Concatenative Sound Synthesis", PhD thesis, Université Paris 6, 2004.
.. [2] Jehan, "Creating Music by Listening", PhD thesis, MIT, 2005.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from music import reach
from music.audio.decode import resample
from music.audio.master import CUT_SECONDS, master
from music.dsp import rhythm
from music.dsp.channels import centred, is_silent
from music.dsp.harmony import MODES, PITCH_CLASSES, key_votes
from music.dsp.sound import Sound
from music.dsp.spectra import HOP
from music.features import SAMPLE_RATE, Features, measure
from music.interfaces import Candidate, GenerationError, Parameters, Request
from music.mosaic.around import Made, extended, first_seam, last_seam, preceded, repainted, seams_inside
from music.mosaic.outlook import Outlook
from music.mosaic.path import Path, Run, at_speed, unit_times
from music.mosaic.synthesis import Join, render, smoothest_bar, surest_end, turned, usual_step
from music.mosaic.transitions import Transitions
from music.mosaic.units import Units, cut
from music.mosaic.walk import walk, walk_between, walk_on, walk_round, walk_up_to
from music.profiles import MOSAIC
from music.seeds import candidate_seeds

_ANALYSIS = 0.3  # of the progress; the candidates share the rest
_CUTTING = 0.8 * _ANALYSIS
_DRAWS = 12  # of a candidate whose tempo or key is asked for, or which is a loop
_DRAWN, _FEWEST_DRAWS = 720.0, 3  # seconds of music in all draws of a candidate, but so many in any case
_SAME_TEMPO = 0.01  # of it
_SAME_PLACE = 0.03  # octaves, within which tempos that are voted for are one
_AVOIDED = 0.5  # cost of a unit that speaks for another tempo or key by a standard deviation, for each draw
_TELLING = 10.0  # seconds of music, of which tempo and key can be told
_EVEN = 0.95  # LU from a loop's last bar to its first, to which they are as loud
_WALKING = 0.3  # of a candidate's share; the rest is rendering
_SOFT = 0.02  # RMS below which a source is worked on louder: -34 dBFS
_SHORTEST = 0.25  # seconds of a source
_FEWEST_SOUNDING = 4  # units of a source that is silent otherwise


class Mosaic:
    """The built-in generator.

    What the parameters do here: `temperature` is how far a step may be from the most natural continuation;
    `top_k` and `top_p` bound how many continuations each step draws from; `guidance_scale` is how closely the
    output follows the source's own form, from its beginning to its end.

    Of the features `beats` are used. Tags are not, for beats say more; nor is what was kept,
    for half a minute is soon made again.

    A source is taken without its offset, and a soft one is worked on at the level of others.

    A silent source has no music to continue: the candidates are silence of the wanted duration, and their
    details say ``"silent": True``.
    """

    name = "mosaic"
    identity = MOSAIC
    sample_rate = 32000
    """Hz. It works at any rate, and cuts the source by what it hears at this one."""
    channels = 2
    license: str | None = None
    checks: Sequence[str] = ()
    """It copies its source by nature, and is as silent and as loud as that."""

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        """Make candidates one at a time, as `music.interfaces.Generator` says; the source is analysed once.

        Yields
        ------
        Candidate
            ``audio`` has the source's channels and exactly ``round(duration * sample_rate)`` samples; where
            the source is part of it, so many are new, or it is as long as the source. Its `fault` is
            ``"tempo"`` or ``"key"`` where the one that is asked for is not heard of what was drawn, and
            ``"uneven_loop"`` where a loop's end is over 1 LU louder or softer than its beginning.

        Raises
        ------
        ValueError
            If the source is shorter than 0.25 s or has other than 1 or 2 channels.
        GenerationError
            ``too_little_sound`` where the source is next to silent; ``no_bars`` or ``loop_too_long`` where a
            loop is asked for that the source does not have; those of `music.reach` where a tempo or a key is;
            ``region_too_short`` where a region has hardly a beat.
        """
        source, features, parameters = request.source, request.features, request.parameters
        rate = parameters.rate
        shortest = _SHORTEST * rate
        if source.ndim != 2 or not 1 <= source.shape[0] <= 2 or source.shape[1] < shortest:
            raise ValueError(f"a source of 1 or 2 channels and at least 0.25 s is needed, not {source.shape}")
        if parameters.tempo is not None:
            reach.speed(features.tempo, parameters.tempo)
        if parameters.key is not None:
            reach.semitones(features.key, features.mode, parameters.key)
        if parameters.loop:
            reach.require_bars(features.bars)
        seeds = candidate_seeds(parameters.seed, parameters.candidates)
        progress(0.0)
        if is_silent(source):
            for index, seed in enumerate(seeds):
                progress((index + 1) / len(seeds))
                yield _silence(source, parameters, seed)
            return
        repaint = parameters.mode == "repaint"
        raw = source
        source = centred(source)
        offset = (raw[:, :1] - source[:, :1]) if parameters.mode == "extend" else np.float32(0.0)
        gain = _gain(source)
        source = source * gain
        heard = source if rate == self.sample_rate else resample(source, rate, self.sample_rate)
        cutting = _part(progress, 0.0, _CUTTING)
        units = cut(heard, self.sample_rate, features.beats, features.bars or (), cutting)
        del heard
        if np.count_nonzero(units.playable) < min(_FEWEST_SOUNDING, len(units)):
            raise GenerationError("too_little_sound", "Hardly anything is to be heard in the source.")
        if rate != self.sample_rate:
            units = _at_rate(units, rate, source.shape[1])
        transitions = Transitions(units)
        outlook = Outlook(transitions, parameters.temperature)
        progress(_ANALYSIS)
        share = (1.0 - _ANALYSIS) / len(seeds)
        if repaint:
            source = raw
        work = _Work(source, units, transitions, outlook, features, parameters, usual_step(source))
        for index, seed in enumerate(seeds):
            rng = np.random.default_rng(seed % 2**64)
            made = work.drawn(rng, _part(progress, _ANALYSIS + share * index, share))
            if made.fault:
                yield Candidate(source[:, :0], seed, made.details, fault=made.fault)
                continue
            audio = made.audio
            if not repaint:
                audio += gain * offset  # the track stays as it is, and what is made is of its kind
                audio /= np.float32(max(float(np.abs(audio).max()), float(gain)))
            details = {
                **made.details,
                "meter": features.meter or "none",
                **_details(units, made.path, made.joins, work.step),
            }
            if parameters.loop:
                details["loop_samples"] = audio.shape[1]
            ends = made.path.ending in ("natural", "own", "source")
            yield Candidate(audio, seed, details, ends=ends, new=made.new, finished=repaint)


@dataclass(frozen=True, eq=False)
class _Work:
    """What candidates are made of."""

    source: np.ndarray
    units: Units
    transitions: Transitions
    outlook: Outlook
    features: Features
    parameters: Parameters
    step: float

    def drawn(self, rng: np.random.Generator, progress: Callable[[float], None]) -> Made:
        """Draw a candidate: a loop until it is even, and until a tempo or a key that is asked for is heard.

        Each time that others are heard, what speaks for those is avoided the more. Where nothing helps, it is
        the nearest, with its fault; but of less than 10 s tempo and key are not told.
        """
        parameters = self.parameters
        if parameters.mode != "similar":
            return self._beside(rng, progress)
        asked = parameters.tempo is not None or parameters.key is not None
        if not (asked or parameters.loop):
            return self._made(rng, progress)
        nearest: Made | None = None
        least = np.inf
        price = np.zeros(len(self.units))
        for draw in range(_DRAWS):
            made = self._made(rng, _part(progress, 1.0 - 0.5**draw, 0.5 ** (draw + 1)), price)
            missed = {"uneven_loop": made.step_round} if made.step_round > _EVEN else {}
            if asked:
                heard = _heard(made.audio, parameters, self.features.loudness)
                missed |= _missed(parameters, heard)
            miss = sum(missed.values())
            if nearest is None or miss < least:
                told = made.audio.shape[1] >= _TELLING * parameters.rate
                faults = [name for name in missed if told or name == "uneven_loop"]
                nearest, least = replace(made, fault=faults[0] if faults else None), miss
                if faults and asked:
                    told_of = {"tempo": f"{heard.tempo:g} BPM", "key": f"{heard.key} {heard.mode}"}
                    nearest = replace(nearest, details={**made.details, "heard": told_of})
            seconds = (draw + 1) * made.audio.shape[1] / parameters.rate
            if not missed or (seconds >= _DRAWN and draw + 1 >= _FEWEST_DRAWS):
                break
            if "tempo" in missed:
                price = price + self._price_of_another_tempo(heard)
            if "key" in missed:
                price = price + self._price_of_another_key(heard)
        assert nearest is not None
        progress(1.0)
        return nearest

    @cached_property
    def _heard(self) -> Sound:
        """The source, as it is measured."""
        return Sound(resample(self.source, self.units.rate, SAMPLE_RATE), SAMPLE_RATE)

    @cached_property
    def _tempo_votes(self) -> np.ndarray:
        """How much the music around each unit speaks for each tempo [shape=(N, tempos)]."""
        curves = rhythm.onset_curves(rhythm.mel_bands(self._heard.samples, SAMPLE_RATE), self._heard.salience)
        times = (self.units.bounds[:-1] + self.units.bounds[1:]) / (2.0 * self.units.rate)
        return rhythm.tempo_votes(curves, SAMPLE_RATE / rhythm.HOP, times)

    @cached_property
    def _votes(self) -> np.ndarray:
        """How much each unit speaks for each key [shape=(N, 2, 12)]."""
        edges = np.round(self.units.bounds * (SAMPLE_RATE / self.units.rate / HOP)).astype(np.int64)
        return key_votes(self._heard.salience, edges)

    def _price_of_another_tempo(self, heard: Features) -> np.ndarray:
        """Price units [shape=(N,)] by how much they speak for what is heard, not for the source's tempo."""
        features, parameters = self.features, self.parameters
        assert parameters.tempo
        tempos = np.log2(rhythm.tempos())

        def of(tempo: float) -> np.ndarray:
            near = np.abs(tempos - np.log2(tempo)) <= _SAME_PLACE
            return np.asarray(self._tempo_votes[:, near].max(axis=1, initial=self._tempo_votes.min()))

        speed = reach.speed(features.tempo, parameters.tempo)
        rival = of(heard.tempo / speed) if heard.tempo else self._tempo_votes.mean(axis=1)
        return _price(rival - of(features.tempo))

    def _price_of_another_key(self, heard: Features) -> np.ndarray:
        """Price units [shape=(N,)] by how much they speak for what is heard, and not for the source's key."""
        features, parameters = self.features, self.parameters
        assert features.key
        assert features.mode
        assert parameters.key
        up = reach.semitones(features.key, features.mode, parameters.key)
        own = self._votes[:, MODES.index(features.mode), PITCH_CLASSES.index(features.key)]
        rival = self._votes.mean(axis=(1, 2))
        if heard.key and heard.mode:
            rival = self._votes[:, MODES.index(heard.mode), (PITCH_CLASSES.index(heard.key) - up) % 12]
        return _price(rival - own)

    def _beside(self, rng: np.random.Generator, progress: Callable[[float], None]) -> Made:
        """Draw what goes before the source, after it or into it, and play both."""
        parameters, units, source, step = self.parameters, self.units, self.source, self.step
        samples = round(parameters.duration * parameters.rate)
        walking, rest = _part(progress, 0.0, _WALKING), _part(progress, _WALKING, 1.0 - _WALKING)
        drawn = (self.transitions, self.outlook, parameters)
        if parameters.mode == "repaint":
            assert parameters.region
            seams = seams_inside(units, parameters.region, self.features.beats)
            path = walk_between(*drawn, rng, walking, *seams)
            return repainted(source, units, path, seams, parameters.region, step, rest)
        if parameters.before:
            seam = first_seam(units)
            path = walk_up_to(*drawn, rng, walking, seam)
            return preceded(source, units, path, seam, samples, step, rest)
        seam = last_seam(units, self.features.bars or self.features.beats)
        tonic = _chord(self.features.key, self.features.mode)
        ends = walk_on(*drawn, tonic, rng, walking, seam - 1)
        return extended(source, units, ends, seam, samples, step, rest)

    def _made(
        self, rng: np.random.Generator, progress: Callable[[float], None], price: np.ndarray | None = None
    ) -> Made:
        """Draw a path and play it."""
        parameters, features, units = self.parameters, self.features, self.units
        samples = round(parameters.duration * parameters.rate)
        speed, up, pulse = 1.0, 0, None
        if parameters.tempo is not None:
            speed = reach.speed(features.tempo, parameters.tempo)
            pulse = _pulse(units, features.tempo)
        if parameters.key is not None:
            up = reach.semitones(features.key, features.mode, parameters.key)
        walked = replace(parameters, duration=parameters.duration * speed)
        walking, rest = _part(progress, 0.0, _WALKING), _part(progress, _WALKING, 1.0 - _WALKING)
        source, step = self.source, self.step
        if parameters.loop:
            rounds = walk_round(self.transitions, self.outlook, walked, rng, walking, pulse, speed, price)
            made = self._turned([at_speed(each, speed, up) for each in rounds], samples, rest)
        else:
            tonic = _chord(features.key, features.mode)
            ends = walk(self.transitions, self.outlook, walked, tonic, rng, walking, pulse, price)
            path = surest_end(source, units, (at_speed(end, speed, up) for end in ends), samples, step)
            made = Made(path, *render(source, units, path, samples, step, rest))
        details = {} if speed == 1.0 and not up else {"speed": round(speed, 4), "semitones": up}
        return replace(made, details=details)

    def _turned(self, rounds: list[Path], samples: int, progress: Callable[[float], None]) -> Made:
        """Play a loop, and let it begin at the bar where its seam is heard least."""
        units, rate = self.units, self.parameters.rate
        audio, joins = render(self.source, units, rounds[0], samples, self.step, progress)
        lines = np.round(unit_times(units, rounds[0])[:: units.whole_bar] * rate).astype(np.int64)
        bar, apart = smoothest_bar(audio, rate, lines, max(round(units.whole_bar / units.per_beat), 1))
        audio, begin = turned(audio, rate, int(lines[bar]))
        once = audio.shape[1] / rate
        joins = [replace(join, time=(join.time - begin / rate) % once) for join in joins]
        path = replace(rounds[bar], end=once)
        return Made(path, audio, sorted(joins, key=lambda join: join.time), step_round=apart)


def _silence(source: np.ndarray, parameters: Parameters, seed: int) -> Candidate:
    """Return what is made of a silent source."""
    if parameters.mode == "repaint":
        return Candidate(source.copy(), seed, {"silent": True}, finished=True)
    silence = np.zeros((len(source), round(parameters.duration * parameters.rate)), dtype=np.float32)
    if parameters.mode != "extend":
        return Candidate(silence, seed, {"silent": True})
    seam = silence.shape[1] if parameters.before else source.shape[1]
    whole = np.concatenate([np.zeros_like(source), silence], axis=1)
    new = (0, seam) if parameters.before else (seam, whole.shape[1])
    details = {"silent": True, "seam": round(seam / parameters.rate, 4)}
    return Candidate(whole, seed, details, new=new)


def _pulse(units: Units, tempo: float) -> float:
    """Return the seconds of a unit at a track's tempo: of a beat, or of what it is cut into."""
    beat = 60.0 / tempo
    usual = float(np.median(np.diff(units.bounds))) / units.rate
    return beat / max(round(beat / usual), 1)


def _heard(audio: np.ndarray, parameters: Parameters, loudness: float | None) -> Features:
    """Measure what was made as it will be heard: a limiter may bring out other beats."""
    rate = parameters.rate
    mastered = master(
        audio, rate, duration=audio.shape[1] / rate, target_loudness=loudness, fade_out=CUT_SECONDS
    )
    return measure(resample(mastered.audio, rate, SAMPLE_RATE), -np.inf)


def _missed(parameters: Parameters, heard: Features) -> dict[str, float]:
    """Return how far what is heard is from the tempo and the key that were asked for; none that is there."""
    missed = {}
    if parameters.tempo is not None and (off := abs(heard.tempo / parameters.tempo - 1.0)) > _SAME_TEMPO:
        missed["tempo"] = min(off, 1.0)
    if parameters.key not in (None, f"{heard.key} {heard.mode}"):
        missed["key"] = 1.0
    return missed


def _price(apart: np.ndarray) -> np.ndarray:
    """Price units [shape=(N,)] by how much more they speak for what is not wanted, as logarithms."""
    return np.asarray(_AVOIDED * (apart - apart.min()) / max(float(apart.std()), 1e-6))


def _gain(source: np.ndarray) -> np.float32:
    """The power of two, at least 1, that brings the RMS of a soft source over `_SOFT`."""
    square = sum(float(np.einsum("n,n->", channel, channel, dtype=np.float64)) for channel in source)
    level = np.sqrt(square / source.size)
    return np.float32(2.0 ** max(np.ceil(np.log2(_SOFT / level)), 0.0))


def _at_rate(units: Units, rate: int, n: int) -> Units:
    """Place units in the same source of `n` samples at another rate."""
    bounds = np.minimum(np.round(units.bounds * (rate / units.rate)).astype(np.int64), n)
    return replace(units, rate=rate, bounds=bounds)


def _chord(key: str | None, mode: str | None) -> np.ndarray:
    """The pitch classes of a key's own chord [shape=(12,)], of unit length; 0 without a key."""
    chord = np.zeros(12)
    if key is not None:
        tonic = PITCH_CLASSES.index(key)
        chord[[tonic, (tonic + (3 if mode == "minor" else 4)) % 12, (tonic + 7) % 12]] = 3.0**-0.5
    return chord


def _part(progress: Callable[[float], None], begin: float, share: float) -> Callable[[float], None]:
    """Return the progress of a part of the job that begins at `begin` and is `share` of the whole."""
    return lambda done: progress(begin + share * done)


def _begin(units: Units, run: Run) -> float:
    """Return where in the source a run begins, in seconds: what would be played before 0 is left out."""
    return float(units.bounds[run.first]) / units.rate + max(-run.start, 0.0) / run.stretch


def _details(units: Units, path: Path, joins: list[Join], step: float) -> dict[str, Any]:
    """Describe what a candidate is made of, JSON-ready; times are in seconds."""
    return {
        "silent": False,
        "units": len(units),
        "unit_kind": "beat" if units.pulsed else "slice",
        "units_per_bar": units.meter if units.whole_bar else 1,
        "ending": path.ending,
        "end": round(path.end, 4),
        "hold": round(path.hold, 4),
        "runs": [
            {
                "start": round(max(run.start, 0.0), 4),
                "source_start": round(_begin(units, run), 4),
                "source_end": round(float(units.bounds[run.last]) / units.rate, 4),
                "semitones": run.semitones,
                "stretch": round(run.stretch, 4),
            }
            for run in path.runs
            if _begin(units, run) < float(units.bounds[run.last]) / units.rate
        ],
        "joins": [{name: round(number, 5) for name, number in asdict(join).items()} for join in joins],
        "usual_step": round(step, 5),
        "longest_verbatim": round(path.longest_verbatim, 2),
        "long_verbatim_share": round(path.long_share, 3),
    }
