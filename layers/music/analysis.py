"""From a file to what the system knows of it: a vector, features and tags."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from music import features
from music.audio import AudioError
from music.audio.decode import MAX_CHANNELS, MAX_SECONDS, streams
from music.audio.loudness import streamed_loudness
from music.features import Features
from music.interfaces import Embedder, Identity

MIN_SECONDS = 0.5

_LOUDNESS_RATE = 48_000


@dataclass(frozen=True, eq=False)
class Analysis:
    """What `analyse` finds.

    Attributes
    ----------
    vector : np.ndarray [shape=(dimension,)]
        float32, of unit length.
    features : Features
        Tempo, key, loudness and so on.
    tags : list of str
        The features and the best of `tag_scores` in words.
    tag_scores : dict of str to dict of str to float
        What the embedder heard: for each category tags and scores, best first.
    identity : Identity
        Of the embedder: only vectors of one identity may be compared.
    windows : int
        That `vector` is the mean of: 1 where the embedder takes the whole track at once.
    """

    vector: np.ndarray
    features: Features
    tags: list[str]
    tag_scores: dict[str, dict[str, float]]
    identity: Identity
    windows: int


def analyse(
    path: str | Path,
    embedder: Embedder,
    progress: Callable[[float], None] = lambda done: None,
) -> Analysis:
    """Decode a file, measure it and embed it.

    The file is decoded once: block by block for its loudness, which is a matter of all its channels, and for
    an embedder that listens; and to mono as a whole for its features, and for an embedder that does not
    listen. 15 minutes take about 80 MB for every 22 kHz of a rate that is needed as a whole.

    Parameters
    ----------
    path : str or Path
        A local file in any of the formats of `music.audio.decode`.
    embedder : Embedder
        What makes the vector and names the tags.
    progress : callable
        Called with the share that is done; whatever it raises passes through.

    Returns
    -------
    Analysis

    Raises
    ------
    AudioError
        If the file cannot be used, for good: see `music.audio.AudioError.CODES`.
    """
    listener = embedder.listen()
    rates = sorted({features.SAMPLE_RATE, *(() if listener else (embedder.sample_rate,))})
    # Room for the longest file: what is not written takes no memory.
    mono = [np.empty(round((MAX_SECONDS + 1) * rate), np.float32) for rate in rates]
    lengths = [0] * len(rates)

    def loud() -> Generator[np.ndarray, None, None]:
        """Blocks for the loudness; those in mono go aside, or to the listener."""
        wanted = [(_LOUDNESS_RATE, MAX_CHANNELS), *((rate, 1) for rate in rates)]
        if listener:
            wanted.append((embedder.sample_rate, 1))
        seconds = 0.0
        for which, block in streams(path, wanted):
            if which > len(rates):
                assert listener
                listener.hear(block[0])
                continue
            if which:
                start = lengths[which - 1]
                lengths[which - 1] += block.shape[1]
                mono[which - 1][start : lengths[which - 1]] = block[0]
                continue
            seconds += block.shape[1] / _LOUDNESS_RATE
            progress(min(0.4, 0.4 * seconds / MAX_SECONDS))
            yield block

    with closing(loud()) as blocks:
        loudness = streamed_loudness(blocks, _LOUDNESS_RATE)
    progress(0.4)
    # A few samples at one rate may be too few for any at another.
    signals = {rate: signal[:length] for rate, signal, length in zip(rates, mono, lengths, strict=True)}
    if len(signals[features.SAMPLE_RATE]) < MIN_SECONDS * features.SAMPLE_RATE:
        raise AudioError("too_short", f"at least {MIN_SECONDS:g} seconds of audio are needed")
    measured = features.measure(signals[features.SAMPLE_RATE], loudness)
    progress(0.7)
    vector = listener.vector() if listener else embedder.embed(signals[embedder.sample_rate])
    scores = embedder.tags(vector)
    words = features.tags(measured)
    if measured.loudness is not None:  # what is heard in silence is nothing
        words += [tag for category in scores.values() for tag in category if tag not in words]
    progress(1.0)
    return Analysis(
        np.asarray(vector, dtype=np.float32),
        measured,
        words,
        scores if measured.loudness is not None else {},
        embedder.identity,
        listener.windows if listener else 1,
    )
