"""Arrays to files, through PyAV; the same audio and tags always give the same bytes.

====  ====================  ====================  =====================================================
Name  Codec                 Decoded duration      Notes
====  ====================  ====================  =====================================================
wav   16 or 24-bit PCM      exact
flac  16 or 24-bit FLAC     exact                 the same samples as wav
mp3   LAME, 112 kbit/s per  at most 48 samples    a header tells delay and padding; players that ignore
      channel               more                  it add about 50 ms; 8 to 48 kHz, in MPEG's nine rates
ogg   Opus, 96 kbit/s per   exact to a sample     48 kHz, as Opus always is (PyAV's wheel has no
      channel                                     good Vorbis encoder)
====  ====================  ====================  =====================================================

Samples are rounded to 16 or 24 bits without dither: rounding is deterministic, and its error lies below
-98 dBFS, under the noise of the sources that come here. The lossy encoders take float samples as they are.

A true-peak ceiling holds for wav and flac. Lossy decoders may rise over it: on loud music mastered to -1 dBTP
by up to 0.6 dB in mp3 and 0.8 dB in ogg, still below full scale. Their loudness is that of what was encoded.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from music.audio.decode import resample


@dataclass(frozen=True)
class _Format:
    """How FFmpeg is asked for a format."""

    codec: str
    sample_format: str
    bit_rate: int | None = None  # bit/s for each channel
    rates: tuple[int, ...] = ()  # Hz, ascending, where it does not have every rate


_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_FORMATS = {
    "wav": _Format("pcm_s16le", "s16"),
    "flac": _Format("flac", "s16"),
    "mp3": _Format("libmp3lame", "fltp", bit_rate=112_000, rates=_MPEG_RATES),
    "ogg": _Format("libopus", "flt", bit_rate=96_000, rates=(48_000,)),
}

_DEEP = {"wav": _Format("pcm_s24le", "s32"), "flac": _Format("flac", "s32")}

CONTENT_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
"""The media type of each format."""

# What LAME multiplies samples by before it encodes, to be safe from clipping: we give it that much more.
_LAME, _LAME_LOUD = 0.95, 0.98
_LAME_RATE, _LAME_BIT_RATE = 32_000, 224_000  # Hz and bit/s from which on it is the second
_BLOCK = 1 << 14  # samples that are handed to the encoder at once


def encode(
    audio: np.ndarray,
    rate: int,
    format: str,
    tags: Mapping[str, str] | None = None,
    *,
    bit_depth: int = 16,
) -> bytes:
    """Encode audio into a file.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
        One or two channels, at least one sample. wav and flac clip what is beyond full scale.
    rate : int
        Sample rate in Hz. Where the format does not have it, the file has the next one above that the
        format has, or its highest.
    format : {"wav", "flac", "mp3", "ogg"}
        A key of `CONTENT_TYPES`.
    tags : mapping of str to str, optional
        Title, artist, copyright, comment and so on, under FFmpeg's generic names.
    bit_depth : {16, 24}
        Of wav and flac.

    Returns
    -------
    bytes
        The content of the file; the same arguments give the same bytes.

    Examples
    --------
    >>> tone = np.sin(np.arange(32000) * 0.1).astype(np.float32)[None]
    >>> encode(tone, 32000, "wav", {"title": "A tone"})[:4]
    b'RIFF'
    """
    if (rates := _FORMATS[format].rates) and rate not in rates:
        had = next((one for one in rates if one > rate), rates[-1])
        audio, rate = resample(audio, rate, had), had
    encoder = Encoder(rate, len(audio), format, tags, bit_depth=bit_depth)
    encoder.push(np.asarray(audio, dtype=np.float32))
    return encoder.finish()


def read_tags(path: str | Path) -> dict[str, str]:
    """Read the tags of a file that `encode` made, under FFmpeg's generic names."""
    with av.open(str(path)) as container:
        found = container.metadata | container.streams.audio[0].metadata
    return {name.lower(): value for name, value in found.items() if name.lower() != "encoder"}


class Encoder:
    """A file that is written block by block.

    Parameters
    ----------
    rate : int
        Sample rate in Hz, one that the format has: for ogg 48,000, for mp3 what MPEG defines up to that.
    channels : int
        1 or 2.
    format : {"wav", "flac", "mp3", "ogg"}
        A key of `CONTENT_TYPES`.
    tags : mapping of str to str, optional
        As for `encode`.
    bit_rate : int, optional
        Of a lossy format, in bit/s for each channel; by default that of the table above.
    effort : int, optional
        The codec's, in FFmpeg's ``compression_level``.
    bit_depth : {16, 24}
        Of wav and flac.

    See Also
    --------
    encode : A whole file at once.
    """

    def __init__(
        self,
        rate: int,
        channels: int,
        format: str,
        tags: Mapping[str, str] | None = None,
        *,
        bit_rate: int | None = None,
        effort: int | None = None,
        bit_depth: int = 16,
    ) -> None:
        kind = _FORMATS[format]
        if bit_depth == 24:
            kind = _DEEP[format]
        self._rate, self._sample_format = rate, kind.sample_format
        self._layout = ("mono", "stereo")[channels - 1]
        self._n = 0
        self._buffer = io.BytesIO()
        # FFmpeg's "bitexact" leaves out its version and makes ogg's stream serial a constant.
        self._container = av.open(self._buffer, "w", format=format, container_options={"fflags": "+bitexact"})
        self._container.metadata.update(tags or {})
        options = {"flags": "+bitexact"}
        if effort is not None:
            options["compression_level"] = str(effort)
        if bit_depth == 24:
            options["bits_per_raw_sample"] = "24"
        stream = self._container.add_stream(kind.codec, rate=rate, options=options, layout=self._layout)
        assert isinstance(stream, av.AudioStream)
        stream.format = kind.sample_format
        self._gain = 1.0
        if kind.bit_rate is not None:
            stream.bit_rate = (bit_rate or kind.bit_rate) * channels
            if format == "mp3":
                self._gain = 1.0 / (
                    _LAME_LOUD if rate >= _LAME_RATE and stream.bit_rate >= _LAME_BIT_RATE else _LAME
                )
        self._stream = stream

    def push(self, samples: np.ndarray) -> None:
        """Take the next samples [shape=(channels, n), float32]."""
        for start in range(0, samples.shape[1], _BLOCK):
            block = samples[:, start : start + _BLOCK]
            if self._gain != 1.0:
                block = block * np.float32(self._gain)
            if self._sample_format == "s16":
                # 32768, not 32767: what decoders divide by, so that decoding gives back the rounded samples.
                block = np.clip(np.rint(block * 32768.0), -32768, 32767).astype(np.int16)
            elif self._sample_format == "s32":  # the upper 24 bits
                whole = np.clip(np.rint(block.astype(np.float64) * 2.0**23), -(2**23), 2**23 - 1)
                block = whole.astype(np.int32) << 8
            if not self._sample_format.endswith("p"):
                block = block.T.reshape(1, -1)  # interleaved
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), self._sample_format, self._layout)
            frame.sample_rate = self._rate
            frame.pts = self._n + start
            self._container.mux(self._stream.encode(frame))
        self._n += samples.shape[1]

    def finish(self) -> bytes:
        """Return the content of the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()
