"""What torch and transformers compute with the tiny checkpoints, and what they are asked.

The checkpoints are random and the same wherever they are made, so what is kept here is only the answers:
``python -m tests.golden.record`` (in `.venv-models`) writes them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from music.musicgen.networks import Condition, StepwiseModel

FOLDER = Path(__file__).parent
PROFILES = ("tiny", "tiny-stereo", "tiny-melody")
T5_IDS = [5, 9, 33, 7, 88, 21, 1]
ROBERTA_IDS = [0, 5, 9, 33, 7, 88, 2]


class Networks(Protocol):
    """All networks of a profile, of either backend."""

    t5: Any
    musicgen: Any
    encodec: Any
    clap_audio: Any
    clap_text: Any


def answers(networks: Networks, text: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Ask every network something.

    Parameters
    ----------
    networks : Networks
    text : np.ndarray [tokens, width], optional
        What the transformer is conditioned on; by default what this text encoder makes of `T5_IDS`.
    """
    draws = np.random.default_rng(7)
    found = {"t5": networks.t5.encode(T5_IDS)}
    language: StepwiseModel = networks.musicgen
    chroma = np.eye(12, dtype=np.float32)[draws.integers(0, 12, 40)] if language.chroma else None
    conditions = [Condition(found["t5"] if text is None else text, chroma), Condition(None)]
    codes = draws.integers(0, language.vocabulary, (2, 24, language.codebooks))
    codes[:, 0] = language.vocabulary
    state = language.start(conditions, 24)
    found["prefill"] = state.advance(codes[:, :20])[:, :, ::16]
    found["steps"] = np.stack([state.advance(codes[:, at : at + 1])[:, :, ::16] for at in range(20, 24)])
    frames = draws.integers(0, language.vocabulary, (4, 30))
    found["audio"] = networks.encodec.decode(frames)
    found["codes"] = networks.encodec.encode(draws.standard_normal((1, 640 * 12)).astype(np.float32) / 10)
    spectrogram = draws.standard_normal((2, 1001, 64)).astype(np.float32) * 10 - 30
    found["clap_audio"] = networks.clap_audio(spectrogram)
    found["clap_text"] = networks.clap_text(ROBERTA_IDS)
    return found
