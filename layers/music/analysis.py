"""From a file to what the system knows of it: a vector, features and tags."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from music import features
from music.audio import AudioError
from music.audio.decode import MAX_CHANNELS, MAX_SECONDS, stream, streams
from music.audio.loudness import Loudness
from music.audio.preview import RATE, Preview
from music.dsp.channels import Levels, folded
from music.dsp.sound import Sound
from music.features import Features
from music.interfaces import Embedder, Identity

MIN_SECONDS = 0.5

REVISION = "3"
"""Of the preview and the document of a track: it is raised when the same file gives others, so with each fit
of what beats and bars are found by."""

_LOUDNESS_RATE = 48_000  # Hz: the rate that BS.1770 gives its filters for
_DECODED, _MEASURED = 0.4, 0.7  # of the progress, when that is done
_HOT = 1.26  # the sample from which on a track is not clipped as players do, but played more softly


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
    preview : bytes
        The track as an mp3 that every browser plays.
    preview_loudness : float or None
        Its integrated loudness in LUFS. It is not the track's where more than two channels were mixed, or
        where samples were far beyond full scale. None for silence.
    peaks : list of float
        What its waveform is drawn by (see `music.audio.preview`).
    chroma : np.ndarray [shape=(12, n), float32]
        How its harmony goes (see `music.features.measure_chroma`).
    """

    vector: np.ndarray
    features: Features
    tags: list[str]
    tag_scores: dict[str, dict[str, float]]
    identity: Identity
    windows: int
    preview: bytes
    preview_loudness: float | None
    peaks: list[float]
    chroma: np.ndarray

    def document(self) -> dict[str, Any]:
        """Return what a player needs of the track, JSON-ready."""
        values = [[round(float(value), 2) for value in column] for column in self.chroma.T]
        return {
            "duration": self.features.duration,
            "loudness": self.preview_loudness,
            "peaks": self.peaks,
            "beats": self.features.beats,
            "bars": self.features.bars or [],
            "chroma": {"hop": features.CHROMA_HOP, "values": values},
        }


def analyse(
    path: str | Path,
    embedder: Embedder,
    progress: Callable[[float], None] = lambda done: None,
    stage: Callable[[str], None] = lambda name: None,
) -> Analysis:
    """Decode a file, measure it and embed it.

    The file is decoded once. Block by block its loudness, which is a matter of all its channels, is measured,
    its preview is encoded, and an embedder that listens is given the mean of the channels; the features, and
    an embedder that does not listen, need the whole, in stereo at most. Fifteen minutes of stereo take about
    160 MB for each 22 kHz of a rate that is needed as a whole.

    Where the channels cancel in their mean, an embedder that listens has heard next to nothing: the file is
    decoded again, and it is given the side instead. It is also decoded again where its samples are far beyond
    full scale, for a preview that is not clipped.

    Parameters
    ----------
    path : str or Path
        A local file in any of the formats of `music.audio.decode`.
    embedder : Embedder
        What makes the vector and names the tags.
    progress : callable
        Called with the share that is done, rising to 1; whatever it raises passes through.
    stage : callable
        Called with what is begun: ``"decoding"``, ``"measuring"``, ``"embedding"``.

    Returns
    -------
    Analysis

    Raises
    ------
    AudioError
        If the file cannot be used, for good: see `music.audio.AudioError.CODES`.
    """
    meter, levels, preview = Loudness(_LOUDNESS_RATE), Levels(), Preview()
    mixed: Loudness | None = None
    listener = embedder.listen()
    rates = {features.SAMPLE_RATE} if listener else {features.SAMPLE_RATE, embedder.sample_rate}
    whole = {rate: _Whole(rate) for rate in sorted(rates)}

    def level(block: np.ndarray) -> None:
        nonlocal mixed
        meter.push(block)
        levels.push(block)
        if len(block) > 2:
            mixed = mixed or Loudness(RATE)

    def show(block: np.ndarray) -> None:
        preview.push(block)
        if mixed:
            mixed.push(block)

    uses: list[tuple[tuple[int, int], Callable[[np.ndarray], None]]] = [
        ((_LOUDNESS_RATE, MAX_CHANNELS), level),
        ((RATE, 2), show),
        *(((rate, 2), stereo.push) for rate, stereo in whole.items()),
    ]
    if listener:
        hear = listener.hear
        uses.append(((embedder.sample_rate, 1), lambda block: hear(block[0])))

    samples = 0
    stage("decoding")
    with closing(streams(path, [wanted for wanted, _ in uses])) as blocks:
        for which, block in blocks:
            if which == 0:
                samples += block.shape[1]
                progress(min(_DECODED, _DECODED * samples / (_LOUDNESS_RATE * MAX_SECONDS)))
            _, take = uses[which]
            take(block)
    progress(_DECODED)
    stage("measuring")

    stereo = whole[features.SAMPLE_RATE].samples
    if stereo.shape[1] < MIN_SECONDS * features.SAMPLE_RATE:
        raise AudioError("too_short", f"at least {MIN_SECONDS:g} seconds of audio are needed")
    sound = Sound(stereo, features.SAMPLE_RATE)
    measured = features.measure(stereo, -np.inf if levels.silent else _loudness(meter), sound)
    chroma = features.measure_chroma(sound)
    progress(_MEASURED)
    stage("embedding")
    if listener and (fold := Levels(stereo).fold) != "mean":
        measured = replace(measured, fold=fold)
        listener = embedder.listen()
        assert listener
        with closing(stream(path, rate=embedder.sample_rate, channels=2)) as blocks_again:
            for block in blocks_again:
                listener.hear(folded(block, fold))
                progress(_MEASURED)
    if listener:
        vector = listener.vector()
    else:
        same = embedder.sample_rate == features.SAMPLE_RATE
        vector = embedder.embed(whole[embedder.sample_rate].samples, sound if same else None)
    scores = embedder.tags(vector)
    words = features.tags(measured)
    if measured.loudness is not None:  # what is heard in silence is nothing
        words += [tag for category in scores.values() for tag in category if tag not in words]
    if preview.highest > _HOT:
        gain, preview, mixed = 1.0 / preview.highest, Preview(), Loudness(RATE)
        with closing(stream(path, rate=RATE, channels=2)) as blocks_again:
            for block in blocks_again:
                show(np.float32(gain) * block)
                progress(_MEASURED)
    file, peaks = preview.finish()
    shown = measured.loudness
    if mixed and shown is not None:
        loudness = _loudness(mixed)  # minus infinity where the channels cancel in their mix
        shown = round(loudness, 2) if np.isfinite(loudness) else None
    progress(1.0)
    return Analysis(
        np.asarray(vector, dtype=np.float32),
        measured,
        words,
        scores if measured.loudness is not None else {},
        embedder.identity,
        listener.windows if listener else 1,
        file,
        shown,
        peaks,
        chroma,
    )


def _loudness(meter: Loudness) -> float:
    """Integrated loudness; of music that is all below BS.1770's absolute gate, without that gate."""
    loudness = meter.integrated()
    return loudness if np.isfinite(loudness) else meter.integrated(-np.inf)


class _Whole:
    """A signal that comes in blocks and is needed as a whole.

    It is not copied: there is room for the longest file from the beginning, and pages of an array that are
    not written take no memory.
    """

    def __init__(self, rate: int) -> None:
        self._room = np.empty((2, round((MAX_SECONDS + 1) * rate)), np.float32)
        self._channels = self._n = 0

    def push(self, block: np.ndarray) -> None:
        """Append a block [shape=(1 or 2, n)]."""
        self._channels = len(block)
        self._room[: len(block), self._n : self._n + block.shape[1]] = block
        self._n += block.shape[1]

    @property
    def samples(self) -> np.ndarray:
        """All that was pushed [shape=(channels, n)]."""
        return self._room[: self._channels, : self._n]
