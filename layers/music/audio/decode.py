"""Files to arrays: FFmpeg's decoders through PyAV, and libsndfile's through soundfile.

Accepted: wav (RF64, RIFX and Wave64 too), flac, mp3, ogg and opus, m4a/mp4 with AAC or ALAC, raw AAC (ADTS),
webm and mka, aiff; 1 to 8 channels, any sample rate from 1 to 768 kHz, integer or floating point samples of 8
to 64 bits. docs/files.md has what becomes of each kind.

Files come from strangers: what begins as another kind of file is refused (`music.audio.sniff`), only listed
demuxers and decoders are ever used, and in a process of their own (`music.audio.isolated`). References to
other files are not followed, what a header claims about length is not believed, and memory is bounded by what
was decoded.

- Encoder delay and padding are trimmed where the file tells them (mp3 with a LAME or Xing header, AAC with an
  edit list, opus): a header's length may take less than a frame off the end, and no more. Raw AAC, mp2 and
  AAC in mka cannot tell, and keep up to two frames.
- Cover art and video tracks are ignored. Of several sound tracks the default one is decoded, or the first
  that can be.
- The links of a chained ogg are decoded one by one, at one rate and in the layout of the link with the most
  channels. One that cannot be decoded refuses the file. Where mp3 or AAC files were joined, all have as many
  channels as the first.
- Damage: packets that do not decode are skipped and a cut-off file ends where it is cut, as players do; a
  file of which more packets fail than decode is refused.
- NaN, infinite and absurdly large samples (over +60 dBFS) are refused, not repaired: they would poison every
  measurement, and guessing what they should have been is not our business.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av import AudioFrame

from music.audio import AudioError, isolated, sniff
from music.audio.ffmpeg import BLOCK, MAX_CHANNELS, resampled

__all__ = ["MAX_CHANNELS", "MAX_SECONDS", "decode", "probe", "resample", "stream", "streams"]

MAX_SECONDS = 900.0
"""The longest duration that is taken, unless a caller says otherwise."""
_MAX_SAMPLE = 1e3  # +60 dBFS: what is larger is no sound
_GRACE_SECONDS = 0.25  # lossy encoders pad: a file of the longest duration may decode to a little more

# Stereo gains (left, right) of loudspeaker positions, after ITU-R BS.775, without the low frequency channel.
_SIDE = 0.5**0.5
_STEREO = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (_SIDE, _SIDE), "LFE": (0.0, 0.0), "LFE2": (0.0, 0.0),
    "BL": (_SIDE, 0.0), "BR": (0.0, _SIDE), "SL": (_SIDE, 0.0), "SR": (0.0, _SIDE), "BC": (0.5, 0.5),
    "FLC": (1.0, 0.0), "FRC": (0.0, 1.0), "DL": (1.0, 0.0), "DR": (0.0, 1.0),
}  # fmt: skip

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
) -> Generator[np.ndarray, None, None]:
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
        The longest duration that is taken (and a quarter of a second more, for the padding of lossy formats).

    Yields
    ------
    np.ndarray [shape=(channels, n), float32]
        At most 65,536 samples.

    Raises
    ------
    AudioError
        With any of its codes; ``too_short`` only where not one sample is left. After some blocks where the
        fault shows only there.
    RuntimeError
        If no decoding process can be started.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    streams : several rates and mixes at once.

    References
    ----------
    ITU-R BS.775-4, Multichannel stereophonic sound system with and without accompanying picture, annex 4.
    """
    for _, block in streams(path, [(rate, channels)], max_seconds=max_seconds):
        yield block


def streams(
    path: str | Path,
    wanted: Sequence[tuple[int, int]],
    *,
    max_seconds: float = MAX_SECONDS,
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Decode a file once for several uses.

    Parameters
    ----------
    path : str or Path
        A local file.
    wanted : sequence of (int, int)
        ``rate`` and ``channels`` of each use, as for `stream`.
    max_seconds : float
        The longest duration that is taken.

    Yields
    ------
    which : int
        The use's index in `wanted`: the uses take turns, in blocks of about the same time.
    block : np.ndarray [shape=(channels, n), float32]
        What `stream` yields for that use, to the bit.

    Raises
    ------
    AudioError, FileNotFoundError, RuntimeError
        For the reasons that `stream` has.
    """
    path = _recognised(path)
    total = {rate: 0 for rate, _ in wanted}
    kept = [0] * len(wanted)
    for rate, positions, block in isolated.blocks(path, list(total)):
        # NaN compares false with everything, so this refuses it too.
        if not float(np.abs(block).max(initial=0.0)) <= _MAX_SAMPLE:
            raise AudioError("invalid_samples", "the samples are NaN, infinite or absurdly large")
        total[rate] += block.shape[1]
        if total[rate] > int((max_seconds + _GRACE_SECONDS) * rate):
            raise AudioError("too_long", f"the audio is longer than {max_seconds:g} seconds")
        for which, (wanted_rate, channels) in enumerate(wanted):
            if wanted_rate == rate:
                kept[which] = kept[which] or min(channels, len(positions))
                yield which, _mix(block, positions, kept[which])
    if not any(total.values()):
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
        The longest duration that is taken.

    Returns
    -------
    np.ndarray [shape=(channels, n), float32]
        The most memory taken is that of the result and one block.

    Raises
    ------
    AudioError, FileNotFoundError, RuntimeError
        For the reasons that `stream` has.

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


def probe(path: str | Path) -> tuple[int, int, int]:
    """Find out what a file is made of, by the beginning of its sound.

    Parameters
    ----------
    path : str or Path
        A local file.

    Returns
    -------
    rate : int
        Sample rate in Hz.
    channels : int
    bits : {16, 24}
        The width of integers that hold its samples; 16 of most lossy formats, 24 of floating point.

    Raises
    ------
    AudioError, FileNotFoundError, RuntimeError
        For the reasons that `stream` has.
    """
    return isolated.probe(_recognised(path))


def _recognised(path: str | Path) -> Path:
    """Return a file that is not empty and begins like audio; refuse all others before a decoder sees them."""
    path = Path(path)
    if path.stat().st_size == 0:
        raise AudioError("empty_audio", "the file is empty")
    sniff.content_type(path)
    return path


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
    np.ndarray [shape=(channels, round(n * to / rate)) or (round(n * to / rate),), float32]
        By the resampler that `decode` uses; `audio` itself where the rates are equal.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if rate == to:
        return audio
    if audio.ndim == 1:
        return resample(audio[None], rate, to)[0]

    def frames() -> Iterator[AudioFrame]:
        layout = ("mono", "stereo")[len(audio) - 1]
        for start in range(0, audio.shape[1], BLOCK):
            block = np.ascontiguousarray(audio[:, start : start + BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = rate
            yield frame

    result = np.zeros((len(audio), round(audio.shape[1] * to / rate)), dtype=np.float32)
    n = 0
    for frame in resampled(frames(), [to]):
        block = frame.to_ndarray().reshape(-1, len(audio)).T[:, : result.shape[1] - n]
        result[:, n : n + block.shape[1]] = block
        n += block.shape[1]
    return result


def _mix(block: np.ndarray, positions: tuple[str, ...], channels: int) -> np.ndarray:
    """Mix a block [shape=(len(positions), n)] to another number of channels [shape=(channels, n)]."""
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
