"""EnCodec as transformers has it, with the interface of `music.musicgen.encodec`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel

from music.torch.checkpoint import model


class Encodec:
    """The codec of a MusicGen checkpoint.

    Parameters
    ----------
    folder : Path
        A checkpoint as published on the Hugging Face hub.
    device : str
        The device as torch names it.

    Attributes
    ----------
    sample_rate, hop, codebooks, codebook_size : int
        What `music.musicgen.encodec.Encodec` says of them.

    Raises
    ------
    ValueError
        If tensors of the codec are missing.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))["audio_encoder"]
        self.model = model(EncodecModel, folder, device, "audio_encoder", EncodecConfig.from_dict(config))
        self._stream = torch.cuda.Stream() if device == "cuda" else None
        self.sample_rate: int = self.model.config.sampling_rate
        self.hop: int = self.model.config.hop_length
        self.codebooks: int = self.model.config.num_quantizers
        self.codebook_size: int = self.model.config.codebook_size

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """Find the codes of audio [channels, n]: [channels * codebooks, ceil(n / hop)], channels in turn."""
        widest = self.model.config.target_bandwidths[-1]
        samples = torch.tensor(np.ascontiguousarray(audio)[:, None], device=self.model.device)
        codes = self.model.encode(samples, bandwidth=widest).audio_codes[0]  # [channels, codebooks, frames]
        return codes.transpose(0, 1).reshape(-1, codes.shape[2]).cpu().numpy()

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes [channels * codebooks, frames] into audio [channels, frames * hop]."""
        apart = np.ascontiguousarray(codes.reshape(self.codebooks, -1, codes.shape[1]).swapaxes(0, 1))
        given = torch.tensor(apart, dtype=torch.int64, device=self.model.device)
        return self.model.decode(given[None], [None]).audio_values[:, 0].cpu().numpy()

    def decoder(self, channels: int = 1, candidates: int = 1) -> Decoder:
        """Start to decode codes that come by and by."""
        return Decoder(self, channels, candidates)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run what is inside beside what else the device does."""
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            yield


_CONTEXT = 4
"""Frames on each side of a frame that it depends on: 3 before the LSTM, and 1.4 behind it."""


class Decoder:
    """Decodes the codes of candidates as they come: one after the other, in the memory that one takes."""

    def __init__(self, codec: Encodec, channels: int, candidates: int) -> None:
        self._streams = [_Stream(codec, channels) for _ in range(candidates)]

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Take codes [candidates, channels * codebooks, new frames]: samples [candidates, channels, n]."""
        return np.stack([stream.push(each) for stream, each in zip(self._streams, codes, strict=True)])

    def finish(self) -> np.ndarray:
        """Return the samples that were held back [candidates, channels, n]."""
        return np.stack([stream.finish() for stream in self._streams])


class _Stream:
    """Decodes the codes of one candidate.

    What lies before the LSTM sees a few frames, the LSTM goes on from its state, and what lies behind it is
    computed again for the frames around those that are new. So a frame is given out once those are there that
    it depends on, and what is given out is what `Encodec.decode` makes of all codes at once.
    """

    def __init__(self, codec: Encodec, channels: int) -> None:
        self._codec, self._channels = codec, channels
        self._first, lstm, *rest = codec.model.decoder.layers
        self._lstm, self._rest = lstm.lstm, rest
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None
        self._codes = torch.zeros(channels, codec.codebooks, 0, dtype=torch.int64)
        self._seen: torch.Tensor | None = None  # what the LSTM made of the frames [_from, _through)
        self._from = self._through = self._given = 0

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Take codes [channels * codebooks, new frames]; return the samples they settle [channels, n]."""
        codec = self._codec
        if codes.ndim != 2 or len(codes) != self._channels * codec.codebooks:
            raise ValueError(f"codes of {self._channels} channels, not {codes.shape}")
        apart = np.ascontiguousarray(
            codes.reshape(codec.codebooks, self._channels, -1).swapaxes(0, 1), np.int64
        )
        self._codes = torch.cat([self._codes, torch.from_numpy(apart)], dim=2)
        return self._decode(last=False)

    def finish(self) -> np.ndarray:
        """Return the samples that were held back [channels, n]."""
        return self._decode(last=True)

    def _decode(self, last: bool) -> np.ndarray:
        codec, frames = self._codec, self._codes.shape[2]
        with codec.beside():
            self._remember(frames if last else frames - _CONTEXT)
            end = self._through if last else self._through - _CONTEXT
            if end <= self._given or self._seen is None:
                return np.empty((self._channels, 0), np.float32)
            begin = max(0, self._given - _CONTEXT)
            x = self._seen = self._seen[:, :, begin - self._from :]  # (channels, width, frames)
            self._from = begin
            for layer in self._rest:
                x = layer(x)
            made: np.ndarray = (
                x[:, 0, (self._given - begin) * codec.hop : (end - begin) * codec.hop].cpu().numpy()
            )
        self._given = end
        return made

    def _remember(self, end: int) -> None:
        """Take the LSTM through frames up to `end`."""
        if end <= self._through:
            return
        codec = self._codec
        begin = max(0, self._through - _CONTEXT)
        given = self._codes[:, :, begin : end + _CONTEXT].to(codec.model.device)
        x = self._first(codec.model.quantizer.decode(given.transpose(0, 1)))  # (channels, width, frames)
        x = x[:, :, self._through - begin : end - begin]
        x = x.permute(2, 0, 1).contiguous()
        made, self._state = self._lstm(x, self._state)
        made = (made + x).permute(1, 2, 0)
        self._seen = made if self._seen is None else torch.cat([self._seen, made], dim=2)
        self._through = end
