"""What a listener would say of a track: tempo, key, loudness, brightness, activity; and tags in words."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from music.dsp import harmony, rhythm, spectra

SAMPLE_RATE = 22050

# Below this clarity the onsets have no common period: ambient music, speech, noise.
_CLEAR_PULSE = 0.12


@dataclass(frozen=True)
class Features:
    """Measured features of a track.

    Attributes
    ----------
    duration : float
        Seconds.
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
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Features":
        """Restore what `to_dict` gave."""
        return cls(**values)


def measure(mono: np.ndarray, loudness: float) -> Features:
    """Measure the features of a track.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,), float32]
        Audio at `SAMPLE_RATE`. Any length, 15 minutes and nothing included.
    loudness : float
        Integrated loudness in LUFS, measured on the original channels; ``-inf`` for silence.

    Returns
    -------
    Features
    """
    mono = np.asarray(mono, dtype=np.float32)
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
    key = harmony.estimate_key(harmony.chroma(mono, SAMPLE_RATE).mean(axis=1))
    centroid = spectra.centroid(mono, SAMPLE_RATE)
    sounding = centroid[centroid > 0.0]
    onsets = rhythm.pick_onsets(envelope, frame_rate)
    return Features(
        duration=round(duration, 3),
        tempo=round(tempo, 2),
        key=key[0] if key else None,
        mode=key[1] if key else None,
        loudness=round(float(loudness), 2) if np.isfinite(loudness) else None,
        spectral_centroid=round(float(sounding.mean(dtype=np.float64)), 1) if len(sounding) else 0.0,
        onset_rate=round(len(onsets) / duration, 3) if duration > 0.0 else 0.0,
        beats=[round(float(beat), 3) for beat in np.clip(beats, 0.0, duration)],
    )


def _steady_tempo(beats: np.ndarray, tempo: float) -> float:
    """Tempo from the tracked beats: finer than the autocorrelation's lags, deaf to single odd intervals."""
    intervals = np.diff(beats)
    usual = intervals[np.abs(np.log2(intervals * tempo / 60.0)) < 0.1]
    return float(60.0 / usual.mean()) if len(usual) >= 4 else tempo


def tags(features: Features) -> list[str]:
    """Describe features in words, most telling first.

    Parameters
    ----------
    features : Features

    Returns
    -------
    list of str
        Each at most once, in lower case; ``["silent"]`` alone for silence.

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
    elif features.tempo < 85.0:
        words.append("slow")
    elif features.tempo > 128.0:
        words.append("fast")
    else:
        words.append("mid-tempo")
    if features.mode:
        words.append(features.mode)
    if features.onset_rate >= 4.0:
        words.append("busy")
    elif features.onset_rate < 1.5:
        words.append("sparse")
    if features.spectral_centroid >= 2400.0:
        words.append("bright")
    elif features.spectral_centroid < 1200.0:
        words.append("dark")
    if features.loudness >= -12.0:
        words.append("loud")
    elif features.loudness < -24.0:
        words.append("quiet")
    return words
