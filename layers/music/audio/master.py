"""Mastering: every generator's candidates are brought to their length, loudness and true-peak ceiling here.

We use no limiter of a library. FFmpeg's ``alimiter`` holds samples under a ceiling, not true peaks; its
``loudnorm`` does both, but where a plain gain misses the target it rides the gain of the whole piece.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from music.audio.loudness import ABSOLUTE_GATE, integrated_loudness, peak_envelope, true_peak

FADE_IN_SECONDS = 0.01
FADE_OUT_SECONDS = 0.5
CUT_SECONDS = 0.01
"""What an end that is cut off, or has died away, is faded out over: no click."""
MAX_SHORTAGE_SECONDS = 0.1
"""What a generator may leave missing at the end (frames of a codec); it is filled with silence."""

_MARGIN_DB = 0.2  # below the ceiling: another meter's interpolation filter may read a little more
_MAX_REDUCTION_DB = 12.0  # beyond it a limiter is heard, and the ceiling wins over the loudness
_TOLERANCE_LU = 1.0  # from the target, within which the loudness is on it,
_CLOSE_LU = 0.1  # and within which the limiter's gain is not refined any more
_MAX_PASSES = 5  # of refining it
_FLATTEST = 0.2  # LU for each dB: the least slope of loudness over gain that a pass reckons with

_UNDER_TARGET = 20.0  # LU that the absolute gate stays below the target of music softer than BS.1770 is for

_AROUND_SECONDS = 2.0  # of a loop that a limiter may look at before and after it
_STEP = 16  # samples between points of the gain curve
_ATTACK_DB_PER_SECOND = 2000.0
_RELEASE_DB_PER_SECOND = 60.0
_SMOOTHING_SECONDS = 0.004


@dataclass(frozen=True, eq=False)
class Mastered:
    """Audio that is ready to be encoded.

    Attributes
    ----------
    audio : np.ndarray [shape=(channels, round(duration * rate)), float32]
    loudness : float
        Integrated loudness in LUFS; ``-inf`` for silence.
    true_peak : float
        In dBTP, at most the ceiling; ``-inf`` for silence.
    limited : bool
        Whether peaks were reduced by the limiter to reach the target loudness.
    on_target : bool
        Whether the loudness is within 1 LU of the target. False where the ceiling won, for silence, and where
        there was no target.
    """

    audio: np.ndarray
    loudness: float
    true_peak: float
    limited: bool
    on_target: bool


def master(
    audio: np.ndarray,
    rate: int,
    *,
    duration: float,
    target_loudness: float | None,
    fade_in: float = FADE_IN_SECONDS,
    fade_out: float = FADE_OUT_SECONDS,
    ceiling: float = -1.0,
) -> Mastered:
    """Bring a candidate to its length, the target loudness and under the true-peak ceiling.

    A plain gain, wherever the ceiling allows it; else a look-ahead limiter takes up to 12 dB off the peaks.
    Targets from -40 to -14 LUFS are met within 1 LU unless peaks stand over 25 dB above the loudness.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
        The candidate, at any level. What is longer than asked is cut; what is up to 0.1 s shorter is filled
        with silence.
    rate : int
        Sample rate in Hz.
    duration : float
        The wanted duration in seconds.
    target_loudness : float or None
        In LUFS. With None or ``-inf`` (a silent source) the level stays, but for the ceiling. Silence stays
        silence.
    fade_in, fade_out : float
        In seconds, of the beginning and of the end; at most a tenth of the whole.
    ceiling : float
        In dBTP.

    Returns
    -------
    Mastered

    Raises
    ------
    ValueError
        If the candidate is too short or has samples that are not finite: a fault of the generator.
    """
    return _levelled(
        _fade(_fit(audio, round(duration * rate), rate), rate, fade_in, fade_out),
        rate,
        target_loudness,
        ceiling,
    )


def master_loop(
    audio: np.ndarray, rate: int, *, target_loudness: float | None, ceiling: float = -1.0
) -> Mastered:
    """Master a loop, as `master` does, but keep its length and let its end meet its beginning.

    It is mastered with what comes before and after it when it is played round and round.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
        The loop.
    rate, target_loudness, ceiling
        As `master` takes them.

    Returns
    -------
    Mastered
        Of the same length.
    """
    n = audio.shape[1]
    around = min(round(_AROUND_SECONDS * rate), n)
    wound = np.concatenate([audio[:, n - around :], audio, audio[:, :around]], axis=1).astype(np.float32)
    mastered = _levelled(wound, rate, target_loudness, ceiling)
    result = np.ascontiguousarray(mastered.audio[:, around : around + n])
    return replace(mastered, audio=result, true_peak=true_peak(result))


def _levelled(audio: np.ndarray, rate: int, target_loudness: float | None, ceiling: float) -> Mastered:
    """Bring audio to the target loudness and under the ceiling, as `master` says."""
    envelope = peak_envelope(audio)
    peak = float(envelope.max(initial=0.0))
    if not np.isfinite(peak):
        raise ValueError("the candidate has samples that are not finite")
    if peak == 0.0:
        return Mastered(audio, -np.inf, -np.inf, limited=False, on_target=False)

    gate = ABSOLUTE_GATE if target_loudness is None else min(ABSOLUTE_GATE, target_loudness - _UNDER_TARGET)
    limit = ceiling - _MARGIN_DB
    headroom = limit - 20.0 * float(np.log10(peak))
    loudness = integrated_loudness(audio, rate, gate)
    if target_loudness is None or not np.isfinite(target_loudness) or not np.isfinite(loudness):
        gain, limited, target = min(0.0, headroom), False, np.nan
    else:
        gain, target = target_loudness - loudness, target_loudness
        limited = gain > headroom

    if limited:
        result, reached = _match(audio, envelope, rate, gain, target, limit)
    else:
        result = audio * np.float32(_linear(gain))
        reached = integrated_loudness(result, rate, gate)
    return Mastered(
        audio=result,
        loudness=reached,
        true_peak=true_peak(result),
        limited=limited,
        on_target=abs(reached - target) <= _TOLERANCE_LU,
    )


def _match(
    audio: np.ndarray, envelope: np.ndarray, rate: int, gain: float, target: float, limit: float
) -> tuple[np.ndarray, float]:
    """Limit audio at the target loudness, or as near to it as the deepest reduction allows.

    Once peaks are held, a decibel of gain adds less than a decibel of loudness: the gain is found by secants.

    Returns
    -------
    result : np.ndarray [shape=(channels, n), float32]
    loudness : float
        In LUFS.
    """
    deepest = limit - 20.0 * float(np.log10(envelope.max())) + _MAX_REDUCTION_DB
    gain, slope = min(gain, deepest), 1.0
    result = _limit(audio, envelope, rate, gain, limit)
    reached = integrated_loudness(result, rate)
    for _ in range(_MAX_PASSES):
        missing = target - reached
        if abs(missing) < _CLOSE_LU or (missing > 0.0 and gain == deepest):
            break
        step = min(missing / slope, deepest - gain)
        before, gain = reached, gain + step
        result = _limit(audio, envelope, rate, gain, limit)
        reached = integrated_loudness(result, rate)
        slope = float(np.clip((reached - before) / step, _FLATTEST, 1.0))
    return result, reached


def _linear(db: float) -> float:
    """Convert decibels to a factor of amplitude."""
    return float(10.0 ** (db / 20.0))


def _fit(audio: np.ndarray, n: int, rate: int) -> np.ndarray:
    """Copy audio to ``n`` samples [shape=(channels, n), float32]; one that is too short is a ValueError."""
    if audio.shape[1] < n - MAX_SHORTAGE_SECONDS * rate:
        raise ValueError(f"the candidate has {audio.shape[1]} samples where {n} were asked for")
    fitted = np.zeros((len(audio), n), dtype=np.float32)
    fitted[:, : audio.shape[1]] = audio[:, :n]
    return fitted


def _fade(audio: np.ndarray, rate: int, seconds_in: float, seconds_out: float) -> np.ndarray:
    """Fade in and out, in place, by raised cosines: no end of an excerpt clicks."""
    n = audio.shape[1]
    first, last = (min(round(seconds * rate), n // 10) for seconds in (seconds_in, seconds_out))
    audio[:, :first] *= ramp(first)
    audio[:, n - last :] *= ramp(last)[::-1]
    return audio


def ramp(n: int) -> np.ndarray:
    """Return a raised cosine from 0 up to 1 [shape=(n,), float32]: what sound fades in by."""
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(n) / max(n, 1))).astype(np.float32)


def _limit(audio: np.ndarray, envelope: np.ndarray, rate: int, gain: float, limit: float) -> np.ndarray:
    """Amplify by ``gain`` dB and hold true peaks at ``limit`` dBTP.

    The gain curve is the highest that stays under what every peak allows, falls before a peak no faster than
    the attack slope and rises after it no faster than the release slope, both linear in decibels; it is then
    smoothed, without ever rising above what the peaks allow. All channels get the same gain, so the stereo
    image stays.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
    envelope : np.ndarray [shape=(n,), float32]
        The `peak_envelope` of `audio`.
    rate : int
        Sample rate in Hz.
    gain : float
        In dB.
    limit : float
        In dBTP.

    Returns
    -------
    np.ndarray [shape=(channels, n), float32]
    """
    n = audio.shape[1]
    blocks = np.pad(envelope, (0, -n % _STEP)).reshape(-1, _STEP).max(axis=1)
    allowed = np.minimum(0.0, limit - gain - 20.0 * np.log10(np.maximum(blocks, 1e-10)))
    # Points between blocks: no higher than either neighbour allows, so neither is the line between two.
    curve = np.minimum(np.append(allowed, 0.0), np.insert(allowed, 0, 0.0))

    steps = np.arange(len(curve)) * (_STEP / rate)
    release, attack = _RELEASE_DB_PER_SECOND * steps, _ATTACK_DB_PER_SECOND * steps
    curve = np.minimum.accumulate(curve - release) + release
    curve = np.minimum.accumulate((curve + attack)[::-1])[::-1] - attack

    # A mean of minima over the same window is no higher than the curve itself.
    half = max(1, round(_SMOOTHING_SECONDS * rate / _STEP / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(curve, 2 * half, mode="edge")
    minima = np.lib.stride_tricks.sliding_window_view(padded, len(window)).min(axis=1)
    curve = np.convolve(minima, window / window.sum(), mode="valid")

    points = 10.0 ** ((gain + curve) / 20.0)
    result = audio * np.interp(np.arange(n) / _STEP, np.arange(len(points)), points).astype(np.float32)
    # A changing gain moves peaks a little; what is left above the limit is hundredths of a decibel.
    excess = true_peak(result) - limit
    return result * np.float32(_linear(-excess)) if excess > 0.0 else result
