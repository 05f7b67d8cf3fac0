"""From a file to packed float samples: which part of it is sound, which library decodes it, in which layout.

It runs in the child of `music.audio.isolated`. No numpy here unless libsndfile is needed: the child starts in
half the time without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from av import AudioFrame

from music.audio import AudioError, ffmpeg, ogg, sndfile, sniff, wav
from music.audio.window import Window

Frames = Iterator[tuple[AudioFrame, tuple[str, ...]]]
Reader = Callable[[Window], Frames]

MAX_WORK = 360_000_000
"""Samples of all channels that are decoded: fifteen minutes of eight channels at 48 kHz, of two at 192 kHz.

Decoding and resampling take about 40 ns for each on one processor, so the most that they can take of it is a
quarter of a minute. Eight channels at 655 kHz, which FLAC packs into few bytes where there is little sound,
would take minutes. Samples are counted as they come: what a header claims about length is not believed.
"""

# The loudspeakers of so many channels in ogg, in the order in which FFmpeg gives them.
_OGG = (
    ("FC",),
    ("FL", "FR"),
    ("FL", "FR", "FC"),
    ("FL", "FR", "BL", "BR"),
    ("FL", "FR", "FC", "BL", "BR"),
    ("FL", "FR", "FC", "LFE", "BL", "BR"),
    ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
)


_WIDE = ("s32", "s32p", "s64", "s64p", "flt", "dbl", "dblp")  # most lossy decoders give "fltp"


def read(path: str, rates: Sequence[int]) -> Iterator[tuple[AudioFrame, tuple[str, ...], tuple[str, ...]]]:
    """Decode a file.

    Parameters
    ----------
    path : str
        The absolute path of a local file.
    rates : sequence of int
        Sample rates of the result, in Hz.

    Yields
    ------
    frame : AudioFrame
        Packed float of at most `music.audio.ffmpeg.BLOCK` samples, at one of ``rates``: they take turns.
    positions : tuple of str
        The loudspeaker of each channel.
    layout : tuple of str
        Where these are in the whole file: of a chain, the loudspeakers of the link that has the most.

    Raises
    ------
    AudioError
        ``not_audio``, ``undecodable``, ``no_audio``, ``too_short``, ``too_many_channels``,
        ``unsupported_rate`` or ``too_complex``.
    MemoryError
        If decoding takes more memory than the process may have.
    """
    decoded = given = work = 0

    def counted(frames: Frames) -> Frames:
        nonlocal decoded, work
        for frame, told in frames:
            decoded += frame.samples
            work += frame.samples * frame.layout.nb_channels
            if work > MAX_WORK:
                raise AudioError(
                    "too_complex",
                    f"rate times channels times seconds are more than {MAX_WORK:,} samples: convert it to "
                    "stereo at 48 kHz",
                )
            yield frame, told

    with Path(path).open("rb") as file:
        for frames, layout in _parts(file):
            for told, alike in groupby(counted(frames), itemgetter(1)):
                for frame in ffmpeg.resampled(map(itemgetter(0), alike), rates):
                    given += frame.samples
                    positions = ffmpeg.positions_of(frame.layout)
                    positions = told if len(told) == len(positions) else positions
                    fits = set(positions) <= set(layout) or (positions == _OGG[0] and layout)
                    yield frame, positions, layout if fits else positions
    if decoded and not given:
        raise AudioError("too_short", f"the file has {decoded} samples and no more")


def probe(path: str) -> tuple[int, int, int]:
    """Decode the beginning of a file.

    Parameters
    ----------
    path : str
        The absolute path of a local file.

    Returns
    -------
    rate : int
        Sample rate in Hz; of a chained ogg, of its first link.
    channels : int
    bits : {16, 24}
        Of integers that hold its samples; 24 of wide and packed floating point ones.

    Raises
    ------
    AudioError
        As `read`.
    """
    with Path(path).open("rb") as file:
        for frames, _ in _parts(file):
            for frame, told in frames:
                channels = len(told) or frame.layout.nb_channels
                return frame.sample_rate, channels, 24 if frame.format.name in _WIDE else 16
    raise AudioError("empty_audio", "the file has no samples")


def _parts(file: BinaryIO) -> Iterator[tuple[Frames, tuple[str, ...]]]:
    """Yield the frames of each part of a file, and the layout of all; empty where each has its own."""
    start, kind = sniff.begin(file)
    if kind == "audio/ogg":
        links = ogg.links(file, start)
        most = max(link.channels for link in links)
        layout = _OGG[most - 1] if 1 <= most <= len(_OGG) else ()
        for number, link in enumerate(links, 1):
            window = Window(file, link.start, link.end, link.patches)
            # libvorbis is the reference decoder; FFmpeg's adds or drops some samples of short files.
            readers: tuple[Reader, ...] = (sndfile.read, ffmpeg.read) if link.vorbis else (ffmpeg.read,)
            frames = _first([partial(read, window) for read in readers])
            yield frames if len(links) == 1 else _named(frames, number, len(links)), layout
        return
    end = os.fstat(file.fileno()).st_size
    if kind in ("audio/wav", "audio/x-w64"):
        header = wav.header(file, start)
        window = Window(file, start, end, header.patches)
        by_sndfile = partial(sndfile.read, window, header.channels, header.positions)
        # FFmpeg takes RIFX, which is big-endian, for RIFF.
        yield _first([by_sndfile] if header.big_endian else [partial(ffmpeg.read, window), by_sndfile]), ()
    else:
        window = Window(file, start, end)
        readers = (ffmpeg.read, sndfile.read) if kind in ("audio/aiff", "audio/flac") else (ffmpeg.read,)
        yield _first([partial(read, window) for read in readers]), ()


def _first(attempts: Sequence[Callable[[], Frames]]) -> Frames:
    """Yield what the first decoder makes of it that can; raise what the first says where none can."""
    refusal: AudioError | None = None
    for attempt in attempts:
        begun = False
        try:
            for pair in attempt():
                begun = True
                yield pair
        except AudioError as error:
            if begun or error.code != "undecodable":
                raise
            refusal = refusal or error
        if begun:
            return
    if refusal:
        raise refusal


def _named(frames: Frames, number: int, of: int) -> Frames:
    """Yield a link's frames, or say which link cannot be decoded; one without a whole sample is left out."""
    try:
        yield from frames
    except AudioError as error:
        if error.code != "too_short":
            raise AudioError(error.code, f"part {number} of {of}: {error.detail}") from error
