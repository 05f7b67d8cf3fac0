"""FFmpeg's decoders, and its resampler, through PyAV.

What a decoder does to a process that it crashes or fills is described in `music.audio.isolated`, in whose
child this runs. No numpy here: the child starts in half the time without it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, groupby, pairwise
from typing import Any

import av
from av import AudioCodecContext, AudioFrame, AudioStream
from av.container import InputContainer
from av.packet import Packet, PacketSideData
from av.stream import Disposition

from music.audio import AudioError
from music.audio.window import Window

MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates in Hz of the files that are taken."""
BLOCK = 1 << 16
"""The most samples of a frame that is handed out, in each channel."""

_FORMATS = "wav,w64,flac,mp3,ogg,mov,matroska,aac,aiff"
_CODECS = (
    "aac,alac,flac,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,"
    "adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,"
    "pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_s64le,pcm_s64be,"
    "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw"
)
_DECODERS = frozenset(_CODECS.split(","))
_CONTAINER_OPTIONS = {
    "format_whitelist": _FORMATS,
    "codec_whitelist": _CODECS,
    "protocol_whitelist": "file",
}
UNDECODABLE = "the file is not wav, flac, mp3, ogg, opus, m4a, webm or aiff, or it is damaged"

# Twice libswresample's default length: flat to 0.9 of the lower Nyquist frequency, aliases 100 dB down.
_RESAMPLER_OPTIONS = {"filter_size": "64", "phase_shift": "10", "cutoff": "0.97"}

LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")


def read(file: Window) -> Iterator[tuple[AudioFrame, tuple[str, ...]]]:
    """Decode the sound track that a player would play: the default one, or the first that can be decoded.

    Parameters
    ----------
    file : Window

    Yields
    ------
    frame : AudioFrame
        As it was coded.
    positions : tuple of str
        The loudspeaker of each channel where only the container tells them, else empty.

    Raises
    ------
    AudioError
        ``undecodable``, ``no_audio``, ``too_short``, ``too_many_channels`` or ``unsupported_rate``: of the
        track that comes first, if none can be decoded.
    MemoryError
        If decoding takes more memory than the process may have.
    """
    failures: list[AudioError] = []
    for place in count():
        begun = False
        try:
            file.seek(0)
            with av.open(
                file, "r", container_options=_CONTAINER_OPTIONS, metadata_errors="replace"
            ) as container:
                tracks = _tracks(container)
                if place == len(tracks):
                    break
                codec, positions = _open(tracks[place])
                for frame in _frames(container, tracks[place], codec):
                    begun = True
                    yield frame, positions
        except MemoryError:  # an FFmpegError too
            raise
        except (AudioError, av.error.FFmpegError, UnicodeError) as error:
            failure = error if isinstance(error, AudioError) else AudioError("undecodable", UNDECODABLE)
            if begun or not isinstance(error, AudioError) or error.code == "no_audio":
                raise failure from error
            failures.append(failure)
        if begun:
            return
    if failures:
        raise failures[0]


def check(channels: int, rate: int) -> None:
    """Refuse what we do not take.

    Raises
    ------
    AudioError
        ``too_many_channels`` or ``unsupported_rate``.
    """
    if channels > MAX_CHANNELS:
        raise AudioError("too_many_channels", f"{channels} channels; at most 8 are supported")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError("unsupported_rate", f"a sample rate of {rate} Hz is not supported")


def _tracks(container: InputContainer) -> list[AudioStream]:
    """List the sound tracks in the order in which a player would try them."""
    tracks = list(container.streams.audio)
    if not tracks:
        raise AudioError("no_audio", "the file has no sound track")
    return sorted(tracks, key=lambda track: not track.disposition & Disposition.default)


def _open(track: AudioStream) -> tuple[AudioCodecContext, tuple[str, ...]]:
    """Open the decoder of a sound track, and tell its loudspeakers where only the container does."""
    codec = track.codec_context
    if codec is None:  # FFmpeg has no decoder for it
        raise AudioError("undecodable", "the sound is of a codec that is not supported")

    # PyAV 18.1 frees the map of a layout in an unusual order (aiff and mp4 have them) twice: once with the
    # object that it lends us here, and again with each frame. So the codec gets a usual layout in its place,
    # which also takes the freed map out of its hands, and must do so even when the file is then refused.
    layout = codec.layout
    positions, unusual = positions_of(layout), "channels" in layout.name
    if unusual:
        codec.layout = LAYOUTS[min(len(positions), MAX_CHANNELS) - 1]
    if codec.name not in _DECODERS:  # FFmpeg's own list holds only while a file is opened
        raise AudioError(
            "undecodable", f"the sound is coded as {codec.codec.long_name}, which is not supported"
        )
    if codec.profile == "xHE-AAC":  # its decoder makes the layouts that are described above
        raise AudioError("undecodable", "xHE-AAC is not supported")
    if not positions:
        raise AudioError("undecodable", "the sound has no channels")
    check(len(positions), MAX_RATE)

    if codec.name == "opus":
        # FFmpeg's own decoder strays from the reference decoder, by up to 0.17 in some frames of real music.
        reference = av.AudioCodecContext.create("libopus", "r")
        reference.extradata = codec.extradata
        reference.options = {"request_sample_fmt": "flt"}
        codec = reference
    return codec, positions if unusual and codec.name.startswith("pcm_") else ()


def positions_of(layout: av.AudioLayout) -> tuple[str, ...]:
    """Name the loudspeaker of each channel of a layout."""
    return tuple(channel.name for channel in layout.channels)


def _frames(container: InputContainer, track: AudioStream, codec: AudioCodecContext) -> Iterator[AudioFrame]:
    """Yield every frame that decodes, and refuse rates and channel counts that we do not take."""
    decoded = failed = sounding = samples = 0
    delay: PacketSideData | None = None
    told = track.duration * track.time_base if track.duration and track.time_base else None
    size, rate = codec.frame_size or 0, codec.sample_rate or 0
    for packet, following in pairwise(chain(_packets(container, track), [None])):
        assert packet is not None
        if delay is None:
            delay = PacketSideData.from_packet(packet, "skip_samples")
        if codec.name == "aac" and delay and told and packet.size and not (following and following.size):
            # The container tells the encoder's delay, so it tells the end, too: FFmpeg leaves it to players.
            start = struct.unpack_from("<I", delay)[0] if packet.has_sidedata("skip_samples") else 0
            padding = samples + size - start - round(told * rate)
            if 0 < padding < size:
                delay.update(struct.pack("<IIBB", start, padding, 0, 0))
                packet.set_sidedata(delay)
        try:
            frames = codec.decode(packet)
        except MemoryError:  # an FFmpegError too
            raise
        except av.error.FFmpegError:
            failed += 1
            continue
        decoded += 1
        sounding += packet.size > 0
        for frame in frames:
            if frame.samples:
                size, rate = frame.samples, frame.sample_rate
                check(frame.layout.nb_channels, rate)
                samples += size
                yield frame
    if failed > decoded:
        raise AudioError("undecodable", "most of the file is damaged")
    if sounding and not samples:
        raise AudioError("too_short", "the file has not one whole sample of sound")


def _packets(container: InputContainer, track: AudioStream) -> Iterator[Packet[Any]]:
    """Yield every packet that can be read: a file that is cut off ends there."""
    begun = False
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except MemoryError:  # an FFmpegError too
            raise
        except av.error.FFmpegError:
            if not begun:
                raise
            return
        begun = True
        yield packet


def resampled(frames: Iterable[AudioFrame], rates: Sequence[int]) -> Iterator[AudioFrame]:
    """Convert frames to packed float at one or more sample rates.

    A change of format on the way, as where mp3 files were joined, is followed. Frames are packed because a
    planar frame of eight channels crashes PyAV 18.1: it sees nine planes.

    Parameters
    ----------
    frames : iterable of AudioFrame
        Of any format.
    rates : sequence of int
        Sample rates of the result, in Hz.

    Yields
    ------
    AudioFrame
        Of at most `BLOCK` samples, at each of `rates` in turn.
    """

    def kind(frame: AudioFrame) -> tuple[str, str, int]:
        return frame.format.name, frame.layout.name, frame.sample_rate

    for _, alike in groupby(frames, kind):
        resamplers: list[av.AudioResampler] = []
        for frame in alike:
            # Without timestamps, no gap or overlap that a container claims is filled or cut.
            frame.pts = None
            resamplers = resamplers or [
                av.AudioResampler("flt", frame.layout, rate, BLOCK, options=_RESAMPLER_OPTIONS)
                for rate in rates
            ]
            for resampler in resamplers:
                yield from resampler.resample(frame)
        for resampler in resamplers:
            yield from resampler.resample(None)
