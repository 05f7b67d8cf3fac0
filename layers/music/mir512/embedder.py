"""mir-512: what music-information-retrieval measures of a recording, as one unit vector.

Audio is cut into overlapping segments of 6 seconds. Each one is described by 697 numbers, level taken out:

- timbre: log mel bands, mean and deviation; deviation and speed of mel-frequency cepstra;
- harmony: notes and pitch classes, mean and deviation; which pitch classes sound and move together;
- rhythm: onset strength per band, autocorrelation of onsets in three registers, modulation spectra [2]_;
- dynamics: percentiles of the level, its deviation and its steps.

The descriptions are standardised, clipped, averaged over the segments, and projected by a within-class
whitening [1]_: directions in which segments of one recording differ from each other count little, those in
which recordings differ count much, and two unrelated recordings are near orthogonal. The constants are fixed
and published beside this file (`constants.npz`, which names the recordings), fitted by
``python -m tests.benchmarks.fit_mir512``.

Properties
----------
- Averaging whitened segments makes a piece of a track, or a new arrangement of its material, land near the
  track.
- Segments are described relative to their own level: gain changes nothing, nor does an offset.
- Of several channels the mean power is described: what cancels between them is heard all the same.
- Pitch is absolute: a transposed copy is similar, not equal. So is tempo.
- Silence (no peak above -80 dBFS, or no samples at all) is the last unit axis, which no sound ever uses: its
  cosine is 1 with silence and 0 with everything else. Silent segments of a track are left out.
- Audio shorter than a segment is repeated until it fills one.
- Nothing calls BLAS or starts threads: equal samples give equal bytes.

References
----------
.. [1] Hatch, Kajarekar, Stolcke, "Within-class covariance normalization for SVM-based speaker recognition",
       Interspeech 2006.
.. [2] Pampalk, Rauber, Merkl, "Content-based organization and visualization of music archives", ACM MM 2002
       (modulation spectra).
"""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from music.dsp import harmony, spectra
from music.dsp.channels import SILENCE
from music.dsp.sound import Sound
from music.interfaces import Identity
from music.profiles import MIR_512

DIMENSION = 512
SAMPLE_RATE = 22050
"""Hz."""
CONSTANTS = Path(__file__).with_name("constants.npz")
CLIP = 3.0
"""Standard deviations from the mean at which a descriptor is clipped."""

_SEGMENT, _STEP = 256, 128  # frames of a segment and from one to the next: 5.9 s and 3.0 s
_FRAME_RATE = SAMPLE_RATE / spectra.HOP  # Hz
_SOFTEST = 1e-5  # a segment this far below the loudest one (-50 dB) is a pause, not music

_BANDS = np.linspace(0, 128, 43).round().astype(np.int64)  # edges of 42 groups of the 128 mel bands
_LAGS = np.unique(np.geomspace(4, 120, 36).round().astype(np.int64))  # frames: 0.09 to 2.8 s
_MODULATIONS = np.geomspace(0.6, 14.0, 13)  # edges of 12 bands of modulation, in Hz
_TRIANGLE, _OFF_DIAGONAL = np.triu_indices(12), np.triu_indices(12, 1)


class Mir512:
    """The embedder of the built-in profile; see the module.

    Examples
    --------
    >>> Mir512().embed(np.zeros(22050, dtype=np.float32))[-1]
    np.float32(1.0)
    """

    identity: Identity = MIR_512
    dimension = DIMENSION
    sample_rate = SAMPLE_RATE

    def embed(self, audio: np.ndarray, sound: Sound | None = None) -> np.ndarray:
        """Embed a recording.

        Parameters
        ----------
        audio : np.ndarray [shape=(channels, n) or (n,)]
            Audio at `sample_rate`, of any length, finite.
        sound : Sound, optional
            The same audio, of which something may be measured already.

        Returns
        -------
        np.ndarray [shape=(512,), float32]
            Of unit length.

        Raises
        ------
        ValueError
            If `audio` has another shape, or holds NaN or infinities.
        """
        segments = describe(audio, sound)
        vector = np.zeros(DIMENSION)
        if not len(segments):
            vector[-1] = 1.0
            return vector.astype(np.float32)
        mean, scale, centre, projection = _constants()
        average = standardise(segments, mean, scale).mean(axis=0) - centre
        vector[:-1] = np.einsum("d,dk->k", average, projection)
        return (vector / np.sqrt(np.sum(vector**2))).astype(np.float32)

    def listen(self) -> None:
        """Return None: the whole recording is needed at once, for segments are measured against its level."""

    def tags(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        """Return no tags: no text is in this space."""
        return {}


@cache
def _constants() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read mean, scale and centre [each of shape=(697,)], and the projection [shape=(697, 511)]."""
    with np.load(CONSTANTS, allow_pickle=False) as stored:
        mean, scale, centre, projection = (
            stored[name].astype(np.float64) for name in ("mean", "scale", "centre", "projection")
        )
    return mean, scale, centre, projection


def standardise(segments: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Express descriptors in clipped standard deviations.

    Parameters
    ----------
    segments : np.ndarray [shape=(segments, descriptors)]
        As `describe` gives them.
    mean, scale : np.ndarray [shape=(descriptors,)]
        Mean and standard deviation of each descriptor over much music.

    Returns
    -------
    np.ndarray [shape=(segments, descriptors)]
        From -`CLIP` to `CLIP`.
    """
    return np.clip((segments - mean) / scale, -CLIP, CLIP)


def describe(audio: np.ndarray, sound: Sound | None = None) -> np.ndarray:
    """Describe the sounding segments of a recording.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n) or (n,)]
        Audio at `SAMPLE_RATE`, finite.
    sound : Sound, optional
        The same audio, of which something may be measured already.

    Returns
    -------
    np.ndarray [shape=(segments, 697), float64]
        One row per 3 s; none for silence.

    Raises
    ------
    ValueError
        If `audio` has another shape, or holds NaN or infinities.
    """
    y = np.atleast_2d(np.asarray(audio, dtype=np.float32))
    if y.ndim != 2 or not np.isfinite(y).all():
        raise ValueError(f"audio must be finite and of shape (channels, n) or (n,), not {y.shape}")
    sound = sound or Sound(y, SAMPLE_RATE)
    if not sound.gain:
        return np.zeros((0, 0))
    y, length = sound.samples, _SEGMENT * spectra.HOP
    if y.shape[1] < length:
        y = np.tile(y, -(-length // y.shape[1]))[:, :length]
        mel, salience = spectra.mel_spectrogram(y, SAMPLE_RATE), harmony.pitch_salience(y, SAMPLE_RATE)
    else:
        mel, salience = sound.mel, sound.salience
    power = mel.sum(axis=0, dtype=np.float64)
    starts = list(range(0, mel.shape[1] - _SEGMENT + 1, _STEP))
    levels = [float(power[start : start + _SEGMENT].mean()) for start in starts]
    peaks = [float(np.abs(y[:, start * spectra.HOP :][:, :length]).max()) for start in starts]
    kept = [
        start
        for start, level, peak in zip(starts, levels, peaks, strict=True)
        if peak >= SILENCE * sound.gain and level > _SOFTEST * max(levels)
    ]
    rows = [
        _describe_segment(mel[:, start : start + _SEGMENT], salience[:, start : start + _SEGMENT])
        for start in kept
    ]
    return np.array(rows) if rows else np.zeros((0, 0))


def _describe_segment(mel: np.ndarray, salience: np.ndarray) -> np.ndarray:
    """Describe one segment [shape=(697,)] by its mel bands [shape=(128, 256)] and notes [shape=(66, 256)]."""
    # Logarithm of power over the segment's own mean, which flattens out 30 dB below it: what lies
    # deeper is what lossy coding throws away.
    levels = np.log10(1.0 + mel.astype(np.float64) * (1e3 / max(float(mel.mean()), 1e-20)))
    return np.concatenate(
        [*_timbre(levels), *_harmony(salience.astype(np.float64)), *_rhythm(levels), _dynamics(mel)]
    )


def _timbre(levels: np.ndarray) -> list[np.ndarray]:
    """Describe the timbre of a segment by the levels of its mel bands [shape=(128, 256)]."""
    bands = np.add.reduceat(levels, _BANDS[:-1], axis=0) / np.diff(_BANDS)[:, None]
    cepstra = spectra.cepstra(levels, 20)
    speed = np.diff(cepstra, axis=1)
    return [
        bands.mean(axis=1),
        bands.std(axis=1),
        np.log(cepstra.std(axis=1) + 1e-3),
        np.log(speed.std(axis=1) + 1e-3),
    ]


def _harmony(salience: np.ndarray) -> list[np.ndarray]:
    """Describe the harmony of a segment by its notes [shape=(66, 256)]."""
    notes = np.sqrt(salience / (salience.sum(axis=0).mean() + 1e-12))
    folded = harmony.chroma_from_salience(salience).astype(np.float64)
    total = folded.sum(axis=0)
    classes = np.sqrt(folded / (total + 0.05 * total.mean() + 1e-12))
    together = np.einsum("it,jt->ij", classes, classes) / classes.shape[1]
    slow = classes.reshape(12, -1, 16).mean(axis=2)  # 0.37 s: chords rather than notes
    slow -= slow.mean(axis=1, keepdims=True)
    moving = np.einsum("it,jt->ij", slow, slow) / slow.shape[1]
    return [
        notes.mean(axis=1),
        notes.std(axis=1),
        classes.mean(axis=1),
        classes.std(axis=1),
        together[_OFF_DIAGONAL],
        moving[_TRIANGLE],
    ]


def _rhythm(levels: np.ndarray) -> list[np.ndarray]:
    """Describe the rhythm of a segment by the levels of its mel bands [shape=(128, 256)]."""
    rise = np.zeros_like(levels)
    rise[:, 1:] = np.maximum(np.diff(levels, axis=1), 0.0)
    onsets = rise[:120].reshape(10, 12, -1).mean(axis=1)
    registers = np.stack([onsets[:2].mean(axis=0), onsets[2:5].mean(axis=0), onsets[5:].mean(axis=0)])
    bands = levels[:120].reshape(12, 10, -1).mean(axis=1)
    bands = (bands - bands.mean(axis=1, keepdims=True)) * np.hanning(_SEGMENT)
    spectrum = np.abs(np.fft.rfft(bands, 2 * _SEGMENT))
    frequencies = np.fft.rfftfreq(2 * _SEGMENT, 1.0 / _FRAME_RATE)
    modulation = [
        spectrum[:, (frequencies >= low) & (frequencies < high)].mean(axis=1)
        for low, high in pairwise(_MODULATIONS)
    ]
    return [
        _autocorrelation(registers).ravel(),
        np.log(np.stack(modulation, axis=1) + 0.3).ravel(),
        np.log(onsets.mean(axis=1) + 1e-3),
        np.log(onsets.std(axis=1) + 1e-3),
    ]


def _autocorrelation(envelopes: np.ndarray) -> np.ndarray:
    """Correlate each envelope [shape=(envelopes, frames)] with itself at `_LAGS`."""
    n = envelopes.shape[1]
    spectrum = np.fft.rfft(envelopes - envelopes.mean(axis=1, keepdims=True), 2 * n)
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)
    return correlation[:, _LAGS] / (correlation[:, :1] + 1e-9) * (n / (n - _LAGS))


def _dynamics(mel: np.ndarray) -> np.ndarray:
    """Describe the dynamics of a segment [shape=(10,)] by its mel bands [shape=(128, 256)]."""
    power = mel.sum(axis=0, dtype=np.float64)
    level = 10.0 * np.log10(power + 1e-3 * power.mean() + 1e-20)
    level -= level.mean()
    steps = np.diff(level)
    quantiles = np.percentile(level, [2, 10, 25, 50, 75, 90, 98])
    return np.array([*quantiles, level.std(), steps.std(), np.abs(steps).mean()])
