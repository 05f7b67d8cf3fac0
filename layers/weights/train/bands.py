"""Mel bands, as the codec is trained and measured with them."""

from __future__ import annotations

import numpy as np

from weights.train.recipe import SAMPLE_RATE


def mel_bank(size: int, bands: int) -> np.ndarray:
    """Slaney's triangles from 0 to 16 kHz, each of sum one [1 + size / 2, bands], float32.

    A band so narrow that it meets no bin takes the nearest one.

    Parameters
    ----------
    size : int
        Samples of the window that the spectra are of.
    bands : int
    """
    top = 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0.0, top, bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    bins = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
    up = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    down = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    bank = np.maximum(0, np.minimum(up, down))
    for band in np.flatnonzero(bank.sum(0) == 0):
        bank[np.abs(bins - edges[band + 1]).argmin(), band] = 1.0
    return (bank / bank.sum(0)).astype(np.float32)
