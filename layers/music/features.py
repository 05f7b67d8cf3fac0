"""What a listener would say of a track: tempo, key, loudness, brightness, activity; and tags in words."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from music.dsp import harmony, rhythm, spectra
from music.dsp.bars import find_bars
from music.dsp.sound import Sound

PHRASE_BEATS = 8
"""Beats of a phrase: two bars of four."""
SAMPLE_RATE = 22050
"""Hz of the signal that is measured: it holds what matters to tempo, key and brightness."""

CHROMA_HOP = 0.5
"""Seconds of each column of the chroma of a track."""

_NOTE_RATE = SAMPLE_RATE / spectra.HOP  # frames of notes per second
_FRAME_RATE = SAMPLE_RATE / rhythm.HOP  # frames of onset curves per second

_TELLING = 6.0  # seconds: a shorter clip without a tempo may well be of music that has one
_SURE, _SURE_OF_CLIP = 0.3, 0.6  # likelihood up to an octave, below which no tempo is better than a wrong one
_CLIP = 10.0  # seconds, up to which that is more, for little is heard
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
        Beats per minute, 40 to 240; 0 where no pulse can be felt or too little is heard of it.
    confidence : float
        How likely it is that the tempo is right up to an octave, 0 to 1; 0 where there is none.
    beats : list of float
        Beat times in seconds, ascending; empty where `tempo` is 0.
    onset_rate : float
        Beginnings of sounds per second.
    """

    tempo: float
    confidence: float
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
        Beats per minute, 40 to 240; 0 where no pulse can be felt or too little is heard of it.
    key : str or None
        Tonic, ``"C"`` to ``"B"`` in sharps; ``None`` where the pitch classes are of no key (silence, noise, a
        single tone).
    mode : str or None
        ``"major"`` or ``"minor"``; ``None`` with `key`.
    loudness : float or None
        Integrated loudness in LUFS (ITU-R BS.1770-4; without its absolute gate where all is below that);
        ``None`` for silence.
    spectral_centroid : float
        Mean over sounding frames, in Hz: how bright it is. 0 for silence.
    onset_rate : float
        Beginnings of sounds per second.
    beats : list of float
        Beat times in seconds, ascending; empty where `tempo` is 0.
    tempo_confidence, key_confidence : float or None
        How likely it is that the tempo is right up to an octave, and the key itself, 0 to 1. 0 where there is
        none; ``None`` in records from before it was measured.
    fold : str
        What a model with one channel was given for all: ``"mean"``, or ``"side"`` where channels cancel in
        their mean (see `music.dsp.channels`).
    meter : str or None
        ``"4/4"``, ``"3/4"`` or ``"6/8"``; ``None`` where no bars were found, and in records from before.
    bars : list of float or None
        When bars begin, in seconds, ascending; each is one of `beats`. ``None`` with `meter`.
    bars_confidence : float or None
        How likely it is that meter and bars are right, 0 to 1; 0 where there are none, ``None`` in records
        from before.
    """

    duration: float
    tempo: float
    key: str | None
    mode: str | None
    loudness: float | None
    spectral_centroid: float
    onset_rate: float
    beats: list[float]
    tempo_confidence: float | None = None
    key_confidence: float | None = None
    fold: str = "mean"
    meter: str | None = None
    bars: list[float] | None = None
    bars_confidence: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the features as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Features":
        """Restore features from what `to_dict` returned."""
        return cls(**values)


def measure(audio: np.ndarray, loudness: float, sound: Sound | None = None) -> Features:
    """Measure the features of a track.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n) or (n,), float32]
        Audio at `SAMPLE_RATE`, of any length: 15 minutes and nothing included.
    loudness : float
        Integrated loudness in LUFS, measured on the original channels; ``-inf`` for silence.
    sound : Sound, optional
        The same audio, for others to measure, too.

    Returns
    -------
    Features

    See Also
    --------
    measure_likeness : what two pieces are compared by.
    """
    sound = sound or Sound(audio, SAMPLE_RATE)
    curves = _curves(sound)
    duration = sound.samples.shape[1] / SAMPLE_RATE
    pulse = measure_rhythm(curves, duration)
    bars = find_bars(curves, sound.salience, _FRAME_RATE, np.array(pulse.beats))
    key = harmony.estimate_key(sound.salience, _NOTE_RATE)
    sounding = sound.centroid[sound.centroid > 0.0]
    return Features(
        duration=round(duration, 3),
        tempo=pulse.tempo,
        key=key[0] if key else None,
        mode=key[1] if key else None,
        loudness=round(float(loudness), 2) if np.isfinite(loudness) else None,
        spectral_centroid=round(float(sounding.mean(dtype=np.float64)), 1) if len(sounding) else 0.0,
        onset_rate=pulse.onset_rate,
        beats=pulse.beats,
        tempo_confidence=pulse.confidence,
        key_confidence=round(key[2], 3) if key else 0.0,
        meter=bars.meter if bars else None,
        bars=bars.downbeats if bars else None,
        bars_confidence=bars.confidence if bars else 0.0,
    )


def measure_chroma(sound: Sound) -> np.ndarray:
    """Measure how the harmony of a track goes.

    Parameters
    ----------
    sound : Sound
        Audio at `SAMPLE_RATE`.

    Returns
    -------
    np.ndarray [shape=(12, ceil(duration / CHROMA_HOP)), float32]
        How strong each pitch class is, from C to B, in each `CHROMA_HOP` seconds; the strongest of all is 1,
        and everything is 0 in silence.
    """
    chroma = harmony.chroma_from_salience(sound.salience)
    columns = int(np.ceil(sound.samples.shape[1] / SAMPLE_RATE / CHROMA_HOP))
    course = np.zeros((12, columns), np.float32)
    edges = np.searchsorted(np.arange(chroma.shape[1]), np.arange(columns + 1) * _NOTE_RATE * CHROMA_HOP)
    for column, (start, stop) in enumerate(pairwise(edges)):
        if stop > start:
            course[:, column] = chroma[:, start:stop].mean(axis=1)
    return course / max(float(course.max(initial=0.0)), 1e-9)


def measure_likeness(audio: np.ndarray, sound: Sound | None = None) -> tuple[np.ndarray, float, float]:
    """Measure what pieces are compared by (see `music.similarity`).

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n) or (n,), float32]
        Audio at `SAMPLE_RATE`.
    sound : Sound, optional
        The same audio, for others to measure, too.

    Returns
    -------
    chroma : np.ndarray [shape=(12,), float32]
        How strong each pitch class is, from C to B; zero for silence.
    tempo : float
        In BPM; 0 where no pulse can be felt.
    form : float
        How well some phrase of `PHRASE_BEATS` beats returns: the highest of all pairs of phrases that do not
        overlap, of the lower of the correlations of their chroma and of their onsets, from 0 to 1; 0 without
        beats.
    """
    sound = sound or Sound(audio, SAMPLE_RATE)
    curves = _curves(sound)
    pulse = measure_rhythm(curves, sound.samples.shape[1] / SAMPLE_RATE)
    chroma = harmony.chroma_from_salience(sound.salience)
    return chroma.mean(axis=1), pulse.tempo, measure_form(chroma, curves[0], np.array(pulse.beats))


def measure_form(chroma: np.ndarray, onsets: np.ndarray, beats: np.ndarray) -> float:
    """Measure how well some phrase of a piece returns.

    Parameters
    ----------
    chroma : np.ndarray [shape=(12, frames)]
        How strong each pitch class is, at the rate of `Sound.salience`.
    onsets : np.ndarray [shape=(frames,)]
        How much begins, as `music.dsp.rhythm.superflux` gives it.
    beats : np.ndarray [shape=(beats,)]
        In seconds, ascending.

    Returns
    -------
    float
        From 0 to 1; see `form` of `measure_likeness`.
    """
    count = len(beats) - PHRASE_BEATS
    if count <= PHRASE_BEATS:
        return 0.0

    def phrases(curves: np.ndarray, rate: float, parts: int) -> np.ndarray:
        # Parts begin before what begins on the beat.
        places = (np.arange((len(beats) - 1) * parts + 1) - 0.5 * (parts > 1)) / parts
        cuts = np.interp(places, np.arange(len(beats)), beats)
        edges = np.clip(np.round(cuts * rate).astype(np.int64), 0, curves.shape[1])
        sums = np.concatenate(
            [np.zeros((len(curves), 1)), np.cumsum(curves, axis=1, dtype=np.float64)], axis=1
        )
        means = (sums[:, edges[1:]] - sums[:, edges[:-1]]) / np.maximum(np.diff(edges), 1)
        size = PHRASE_BEATS * parts
        flat = np.stack([means[:, k * parts : k * parts + size].ravel() for k in range(count)])
        flat -= flat.mean(axis=1, keepdims=True)
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
        return np.einsum("ik,jk->ij", flat, flat)

    both = np.minimum(phrases(chroma, _NOTE_RATE, 1), phrases(onsets[None], _FRAME_RATE, 4))
    return float(np.clip(np.triu(both, PHRASE_BEATS).max(), 0.0, 1.0))


def _curves(sound: Sound) -> np.ndarray:
    """Onset curves of a piece at `SAMPLE_RATE`."""
    return rhythm.onset_curves(rhythm.mel_bands(sound.samples, SAMPLE_RATE), sound.salience)


def measure_rhythm(curves: np.ndarray, duration: float) -> Pulse:
    """Measure tempo, beats and onsets.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `music.dsp.rhythm.onset_curves` gives them of audio at `SAMPLE_RATE`.
    duration : float
        Of the audio, in seconds.

    Returns
    -------
    Pulse
    """
    tempo, confidence = rhythm.estimate_tempo(curves, _FRAME_RATE)
    beats = np.zeros(0)
    if confidence >= (_SURE if duration > _CLIP else _SURE_OF_CLIP):
        beats = rhythm.track_beats(curves, _FRAME_RATE, tempo)
    if len(beats) < 2:
        tempo, confidence, beats = 0.0, 0.0, np.zeros(0)
    else:
        tempo = _steady_tempo(beats, tempo)
    onsets = rhythm.pick_onsets(curves[0], _FRAME_RATE)
    return Pulse(
        tempo=round(tempo, 2),
        confidence=round(confidence, 3),
        beats=[round(float(beat), 3) for beat in np.clip(beats, 0.0, duration)],
        onset_rate=round(len(onsets) / duration, 3) if duration > 0.0 else 0.0,
    )


def _steady_tempo(beats: np.ndarray, tempo: float) -> float:
    """Refine a tempo from the tracked beats: finer than the tempos that were tried, deaf to odd intervals."""
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
        if features.duration >= _TELLING:
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
