"""What a listener would say of a track: tempo, key, loudness, brightness, activity; and tags in words."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from music.dsp import harmony, rhythm, spectra

SAMPLE_RATE = 22050
"""Hz of the mono signal that is measured: it holds what matters to tempo, key and brightness."""

_CLEAR_PULSE = 0.12  # below this clarity the onsets have no common period: ambient music, speech, noise
_ODD_INTERVAL = 0.1  # octaves from the tempo at which an interval between beats does not count
_FEWEST_INTERVALS = 4  # that a tempo is taken from; with fewer it stays the autocorrelation's

# Where words change: BPM, onsets per second, Hz, LUFS.
_SLOW, _FAST = 85.0, 128.0
_SPARSE, _BUSY = 1.5, 4.0
_DARK, _BRIGHT = 1200.0, 2400.0
_QUIET, _LOUD = -24.0, -12.0


@dataclass(frozen=True)
class Pulse:
    """The rhythm of a track.

    Attributes
    ----------
    tempo : float
        Beats per minute, 40 to 240; 0 where no pulse can be felt (silence, ambient, less than a second).
    beats : list of float
        Beat times in seconds, ascending; empty where `tempo` is 0.
    onset_rate : float
        Beginnings of sounds per second.
    """

    tempo: float
    beats: list[float]
    onset_rate: float


@dataclass(frozen=True)
class Features:
    """Measured features of a track.

    Attributes
    ----------
    duration : float
        In seconds.
    tempo : float
        Beats per minute, 40 to 240; 0 where no pulse can be felt (silence, ambient, less than a second).
    key : str or None
        Tonic, ``"C"`` to ``"B"`` in sharps; ``None`` where no pitch class stands out (silence, noise).
    mode : str or None
        ``"major"`` or ``"minor"``; ``None`` with `key`.
    loudness : float or None
        Integrated loudness in LUFS (ITU-R BS.1770-4); ``None`` for silence.
    spectral_centroid : float
        Mean over sounding frames, in Hz: how bright it is. 0 for silence.
    onset_rate : float
        Beginnings of sounds per second.
    beats : list of float
        Beat times in seconds, ascending; empty where `tempo` is 0.
    """

    duration: float
    tempo: float
    key: str | None
    mode: str | None
    loudness: float | None
    spectral_centroid: float
    onset_rate: float
    beats: list[float]

    def to_dict(self) -> dict[str, Any]:
        """Return the features as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Features":
        """Restore features from what `to_dict` returned."""
        return cls(**values)


def measure(mono: np.ndarray, loudness: float) -> Features:
    """Measure the features of a track.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,), float32]
        Audio at `SAMPLE_RATE`, of any length: 15 minutes and nothing included.
    loudness : float
        Integrated loudness in LUFS, measured on the original channels; ``-inf`` for silence.

    Returns
    -------
    Features

    See Also
    --------
    measure_pulse, mean_chroma : what it consists of.
    """
    mono = np.asarray(mono, dtype=np.float32)
    pulse = measure_pulse(mono)
    key = harmony.estimate_key(mean_chroma(mono))
    centroid = spectra.centroid(mono, SAMPLE_RATE)
    sounding = centroid[centroid > 0.0]
    return Features(
        duration=round(len(mono) / SAMPLE_RATE, 3),
        tempo=pulse.tempo,
        key=key[0] if key else None,
        mode=key[1] if key else None,
        loudness=round(float(loudness), 2) if np.isfinite(loudness) else None,
        spectral_centroid=round(float(sounding.mean(dtype=np.float64)), 1) if len(sounding) else 0.0,
        onset_rate=pulse.onset_rate,
        beats=pulse.beats,
    )


def measure_pulse(mono: np.ndarray) -> Pulse:
    """Measure the rhythm of a track.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,), float32]
        Audio at `SAMPLE_RATE`.

    Returns
    -------
    Pulse
    """
    frame_rate = SAMPLE_RATE / rhythm.HOP
    duration = len(mono) / SAMPLE_RATE
    envelope = rhythm.onset_envelope(mono, SAMPLE_RATE)
    tempo, clarity = rhythm.estimate_tempo(envelope, frame_rate)
    beats = np.zeros(0)
    if clarity >= _CLEAR_PULSE:
        beats = rhythm.track_beats(envelope, frame_rate, tempo)
    if len(beats) < 2:
        tempo, beats = 0.0, np.zeros(0)
    else:
        tempo = _steady_tempo(beats, tempo)
    onsets = rhythm.pick_onsets(envelope, frame_rate)
    return Pulse(
        tempo=round(tempo, 2),
        beats=[round(float(beat), 3) for beat in np.clip(beats, 0.0, duration)],
        onset_rate=round(len(onsets) / duration, 3) if duration > 0.0 else 0.0,
    )


def mean_chroma(mono: np.ndarray) -> np.ndarray:
    """Measure how strong each pitch class is in a track.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,), float32]
        Audio at `SAMPLE_RATE`.

    Returns
    -------
    np.ndarray [shape=(12,), float32]
        From C to B; zero for silence.
    """
    return harmony.chroma(mono, SAMPLE_RATE).mean(axis=1)


def _steady_tempo(beats: np.ndarray, tempo: float) -> float:
    """Refine a tempo from the tracked beats: finer than the autocorrelation's lags, deaf to odd intervals."""
    intervals = np.diff(beats)
    usual = intervals[np.abs(np.log2(intervals * tempo / 60.0)) < _ODD_INTERVAL]
    return float(60.0 / usual.mean()) if len(usual) >= _FEWEST_INTERVALS else tempo


def tags(features: Features) -> list[str]:
    """Describe features in words, most telling first.

    Parameters
    ----------
    features : Features
        As `measure` finds them.

    Returns
    -------
    list of str
        Words in lower case, each at most once; ``["silent"]`` alone for silence.

    Examples
    --------
    >>> tags(Features(30.0, 150.0, "A", "minor", -9.0, 3000.0, 5.0, [0.0, 0.4]))
    ['fast', 'minor', 'busy', 'bright', 'loud']
    """
    if features.loudness is None:
        return ["silent"]
    words = []
    if not features.tempo:
        words.append("beatless")
    elif features.tempo < _SLOW:
        words.append("slow")
    elif features.tempo > _FAST:
        words.append("fast")
    else:
        words.append("mid-tempo")
    if features.mode:
        words.append(features.mode)
    if features.onset_rate >= _BUSY:
        words.append("busy")
    elif features.onset_rate < _SPARSE:
        words.append("sparse")
    if features.spectral_centroid >= _BRIGHT:
        words.append("bright")
    elif features.spectral_centroid < _DARK:
        words.append("dark")
    if features.loudness >= _LOUD:
        words.append("loud")
    elif features.loudness < _QUIET:
        words.append("quiet")
    return words
