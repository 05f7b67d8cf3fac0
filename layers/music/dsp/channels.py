"""What several channels are together: their level, their offset, silence, and one channel in their place.

A constant offset of a channel is no sound. The stored file keeps it; whatever measures or cuts sound takes it
off first. Silence is what has no peak over -80 dBFS then: dither and the last bit are silence, the softest
music is not.

The mean of the channels is what models with one channel were trained on. Channels in opposite phase cancel in
it, and what is left says nothing of what is heard: then the side (half their difference) stands in.
"""

from __future__ import annotations

import numpy as np

SILENCE = 1e-4
"""A peak of -80 dBFS: what stays below it, offset taken off, is silence."""

FOLDS = ("mean", "side")
"""What may stand for all channels: their mean, or half the difference of two."""

_LEVEL = 0.1  # RMS, -20 dBFS
_CANCELLED = 0.5  # of the power that unrelated channels leave in their mean: in stereo a loss of over 6 dB


class Levels:
    """Levels of a piece that comes in blocks.

    Parameters
    ----------
    *blocks : np.ndarray [shape=(channels, n)]
        The first blocks, where they are there already.
    """

    def __init__(self, *blocks: np.ndarray) -> None:
        self._n = 0
        self._low = self._high = self._sums = self._squares = np.zeros(0)
        for block in blocks:
            self.push(block)

    def push(self, block: np.ndarray) -> None:
        """Take the next samples [shape=(channels, n)], the same number of channels in each block."""
        if not block.shape[1]:
            return
        tracks = (*block, block.mean(axis=0))  # the last one is their mean
        low, high = block.min(axis=1), block.max(axis=1)
        sums = np.array([track.sum(dtype=np.float64) for track in tracks])
        squares = np.array([np.einsum("n,n->", track, track, dtype=np.float64) for track in tracks])
        if self._n:
            low, high = np.minimum(low, self._low), np.maximum(high, self._high)
            sums, squares = sums + self._sums, squares + self._squares
        self._low, self._high, self._sums, self._squares = low, high, sums, squares
        self._n += block.shape[1]

    @property
    def silent(self) -> bool:
        """Whether nothing is over `SILENCE`, offset taken off."""
        if not self._n:
            return True
        offset = self._sums[:-1] / self._n
        return float(np.maximum(self._high - offset, offset - self._low).max()) < SILENCE

    @property
    def fold(self) -> str:
        """Which of `FOLDS` stands for all: the mean, unless it loses over 6 dB against the channels' power.

        Of two channels, what the mean has lost is in the side.
        """
        if not self._n:
            return "mean"
        power = self._squares / self._n - (self._sums / self._n) ** 2
        count = len(power) - 1
        lost = count > 1 and power[-1] < _CANCELLED / count * power[:-1].mean()
        return "side" if lost else "mean"


def centred(audio: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Take each channel's offset off.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
    least : float
        Offsets up to this share of their channel's RMS stay, and with them every bit of the samples.

    Returns
    -------
    np.ndarray [shape=(channels, n), float32]
    """
    audio = np.asarray(audio, dtype=np.float32)
    if not audio.size:
        return audio
    offset = audio.mean(axis=1, dtype=np.float64)
    squares = np.array([np.einsum("n,n->", channel, channel, dtype=np.float64) for channel in audio])
    offset[np.abs(offset) <= least * np.sqrt(squares / audio.shape[1])] = 0.0
    return audio - offset.astype(np.float32)[:, None] if offset.any() else audio


def is_silent(audio: np.ndarray) -> bool:
    """Return whether audio [shape=(channels, n)] is silence."""
    return Levels(audio).silent


def levelled(audio: np.ndarray) -> tuple[np.ndarray, float]:
    """Bring audio to the level at which sound is measured, so that no measure depends on its gain or offset.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n) or (n,)]

    Returns
    -------
    levelled : np.ndarray [shape=(channels, n), float32]
        Without offset, with an RMS of -20 dBFS over all channels; zero for silence.
    gain : float
        What it was multiplied by; 0 for silence.
    """
    audio = centred(np.atleast_2d(audio))
    if is_silent(audio):
        return np.zeros_like(audio), 0.0
    squares = [np.einsum("n,n->", channel, channel, dtype=np.float64) for channel in audio]
    gain = _LEVEL / float(np.sqrt(np.mean(squares) / audio.shape[1]))
    return audio * np.float32(gain), gain


def folded(audio: np.ndarray, fold: str = "") -> np.ndarray:
    """Put one channel in the place of one or two.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
    fold : str
        One of `FOLDS`; by default the one that suits the audio.

    Returns
    -------
    np.ndarray [shape=(n,), float32]
        The mean is that of numpy to the bit.
    """
    fold = fold or Levels(audio).fold
    if len(audio) == 1:
        return audio[0]
    return audio.mean(axis=0) if fold == "mean" else (audio[0] - audio[1]) * np.float32(0.5)
