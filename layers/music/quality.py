"""The quality gate: what makes a candidate unfit to be given to anybody, whatever its likeness to the source.

We do not use chromaprint to find copies: it needs a compiled library that no wheel brings, and it leaves the
work to its user, which is to find any five seconds of one piece anywhere in another.

References
----------
.. [1] Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from music import features
from music.audio.decode import resample
from music.dsp import harmony, spectra
from music.dsp.channels import folded

FAULTS = ("silent", "silent_edge", "clipped", "runaway", "copy")
"""Everything that `faults` can find, and what a generator may ask to be checked for."""

_QUIET = 1e-3  # root mean square below which a block is silence: -60 dBFS
_BLOCK = 0.1  # seconds
_EDGE = 2.0  # seconds of silence at either end that are a fault; of a short piece, a quarter
_FLAT = 1e-3  # share of samples in flat tops that is a fault,
_BEYOND = 10 * _FLAT  # and of samples beyond full scale
_LOUDEST = 0.71  # root mean square of a sine at full scale; no second of music is louder than that
_GROWTH = 30.0  # dB from the first third to the last

# The fingerprint, at `features.SAMPLE_RATE`: window and step in samples, bands, and their range in Hz.
_SIZE, _HOP, _BANDS, _LOWEST_HZ, _HIGHEST_HZ = 8192, 512, 32, 300.0, 4000.0
_NO_CHANGE = 1e-3  # of a level, up to which it counts as constant
_STRETCH, _EVERY = 3.0, 2.0  # seconds that are looked at: any five have three of them in one piece
_LEAST_CHANGE = 0.25  # share of a stretch's bits that must change for it to be known again
_SAME_BITS, _SAME_CHROMA = 0.5, 0.9  # correlations from which two stretches are one recording


class Fingerprint:
    """What a copy of a piece shares with it, however loud, coded or filtered it is.

    For each frame the signs of the differences between neighbouring bands, against those of the frame before
    [1]_, and its chroma.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,), float32]
        Audio at `music.features.SAMPLE_RATE`.

    Attributes
    ----------
    bits : np.ndarray [shape=(32, frames), float32]
        -1 or 1, and 0 where nothing changes.
    chroma : np.ndarray [shape=(12, frames), float32]
        Pitch classes, each frame of unit length, or zero.
    """

    def __init__(self, mono: np.ndarray) -> None:
        mel = spectra.mel_spectrogram(
            mono, features.SAMPLE_RATE, _SIZE, _HOP, n_mels=_BANDS + 1, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ
        )
        apart = np.diff(np.diff(mel, axis=0), axis=1, prepend=0.0)
        level = mel[:-1] + mel[1:]
        changes = np.abs(apart) > _NO_CHANGE * level + 1e-9
        self.bits = np.where(changes, np.sign(apart), 0.0).astype(np.float32)
        chroma = harmony.chroma(mono, features.SAMPLE_RATE, _HOP)
        self.chroma = chroma / np.maximum(np.linalg.norm(chroma, axis=0), 1e-9)


def copied(candidate: Fingerprint, source: Fingerprint) -> bool:
    """Find out whether a candidate plays five seconds of the source again, or all of a shorter candidate.

    Three seconds of the candidate are looked at, every two. Their bits are correlated with those of the whole
    source, at every lag; where at least three bits in four are the same, the chroma must be the same, too.

    Parameters
    ----------
    candidate, source : Fingerprint

    Returns
    -------
    bool
    """
    frames, known = candidate.bits.shape[1], source.bits.shape[1]
    stretch = min(round(_STRETCH * features.SAMPLE_RATE / _HOP), frames, known)
    size = next_fast_len(known + stretch, real=True)
    spectrum = rfft(source.bits, size, axis=1)
    lags = known - stretch + 1
    sums = np.cumsum(np.concatenate([[0.0], (source.bits**2).sum(axis=0, dtype=np.float64)]))
    energy = sums[stretch:] - sums[:-stretch]
    every = round(_EVERY * features.SAMPLE_RATE / _HOP)
    for first in [*range(0, frames - stretch, every), frames - stretch]:
        piece = candidate.bits[:, first : first + stretch]
        own = float((piece**2).sum())
        if own < _LEAST_CHANGE * piece.size:
            continue  # next to nothing changes: a pause, or one long sound
        dots = irfft((spectrum * np.conj(rfft(piece, size, axis=1))).sum(axis=0), size)[:lags]
        alike = dots / np.sqrt(own * np.maximum(energy, _LEAST_CHANGE * piece.size))
        lag = int(alike.argmax())
        if alike[lag] < _SAME_BITS:
            continue
        pitch = candidate.chroma[:, first : first + stretch] * source.chroma[:, lag : lag + stretch]
        if float(pitch.sum(axis=0).mean()) > _SAME_CHROMA:
            return True
    return False


def faults(
    audio: np.ndarray, rate: int, source: Fingerprint | None = None, checks: Collection[str] = FAULTS
) -> list[str]:
    """Find what is wrong with a candidate.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
        The candidate as its generator made it, before mastering; not empty.
    rate : int
        Its sample rate in Hz.
    source : Fingerprint, optional
        The source's; without it copies are not looked for.
    checks : collection of str
        Those of `FAULTS` that are looked for.

    Returns
    -------
    list of str
        ``silent``: less than half of it is above -60 dBFS; ``silent_edge``: at the beginning or the end 2 s
        are not, or a quarter of a short piece; ``clipped``: one sample in a thousand is in a flat top, or one
        in a hundred beyond full scale; ``runaway``: a second of it is louder than a sine at full scale, or
        its last third 30 dB louder than the first; ``copy``: see `copied`.
    """
    loud = _loud_blocks(audio, rate)
    sounding = np.flatnonzero(loud > _QUIET)
    edge = min(_EDGE / _BLOCK, len(loud) / 4)
    found = {
        "silent": len(sounding) < 0.5 * len(loud),
        "silent_edge": len(sounding) > 0 and max(sounding[0], len(loud) - 1 - sounding[-1]) >= max(edge, 1),
        "clipped": _clipped(audio),
        "runaway": _runaway(loud),
    }
    if source is not None and "copy" in checks and not found["silent"]:
        mono = resample(folded(audio), rate, features.SAMPLE_RATE)
        found["copy"] = copied(Fingerprint(mono), source)
    return [name for name in FAULTS if name in checks and found.get(name)]


def _loud_blocks(audio: np.ndarray, rate: int) -> np.ndarray:
    """Measure each tenth of a second: the root mean square of its loudest channel [shape=(blocks,)]."""
    size = min(round(_BLOCK * rate), audio.shape[1])
    blocks = audio[:, : audio.shape[1] // size * size].reshape(len(audio), -1, size)
    means: np.ndarray = np.sqrt(np.einsum("cbn,cbn->cb", blocks, blocks, dtype=np.float64) / size).max(axis=0)
    return means


def _clipped(audio: np.ndarray) -> bool:
    """Look for flat tops (three equal samples at over half of the peak) and samples beyond full scale."""
    size = np.abs(audio)
    peak = float(size.max())
    if peak < _QUIET or audio.shape[1] < 3:
        return False
    flat = (audio[:, 2:] == audio[:, 1:-1]) & (audio[:, 1:-1] == audio[:, :-2]) & (size[:, 1:-1] > 0.5 * peak)
    return bool(flat.mean() > _FLAT or (size > 1.0).mean() > _BEYOND)


def _runaway(loud: np.ndarray) -> bool:
    """Look for a second louder than a sine at full scale, and for growth, in tenths of a second."""
    second = min(round(1.0 / _BLOCK), len(loud))
    power = np.convolve(loud**2, np.full(second, 1.0 / second), mode="valid")
    if power.max() > _LOUDEST**2:
        return True
    third = len(loud) // 3
    if not third:
        return False
    first, last = (float((part**2).mean()) for part in (loud[:third], loud[-third:]))
    # Out of silence is not out of hand: that is for the other checks.
    return last > 10 ** (_GROWTH / 10) * max(first, _QUIET**2)
