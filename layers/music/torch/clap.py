"""CLAP as transformers has it, with the interface of `music.clap.embedder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import ClapModel

from music.clap.embedder import PIPELINE, Clap
from music.clap.tags import categories, likeliest, prompts, tags_of
from music.interfaces import Identity, TextTooLong
from music.torch import checkpoint


class ClapTowers:
    """Both towers of a CLAP checkpoint, on torch.

    Parameters
    ----------
    folder : Path
        A checkpoint as published on the Hugging Face hub.
    identity : Identity, optional
        The identity of its vectors; by default the folder's name is the model, and the revision is unknown.
    device : str
        The device as torch names it.

    Raises
    ------
    ValueError
        If tensors are missing, or have another shape than the configuration says.

    Examples
    --------
    >>> towers = ClapTowers(Path("checkpoints/small/clap"))  # doctest: +SKIP
    >>> towers.embedder().embed(mono)                         # doctest: +SKIP
    """

    def __init__(self, folder: Path, identity: Identity | None = None, device: str = "cpu") -> None:
        self.model = checkpoint.model(ClapModel, folder, device)
        self.identity = identity or Identity(folder.name, "local", PIPELINE, "float32")
        self._folder, self._tokenizer = folder, checkpoint.tokenizer(folder)
        self._most_tokens: int = self.model.config.text_config.max_position_embeddings - 2

    def embedder(self) -> Clap:
        """Make the embedder of tracks; it names them by the same tags as a bundle does."""
        tags = tags_of(self._folder)
        vectors, named = np.stack([self.embed(text) for text in prompts(tags)]), categories(tags)
        scale = float(self.model.logit_scale_a.detach().exp())
        return Clap(
            self.audio,
            lambda vector: likeliest(vector, vectors, scale, named),
            self.identity,
            self.model.config.projection_dim,
        )

    @torch.inference_mode()
    def audio(self, mels: np.ndarray) -> np.ndarray:
        """Embed spectrograms [shape=(windows, 1001, 64)]: raw vectors [shape=(windows, dimension)]."""
        given = torch.tensor(mels, device=self.model.device)[:, None]
        pooled = self.model.audio_model(input_features=given).pooler_output
        vectors: np.ndarray = self.model.audio_projection(pooled).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def text(self, ids: list[int]) -> np.ndarray:
        """Embed the tokens of a text: a raw vector [shape=(dimension,)]."""
        given = torch.tensor([ids], device=self.model.device)
        pooled = self.model.text_model(input_ids=given).pooler_output
        vector: np.ndarray = self.model.text_projection(pooled)[0].cpu().numpy()
        return vector

    def embed(self, text: str) -> np.ndarray:
        """Embed a text as a unit vector; see `music.clap.embedder.ClapSearch`."""
        ids = self._tokenizer.encode(text).ids
        if len(ids) > self._most_tokens:
            raise TextTooLong(f"the text has {len(ids) - 2} tokens; {self._most_tokens - 2} are allowed")
        vector = self.text(ids).astype(np.float64)
        return (vector / np.sqrt(np.sum(vector**2))).astype(np.float32)
