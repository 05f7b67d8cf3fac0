"""CLAP: a track is the mean of what the audio tower says of its windows of ten seconds.

The windows are those of the clapback pipeline (``clapback_embed`` of seethroughlab/clapback), so that its
vectors and ours may be compared:

- 48 kHz, mono, consecutive windows of exactly 480,000 samples (transformers crops longer ones at random);
- what is left at the end, less than a window, is dropped: silence put behind it would pull the mean toward
  silence, and its seconds are like those before them;
- a track shorter than one window is repeated as often as it fits whole, then filled with zeros: ``repeatpad``
  of transformers, as CLAP was trained;
- two channels are folded as `music.dsp.channels.folded` does: their mean, unless they cancel in it;
- the vector is the mean of the raw projected outputs, and only then made of unit length. What
  `ClapModel.get_audio_features` gives is of unit length already: a mean of those is another vector.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from music.clap.mel import SAMPLE_RATE, WINDOW, log_mel
from music.dsp.channels import centred, folded
from music.interfaces import Identity, TextTooLong

if TYPE_CHECKING:
    from music.dsp.sound import Sound
    from music.engine.bundle import Bundle

PIPELINE = "1"
"""The version of windows, spectrograms and mean: raise it when a vector changes and its model did not."""

OFFSET = 0.1
"""The share of the RMS from which on an offset is taken off a short track: zeros behind it would click."""

WINDOWS_AT_ONCE = 2
"""How many windows are embedded at once: more are a few percent faster, and each takes 10 MB."""


class Clap:
    """The embedder of the neural profiles; see the module.

    Parameters
    ----------
    network : callable
        Turns spectrograms [shape=(windows, 1001, 64)] into raw vectors [shape=(windows, dimension)].
    tags : callable
        Turns a unit vector into its tags (see `music.clap.tags.ClapTags`).
    identity : Identity
        The identity of the vectors.
    dimension : int
        How many numbers a vector has.

    See Also
    --------
    music.torch.clap : the same on torch and transformers.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        network: Callable[[np.ndarray], np.ndarray],
        tags: Callable[[np.ndarray], dict[str, dict[str, float]]],
        identity: Identity,
        dimension: int,
    ) -> None:
        self._network = network
        self._tags = tags
        self.identity = identity
        self.dimension = dimension

    @classmethod
    def open(cls, bundle: Bundle) -> Clap:
        """Make the embedder that a bundle holds."""
        from music.clap.audio_encoder import ClapAudio
        from music.clap.tags import ClapTags

        audio = ClapAudio(bundle.tensors("clap_audio"))
        return cls(
            audio,
            ClapTags(bundle.tensors("clap_tags")),
            Identity(**bundle.manifest["embedder"]),
            audio.dimension,
        )

    def listen(self) -> Listener:
        """Begin to embed a track whose samples come block by block."""
        return Listener(self._network)

    def embed(self, audio: np.ndarray, sound: Sound | None = None) -> np.ndarray:
        """Embed a track.

        Parameters
        ----------
        audio : np.ndarray [shape=(channels, n) or (n,)]
            Audio at `sample_rate`, at least one sample, finite; two channels are folded into one.
        sound : Sound, optional
            Not used: the network makes spectra of its own.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            A vector of unit length.

        Raises
        ------
        ValueError
            If `audio` has another shape, or holds NaN or infinities.
        """
        listener = self.listen()
        listener.hear(folded(audio) if np.ndim(audio) == 2 else audio)
        return listener.vector()

    def tags(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        """Name a track by its vector: the likeliest tags of each category with their scores, best first."""
        return self._tags(vector)


class Listener:
    """A track under way.

    Parameters
    ----------
    network : callable
        What `Clap` takes.

    Attributes
    ----------
    windows : int
        How many windows were embedded: those that the vector is the mean of.
    """

    def __init__(self, network: Callable[[np.ndarray], np.ndarray]) -> None:
        self.windows = 0
        self._network = network
        self._sound = np.zeros(WINDOWS_AT_ONCE * WINDOW, np.float32)
        self._heard = 0
        self._sum: np.ndarray | None = None

    def hear(self, block: np.ndarray) -> None:
        """Take the next samples [shape=(n,)]; see `Clap.embed`."""
        block = np.asarray(block, np.float32)
        if block.ndim != 1 or not np.isfinite(block).all():
            raise ValueError(f"samples must be finite and of shape (n,), not {block.shape}")
        while len(block):
            some = block[: len(self._sound) - self._heard]
            self._sound[self._heard : self._heard + len(some)] = some
            self._heard += len(some)
            block = block[len(some) :]
            if self._heard == len(self._sound):
                self._embed(self._sound.reshape(-1, WINDOW))
                self._heard = 0

    def vector(self) -> np.ndarray:
        """End the track and return its vector [shape=(dimension,), float32], of unit length.

        Raises
        ------
        ValueError
            If there were no samples.
        """
        whole = self._heard // WINDOW
        if whole:
            self._embed(self._sound[: whole * WINDOW].reshape(-1, WINDOW))
        elif not self.windows:
            self._embed(repeatpad(centred(self._sound[None, : self._heard], OFFSET)[0])[None])
        self._heard = 0
        assert self._sum is not None
        mean = self._sum / self.windows
        return (mean / np.sqrt(np.sum(mean**2))).astype(np.float32)

    def _embed(self, sounds: np.ndarray) -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            mels = np.stack(list(threads.map(log_mel, sounds)))
        for vector in self._network(mels).astype(np.float64):  # one by one: the sum has one order
            self._sum = vector if self._sum is None else self._sum + vector
        self.windows += len(sounds)


class ClapSearch:
    """Embeds texts into the space of the vectors of `Clap`.

    Parameters
    ----------
    bundle : Bundle

    Attributes
    ----------
    identity : Identity
        The identity of the vectors that texts may be compared with.
    """

    def __init__(self, bundle: Bundle) -> None:
        from tokenizers import Tokenizer

        from music.clap.text_encoder import ClapText

        self.identity = Identity(**bundle.manifest["embedder"])
        self._tokenizer = Tokenizer.from_file(str(bundle.tokenizer("clap_text")))
        self._network = ClapText(bundle.tensors("clap_text"))

    def embed(self, text: str) -> np.ndarray:
        """Embed a text.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            A vector of unit length.

        Raises
        ------
        TextTooLong
            If it has more tokens than the network has positions.
        """
        ids = self._tokenizer.encode(text).ids
        most = self._network.most_tokens
        if len(ids) > most:
            raise TextTooLong(f"the text has {len(ids) - 2} tokens; {most - 2} are allowed")
        vector = self._network(ids).astype(np.float64)
        return (vector / np.sqrt(np.sum(vector**2))).astype(np.float32)


def repeatpad(sound: np.ndarray) -> np.ndarray:
    """Fill a window with a shorter sound: whole repetitions, then zeros."""
    if not len(sound):
        raise ValueError("a track has at least one sample")
    window = np.zeros(WINDOW, np.float32)
    repeated = np.tile(sound, WINDOW // len(sound))
    window[: len(repeated)] = repeated
    return window
