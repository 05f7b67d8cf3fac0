"""EnCodec as transformers has it, with the interface of `music.musicgen.encodec`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel

from music.torch.checkpoint import has_safetensors


class _Codec(EncodecModel):
    # The rest of MusicGen, in whose checkpoint the codec is.
    _keys_to_ignore_on_load_unexpected = (
        r"^decoder\.(model|lm_heads)\.",
        r"^text_encoder\.",
        r"^(audio_)?enc_to_dec_proj\.",
    )


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
        self.model, report = _Codec.from_pretrained(
            folder,
            config=EncodecConfig.from_dict(config),
            key_mapping={r"^audio_encoder\.": ""},
            dtype=torch.float32,
            use_safetensors=has_safetensors(folder),
            local_files_only=True,
            output_loading_info=True,
        )
        if report["missing_keys"] or report["mismatched_keys"]:
            raise ValueError(f"{folder}: {report['missing_keys'] or report['mismatched_keys']} of the codec")
        self.model = self.model.to(device).eval()
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

    def decoder(self, channels: int = 1) -> Decoder:
        """Start to decode codes that come by and by."""
        return Decoder(self, channels)


class Decoder:
    """Keeps codes until the end and decodes them at once: transformers cannot decode a stream."""

    def __init__(self, codec: Encodec, channels: int) -> None:
        self._codec, self._channels = codec, channels
        self._codes: list[np.ndarray] = []

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Keep codes [channels * codebooks, frames]; returns no samples yet [channels, 0]."""
        if codes.ndim != 2 or len(codes) != self._channels * self._codec.codebooks:
            raise ValueError(f"codes of {self._channels} channels, not {codes.shape}")
        self._codes.append(codes)
        return np.empty((self._channels, 0), np.float32)

    def finish(self) -> np.ndarray:
        """Return all the audio [channels, n].

        Raises
        ------
        FloatingPointError
            If it is not finite.
        """
        codes = np.concatenate(self._codes, axis=1) if self._codes else np.empty((0, 0), np.int64)
        self._codes = []
        if not codes.size:
            return np.empty((self._channels, 0), np.float32)
        audio = self._codec.decode(codes)
        if not np.isfinite(audio).all():
            raise FloatingPointError("the decoded audio is not finite")
        return audio
