"""Weights of what is estimated by more than one clue: tempo, beats, key.

They are fitted on composed music of which the truth is known, by ``python -m tests.benchmarks.fit_analysis``,
and stand beside this file.
"""

from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("fitted.npz")


@cache
def fitted() -> dict[str, np.ndarray]:
    """Return the weights by name, float64.

    Returns
    -------
    dict of str to np.ndarray
        ``tempo`` [shape=(METERS, CLUES)] and ``no_tempo``, ``beat`` [shape=(CURVES, PLACES)] and
        ``beat_place`` [shape=(PLACES,)] of `music.dsp.rhythm`; ``key`` [shape=(2, CLUES, 12)] and ``minor``
        of `music.dsp.harmony`.
    """
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}
