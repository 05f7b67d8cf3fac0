"""Files to arrays, through PyAV (FFmpeg's libraries, from a wheel).

Accepted: wav (RF64 too), flac, mp3, ogg and opus, m4a/mp4 with AAC or ALAC, raw AAC (ADTS), aiff; 1 to 8
channels, any sample rate from 1 to 768 kHz, integer or floating point samples of 8 to 64 bits.

Files come from strangers, so only those demuxers and decoders are ever opened, references to other files are
not followed, what a header claims about length is not believed, and memory is bounded by what was decoded.

- Encoder delay and padding (mp3 with a LAME or Xing header, AAC with an edit list, opus) are trimmed as
  FFmpeg does: every file begins where its music begins; only AAC keeps less than a frame of padding at its
  end, and raw AAC, which cannot tell, its delay too.
- Cover art and video tracks are ignored; of several sound tracks the one that FFmpeg prefers is used.
- Damage: packets that do not decode are skipped and a cut-off file ends where it is cut, as players do; a
  file of which more packets fail than decode is refused.
- NaN, infinite and absurdly large samples (over +60 dBFS) are refused, not repaired: they would poison every
  measurement, and guessing what they should have been is not our business.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av import AudioCodecContext, AudioFrame, AudioStream
from av.container import InputContainer

from models.audio import AudioError

MAX_SECONDS = 900.0
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 768_000
_MAX_SAMPLE = 1e3

# Lossy encoders pad: a file of exactly the longest length may decode to a little more.
_GRACE_SECONDS = 0.25
_BLOCK = 1 << 16

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

# Stereo gains (left, right) of loudspeaker positions, after ITU-R BS.775, without the low frequency channel.
_SIDE = 0.5**0.5
_STEREO = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (_SIDE, _SIDE), "LFE": (0.0, 0.0), "LFE2": (0.0, 0.0),
    "BL": (_SIDE, 0.0), "BR": (0.0, _SIDE), "SL": (_SIDE, 0.0), "SR": (0.0, _SIDE), "BC": (0.5, 0.5),
    "FLC": (1.0, 0.0), "FRC": (0.0, 1.0), "DL": (1.0, 0.0), "DR": (0.0, 1.0),
}  # fmt: skip

_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")

# Loudspeaker positions where a file names none: the usual order for that many channels.
_USUAL = {
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def stream(
    path: str | Path,
    *,
    rate: int,
    channels: int,
    max_seconds: float = MAX_SECONDS,
) -> Iterator[np.ndarray]:
    """Decode a file block by block, so that memory does not depend on its length.

    Parameters
    ----------
    path : str or Path
        A local file; its name does not matter, its content does.
    rate : int
        Sample rate of the result, in Hz.
    channels : {1, 2, 8}
        The most channels wanted; a file with fewer keeps its own. 1: the mean of all channels. 2: more than
        two are mixed by loudspeaker position (ITU-R BS.775 gains, no low frequency channel, scaled so that
        full scale stays full scale). 8: every file as it is.
    max_seconds : float
        Longest accepted duration (and a quarter of a second more, for the padding of lossy formats).

    Yields
    ------
    np.ndarray [shape=(channels, n)]
        float32, n <= 65536.

    Raises
    ------
    AudioError
        With any of its codes but ``too_short``; after some blocks where the fault shows only there.
    FileNotFoundError
        If there is no such file.

    References
    ----------
    ITU-R BS.775-4, Multichannel stereophonic sound system with and without accompanying picture, annex 4.
    """
    path = Path(path).absolute()
    if path.stat().st_size == 0:
        raise AudioError("empty_audio", "the file is empty")
    limit = int((max_seconds + _GRACE_SECONDS) * rate)
    total = kept = 0
    try:
        url = f"file:{path}"
        with av.open(url, container_options=_CONTAINER_OPTIONS, metadata_errors="replace") as container:
            codec, told = _open(container)
            for frame in _resampled(_frames(container, codec), rate):
                block = _planar(frame)
                # NaN compares false with everything, so this refuses it too.
                if not float(np.abs(block).max(initial=0.0)) <= _MAX_SAMPLE:
                    raise AudioError("invalid_samples", "the samples are NaN, infinite or absurdly large")
                total += block.shape[1]
                if total > limit:
                    raise AudioError("too_long", f"the audio is longer than {max_seconds:g} seconds")
                positions = _positions(frame.layout)
                if len(told) == len(positions):
                    positions = told
                kept = kept or min(channels, len(positions))
                yield _mix(block, positions, kept)
    except (av.error.FFmpegError, UnicodeError) as error:
        raise AudioError("undecodable", _UNDECODABLE) from error
    if total == 0:
        raise AudioError("empty_audio", "the file has no samples")


def decode(path: str | Path, *, rate: int, channels: int, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Decode a whole file.

    Parameters
    ----------
    path : str or Path
        A local file.
    rate : int
        Sample rate of the result, in Hz.
    channels : {1, 2}
        The most channels wanted: 1 is the mean of all; 2 leaves mono and stereo as they are, see `stream`.
    max_seconds : float
        Longest accepted duration.

    Returns
    -------
    np.ndarray [shape=(channels, n)]
        float32. Peak memory is the result and one block.

    Raises
    ------
    AudioError
        See `stream`.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    stream : the same, block by block.
    """
    # Pages of an empty array that are never written cost nothing, so room for the longest file is free.
    room = np.empty((channels, int((max_seconds + _GRACE_SECONDS) * rate)), dtype=np.float32)
    n = 0
    for block in stream(path, rate=rate, channels=channels, max_seconds=max_seconds):
        channels = len(block)
        room[:channels, n : n + block.shape[1]] = block
        n += block.shape[1]
    flat = room.reshape(-1)
    for channel in range(1, channels):
        flat[channel * n : (channel + 1) * n] = room[channel, :n]
    return flat[: channels * n].reshape(channels, n)


def resample(audio: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Change the sample rate.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n) or (n,)]
        One or two channels.
    rate, to : int
        Sample rates in Hz, before and after.

    Returns
    -------
    np.ndarray [shape=(channels, round(n * to / rate)) or (round(n * to / rate),)]
        float32, the same resampler as `decode`.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if rate == to:
        return audio
    if audio.ndim == 1:
        return resample(audio[None], rate, to)[0]

    def frames() -> Iterator[AudioFrame]:
        layout = ("mono", "stereo")[len(audio) - 1]
        for start in range(0, audio.shape[1], _BLOCK):
            block = np.ascontiguousarray(audio[:, start : start + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = rate
            yield frame

    result = np.zeros((len(audio), round(audio.shape[1] * to / rate)), dtype=np.float32)
    n = 0
    for frame in _resampled(frames(), to):
        block = _planar(frame)[:, : result.shape[1] - n]
        result[:, n : n + block.shape[1]] = block
        n += block.shape[1]
    return result


def _open(container: InputContainer) -> tuple[AudioCodecContext, tuple[str, ...]]:
    """The decoder of the sound track, and its loudspeaker positions where only the container tells them."""
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
    return tuple(channel.name for channel in layout.channels)


def _frames(container: InputContainer, codec: AudioCodecContext) -> Iterator[AudioFrame]:
    """Every frame that decodes, of a rate and a channel count that we take."""
    decoded = failed = 0
    packets = container.demux(container.streams.best("audio"))
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.error.FFmpegError:
            if not decoded:
                raise
            break  # cut off: what came before it stands
        try:
            frames = codec.decode(packet)
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


def _resampled(frames: Iterator[AudioFrame], rate: int) -> Iterator[AudioFrame]:
    """Frames as packed float at ``rate``; a change of format on the way, as in chained ogg, is followed."""

    def kind(frame: AudioFrame) -> tuple[str, str, int]:
        return frame.format.name, frame.layout.name, frame.sample_rate

    for _, alike in groupby(frames, kind):
        resampler: av.AudioResampler | None = None
        for frame in alike:
            # Without timestamps, no gap or overlap that a container claims is filled or cut.
            frame.pts = None
            if resampler is None:
                resampler = av.AudioResampler("flt", frame.layout, rate, _BLOCK, options=_RESAMPLER_OPTIONS)
            yield from resampler.resample(frame)
        if resampler is not None:
            yield from resampler.resample(None)


def _planar(frame: AudioFrame) -> np.ndarray:
    """Samples of a packed frame [shape=(channels, n)].

    The resampler packs because a planar frame of eight channels crashes PyAV 18.1: it sees nine planes.
    """
    samples: np.ndarray = frame.to_ndarray()
    return np.ascontiguousarray(samples.reshape(-1, frame.layout.nb_channels).T)


def _mix(block: np.ndarray, positions: tuple[str, ...], channels: int) -> np.ndarray:
    """Mix a block [shape=(len(positions), n)] to ``channels``."""
    if len(positions) == channels:
        return block
    if channels == 1:
        return block.mean(axis=0, keepdims=True)
    if len(positions) == 1:
        return np.repeat(block, channels, axis=0)
    if channels != 2:
        raise AudioError("undecodable", "the number of channels changes within the file")
    if not set(positions) <= set(_STEREO):  # wav files often do not tell
        positions = _USUAL[len(positions)]
    gains = np.array([_STEREO[position] for position in positions], dtype=np.float32).T
    return (gains / gains.sum(axis=1).max()) @ block
