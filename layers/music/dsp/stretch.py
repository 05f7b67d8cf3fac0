"""Changing the duration of sound without its pitch, and its pitch without its duration.

By Signalsmith's library [1]_, which shifts spectral peaks and keeps their phases together.

References
----------
.. [1] Luff, "The design of Signalsmith Stretch", Audio Developer Conference 2022.
"""

import numpy as np
from python_stretch import Signalsmith

_SEED = 0  # of its random phases: the same sound gives the same samples
_TONAL = 8000.0  # Hz up to which partials keep their ratios; above, timbre is let be


def stretched(audio: np.ndarray, factor: float, semitones: float, rate: int) -> np.ndarray:
    """Stretch and transpose sound.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
        Its first and last 0.06 s are less exact than the rest.
    factor : float
        The new duration over the old one, 0.5 to 2.
    semitones : float
        How far it is transposed up, -12 to 12.
    rate : int
        Sample rate in Hz.

    Returns
    -------
    np.ndarray [shape=(channels, round(n * factor)), float32]
        An attack lies within 2 ms of its place.
    """
    samples = round(audio.shape[1] * factor)
    library = Signalsmith.Stretch(_SEED)
    library.preset(len(audio), float(rate))
    library.setTransposeSemitones(semitones, _TONAL / rate)
    library.setTimeFactor(1.0 / factor)
    # The library has a floor of its own: soft sound is brought over it, by a power of two, which is exact.
    peak = float(np.abs(audio).max(initial=0.0))
    level = np.float32(2.0 ** np.ceil(np.log2(peak))) if peak > 0.0 else np.float32(1.0)
    given = np.ascontiguousarray(audio / level, dtype=np.float32)
    made = np.asarray(library.process(given), np.float32)[:, :samples] * level
    return np.pad(made, ((0, 0), (0, samples - made.shape[1])))
