"""The decoder without a process of its own: as it is, in a tenth of the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from music.audio import isolated, reader


def blocks(path: Path, rates: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...], np.ndarray]]:
    """What `music.audio.isolated.blocks` yields, for a file that does no harm."""
    for frame, positions, layout in reader.read(str(path), rates):
        if frame.samples:
            packed = np.frombuffer(memoryview(frame.planes[0]), "<f4")[: frame.samples * len(positions)]
            samples = np.ascontiguousarray(packed.reshape(frame.samples, -1).T)
            yield frame.sample_rate, layout, isolated.arranged(samples, positions, layout)
