"""Turning a path into sound: runs cut from the source, transposed, stretched, and joined without clicks.

References
----------
.. [1] Serra and Smith, "Spectral modeling synthesis", Computer Music Journal 14(4), 1990.
.. [2] Fink, Holters and Zölzer, "Signal-matched power-complementary cross-fading", DAFx 2016.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from music.audio.decode import resample
from music.audio.loudness import ABSOLUTE_GATE, integrated_loudness
from music.dsp.rhythm import HOP, mel_bands, pick_onsets, superflux
from music.dsp.stretch import stretched
from music.mosaic.path import Path, Run
from music.mosaic.units import Units

REACH = 0.36
"""Seconds of source kept on either side of a run, for joins to lie in."""
_SETTLED = 0.12  # seconds more, where it is stretched
_CLEAR = 16  # samples on either side of a crossfade that must be as smooth as it is
_DENSE, _DENSE_WIDTHS = 0.0015, np.array([0.006, 0.012])  # seconds: where no place is smooth, more are tried
_ROUND_UNITS = 2  # of the second round of a loop that are played
_ROUND_SECONDS = 0.3  # and what is kept of them
_LAG = 0.012  # seconds a run may move so that waves meet in phase

_HEARD_SECONDS = 10.0  # before the last sound, at least
_HEARD_RATE = 22050  # Hz
_ON_LINE = 0.055  # seconds
_EARS = (1.0, 1.3, 1.6, 1.0 / 1.3, 1.0 / 1.6)  # times the strength of onsets; the usual one first
_BEFORE = 0.04  # seconds before the next onset, in which a last sound begins to die away,
_SHORTEST_HOLD = 0.15  # which is heard so long as it is
_AROUND = 4  # frames on either side of a beat, in which it is heard
_NEAR_LINE = 0.004  # seconds

_LOOK = 0.19  # seconds whose partials ring on,
_PARTIALS = 60  # at most so many,
_BLOCK = 1024  # samples that are made of them at once
_STRIKE = 0.06  # seconds that a sound begins in,
_INTO_RINGING = 0.4  # and of crossfade at most,
_FALL = 55.0  # dB that they fall until the end,
_LONGEST_RINGING = 3.5  # or until so many seconds after,
_HALF_AS_LONG = 2000.0  # and at so many Hz twice as fast


@dataclass(frozen=True)
class Join:
    """Where two runs meet.

    Attributes
    ----------
    time : float
        The middle of the crossfade in the output, in seconds.
    length : float
        The length of the crossfade in seconds.
    step : float
        The greatest difference between neighbouring samples inside it.
    """

    time: float
    length: float
    step: float


def usual_step(source: np.ndarray) -> float:
    """Return the 99.9th percentile of differences between neighbouring samples.

    Parameters
    ----------
    source : np.ndarray [shape=(channels, n), float32]
        Every fourth pair is looked at.

    Returns
    -------
    float
        To four digits after the point.
    """
    counts = np.zeros(20001, dtype=np.int64)
    for begin in range(0, source.shape[1] - 1, 1 << 20):
        piece = source[:, begin : begin + (1 << 20) + 1]
        steps = np.abs(piece[:, 1::4] - piece[:, : piece.shape[1] - 1 : 4])
        counts += np.bincount((np.minimum(steps, 2.0) * 1e4).astype(np.int64).ravel(), minlength=len(counts))
    return float(np.searchsorted(np.cumsum(counts), 0.999 * counts.sum()) + 1) / 1e4


def render(
    source: np.ndarray,
    units: Units,
    path: Path,
    samples: int,
    step: float,
    progress: Callable[[float], None],
    into_source: bool = False,
) -> tuple[np.ndarray, list[Join]]:
    """Play a path.

    Parameters
    ----------
    source : np.ndarray [shape=(channels, n), float32]
        At the sample rate of `units`.
    units : Units
        The source's.
    path : Path
        What is played.
    samples : int
        The wanted length; a loop has its own.
    step : float
        The difference between neighbouring samples that joins should stay below (`usual_step`).
    progress : callable
        Called with the share done, in [0, 1], after each run; whatever it raises passes through.
    into_source : bool
        Whether the last run stays where it is, sample for sample, for the source to go on from it.

    Returns
    -------
    audio : np.ndarray [shape=(channels, samples), float32]
    joins : list of Join
    """
    rate = units.rate
    reach = round(REACH * rate)
    runs = path.runs
    if path.ending == "loop":  # once more from the beginning, to see how its end meets it
        again = min(runs[0].last, runs[0].first + _ROUND_UNITS)
        runs = (*runs, Run(runs[0].first, again, path.end, runs[0].stretch, runs[0].semitones, 0.0))
        samples = round((path.end + _ROUND_SECONDS) * rate)
    lag = stop = 0
    out = np.zeros((source.shape[0], samples + 2 * reach), dtype=np.float32)
    joins: list[Join] = []
    end = 0  # of what is written, in samples of `out`
    for index, run in enumerate(runs):
        piece = _piece(source, units, run, reach, last=index == len(runs) - 1 and path.ending != "loop")
        at = reach + round(run.start * rate)  # where the run's first unit begins in `out`
        if at - reach >= samples:
            break
        if index == 0:
            lag, begin = 0, at
            fresh = piece[:, reach:]
        else:
            old = out[:, at - reach : min(at + reach, end)]
            widths, spread = _widths(units, run.first)
            most = 0 if into_source and index == len(runs) - 1 else round(_LAG * rate)
            lag, middle, length, ratio = _meet(old, piece, reach, rate, step, widths, spread, most)
            begin = at - reach + middle - length // 2
            stop = begin + length
            fresh = piece[:, begin - (at - reach) + lag :]
            down, up = _gains(length, ratio)
            fresh = fresh.copy()
            fresh[:, :length] = fresh[:, :length] * up + out[:, begin : begin + length] * down
            around = np.abs(
                np.diff(np.concatenate([out[:, begin - 1 : begin], fresh[:, : length + 1]], axis=1))
            )
            joins.append(Join((begin + length / 2 - reach) / rate, length / rate, float(around.max())))
        room = out.shape[1] - begin
        fresh = fresh[:, :room]
        out[:, begin : begin + fresh.shape[1]] = fresh
        end = begin + fresh.shape[1]
        out[:, end:] = 0.0
        progress((index + 1) / len(runs))
    if path.ending == "loop":
        # From where the second round is the first again, sample by sample, to there: one round.
        length = round(path.end * rate) - lag
        after = max(stop - reach - length + _CLEAR, 0)
        audio = np.roll(out[:, reach + after : reach + after + length], after, axis=1)
        return audio, joins
    out = out[:, reach : reach + samples]
    begin = min(round(path.end * rate), samples)
    if path.ending == "natural":
        out = _dying(out, begin, round(path.hold * rate), rate)
    elif path.ending == "fade":
        fade = np.arange(samples - begin) / max(samples - begin, 1)
        out[:, begin:] *= np.cos(0.5 * np.pi * fade).astype(np.float32) ** 2
    return np.ascontiguousarray(out), [join for join in joins if join.time < samples / rate]


def surest_end(source: np.ndarray, units: Units, ends: Iterable[Path], samples: int, step: float) -> Path:
    """Listen to the ends of a path, and choose one whose last sound begins on a bar line.

    How loud the rest of a piece is, and how it is mastered, decide about what is just heard. Therefore keener
    and duller ears than the usual one are asked as well. A last sound in which another one begins is held
    until then, where more ears agree on that.

    Parameters
    ----------
    source, units, samples, step
        As `render` takes them.
    ends : iterable of Path
        The same path with some ends, the most natural one first, the plainest last.

    Returns
    -------
    Path
        The first on which all ears agree; else the first of those on which most do, the usual one among them;
        else the last. An end that is faded or cut has no last sound, and is taken as it comes.
    """
    surest, most = None, 0
    for path in ends:
        if path.ending not in ("natural", "own"):
            return surest or path
        agree, following = _listened(source, units, path, samples, step)
        if following is not None and (hold := following - _BEFORE - path.end) > _SHORTEST_HOLD:
            shorter = replace(path, hold=min(hold, path.hold))
            surer, _ = _listened(source, units, shorter, samples, step)
            if surer > agree:
                path, agree = shorter, surer
        if agree == len(_EARS):
            return path
        if agree > most:
            surest, most = path, agree
    raise ValueError("the last of some ends is a fade or a cut")


def _listened(
    source: np.ndarray, units: Units, path: Path, samples: int, step: float
) -> tuple[int, float | None]:
    """Listen to whether the last sound begins on a bar line, or a beat where no bars are.

    Returns
    -------
    agree : int
        To how many of `_EARS` it does; 0 where the first of them does not hear it there.
    following : float or None
        When the next sound begins to the keenest of them, while the last one is held, in seconds.
    """
    runs = [run for run in path.runs if _ended(units, run) > path.end - _HEARD_SECONDS] or path.runs[-1:]
    early = runs[0].start
    later = tuple(replace(run, start=run.start - early) for run in runs)
    tail = replace(path, runs=later, end=path.end - early)
    audio, _ = render(source, units, tail, samples - round(early * units.rate), step, lambda done: None)
    lines = np.array([tail.end])
    if path.ending == "own":
        last = later[-1]
        inside = np.flatnonzero(units.phase[last.first : last.last] == 0) + last.first
        lines = last.start + (units.bounds[inside] - units.bounds[last.first]) / units.rate * last.stretch
    curve = _onset_strength(audio, units.rate)
    onsets = [pick_onsets(ear * curve, _HEARD_RATE / HOP) * (HOP / _HEARD_RATE) for ear in _EARS]
    off = [np.abs(lines - heard[-1]).min(initial=np.inf) if len(heard) else np.inf for heard in onsets]
    on_line = [bool(each < _ON_LINE) for each in off]
    keenest = onsets[int(np.argmax(_EARS))]
    held = keenest[(keenest > tail.end + _ON_LINE) & (keenest < tail.end + tail.hold + _BEFORE)]
    following = early + float(held[0]) if path.ending == "natural" and len(held) else None
    return sum(on_line) if on_line[0] else 0, following


def _ended(units: Units, run: Run) -> float:
    """Return when a run ends in the output, in seconds."""
    return run.start + float(units.bounds[run.last] - units.bounds[run.first]) / units.rate * run.stretch


def smoothest_bar(audio: np.ndarray, rate: int, lines: np.ndarray, beats: int) -> tuple[int, float]:
    """Listen to a loop, and choose the bar that it had best begin with: where the seam is heard least.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
        Once round.
    rate : int
        Sample rate in Hz.
    lines : np.ndarray [shape=(bars,), int64]
        When bars begin, in samples, ascending.
    beats : int
        Those of a bar.

    Returns
    -------
    bar : int
        The one before which loudness changes little, and with which no more begins than with other beats.
    step : float
        LU by which the last bar differs in loudness from the first, where the loop begins with that one.
    """
    bars, length = len(lines), audio.shape[1]
    twice = np.tile(audio, (1, 2))
    curve = _onset_strength(np.tile(audio, (1, 3)), rate)
    count, size = bars * beats, length / bars
    # In the second round, where something came before.
    places = (lines[0] + length + np.arange(count) * length / count) * (_HEARD_RATE / HOP / rate)
    events = np.array([_event(curve, at) for at in places])
    usual = max(float(np.percentile(events, 95)), 1e-9)
    event = np.array([_event(curve, (line + length) * (_HEARD_RATE / HOP / rate)) for line in lines]) / usual
    steps = np.empty(bars)
    for bar, line in enumerate(lines):
        begins = (int(line), int(line + length - round(size)))
        first, last = (integrated_loudness(twice[:, at : at + round(size)], rate) for at in begins)
        steps[bar] = abs(max(first, ABSOLUTE_GATE) - max(last, ABSOLUTE_GATE))
    best = int(np.argmin(np.maximum(event, steps)))
    return best, float(steps[best])


def _event(curve: np.ndarray, frame: float) -> float:
    """Return how much begins around a frame of onset strength."""
    at = round(frame)
    return float(curve[max(at - _AROUND, 0) : at + _AROUND + 2].max(initial=0.0))


def turned(audio: np.ndarray, rate: int, line: int) -> tuple[np.ndarray, int]:
    """Let a loop begin at a bar line, or up to 4 ms before it, where there is least of a step.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
        Once round, which goes on with its beginning.
    rate : int
        Sample rate in Hz.
    line : int
        In samples.

    Returns
    -------
    audio : np.ndarray [shape=(channels, n), float32]
    begin : int
        The sample that it begins with, 0 to n - 1.
    """
    before = np.arange(line - round(_NEAR_LINE * rate), line + 1)
    steps = np.abs(audio[:, before % audio.shape[1]] - audio[:, (before - 1) % audio.shape[1]]).max(axis=0)
    begin = int(before[steps.argmin()] % audio.shape[1])
    return np.roll(audio, -begin, axis=1), begin


def _onset_strength(audio: np.ndarray, rate: int) -> np.ndarray:
    """Measure how much begins in each frame [shape=(frames,)] of `HOP` samples at `_HEARD_RATE`."""
    return superflux(mel_bands(resample(audio, rate, _HEARD_RATE), _HEARD_RATE))


def _dying(audio: np.ndarray, begin: int, hold: int, rate: int) -> np.ndarray:
    """Let the sound that begins at `begin` die away after `hold` samples, as a string does.

    What sounds then is taken apart into partials [1]_, and they ring on, the higher ones for a shorter time.
    Nothing new begins in what they make.

    Returns
    -------
    np.ndarray [shape=(channels, n), float32]
    """
    n = audio.shape[1]
    out = audio.copy()
    out[:, begin + hold :] = 0.0
    size = min(hold, round(_LOOK * rate))
    rest = n - begin - hold
    if rest <= 0 or size < 64:
        return out
    last = audio[:, begin + hold - size : begin + hold].astype(np.float64)
    window = np.hanning(size + 2)[1:-1]
    padded = 1 << int(np.ceil(np.log2(4 * size)))
    spectrum = np.fft.rfft(last * window, padded, axis=1)
    power = (np.abs(spectrum) ** 2).sum(axis=0)
    inner = power[1:-1]
    peaks = 1 + np.flatnonzero((inner > power[:-2]) & (inner >= power[2:]) & (inner > 1e-6 * power.max()))
    peaks = peaks[np.argsort(-power[peaks], kind="stable")][:_PARTIALS]
    fade = max(min(hold - round(_STRIKE * rate), round(_INTO_RINGING * rate)), size // 2)
    newest = last[:, -max(size // 3, 32) :]
    bell = np.hanning(newest.shape[1] + 2)[1:-1]
    at = np.arange(newest.shape[1]) / rate
    length = min(rest / rate, _LONGEST_RINGING)
    hertz = peaks * rate / padded
    slope = _FALL / 20.0 * np.log(10.0) / length * (1.0 + hertz / _HALF_AS_LONG)
    # What has died away meanwhile does not come back.
    waves = np.exp(-2j * np.pi * hertz[:, None] * at)
    now = np.abs(np.einsum("cn,kn->ck", newest * bell, waves)) / bell.sum()
    past = np.abs(spectrum[:, peaks]) / window.sum()
    strength = spectrum[:, peaks] * np.minimum(now / np.maximum(past, 1e-12), 1.0) * (2.0 / window.sum())
    # The phase of a peak is that at the window's first sample.
    turn = 2j * np.pi * hertz / rate
    before = _partials(strength * np.exp(turn * (size - fade)), turn, fade)
    after = _partials(strength * np.exp(turn * size), turn - slope / rate, rest)
    ringing = np.concatenate([before, after], axis=1)
    level = np.sqrt((newest**2).mean() / max(float((ringing[:, :fade] ** 2).mean()), 1e-12))
    ringing *= min(float(level), 1.0)
    down, up = _gains(fade, 0.5)
    start = begin + hold - fade
    out[:, start : begin + hold] *= down
    ringing[:, :fade] *= up
    out[:, start:] += ringing.astype(np.float32)
    return out


def _partials(strength: np.ndarray, step: np.ndarray, count: int) -> np.ndarray:
    """Add partials ``strength * exp(step * n)``, n from 0 to `count`, which is excluded.

    Powers are products of two that are computed for each block and for each place in one.

    Parameters
    ----------
    strength : np.ndarray [shape=(channels, partials), complex128]
    step : np.ndarray [shape=(partials,), complex128]
    count : int

    Returns
    -------
    np.ndarray [shape=(channels, count), float64]
        Their real parts.
    """
    blocks = -(-count // _BLOCK)
    first = strength[:, :, None] * np.exp(step[:, None] * (_BLOCK * np.arange(blocks)))
    inside = np.exp(step[:, None] * np.arange(_BLOCK))
    made = np.einsum("ckb,kn->cbn", first.real, inside.real)
    made -= np.einsum("ckb,kn->cbn", first.imag, inside.imag)
    return np.asarray(made.reshape(len(strength), -1)[:, :count])


def _piece(source: np.ndarray, units: Units, run: Run, reach: int, last: bool) -> np.ndarray:
    """Cut out a run with `reach` samples before it and after it, transposed, stretched and levelled.

    Beyond the source's ends its mirror image stands in, for crossfades to meet sound; after the `last` run
    nothing does.
    """
    first, stop = int(units.bounds[run.first]), int(units.bounds[run.last])
    changed = run.stretch != 1.0 or run.semitones != 0
    margin = int(np.ceil(reach / run.stretch)) + changed * round(_SETTLED * units.rate)
    missing = max(margin - first, 0), max(stop + margin - source.shape[1], 0)
    piece = source[:, max(first - margin, 0) : min(stop + margin, source.shape[1])]
    if any(missing):
        piece = np.pad(piece, ((0, 0), missing), mode="reflect")
        if last and missing[1]:
            piece[:, -missing[1] :] *= np.exp(-np.arange(missing[1]) / (0.005 * units.rate)).astype(
                np.float32
            )
    if changed:
        piece = stretched(piece, run.stretch, run.semitones, units.rate)
    length = round((stop - first) * run.stretch)
    front = round(margin * run.stretch) - reach
    piece = piece[:, front : front + length + 2 * reach]
    if run.gain:
        ramp = np.interp(np.arange(piece.shape[1]), [reach, reach + length], [run.gain, 0.0])
        piece = piece * (10.0 ** (ramp / 20.0)).astype(np.float32)
    return piece


def _widths(units: Units, unit: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the crossfades to try before a unit.

    They are short and early before an attack, longer without one, slow where nothing pulses, and never longer
    than the unit.

    Returns
    -------
    lengths : np.ndarray [shape=(lengths,)]
        In seconds, the most fitting last.
    middles : np.ndarray [shape=(middles,)]
        In seconds from the unit's border.
    """
    longest = 0.8 * float(units.bounds[unit + 1] - units.bounds[unit]) / units.rate
    lengths: tuple[float, ...]
    if not units.pulsed:
        lengths, spread = (0.012, 0.05, 0.15, 0.3), np.arange(-0.15, 0.151, 0.015)
    elif units.rhythm[unit, 0] > 1.2:
        lengths, spread = (0.048, 0.024, 0.012), np.arange(-0.045, 0.0151, 0.0015)
    else:
        lengths, spread = (0.012, 0.16, 0.08), np.arange(-0.06, 0.0301, 0.005)
    return np.minimum(lengths, longest), spread


def _meet(
    old: np.ndarray,
    new: np.ndarray,
    reach: int,
    rate: int,
    step: float,
    widths: np.ndarray,
    spread: np.ndarray,
    most: int,
) -> tuple[int, int, int, float]:
    """Find how two pieces meet, the new one moved by at most `most` samples.

    `old` and `new` [shape=(channels, >= about 2 * reach)] are aligned so that index `reach` is the musical
    boundary. The lag puts waves in phase; the crossfade lies before the boundary, where the old sound has
    decayed and the new attack is yet to come, at the place with the smallest steps and the best match.

    Returns
    -------
    lag : int
        Samples by which the new piece is moved to the left.
    middle, length : int
        The middle of the crossfade as an index into `old`, and its length, in samples.
    correlation : float
        Of the two pieces inside the crossfade.
    """
    limit = min(old.shape[1], new.shape[1], 2 * reach)
    span = np.arange(max(reach - round(0.05 * rate), most), min(reach + round(0.02 * rate), limit - most))
    a, b = old.astype(np.float64), new.astype(np.float64)
    lags = np.arange(-most, most + 1)
    here, around = a[:, span], b[:, span[0] - most : span[-1] + 1 + most]
    there = sum(np.correlate(y, x, mode="valid") for x, y in zip(here, around, strict=True))
    energy = np.cumsum(np.concatenate([[0.0], (around**2).sum(axis=0)]))
    energy = energy[len(span) :] - energy[: -len(span)]
    match = there / np.sqrt(np.maximum(energy * (here**2).sum(), 1e-12))
    lag = int(lags[int(np.argmax(match - 0.15 * (lags / max(most, 1)) ** 2))])

    home = reach + round((spread[0] + 3.0 * spread[-1]) / 4.0 * rate)
    usual = np.sqrt((a**2).mean() + (b**2).mean()) + 1e-9
    best = (np.inf, reach, 2, 0.0)
    for lengths, places in ((widths, spread), (_DENSE_WIDTHS, np.arange(spread[0], spread[-1], _DENSE))):
        smoothest = np.inf
        for rank, length in enumerate(np.round(lengths * rate).astype(np.int64).tolist()):
            for middle in reach + np.round(places * rate).astype(np.int64):
                begin = int(middle) - length // 2
                stop = begin + length
                if min(begin, begin + lag) < _CLEAR or max(stop, stop + lag) + _CLEAR > limit:
                    continue
                x, y = a[:, begin:stop], b[:, begin + lag : stop + lag]
                power = float((x**2).sum() * (y**2).sum())
                ratio = float((x * y).sum()) / power**0.5 if power > 1e-12 else 0.0
                down, up = _gains(length, ratio)
                mixed = old[:, begin:stop] * down + new[:, begin + lag : stop + lag] * up
                joined = (old[:, begin - _CLEAR : begin], mixed, new[:, stop + lag : stop + lag + _CLEAR])
                largest = float(np.abs(np.diff(np.concatenate(joined, axis=1), axis=1)).max())
                cost = (
                    8.0 * max(largest / max(step, 1e-6) - 0.9, 0.0)
                    + (1.0 - ratio)
                    + 0.4 * float(np.sqrt((mixed**2).mean())) / usual
                    + 0.3 * abs(int(middle) - home) / (spread[-1] - spread[0]) / rate
                    + 0.1 * (len(lengths) - 1 - rank)
                )
                if cost < best[0]:
                    best, smoothest = (cost, int(middle), length, ratio), largest
        if smoothest <= step:
            break
    return lag, best[1], best[2], best[3]


def _gains(length: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the gains [each of shape=(length,)] that keep the power of signals of correlation `ratio` [2]_.

    In phase (1) they add up to one, unrelated (0) their squares do.
    """
    angle = 0.5 * np.pi * (np.arange(length) + 0.5) / length
    down, up = np.cos(angle) ** 2, np.sin(angle) ** 2
    level = np.sqrt(down**2 + up**2 + 2.0 * max(ratio, 0.0) * down * up)
    return (down / level).astype(np.float32), (up / level).astype(np.float32)
