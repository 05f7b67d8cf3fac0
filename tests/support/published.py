"""MusicGen as transformers has it, whole: what our own networks are compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    MusicgenForConditionalGeneration,
    MusicgenMelodyForConditionalGeneration,
)

from music.musicgen.networks import Condition
from music.musicgen.transformer import POSITIONS
from music.torch import checkpoint


def load(folder: Path, device: str = "cpu") -> Any:
    """Load a whole MusicGen or MusicGen Melody checkpoint, float32.

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
    kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    classes = {
        "musicgen": MusicgenForConditionalGeneration,
        "musicgen_melody": MusicgenMelodyForConditionalGeneration,
    }
    return checkpoint.model(classes[kind], folder, device)


class T5:
    """The text encoder of a loaded checkpoint."""

    def __init__(self, model: Any) -> None:
        self.model = model.text_encoder

    @torch.inference_mode()
    def encode(self, ids: Sequence[int]) -> np.ndarray:
        """Encode the tokens of one prompt [tokens, width]."""
        given = torch.tensor([list(ids)], device=self.model.device)
        return self.model(input_ids=given).last_hidden_state[0].cpu().numpy()


class MusicGen:
    """The transformer of a loaded checkpoint, a `music.musicgen.networks.StepwiseModel`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.decoder.config
        self.codebooks: int = config.num_codebooks
        self.vocabulary: int = config.vocab_size
        self.width: int = config.hidden_size
        self.prefix: int = getattr(model.config, "chroma_length", 0)
        self.chroma: int = getattr(model.config, "num_chroma", 0)
        self.text_length: int = getattr(model.config, "text_length", 0)
        self.max_positions = POSITIONS - (self.prefix + 64 if self.prefix else 0)

    def state_bytes(self, rows: int, capacity: int) -> int:
        """Estimate the memory of a state: its keys and values."""
        layers = self.model.decoder.config.num_hidden_layers
        return 8 * rows * layers * (capacity + self.prefix) * self.width

    @torch.inference_mode()
    def start(self, conditions: Sequence[Condition], capacity: int) -> MusicGenState:
        """Begin a row for each condition."""
        if not conditions or not 1 <= capacity <= self.max_positions:
            raise ValueError(f"a state has at least one row and 1 to {self.max_positions} positions")
        return MusicGenState(self, conditions, capacity)


class MusicGenState:
    """Rows under way, which are transformers' own cache."""

    def __init__(self, model: MusicGen, conditions: Sequence[Condition], capacity: int) -> None:
        self._model, self._rows, self._capacity = model, len(conditions), capacity
        self._past: Any = None
        self.length = 0
        network, device = model.model, model.model.device
        width = network.text_encoder.config.hidden_size
        tokens = max([model.text_length, *(len(c.text) for c in conditions if c.text is not None)])
        tokens = tokens or (not model.prefix)
        text = torch.zeros(self._rows, tokens, width)
        mask = torch.zeros(self._rows, tokens, dtype=torch.int64)
        for row, condition in enumerate(conditions):
            if condition.text is not None:
                text[row, : len(condition.text)] = torch.tensor(condition.text)
                mask[row, : len(condition.text)] = 1
        text, mask = text.to(device), mask.to(device)
        if width != model.width:
            text = network.enc_to_dec_proj(text)
        text = text * mask[..., None]
        if not model.prefix:
            self._given = {"encoder_hidden_states": text, "encoder_attention_mask": mask}
            return
        rows = []
        for condition in conditions:
            chroma = np.eye(1, model.chroma, dtype=np.float32)
            if condition.chroma is not None and len(condition.chroma):
                chroma = condition.chroma
            projected = network.audio_enc_to_dec_proj(torch.tensor(chroma, device=device))
            rows.append(projected.repeat(-(-model.prefix // len(projected)), 1)[: model.prefix])
        self._given = {"encoder_hidden_states": torch.cat([torch.stack(rows), text], dim=1)}

    @torch.inference_mode()
    def advance(self, codes: np.ndarray) -> np.ndarray:
        """Append positions [rows, new, codebooks]; see `music.musicgen.networks.State`."""
        model, (rows, new, books) = self._model, codes.shape
        if self.length + new > self._capacity:
            raise ValueError(f"there is room for {self._capacity} positions")
        ids = torch.tensor(codes.transpose(0, 2, 1).reshape(rows * books, new), device=model.model.device)
        out = model.model.decoder(input_ids=ids, past_key_values=self._past, use_cache=True, **self._given)
        self._past = out.past_key_values
        if model.prefix:
            self._given = {}  # it stands before the codes, once
        self.length += new
        return out.logits[:, -1].reshape(rows, books, model.vocabulary).float().cpu().numpy()
