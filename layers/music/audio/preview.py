"""What a player needs of a track: a file that every browser plays, and the peaks that a waveform is drawn by.

Both are made while a track is decoded, block by block: fifteen minutes take the 14 MB of the finished mp3.
The encoder has a thread of its own, for it takes as long as all else that is done with a track.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from music.audio.encode import Encoder

RATE = 48_000
"""Hz of the blocks that are taken, and of the preview."""
MAX_PEAKS = 2000
"""Peaks of a track at most."""
WAITING = 32
"""Blocks that the encoder may lag behind: 17 MB of them."""

_BIT_RATE = 64_000  # bit/s for each channel
_EFFORT = 7  # LAME's: half the time of its default, and nobody masters a preview
_SLICE = 480  # samples, 10 ms, of which each has a peak until the length of the track is known


class Preview:
    """A track that comes in blocks.

    Attributes
    ----------
    highest : float
        The largest sample that came; what is beyond full scale is clipped.

    Examples
    --------
    >>> preview = Preview()
    >>> preview.push(np.zeros((1, 48000), np.float32))
    >>> file, peaks = preview.finish()
    >>> len(peaks), max(peaks)
    (100, 0.0)
    """

    def __init__(self) -> None:
        self.highest = 0.0
        self._encoder: Encoder | None = None
        self._thread = ThreadPoolExecutor(1)
        self._encoding: deque[Future[None]] = deque()
        self._peaks: list[np.ndarray] = []
        self._rest = np.zeros(0, np.float32)

    def push(self, block: np.ndarray) -> None:
        """Take the next samples [shape=(1 or 2, n)] at `RATE`, the same number of channels in each block."""
        self._encoder = self._encoder or Encoder(RATE, len(block), "mp3", bit_rate=_BIT_RATE, effort=_EFFORT)
        self._encoding.append(self._thread.submit(self._encoder.push, np.clip(block, -1.0, 1.0)))
        self._wait(WAITING)
        level = np.concatenate([self._rest, np.abs(block).max(axis=0)])
        self.highest = max(self.highest, float(level.max(initial=0.0)))
        whole = len(level) // _SLICE * _SLICE
        self._peaks.append(level[:whole].reshape(-1, _SLICE).max(axis=1))
        self._rest = level[whole:]

    def finish(self) -> tuple[bytes, list[float]]:
        """End the track.

        Returns
        -------
        file : bytes
            The preview, an mp3.
        peaks : list of float
            The largest sample of any channel in each of at most `MAX_PEAKS` parts of equal length, 0 to 1.

        Raises
        ------
        ValueError
            If there were no samples.
        """
        if self._encoder is None:
            raise ValueError("no samples")
        peaks = np.concatenate([*self._peaks, [self._rest.max(initial=0.0)] if len(self._rest) else []])
        each = -(-len(peaks) // MAX_PEAKS)
        highest = np.maximum.reduceat(peaks, np.arange(0, len(peaks), each)).clip(0.0, 1.0)
        self._wait(0)
        self._thread.shutdown()
        return self._encoder.finish(), [round(float(peak), 3) for peak in highest]

    def _wait(self, most: int) -> None:
        """Wait until at most so many blocks are not encoded yet, and raise what an encoded one has raised."""
        while len(self._encoding) > most:
            self._encoding.popleft().result()
