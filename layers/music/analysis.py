"""From a file to what the system knows of it: a vector, features and tags."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from music import features
from music.audio import AudioError
from music.audio.decode import MAX_CHANNELS, MAX_SECONDS, streams
from music.audio.loudness import Loudness
from music.features import Features
from music.interfaces import Embedder, Identity

MIN_SECONDS = 0.5

_LOUDNESS_RATE = 48_000  # Hz: the rate that BS.1770 gives its filters for
_DECODED, _MEASURED = 0.4, 0.7  # of the progress, when that is done


@dataclass(frozen=True, eq=False)
class Analysis:
    """What `analyse` finds.

    Attributes
    ----------
    vector : np.ndarray [shape=(dimension,), float32]
        The embedding, of unit length.
    features : Features
        Tempo, key, loudness and so on.
    tags : list of str
        The features and the best of `tag_scores` in words.
    tag_scores : dict of str to dict of str to float
        What the embedder heard: for each category tags and scores, best first.
    identity : Identity
        The embedder's: only vectors of one identity may be compared.
    windows : int
        How many windows `vector` is the mean of: 1 where the embedder takes the whole track at once.
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

    The file is decoded once. Its loudness, which is a matter of all its channels, is measured block by block,
    and an embedder that listens is given mono block by block; the features, and an embedder that does not
    listen, need the whole in mono. Fifteen minutes take about 80 MB for each 22 kHz of a rate that is needed
    as a whole.

    Parameters
    ----------
    path : str or Path
        A local file in any of the formats of `music.audio.decode`.
    embedder : Embedder
        What makes the vector and names the tags.
    progress : callable
        Called with the share that is done, rising to 1; whatever it raises passes through.

    Returns
    -------
    Analysis

    Raises
    ------
    AudioError
        If the file cannot be used, for good: see `music.audio.AudioError.CODES`.
    """
    meter = Loudness(_LOUDNESS_RATE)
    listener = embedder.listen()
    rates = {features.SAMPLE_RATE} if listener else {features.SAMPLE_RATE, embedder.sample_rate}
    whole = {rate: _Mono(rate) for rate in sorted(rates)}
    uses: list[tuple[tuple[int, int], Callable[[np.ndarray], None]]] = [
        ((_LOUDNESS_RATE, MAX_CHANNELS), meter.push),
        *(((rate, 1), mono.push) for rate, mono in whole.items()),
    ]
    if listener:
        hear = listener.hear
        uses.append(((embedder.sample_rate, 1), lambda block: hear(block[0])))

    samples = 0
    with closing(streams(path, [wanted for wanted, _ in uses])) as blocks:
        for which, block in blocks:
            if which == 0:
                samples += block.shape[1]
                progress(min(_DECODED, _DECODED * samples / (_LOUDNESS_RATE * MAX_SECONDS)))
            _, take = uses[which]
            take(block)
    progress(_DECODED)

    mono = whole[features.SAMPLE_RATE].samples
    if len(mono) < MIN_SECONDS * features.SAMPLE_RATE:
        raise AudioError("too_short", f"at least {MIN_SECONDS:g} seconds of audio are needed")
    measured = features.measure(mono, meter.integrated())
    progress(_MEASURED)
    vector = listener.vector() if listener else embedder.embed(whole[embedder.sample_rate].samples)
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


class _Mono:
    """A mono signal that comes in blocks and is needed as a whole.

    It is never copied: there is room for the longest file from the beginning, and pages of an array that are
    not written take no memory.
    """

    def __init__(self, rate: int) -> None:
        self._room = np.empty(round((MAX_SECONDS + 1) * rate), np.float32)
        self._n = 0

    def push(self, block: np.ndarray) -> None:
        """Append a block [shape=(1, n)]."""
        self._room[self._n : self._n + block.shape[1]] = block[0]
        self._n += block.shape[1]

    @property
    def samples(self) -> np.ndarray:
        """All that was pushed [shape=(n,)]."""
        return self._room[: self._n]
