"""Files as a person at the page chooses them."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

SAMPLE = "Twelve Bars for a Test"
"""What the page calls the track that it brings along."""


def tone(seconds: float, frequency: float = 220.0) -> bytes:
    """Make a wav file of a tone that swells twice a second."""
    time = np.arange(int(seconds * 22_050)) / 22_050
    samples = np.sin(2 * np.pi * frequency * time) * (0.3 + 0.25 * np.sin(4 * np.pi * time))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 22_050, 0, "NONE", "not compressed"))
        writer.writeframes((samples * 32_000).astype("<i2").tobytes())
    return file.getvalue()


def as_file(name: str, content: bytes, kind: str = "audio/wav") -> Any:
    """Return a file as Playwright takes it."""
    return {"name": name, "mimeType": kind, "buffer": content}
