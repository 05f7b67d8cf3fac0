"""MusicGen's text encoder and language model on torch, as `music.musicgen.generator` wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, T5EncoderModel

from music.musicgen.decoding import Window
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.musicgen.transformer import POSITIONS
from music.resume import Take
from music.torch.batch import Batch
from music.torch.checkpoint import model
from music.torch.decoding import BatchDecoding
from music.torch.language import Network, Slots
from music.torch.memory import FRAMES, GUIDED

MOST_STREAMS = 32


class T5:
    """The text encoder of a MusicGen checkpoint, as transformers has it.

    Parameters
    ----------
    folder : Path
        A checkpoint as published on the Hugging Face hub.
    device : str
        The device as torch names it.

    Raises
    ------
    ValueError
        If tensors are missing.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).text_encoder
        self.model = model(T5EncoderModel, folder, device, "text_encoder", config)

    @torch.inference_mode()
    def encode(self, ids: Sequence[int]) -> np.ndarray:
        """Encode the tokens of one prompt [tokens, width]."""
        given = torch.tensor([list(ids)], device=self.model.device)
        states: np.ndarray = self.model(input_ids=given).last_hidden_state[0].cpu().numpy()
        return states


class MusicGen:
    """The language model, a `music.musicgen.networks.LanguageModel` whose generations share one batch.

    Parameters
    ----------
    network : Network
        Its weights.
    memory : int
        The bytes of the device that streams may take together. There is always room for one, and for
        `MOST_STREAMS` at most.
    texts : int
        How many tokens of text there may be.
    """

    def __init__(self, network: Network, memory: int, texts: int) -> None:
        shape = network.shape
        self.codebooks, self.vocabulary, self.chroma = shape.codebooks, shape.vocabulary, shape.chroma
        self.text_length = shape.text_length
        self.max_positions = POSITIONS - (shape.prefix and shape.prefix + texts)
        self._each = Slots.bytes_of_each(network, FRAMES, texts)
        self.streams = max(1, min(MOST_STREAMS, memory // self._each))
        self._batch = Batch(lambda: Slots(network, self.streams, FRAMES, texts), self.streams)

    def state_bytes(self, rows: int, capacity: int) -> int:
        """Return the share of a row in what a stream takes of the device's memory, which all do."""
        return self._each * rows // GUIDED

    def decode(
        self,
        windows: Sequence[Window],
        conditions: Callable[[Window], Condition],
        sampling: Sampling,
        takes: Sequence[Take],
        against: Condition,
    ) -> BatchDecoding:
        """Begin to make the codes of candidates, beside those of other generations."""
        return BatchDecoding(self._batch, self.codebooks, windows, conditions, sampling, takes, against)
