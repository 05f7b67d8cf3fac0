"""FFmpeg's decoders, through PyAV: from a file to packed float samples.

What a decoder does to a process that it crashes or fills is described in `music.audio.isolated`, in whose
child this runs. No numpy here: the child starts in half the time without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import av
from av import AudioCodecContext, AudioFrame, AudioStream
from av.container import InputContainer

from music.audio import AudioError

MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates in Hz of the files that are taken."""
BLOCK = 1 << 16
"""The most samples of a frame that is handed out, in each channel."""

_FORMATS = "wav,flac,mp3,ogg,mov,aac,aiff"
_CODECS = (
    "aac,alac,flac,mp3,mp3float,opus,libopus,vorbis,adpcm_ima_wav,adpcm_ms,"
    "pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_s64le,pcm_s64be,"
    "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw"
)
_CONTAINER_OPTIONS = {
    "format_whitelist": _FORMATS,
    "codec_whitelist": _CODECS,
    "protocol_whitelist": "file",
}
_UNDECODABLE = "the file is not wav, flac, mp3, ogg, opus, m4a (AAC or ALAC) or aiff, or it is damaged"

# Twice libswresample's default length: flat to 0.9 of the lower Nyquist frequency, aliases 100 dB down.
_RESAMPLER_OPTIONS = {"filter_size": "64", "phase_shift": "10", "cutoff": "0.97"}

_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")


def read(path: str, rates: Sequence[int]) -> Iterator[tuple[AudioFrame, tuple[str, ...]]]:
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
        Packed float of at most `BLOCK` samples, at one of ``rates``: they take turns.
    positions : tuple of str
        The loudspeaker of each channel.

    Raises
    ------
    AudioError
        ``undecodable``, ``no_audio``, ``too_many_channels`` or ``unsupported_rate``.
    MemoryError
        If decoding takes more memory than the process may have.
    """
    try:
        url = f"file:{path}"
        with av.open(url, container_options=_CONTAINER_OPTIONS, metadata_errors="replace") as container:
            codec, told = _open(container)
            for frame in resampled(_frames(container, codec), rates):
                positions = _positions(frame.layout)
                yield frame, told if len(told) == len(positions) else positions
    except MemoryError:  # an FFmpegError too
        raise
    except (av.error.FFmpegError, UnicodeError) as error:
        raise AudioError("undecodable", _UNDECODABLE) from error


def _open(container: InputContainer) -> tuple[AudioCodecContext, tuple[str, ...]]:
    """Open the decoder of the sound track, and tell its loudspeakers where only the container does."""
    if not container.streams.audio:
        raise AudioError("no_audio", "the file has no sound track")
    track = container.streams.best("audio")
    # A track of an unknown codec, or of one that we do not take, has no decoder.
    if not isinstance(track, AudioStream) or track.codec_context is None:
        raise AudioError("undecodable", _UNDECODABLE)
    codec = track.codec_context
    if codec.profile == "xHE-AAC":  # its decoder makes the layouts that are described below
        raise AudioError("undecodable", "xHE-AAC is not supported")

    # PyAV 18.1 frees the map of a layout in an unusual order (aiff and mp4 have them) twice: once with the
    # object that it lends us here, and again with each frame. So the codec gets a usual layout in its place,
    # which also takes the freed map out of its hands, and must do so even when the file is then refused.
    layout = codec.layout
    positions, unusual = _positions(layout), "channels" in layout.name
    if unusual:
        codec.layout = _LAYOUTS[min(len(positions), MAX_CHANNELS) - 1]
    if len(positions) > MAX_CHANNELS:
        raise AudioError("too_many_channels", f"{len(positions)} channels; at most 8 are supported")

    if codec.name == "opus":
        # FFmpeg's own decoder strays from the reference decoder, by up to 0.17 in some frames of real music.
        reference = av.AudioCodecContext.create("libopus", "r")
        reference.extradata = codec.extradata
        reference.options = {"request_sample_fmt": "flt"}
        codec = reference
    return codec, positions if unusual and codec.name.startswith("pcm_") else ()


def _positions(layout: av.AudioLayout) -> tuple[str, ...]:
    """Name the loudspeaker of each channel of a layout."""
    return tuple(channel.name for channel in layout.channels)


def _frames(container: InputContainer, codec: AudioCodecContext) -> Iterator[AudioFrame]:
    """Yield every frame that decodes, and refuse rates and channel counts that we do not take."""
    decoded = failed = 0
    packets = container.demux(container.streams.best("audio"))
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except MemoryError:  # an FFmpegError too
            raise
        except av.error.FFmpegError:
            if not decoded:
                raise
            break  # cut off: what came before it stands
        try:
            frames = codec.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            failed += 1
            continue
        decoded += 1
        for frame in frames:
            if not frame.samples:
                continue
            count, rate = frame.layout.nb_channels, frame.sample_rate
            if count > MAX_CHANNELS:
                raise AudioError("too_many_channels", f"{count} channels; at most 8 are supported")
            if not MIN_RATE <= rate <= MAX_RATE:
                raise AudioError("unsupported_rate", f"a sample rate of {rate} Hz is not supported")
            yield frame
    if failed > decoded:
        raise AudioError("undecodable", "most of the file is damaged")


def resampled(frames: Iterable[AudioFrame], rates: Sequence[int]) -> Iterator[AudioFrame]:
    """Convert frames to packed float at one or more sample rates.

    A change of format on the way, as in chained ogg, is followed. Frames are packed because a planar frame of
    eight channels crashes PyAV 18.1: it sees nine planes.

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
